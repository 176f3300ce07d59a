//! Kubernetes plumbing shared by the roles: serving certificates, TLS servers, leader election, the broker's own Secret
//! and its registration, watches, waits and deletions. What the roles do with them is theirs; nothing here knows
//! credentials of bindings.

mod answers;
pub mod approvals;
pub mod broker_secret;
pub mod certificates;
mod client;
pub mod clients;
mod explain;
pub mod leader;
pub mod list;
pub mod namespaces;
pub mod pki;
pub mod registration;
pub mod retry;
pub mod seen;
pub mod server;
pub mod trim;
pub mod unreadable;
pub mod watch;
pub mod webhook_bundle;

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

#[cfg(test)]
pub(crate) use client::asking;
pub use client::{client, in_time, no_answer};
pub use explain::{explain, explain_watch, without_values};

/// The metadata of an object of bindery's own.
fn own(name: &str) -> ObjectMeta {
    let (label, value) = crate::contract::binding::MANAGED_BY;
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
        ..ObjectMeta::default()
    }
}
