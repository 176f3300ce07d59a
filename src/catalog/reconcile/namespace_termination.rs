//! Deletes objects of a terminating namespace early. Kubernetes deletes the namespace's pods first, then everything
//! else, and where it finds a finalizer it returns only after eight seconds. So a binding is deleted here as soon as
//! no pod can use it, and an instance as soon as it has no binding; both are usually gone before Kubernetes gets to
//! them.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::PartialObjectMeta};
use serde::de::DeserializeOwned;
use tracing::info;

use super::{Next, ReconcileError, kind_of, now, remove_finalizer};
use crate::{apis::servicecatalog::ServiceBinding, catalog::context::Context, k8s::delete_by_uid};

/// How long an object delays the deletion of its namespace while the broker does not delete what the object stands
/// for. Afterwards the ExternalResource keeps track of the rest.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval of retries during that time.
const TERMINATION_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The bounds of the wait before the next look for pods. The wait is as long as the namespace has been terminating.
const POD_CHECK_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

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
        return Ok(Next::After(waited.clamp(POD_CHECK_INTERVAL.0, POD_CHECK_INTERVAL.1)));
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
    Ok(Next::AwaitChange)
}

/// How much longer an object may delay the deletion of its namespace; `None` (no limit) if the namespace stays.
fn termination_time_left<K: Resource>(context: &Context, object: &K) -> Option<Duration> {
    let namespace = object.namespace().unwrap_or_default();
    if !context.is_terminating(&namespace) {
        return None;
    }
    let since = object.meta().deletion_timestamp.as_ref()?.0;
    let waited = Duration::try_from(now().0.duration_since(since)).unwrap_or_default();
    Some(TERMINATION_TIMEOUT.saturating_sub(waited))
}

/// The time limit for a broker's answer to a deletion; `None` if the namespace stays. An object whose time is over
/// still gets one request, because bindery may have been away.
pub(super) fn broker_timeout<K: Resource>(context: &Context, object: &K) -> Option<Duration> {
    termination_time_left(context, object).map(|left| left.max(TERMINATION_RETRY_INTERVAL))
}

/// When to retry a failed deletion. If the namespace has waited long enough, the object's finalizer is removed; the
/// ExternalResource stays, and its reconciler deletes the rest when the broker is back.
pub(super) async fn retry_deletion<K>(
    context: &Context,
    api: &Api<K>,
    object: &K,
    next: Next,
) -> Result<Next, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match termination_time_left(context, object) {
        None => Ok(next),
        Some(Duration::ZERO) => {
            let (namespace, name) = (object.namespace(), object.name_any());
            info!(
                kind = kind_of(object),
                namespace,
                name,
                "finalizer removed so that the namespace can go; the ExternalResource's \
                    reconciler deletes the rest"
            );
            // The status was written a moment ago, so the version that was read may be outdated.
            if let Some(current) = api.get_opt(&name).await?
                && current.meta().uid == object.meta().uid
            {
                remove_finalizer(context, api, &current).await?;
            }
            Ok(Next::AwaitChange)
        }
        Some(left) => Ok(match next {
            Next::Retry => Next::RetryAfter(left.min(TERMINATION_RETRY_INTERVAL)),
            Next::After(wait) => Next::After(wait.min(left)),
            other => other,
        }),
    }
}
