//! The controllers of existing pods with bindings: they find missed and waiting pods, record events with the cause,
//! open scheduling gates and evict missed pods. All share one watch of pods. `admission` injects pods at their
//! creation.

mod bindings;
mod diagnosis;
mod eviction;
pub(crate) mod gates;
pub(crate) mod holders;
mod injection_warnings;
mod listeners;
mod missed_pods;
mod namespaces;
mod objects;
mod owner;
mod pod;
mod pod_watch;
mod refused_owners;
mod waiting_pods;

use std::{sync::Arc, time::Duration};

use futures::channel::mpsc::unbounded;
use kube::{
    Client,
    runtime::reflector::{self, Store},
};
use tokio::{sync::watch::channel, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::refused_owners::WebhookService;
use self::{
    bindings::{BindingWatch, Bindings},
    namespaces::Namespaces,
    owner::Owners,
    pod::AskingPod,
    pod_watch::PodWatch,
};
use crate::{
    bindings::LostSecrets,
    injection::InjectSettings,
    k8s::{
        cache,
        events::{Event, Recorder},
        unreadable::Unreadable,
    },
    telemetry::Metrics,
};

/// Namespaces that every installation excludes, because the cluster itself may depend on their pods.
const ALWAYS_EXCLUDED: [&str; 2] = ["kube-system", "kube-node-lease"];

/// The action of events about pods.
const EVENT_ACTION: &str = "Bind";
/// How long an event about an object is not repeated, however many of the object's pods cause it.
const EVENT_QUIET_PERIOD: Duration = Duration::from_mins(5);

/// The settings of the webhook, so that the controllers judge pods as the webhook does.
#[derive(Clone, Debug, Default)]
pub struct PodsSettings {
    /// How pods are injected.
    pub inject: InjectSettings,
    /// Namespaces that the webhook excludes, in addition to the cluster's own.
    pub exclude_namespaces: Vec<String>,
    /// The webhook's Service. While it has no ready endpoint no missed pod is evicted; `None` skips this check.
    pub webhook: Option<WebhookService>,
    /// Whether to nudge owners whose pods were refused while the webhook was unavailable.
    pub nudge_refused_owners: bool,
    /// Reports bindings with lost Secrets to the catalog.
    pub lost_secrets: LostSecrets,
}

impl PodsSettings {
    /// Whether the webhook excludes this Namespace.
    fn excludes(&self, namespace: &str) -> bool {
        ALWAYS_EXCLUDED.contains(&namespace) || self.exclude_namespaces.iter().any(|name| name == namespace)
    }
}

/// The controllers ended unexpectedly.
#[derive(Debug, thiserror::Error)]
#[error("a watch or controller of pods ended unexpectedly ({0}), which is a defect; report it with the log")]
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

/// Runs the controllers until `stop`. The caller must ensure that only one process of an installation runs them.
///
/// # Errors
/// Fails when a task ends unexpectedly.
pub async fn run(
    client: Client,
    settings: PodsSettings,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), PodsError> {
    let (pods, pod_writer) = reflector::store();
    let (namespaces, namespace_writer) = reflector::store();
    let (bindings, binding_writer) = cache::cache();
    let namespaces = Namespaces(namespaces);
    let (webhook, nudges) = (settings.webhook.clone(), settings.nudge_refused_owners);
    // No pod is evicted until the webhook is known to be available for the successor.
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

    // All tasks end when this set is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(missed_pods::run(shared.clone(), pods.listeners.listen(), is_reachable));
    tasks.spawn(waiting_pods::run(shared.clone(), pods.listeners.listen(), bindings.listeners.listen()));
    tasks.spawn(injection_warnings::run(shared.clone(), pods.listeners.listen()));
    tasks.spawn(gates::run(shared, pods.listeners.listen(), bindings.listeners.listen()));
    if let Some(service) = webhook {
        tasks.spawn(refused_owners::run(client.clone(), service, nudges, unreadable, reachable));
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
            assert_eq!(settings.excludes(namespace), expected, "{namespace}");
        }
    }
}
