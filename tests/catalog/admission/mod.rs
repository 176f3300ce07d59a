//! The webhook as the API server calls it: served from this process, registered as the plain manifests register it. The API
//! server must run on this machine. No kubelet is needed: most pods are only tried (`dryRun`), and the others wait for a
//! scheduler that there is not.

mod corpus;
mod others;
mod pods;
pub(crate) mod webhook;
