//! What every role needs of the Kubernetes API: a client, leader election, watches, backoff and deletion by uid. This
//! module knows nothing of bindings and credentials.

mod answers;
pub mod backoff;
pub(crate) mod cache;
mod client;
pub mod delete_by_uid;
mod error;
pub mod events;
pub mod guarded;
pub mod leader;
pub mod list;
pub mod namespaces;
mod request_limit;
pub mod trim;
pub mod unreadable;
pub mod watch;

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

#[cfg(test)]
pub(crate) use client::asking;
pub use client::{client, client_with, timeout_error, with_timeout};
pub use error::{explain, explain_watch, is_for_terminating_namespace, without_values};

/// The metadata of an object that belongs to bindery.
pub(crate) fn own(name: &str) -> ObjectMeta {
    let (label, value) = crate::contract::binding::MANAGED_BY;
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
        ..ObjectMeta::default()
    }
}
