//! The part of a Namespace that bindery watches. Other modules interpret its labels and annotations.

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;

use crate::contract::GROUP;

/// A Namespace without spec and status.
pub type NamespaceMeta = PartialObjectMeta<Namespace>;

/// Removes all labels and annotations except bindery's own, because those of others can be large.
pub fn keep_ours(namespace: &mut NamespaceMeta) {
    let metadata = &mut namespace.metadata;
    metadata.managed_fields = None;
    let is_ours = |name: &str| name.split_once('/').is_some_and(|(prefix, _)| prefix == GROUP);
    for entries in [&mut metadata.labels, &mut metadata.annotations].into_iter().flatten() {
        entries.retain(|name, _| is_ours(name));
    }
}
