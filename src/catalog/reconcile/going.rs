//! Objects of a namespace that is being deleted. Kubernetes deletes its pods first, then everything else, and where it
//! finds a finalizer then it comes again only after eight seconds. So an object is deleted here as soon as there is no
//! pod any more that could use it, and is mostly gone when Kubernetes comes.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::PartialObjectMeta};
use serde::de::DeserializeOwned;

use super::{Next, ReconcileError, now};
use crate::{catalog::context::Context, cluster::seen};

/// How soon to look for pods again: after as long as the namespace has been going, within these bounds.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Deletes an object of a namespace that has been going `since` then, unless pods are left.
pub(super) async fn hasten<K>(object: &K, since: Timestamp, context: &Context) -> Result<Next, ReconcileError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let namespace = object.namespace().unwrap_or_default();
    let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(context.client.clone(), &namespace);
    if !pods.list(&ListParams::default().limit(1)).await?.items.is_empty() {
        let waited = Duration::try_from(now().0.duration_since(since)).unwrap_or_default();
        return Ok(Next::After(waited.clamp(LOOK_AGAIN.0, LOOK_AGAIN.1)));
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    seen::delete(&api, &object.name_any(), object.uid()).await?;
    Ok(Next::Settled)
}
