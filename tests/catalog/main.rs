//! The catalog's reconcilers and the webhook against a real API server, with a broker that can fail. The tests need a
//! cluster: `tests/cluster/with-cluster cargo test --test catalog`, or a `KUBECONFIG` of a cluster that may be
//! changed.

mod admission;
mod approvals;
mod authors;
mod bindings;
mod broker;
mod catalogs;
mod commands;
mod deep;
mod dumps;
mod faults;
mod go_clients;
mod harness;
mod instances;
mod kubectl;
mod ledger;
mod memory;
mod migration;
mod namespaced;
mod namespaces;
mod own_broker;
mod own_broker_objects;
mod pods;
mod policies;
mod process;
mod reasons;
mod scale;
mod schema;
mod secrets;
mod seeds;
mod story;
mod svcat;
mod tenancy;
mod tls;
mod webhook;
