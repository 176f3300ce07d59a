//! The reconcilers, one for each kind. Each reads an object, takes the next step towards its spec, writes the status
//! and returns when to reconcile again. Reconcilers may run at any time, in any order and any number of times.

pub(super) mod binding;
pub(super) mod broker;
mod catalog_objects;
mod deadline;
mod delete_binding;
mod delete_external;
pub(super) mod external_resource;
pub(super) mod instance;
mod namespace_termination;
mod polling;
mod resolve;
mod status;

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::reflector::ObjectRef,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument as _, debug, info_span, warn};

use super::{context::Context, work_queue::WorkQueue};
use crate::apis::servicecatalog::FINALIZER;
use crate::{
    k8s::{explain, watch::CacheReader},
    telemetry::traces,
};

/// How many objects of a kind are reconciled concurrently. They mostly wait for a broker.
const CONCURRENCY: usize = 128;
/// The wait after an object turned out to be outdated in the watch cache.
const STALE: Duration = Duration::from_millis(100);

/// When to reconcile an object again if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Never.
    AwaitChange,
    /// After this time.
    After(Duration),
    /// It failed: retry with exponential backoff.
    Retry,
    /// It failed: retry after this time.
    RetryAfter(Duration),
}

/// A reconcile failed for a reason that the object's user cannot repair.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    #[error("Kubernetes: {}", explain(.0))]
    Cluster(#[from] kube::Error),
    #[error("a reconcile panicked or was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Runs a kind's reconciler over its queue until `stop` is cancelled, then lets running reconciles finish.
pub(super) async fn run<K, Work>(
    objects: impl CacheReader<K>,
    queue: WorkQueue<K>,
    context: Arc<Context>,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> Work,
) where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
    Work: Future<Output = Result<Next, ReconcileError>> + Send + 'static,
{
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some((reference, next)) = running.next() => {
                queue.done(&reference, next);
            }
            reference = queue.next(), if running.len() < CONCURRENCY => {
                // An object that vanishes while it waits in the queue is not a failure.
                let Some(object) = objects.get(&reference) else {
                    queue.done(&reference, None);
                    continue;
                };
                if !context.own_writes.is_up_to_date(object.meta()) {
                    queue.done(&reference, Some(tokio::time::Instant::now() + STALE));
                    continue;
                }
                let work = reconcile(object.clone(), context.clone());
                running.push(reconcile_one(reference, object, context.clone(), work));
            }
        }
    }
    while running.next().await.is_some() {}
}

/// Starts the reconcile of an object; the future returns when to reconcile the object again.
fn reconcile_one<K, Work>(
    reference: ObjectRef<K>,
    object: Arc<K>,
    context: Arc<Context>,
    work: Work,
) -> impl Future<Output = (ObjectRef<K>, Option<tokio::time::Instant>)>
where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
    Work: Future<Output = Result<Next, ReconcileError>> + Send + 'static,
{
    let started = Instant::now();
    // A task for each reconcile confines a panic to one object.
    let task = AbortOnDropHandle::new(tokio::spawn(work.instrument(span_of(object.as_ref()))));
    async move {
        let outcome = task.await.unwrap_or_else(|error| Err(error.into()));
        let wait = until_next(object.as_ref(), &context, started, outcome);
        (reference, wait.map(|wait| tokio::time::Instant::now() + wait))
    }
}

/// The root span of a reconcile.
fn span_of<K: Resource<DynamicType = ()>>(object: &K) -> tracing::Span {
    let (kind, meta) = (kind_of(object), object.meta());
    info_span!(target: traces::TARGET, "reconcile", kind, namespace = meta.namespace, name = meta.name)
}

/// Records a reconcile in the metrics and decides how long the object waits for the next one; `None` if only a change leads
/// to it.
fn until_next<K>(
    object: &K,
    context: &Context,
    started: Instant,
    outcome: Result<Next, ReconcileError>,
) -> Option<Duration>
where
    K: Resource<DynamicType = ()>,
{
    let meta = object.meta();
    let uid = meta.uid.as_deref().unwrap_or_default();
    let kind = kind_of(object);
    let retry = || Some(context.retries.next(uid, meta.generation));
    let (wait, failed) = match outcome {
        Ok(Next::AwaitChange) => {
            context.retries.forget(uid);
            (None, false)
        }
        Ok(Next::After(wait)) => {
            context.retries.forget(uid);
            (Some(wait), false)
        }
        Ok(Next::Retry) => (retry(), true),
        Ok(Next::RetryAfter(wait)) => (Some(wait), true),
        Err(ReconcileError::Cluster(kube::Error::Api(status))) if status.is_conflict() => {
            debug!(
                kind,
                namespace = meta.namespace,
                name = meta.name,
                status = status.message,
                "seen out of date"
            );
            (Some(STALE), false)
        }
        Err(ReconcileError::Cluster(kube::Error::Api(status))) if status.is_not_found() => {
            debug!(
                kind,
                namespace = meta.namespace,
                name = meta.name,
                status = status.message,
                "gone meanwhile"
            );
            (retry(), false)
        }
        Err(error) => {
            warn!(kind, namespace = meta.namespace, name = meta.name, %error, "reconcile failed; retrying");
            (retry(), true)
        }
    };
    context.metrics.reconciled(kind, started.elapsed(), failed);
    wait
}

/// The kind's name as a metric label.
fn kind_of<K: Resource<DynamicType = ()>>(_: &K) -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "other",
    }
}

fn now() -> Time {
    Time(k8s_openapi::jiff::Timestamp::now())
}

fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Changes an object's metadata and spec if its version is still the one that was read. A merge patch with that
/// version is used because a server-side apply would recreate a deleted object.
async fn patch<K>(
    context: &Context,
    api: &Api<K>,
    object: &K,
    mut changes: serde_json::Value,
) -> kube::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    changes["metadata"]["uid"] = json!(object.meta().uid);
    changes["metadata"]["resourceVersion"] = json!(object.meta().resource_version);
    let parameters = PatchParams {
        field_manager: Some(crate::contract::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = api.patch(&object.name_any(), &parameters, &Patch::Merge(changes)).await?;
    context.own_writes.record(patched.meta());
    Ok(patched)
}

/// The object's finalizers, including bindery's.
fn with_finalizer<K: Resource>(object: &K) -> Vec<String> {
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    if !has_finalizer(object) {
        finalizers.push(FINALIZER.to_owned());
    }
    finalizers
}

/// Removes bindery's finalizer from an object.
async fn remove_finalizer<K>(context: &Context, api: &Api<K>, object: &K) -> Result<(), ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let rest: Vec<_> =
        object.meta().finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).collect();
    match patch(context, api, object, json!({"metadata": {"finalizers": rest}})).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => Ok(other.map(drop)?),
    }
}
