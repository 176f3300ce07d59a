//! The catalog's reconcilers against a real API server and a broker that can be made to fail. They need a cluster:
//! `tests/cluster/with-cluster cargo test --test catalog`, or a `KUBECONFIG` of one that may be written to.

mod broker;
mod faults;
mod harness;
mod ledger;
mod namespaces;
mod schema;
mod secrets;
mod story;
