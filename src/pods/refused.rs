//! Owners whose pods the API server refused because it could not reach the webhook. Their controllers try again after
//! pauses that double, up to minutes; once the webhook answers again each of them is nudged, so that it tries at once.
//!
//! Who was refused is known from the events `FailedCreate` that the controllers write. A nudge is a condition in the
//! owner's status: a controller looks at whatever changes, and to write a status is not to say what runs.

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
    core::DeserializeGuard,
    runtime::{WatchStreamExt, reflector, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use self::requeue_owners::{MEMORY, Nudges};
use crate::{
    contract::{FIELD_MANAGER, nudge, webhook},
    k8s::{explain, explain_watch, in_time, unreadable::Unreadable, watch::events},
};

/// How the controllers call what is looked for here.
const FAILED_CREATE: &str = "FailedCreate";
/// How far the beginnings of nudges are apart, so that many owners do not try again in the same moment: 1,000 need 4 s.
const SPACING: Duration = Duration::from_millis(4);
/// How many are under way at a time, so that slow answers do not hold up the others.
const CONCURRENCY: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the API server reaches the webhook.
#[derive(Clone, Debug)]
pub struct WebhookService {
    /// The Service's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A kind whose controller makes pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OwnerKind {
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
}

/// Whose pods were refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owner {
    kind: OwnerKind,
    namespace: String,
    name: String,
}

/// Tells for ever whether the webhook can be reached, and nudges owners if that is wanted.
pub(super) async fn run(
    client: Client,
    service: WebhookService,
    nudges: bool,
    unreadable: Unreadable,
    is_well: watch::Sender<bool>,
) {
    let told = move |well: &bool| {
        is_well.send_replace(*well);
    };
    let health = Box::pin(health(&client, &service, unreadable.clone()).inspect(told));
    if !nudges {
        return health.for_each(async |_| ()).await;
    }
    let (sender, queue) = mpsc::unbounded();
    let refusals = Box::pin(refusals(&client, unreadable));
    // A closed queue means that everything ends.
    let deciding = decide(refusals, health, |owner| drop(sender.unbounded_send(owner)));
    let nudge = move |owner: Owner| {
        let client = client.clone();
        async move { owner.nudge(&client).await }
    };
    tokio::join!(deciding, carry_out(queue, nudge));
}

/// Tells who is to be nudged, when he is.
async fn decide(
    mut refusals: impl Stream<Item = Owner> + Unpin,
    mut health: impl Stream<Item = bool> + Unpin,
    nudge: impl Fn(Owner),
) {
    let mut nudges = Nudges::default();
    loop {
        let due = async {
            match nudges.next_due() {
                Some(at) => tokio::time::sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(owner) = refusals.next() => nudges.refused(owner, Instant::now()),
            Some(is_well) = health.next() => nudges.webhook_is(is_well, Instant::now()),
            () = due => {
                for owner in nudges.take_due(Instant::now()) {
                    nudge(owner);
                }
            }
        }
    }
}

/// Whose pods are refused, as it is told; at first what was told a while ago.
fn refusals(client: &Client, unreadable: Unreadable) -> impl Stream<Item = Owner> + use<> {
    let api: Api<DeserializeGuard<Event>> = Api::all(client.clone());
    let told = watcher::Config::default().fields(&format!("reason={FAILED_CREATE}"));
    // Whoever may write events may write ones that cannot be read, such as of the year 9999.
    let none_is_kept = reflector::store().0;
    events(api, told, none_is_kept, unreadable).filter_map(async |event| match event {
        Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => {
            refused(&event, Timestamp::now())
        }
        Ok(_) => None,
        Err(error) => {
            // The watch goes on by itself.
            debug!(error = explain_watch(&error), "the watch of events was interrupted");
            None
        }
    })
}

/// Whose pod was refused for want of the webhook, if the event tells of that and not of long ago.
fn refused(event: &Event, now: Timestamp) -> Option<Owner> {
    let is_ours = |name: &str| {
        let message = event.message.as_deref().unwrap_or_default();
        message.contains(&format!("failed calling webhook \"{name}\""))
    };
    let is_recent = last_seen(event).is_none_or(|at| now.duration_since(at).unsigned_abs() < MEMORY);
    let is_told = event.reason.as_deref() == Some(FAILED_CREATE)
        && [webhook::OWN, webhook::DEFAULTS].into_iter().any(is_ours);
    (is_told && is_recent).then(|| Owner::of(&event.involved_object)).flatten()
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

/// Whether the webhook can be reached, as far as its endpoints tell; whenever something about them changes.
fn health(
    client: &Client,
    service: &WebhookService,
    unreadable: Unreadable,
) -> impl Stream<Item = bool> + use<> {
    let api: Api<DeserializeGuard<EndpointSlice>> = Api::namespaced(client.clone(), &service.namespace);
    let (slices, writer) = reflector::store();
    let of_service =
        watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    events(api, of_service, slices.clone(), unreadable).reflect(writer).filter_map(move |event| {
        let is_well = match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Ok(_) => Some(slices.state().iter().any(|slice| has_ready_endpoint(slice))),
            // The watch goes on by itself.
            Err(error @ watcher::Error::InitialListFailed(_)) => {
                warn!(
                    error = explain_watch(&error),
                    "the webhook's endpoints cannot be listed, so no missed pod is evicted"
                );
                None
            }
            Err(error) => {
                debug!(error = explain_watch(&error), "the watch of the webhook's endpoints was interrupted");
                None
            }
        };
        std::future::ready(is_well)
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

/// Nudges in the order of the queue, several at a time.
async fn carry_out<N: Future<Output = ()>>(queue: impl Stream<Item = Owner>, nudge: impl Fn(Owner) -> N) {
    let spaced = queue.then(|owner| async {
        tokio::time::sleep(SPACING).await;
        owner
    });
    spaced.map(nudge).buffer_unordered(CONCURRENCY).collect::<()>().await;
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
        match in_time(PATIENCE, patched).await {
            Ok(()) => info!(?kind, namespace, name, "asked to create its refused pods now"),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            // It tries by itself later, and is heard of again if that is in vain.
            Err(error) => {
                warn!(
                    ?kind,
                    namespace,
                    name,
                    error = explain(&error),
                    "not asked to create its refused pods"
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

/// Conditions are merged by their type; the time makes each one a change.
fn condition(now: Timestamp) -> Value {
    json!({"status": {"conditions": [{
        "type": nudge::CONDITION,
        "status": "True",
        "lastTransitionTime": format!("{now:.0}"),
        "reason": "WebhookAnswersAgain",
        "message": "Pods were refused while bindery's webhook could not be reached; bindery asked for another attempt.",
    }]}})
}

mod requeue_owners;
#[cfg(test)]
mod tests;
