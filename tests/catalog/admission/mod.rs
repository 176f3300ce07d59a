//! The webhook, called by a real API server: it runs in this process and is registered as by the plain manifests. The
//! API server must run on this machine. No kubelet is needed: most pods are created with `dryRun`, and the others
//! wait for a scheduler that does not exist.

pub(crate) mod catalog_objects;
mod corpus;
mod others;
mod pods;
pub(crate) mod webhook;
