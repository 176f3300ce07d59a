//! The reconcilers, one per kind: each looks at an object, does the next step towards what its user wants, writes down
//! what came of it, and says when to look again. They may run at any time, in any order and any number of times.

pub(super) mod binding;
pub(super) mod broker;
mod catalog_objects;
mod delete_external;
pub(super) mod external_resource;
pub(super) mod instance;
mod namespace_termination;
mod resolve;
mod status;

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, channel::mpsc::UnboundedReceiver};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        applier,
        controller::{Action, Config},
        reflector::{ObjectRef, Store},
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument as _, debug, info, info_span, warn};

use super::context::Context;
use crate::apis::servicecatalog::FINALIZER;
use crate::{k8s::explain, telemetry::traces};

/// How many objects of a kind are worked on at the same time. Most of the time they wait for a broker.
const CONCURRENCY: u16 = 128;
/// How soon to look again when what was seen is out of date.
const STALE: Duration = Duration::from_millis(100);

/// How long an object keeps its namespace from going while a broker does not delete what it stands for. Its external resource tells
/// what is left to do afterwards.
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon to try again meanwhile.
const AGAIN_WHILE_GOING: Duration = Duration::from_secs(5);

/// The reason where an object has the name and id of one of an earlier namespace.
const NAMESPACE_RECREATED: &str = "NamespaceRecreated";

/// The objects that are to be looked at.
pub(super) type Queue<K> = UnboundedReceiver<ObjectRef<K>>;

/// When to look at an object again, if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Never.
    Settled,
    /// After this time.
    After(Duration),
    /// It failed: after a while that grows.
    Retry,
    /// It failed: after this time.
    RetryAfter(Duration),
}

/// A reconcile could not be carried through for reasons that its object's user cannot mend.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    #[error("Kubernetes: {}", explain(.0))]
    Cluster(#[from] kube::Error),
    #[error("a reconcile panicked or was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Runs a kind's reconciler over its queue until `stop`; those at work then are brought to their end.
pub(super) async fn run<K, Work>(
    store: Store<K>,
    queue: Queue<K>,
    context: Arc<Context>,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> Work,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    Work: Future<Output = Result<Next, ReconcileError>> + Send + 'static,
{
    let work = |object: Arc<K>, context: Arc<Context>| {
        if !context.writes.are_seen(object.meta()) {
            return std::future::ready(Ok(Action::requeue(STALE))).left_future();
        }
        let started = Instant::now();
        // A task of its own, so that a panic is one object's.
        let work = reconcile(object.clone(), context.clone()).instrument(span_of(object.as_ref()));
        let task = AbortOnDropHandle::new(tokio::spawn(work));
        Box::pin(async move {
            let outcome = task.await.unwrap_or_else(|error| Err(error.into()));
            Ok::<_, std::convert::Infallible>(settle(object.as_ref(), &context, started, outcome))
        })
        .right_future()
    };
    let never = |_: Arc<K>, error: &std::convert::Infallible, _: Arc<Context>| match *error {};
    let queue = queue.map(Ok::<_, std::convert::Infallible>).take_until(stop.cancelled_owned());
    let config = Config::default().concurrency(CONCURRENCY);
    applier(work, never, context, store, queue, config)
        // Objects that vanish while they wait in the queue are no failure.
        .for_each(|_| std::future::ready(()))
        .await;
}

/// The trace of a look at an object begins here.
fn span_of<K: Resource<DynamicType = ()>>(object: &K) -> tracing::Span {
    let (kind, meta) = (kind_of(object), object.meta());
    info_span!(target: traces::TARGET, "reconcile", kind, namespace = meta.namespace, name = meta.name)
}

/// Counts a reconcile and decides when the next one is.
fn settle<K>(object: &K, context: &Context, started: Instant, outcome: Result<Next, ReconcileError>) -> Action
where
    K: Resource<DynamicType = ()>,
{
    let meta = object.meta();
    let uid = meta.uid.as_deref().unwrap_or_default();
    let kind = kind_of(object);
    let retry = || Action::requeue(context.retries.next(uid, meta.generation));
    let (action, failed) = match outcome {
        Ok(Next::Settled) => {
            context.retries.forget(uid);
            (Action::await_change(), false)
        }
        Ok(Next::After(wait)) => {
            context.retries.forget(uid);
            (Action::requeue(wait), false)
        }
        Ok(Next::Retry) => (retry(), true),
        Ok(Next::RetryAfter(wait)) => (Action::requeue(wait), true),
        Err(ReconcileError::Cluster(kube::Error::Api(status))) if status.is_conflict() => {
            debug!(
                kind,
                namespace = meta.namespace,
                name = meta.name,
                status = status.message,
                "seen out of date"
            );
            (Action::requeue(STALE), false)
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
            warn!(kind, namespace = meta.namespace, name = meta.name, %error, "reconcile failed, is tried again");
            (retry(), true)
        }
    };
    context.metrics.reconciled(kind, started.elapsed(), failed);
    action
}

/// The kind as a word that metrics can hold.
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

/// Changes an object's metadata and spec, if it is still the one that was seen. A merge patch against that version:
/// a server-side apply would make an object anew that is gone.
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
    context.writes.wrote(patched.meta());
    Ok(patched)
}

/// The finalizers with ours among them.
fn with_finalizer<K: Resource>(object: &K) -> Vec<String> {
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    if !has_finalizer(object) {
        finalizers.push(FINALIZER.to_owned());
    }
    finalizers
}

/// How much longer an object may keep its namespace from going; as long as it takes where the namespace stays.
fn patience<K: Resource>(context: &Context, object: &K) -> Option<Duration> {
    let namespace = object.namespace().unwrap_or_default();
    if !context.is_going(&namespace) {
        return None;
    }
    let since = object.meta().deletion_timestamp.as_ref()?.0;
    let waited = Duration::try_from(now().0.duration_since(since)).unwrap_or_default();
    Some(PATIENCE.saturating_sub(waited))
}

/// How long a broker may take to answer a deletion; as long as it takes where the namespace stays. Whose patience is over
/// is asked once all the same: bindery may have been away.
fn answer_time<K: Resource>(context: &Context, object: &K) -> Option<Duration> {
    patience(context, object).map(|left| left.max(AGAIN_WHILE_GOING))
}

/// When to try a deletion again that did not work. An object whose namespace has waited long enough is let go: its external resource
/// stays, and what it stands for is deleted when the broker is back.
async fn try_again<K>(context: &Context, api: &Api<K>, object: &K, next: Next) -> Result<Next, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match patience(context, object) {
        None => Ok(next),
        Some(Duration::ZERO) => {
            let (namespace, name) = (object.namespace(), object.name_any());
            info!(
                kind = kind_of(object),
                namespace, name, "let go with its namespace; its external resource is seen to later"
            );
            // Its status was written a moment ago, so the version that was seen may be an older one.
            if let Some(current) = api.get_opt(&name).await?
                && current.meta().uid == object.meta().uid
            {
                remove_finalizer(context, api, &current).await?;
            }
            Ok(Next::Settled)
        }
        Some(left) => Ok(match next {
            Next::Retry => Next::RetryAfter(left.min(AGAIN_WHILE_GOING)),
            Next::After(wait) => Next::After(wait.min(left)),
            other => other,
        }),
    }
}

/// Lets go of an object.
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
