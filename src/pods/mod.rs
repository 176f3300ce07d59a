//! The pods that ask for bindings, watched after they were created: those that the webhook missed and those that wait
//! are found, and their owners told why. This file lists the controllers and starts them; all share one watch of pods.
//! Giving pods what they ask for is not done here but at their creation, by `admission`.

mod bindings;
mod diagnosis;
mod evict;
pub(crate) mod gates;
mod listeners;
mod missed;
mod namespaces;
mod owner;
mod pod;
mod refused;
mod waiting;
mod warned;
mod watch;
pub(crate) mod who;

use std::{sync::Arc, time::Duration};

use futures::channel::mpsc::unbounded;
use kube::{
    Client,
    runtime::reflector::{self, Store},
};
use tokio::{sync::watch::channel, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::refused::WebhookService;
use self::{
    bindings::{BindingWatch, Bindings},
    namespaces::Namespaces,
    owner::Owners,
    pod::AskingPod,
    watch::PodWatch,
};
use crate::{
    bindings::LostSecrets,
    injection::InjectSettings,
    k8s::{
        events::{Event, Recorder},
        unreadable::Unreadable,
    },
    telemetry::Metrics,
};

/// Namespaces whose pods no installation looks at: the cluster itself may depend on them.
const ALWAYS_LEFT_ALONE: [&str; 2] = ["kube-system", "kube-node-lease"];

/// The action of events about pods.
const EVENT_ACTION: &str = "Bind";
/// How long the same event about the same object is not written again, however many of the object's pods cause it.
const EVENT_QUIET_PERIOD: Duration = Duration::from_mins(5);

/// What the webhook is set up with, so that pods are judged as it judges them.
#[derive(Clone, Debug, Default)]
pub struct PodsSettings {
    /// How pods are injected.
    pub inject: InjectSettings,
    /// Namespaces that the webhook leaves alone, beside those of the cluster itself.
    pub exclude_namespaces: Vec<String>,
    /// The webhook's Service. While it cannot be reached no missed pod is evicted; without one this is not looked at.
    pub webhook: Option<WebhookService>,
    /// Whether owners are to be nudged whose pods were refused without the webhook.
    pub nudge_refused_owners: bool,
    /// Where the catalog is told of bindings whose Secrets are gone.
    pub lost_secrets: LostSecrets,
}

impl PodsSettings {
    /// Whether the webhook leaves this Namespace alone.
    fn leaves_alone(&self, namespace: &str) -> bool {
        ALWAYS_LEFT_ALONE.contains(&namespace) || self.exclude_namespaces.iter().any(|name| name == namespace)
    }
}

/// The controllers ended without having been told to.
#[derive(Debug, thiserror::Error)]
#[error("a watch or controller of pods ended by itself ({0}), which is a defect; report it with the log")]
pub struct PodsError(String);

/// What the controllers share.
#[derive(Clone)]
struct Shared {
    client: Client,
    metrics: Arc<Metrics>,
    unreadable: Unreadable,
    pods: Store<AskingPod>,
    namespaces: Namespaces,
    bindings: Bindings,
    owners: Arc<Owners>,
    recorder: Recorder,
    lost_secrets: LostSecrets,
}

/// A warning about a pod's bindings, for the pod or its owner.
fn warning(reason: &'static str, note: String) -> Event {
    Event::warning(EVENT_ACTION, reason, note)
}

/// Looks after pods until `stop`. Only one process of an installation may do so at a time; the caller sees to that.
///
/// # Errors
/// When a part of it ends by itself, which none does.
pub async fn run(
    client: Client,
    settings: PodsSettings,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), PodsError> {
    let (pods, pod_writer) = reflector::store();
    let (namespaces, namespace_writer) = reflector::store();
    let (bindings, binding_writer) = reflector::store();
    let namespaces = Namespaces(namespaces);
    let (webhook, nudges) = (settings.webhook.clone(), settings.nudge_refused_owners);
    // Nobody evicts before it is known that the successor can be bound.
    let (reachable, is_reachable) = channel(webhook.is_none());
    let recorder = Recorder::new(client.clone(), namespaces.0.clone()).with_quiet_period(EVENT_QUIET_PERIOD);
    let shared = Shared {
        client: client.clone(),
        metrics: metrics.clone(),
        unreadable: Unreadable::with_events(recorder.clone(), metrics.clone()),
        pods,
        namespaces,
        bindings: Bindings::new(bindings),
        owners: Arc::new(Owners::new(client.clone())),
        recorder,
        lost_secrets: settings.lost_secrets.clone(),
    };
    let unreadable = shared.unreadable.clone();
    let (namespace_changes, changed_namespaces) = unbounded();
    let mut pods = PodWatch::new(&shared, settings, pod_writer);
    let mut bindings = BindingWatch::new(&shared, binding_writer);

    // All of them end when this set is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(missed::run(shared.clone(), pods.listeners.listen(), is_reachable));
    tasks.spawn(waiting::run(shared.clone(), pods.listeners.listen(), bindings.listeners.listen()));
    tasks.spawn(warned::run(shared.clone(), pods.listeners.listen()));
    tasks.spawn(gates::run(shared, pods.listeners.listen(), bindings.listeners.listen()));
    if let Some(service) = webhook {
        tasks.spawn(refused::run(client.clone(), service, nudges, unreadable, reachable));
    }
    tasks.spawn(namespaces::watch(client, namespace_writer, namespace_changes));
    tasks.spawn(pods.run(changed_namespaces));
    tasks.spawn(bindings.run());
    let ended = stop.run_until_cancelled(tasks.join_next()).await;
    tasks.shutdown().await;
    metrics.forget_pods();
    match ended {
        None => Ok(()),
        Some(Some(Err(error))) => Err(PodsError(error.to_string())),
        Some(Some(Ok(())) | None) => Err(PodsError("without an error".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_that_the_webhook_leaves_out_are_left_alone() {
        let settings =
            PodsSettings { exclude_namespaces: vec!["bindery".to_owned()], ..PodsSettings::default() };
        for (namespace, expected) in
            [("kube-system", true), ("kube-node-lease", true), ("bindery", true), ("shop", false)]
        {
            assert_eq!(settings.leaves_alone(namespace), expected, "{namespace}");
        }
    }
}
