//! The catalog's reconcilers against a real API server and a broker that can be made to fail, and the webhook as that API
//! server calls it. They need a cluster:
//! `tests/cluster/with-cluster cargo test --test catalog`, or a `KUBECONFIG` of one that may be written to.

mod admission;
mod approvals;
mod broker;
mod deep;
mod faults;
mod harness;
mod kubectl;
mod ledger;
mod namespaces;
mod pods;
mod policies;
mod schema;
mod secrets;
mod story;
mod webhook;
