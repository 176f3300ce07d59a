//! Deletes objects of a terminating namespace early. Kubernetes deletes the namespace's pods first, then everything
//! else, and where it finds a finalizer it returns only after eight seconds. So a binding is deleted here as soon as
//! no pod can use it, and an instance as soon as it has no binding; both are usually gone before Kubernetes gets to
//! them.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::PartialObjectMeta};
use serde::de::DeserializeOwned;

use super::{Next, ReconcileError, now};
use crate::{apis::servicecatalog::ServiceBinding, catalog::context::Context, k8s::delete_by_uid};

/// The bounds of the wait before the next look for pods. The wait is as long as the namespace has been terminating.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Deletes a binding of a namespace that has been terminating since `since`, unless pods are left.
pub(super) async fn binding(
    binding: &ServiceBinding,
    since: Timestamp,
    context: &Context,
) -> Result<Next, ReconcileError> {
    let namespace = binding.namespace().unwrap_or_default();
    let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(context.client.clone(), &namespace);
    if !pods.list(&ListParams::default().limit(1)).await?.items.is_empty() {
        let waited = Duration::try_from(now().0.duration_since(since)).unwrap_or_default();
        return Ok(Next::After(waited.clamp(LOOK_AGAIN.0, LOOK_AGAIN.1)));
    }
    delete(binding, context).await
}

/// Deletes an object of a terminating namespace that nothing uses any more.
pub(super) async fn delete<K>(object: &K, context: &Context) -> Result<Next, ReconcileError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    delete_by_uid::delete(&api, &object.name_any(), object.uid()).await?;
    Ok(Next::Settled)
}
