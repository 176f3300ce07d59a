//! Owners whose pods the API server refused because it could not reach the webhook. Their controllers retry with a
//! back-off of up to minutes. Once the webhook is available again bindery nudges each owner, so that its controller
//! retries at once. The controllers' `FailedCreate` events name the owners. A nudge is a condition in the owner's
//! status: the change makes the controller reconcile, and it does not affect running pods.
//! status makes the controller reconcile, and it does not change what runs.

use std::{fmt::Debug, future::pending, time::Duration};

use futures::{Stream, StreamExt, channel::mpsc};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, ReplicaSet, StatefulSet},
        batch::v1::Job,
        core::v1::{Event, ObjectReference},
        discovery::v1::EndpointSlice,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, reflector, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use self::nudge_schedule::{NudgeSchedule, REFUSAL_TTL};
use crate::{
    contract::{FIELD_MANAGER, nudge, webhook},
    k8s::{
        explain, explain_watch, guarded::Guarded, unreadable::Unreadable, watch::event_stream, with_timeout,
    },
};

/// The reason of the events with which controllers report a refused pod.
const FAILED_CREATE: &str = "FailedCreate";
/// The time between two nudges, so that many owners do not retry at the same moment: 1,000 owners take 4 s.
const NUDGE_INTERVAL: Duration = Duration::from_millis(4);
/// The number of concurrent nudges, so that slow answers do not delay the other owners.
const NUDGE_CONCURRENCY: usize = 16;
/// The time limit of one nudge.
const NUDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The Service through which the API server reaches the webhook.
#[derive(Clone, Debug)]
pub struct WebhookService {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
}

/// A kind whose controller creates pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OwnerKind {
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
}

/// An owner whose pods were refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owner {
    kind: OwnerKind,
    namespace: String,
    name: String,
}

/// Reports whether the webhook is available, and nudges owners if `nudges` is set. Never ends.
pub(super) async fn run(
    client: Client,
    service: WebhookService,
    nudges: bool,
    unreadable: Unreadable,
    is_available: watch::Sender<bool>,
) {
    let report = move |well: &bool| {
        is_available.send_replace(*well);
    };
    let availability = Box::pin(availability(&client, &service, unreadable.clone()).inspect(report));
    if !nudges {
        return availability.for_each(async |_| ()).await;
    }
    let (sender, queue) = mpsc::unbounded();
    let watch_refusals = Box::pin(watch_refusals(&client, unreadable));
    // The queue is closed only during shutdown.
    let deciding = schedule(watch_refusals, availability, |owner| drop(sender.unbounded_send(owner)));
    let nudge = move |owner: Owner| {
        let client = client.clone();
        async move { owner.nudge(&client).await }
    };
    tokio::join!(deciding, run_nudges(queue, nudge));
}

/// Calls `nudge` for each owner when its nudge is due.
async fn schedule(
    mut watch_refusals: impl Stream<Item = Owner> + Unpin,
    mut availability: impl Stream<Item = bool> + Unpin,
    nudge: impl Fn(Owner),
) {
    let mut nudges = NudgeSchedule::default();
    loop {
        let due = async {
            match nudges.next_due() {
                Some(at) => tokio::time::sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(owner) = watch_refusals.next() => nudges.refused(owner, Instant::now()),
            Some(is_available) = availability.next() => nudges.set_webhook_available(is_available, Instant::now()),
            () = due => {
                for owner in nudges.take_due(Instant::now()) {
                    nudge(owner);
                }
            }
        }
    }
}

/// The owners whose pods are refused; at first those of recent events.
fn watch_refusals(client: &Client, unreadable: Unreadable) -> impl Stream<Item = Owner> + use<> {
    let api: Api<Guarded<Event>> = Api::all(client.clone());
    let failed_creations = watcher::Config::default().fields(&format!("reason={FAILED_CREATE}"));
    // Any user who can write events can write undecodable ones, for example of the year 9999.
    let none_is_kept = reflector::store().0;
    event_stream(api, failed_creations, none_is_kept, unreadable).filter_map(async |event| match event {
        Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => {
            refused(&event, Timestamp::now())
        }
        Ok(_) => None,
        Err(error) => {
            // The watch reconnects by itself.
            debug!(error = explain_watch(&error), "the watch of events was interrupted");
            None
        }
    })
}

/// The owner in an event that reports a pod refused because the webhook was unavailable, unless the event is old.
fn refused(event: &Event, now: Timestamp) -> Option<Owner> {
    let is_ours = |name: &str| {
        let message = event.message.as_deref().unwrap_or_default();
        message.contains(&format!("failed calling webhook \"{name}\""))
    };
    let is_recent = last_seen(event).is_none_or(|at| now.duration_since(at).unsigned_abs() < REFUSAL_TTL);
    let is_refusal = event.reason.as_deref() == Some(FAILED_CREATE)
        && [webhook::OWN, webhook::DEFAULTS].into_iter().any(is_ours);
    (is_refusal && is_recent).then(|| Owner::of(&event.involved_object)).flatten()
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let times = [
        series.map(|time| time.0),
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
    ];
    times.into_iter().flatten().max()
}

impl Owner {
    fn of(object: &ObjectReference) -> Option<Self> {
        let kind = match (object.api_version.as_deref()?, object.kind.as_deref()?) {
            ("apps/v1", "ReplicaSet") => OwnerKind::ReplicaSet,
            ("apps/v1", "StatefulSet") => OwnerKind::StatefulSet,
            ("apps/v1", "DaemonSet") => OwnerKind::DaemonSet,
            ("batch/v1", "Job") => OwnerKind::Job,
            _ => return None,
        };
        Some(Self { kind, namespace: object.namespace.clone()?, name: object.name.clone()? })
    }
}

/// Whether the webhook has a ready endpoint, at each change of its endpoints.
fn availability(
    client: &Client,
    service: &WebhookService,
    unreadable: Unreadable,
) -> impl Stream<Item = bool> + use<> {
    let api: Api<Guarded<EndpointSlice>> = Api::namespaced(client.clone(), &service.namespace);
    let (slices, writer) = reflector::store();
    let of_service =
        watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    event_stream(api, of_service, slices.clone(), unreadable).reflect(writer).filter_map(move |event| {
        let is_available = match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Ok(_) => Some(slices.state().iter().any(|slice| has_ready_endpoint(slice))),
            // The watch reconnects by itself.
            Err(error @ watcher::Error::InitialListFailed(_)) => {
                warn!(
                    error = explain_watch(&error),
                    "the endpoints of the webhook cannot be listed, so no missed pod is evicted"
                );
                None
            }
            Err(error) => {
                debug!(error = explain_watch(&error), "the watch of the webhook's endpoints was interrupted");
                None
            }
        };
        std::future::ready(is_available)
    })
}

fn has_ready_endpoint(slice: &EndpointSlice) -> bool {
    let is_ready = |condition: Option<bool>| condition.unwrap_or(true);
    slice
        .endpoints
        .iter()
        .flatten()
        .any(|endpoint| endpoint.conditions.as_ref().is_none_or(|conditions| is_ready(conditions.ready)))
}

/// Nudges owners in the order of the queue, several at a time.
async fn run_nudges<N: Future<Output = ()>>(queue: impl Stream<Item = Owner>, nudge: impl Fn(Owner) -> N) {
    let spaced = queue.then(|owner| async {
        tokio::time::sleep(NUDGE_INTERVAL).await;
        owner
    });
    spaced.map(nudge).buffer_unordered(NUDGE_CONCURRENCY).collect::<()>().await;
}

impl Owner {
    async fn nudge(&self, client: &Client) {
        let patched = async {
            match self.kind {
                OwnerKind::ReplicaSet => self.patch::<ReplicaSet>(client).await,
                OwnerKind::StatefulSet => self.patch::<StatefulSet>(client).await,
                OwnerKind::DaemonSet => self.patch::<DaemonSet>(client).await,
                OwnerKind::Job => self.patch::<Job>(client).await,
            }
        };
        let Self { kind, namespace, name } = self;
        match with_timeout(NUDGE_TIMEOUT, patched).await {
            Ok(()) => info!(?kind, namespace, name, "nudged the owner of refused pods"),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            // Its controller retries later, and writes another event if that fails.
            Err(error) => {
                warn!(
                    ?kind,
                    namespace,
                    name,
                    error = explain(&error),
                    "the owner of refused pods cannot be nudged"
                );
            }
        }
    }

    async fn patch<K>(&self, client: &Client) -> kube::Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(client.clone(), &self.namespace);
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        api.patch_status(&self.name, &parameters, &Patch::Strategic(condition(Timestamp::now())))
            .await
            .map(drop)
    }
}

/// The patch of an owner's status. Conditions are merged by their type; the time makes each nudge a change.
fn condition(now: Timestamp) -> Value {
    json!({"status": {"conditions": [{
        "type": nudge::CONDITION,
        "status": "True",
        "lastTransitionTime": format!("{now:.0}"),
        "reason": "WebhookAnswersAgain",
        "message": "The API server refused pods while bindery's webhook was unavailable; bindery asks the controller to retry.",
    }]}})
}

mod nudge_schedule;
#[cfg(test)]
mod tests;
