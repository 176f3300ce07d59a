//! Missed pods: pods that ask for bindings but were created without them, because bindery was not installed yet, the
//! webhook configuration was absent, or the failure policy allowed them. They are counted, reported in events, and
//! evicted if the Namespace enables that.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Resource, ResourceExt, api::EvictParams};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tracing::{info, warn};

use super::{
    EVENT_ACTION, Shared,
    eviction::{Evictions, OwnedPod, Step, is_recreated},
    owner::{Owner, remedy},
    pod::{AskingPod, Coverage},
    pod_watch::{PodQueue, PodRef},
    warning,
};
use crate::{
    contract,
    injection::Demand,
    k8s::{
        delete_by_uid,
        events::{Event, REPEAT_INTERVAL},
        explain,
    },
};

/// The interval between two evictions.
const EVICTION_INTERVAL: Duration = Duration::from_secs(1);
/// The wait after a refused eviction, which usually a `PodDisruptionBudget` refused.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// The time limit of an eviction. The API server answers at once.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of the controller.
struct MissedPods {
    shared: Shared,
    /// Each missed pod with its uid and the time of its last event.
    pods: HashMap<PodRef, (String, Option<Instant>)>,
    /// The number of missed pods by namespace.
    counts: BTreeMap<String, i64>,
    pending_events: VecDeque<PodRef>,
    evictions: Evictions,
    /// The time until which no pod of an owner is evicted, by the owner's uid.
    refused_until: HashMap<String, Instant>,
    /// Whether the webhook is available. Without it the API server refuses the successor, and the owner loses its pod.
    is_reachable: watch::Receiver<bool>,
}

/// Handles changes of pods. Never ends.
pub(super) async fn run(shared: Shared, mut queue: PodQueue, is_reachable: watch::Receiver<bool>) {
    let mut missed = MissedPods::new(shared, is_reachable);
    let mut ticks = interval(EVICTION_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Counting comes before events, of which there may be thousands.
            biased;
            pod = queue.next() => match pod {
                Some(pod) => missed.handle(pod),
                None => return,
            },
            _ = ticks.tick(), if !missed.pods.is_empty() => {
                missed.repeat_events();
                missed.evict_next().await;
            }
            () = std::future::ready(()), if !missed.pending_events.is_empty() => missed.record_next_event().await,
        }
    }
}

impl MissedPods {
    fn new(shared: Shared, is_reachable: watch::Receiver<bool>) -> Self {
        Self {
            shared,
            pods: HashMap::new(),
            counts: BTreeMap::new(),
            pending_events: VecDeque::new(),
            evictions: Evictions::default(),
            refused_until: HashMap::new(),
            is_reachable,
        }
    }

    fn handle(&mut self, reference: PodRef) {
        let uid = self.shared.pods.get(&reference).filter(|pod| pod.is_missed()).and_then(|pod| pod.uid());
        let before = match &uid {
            Some(uid) if self.pods.get(&reference).is_some_and(|(known, _)| known == uid) => return,
            Some(uid) => self.pods.insert(reference.clone(), (uid.clone(), None)),
            None => self.pods.remove(&reference),
        };
        self.count(&reference, i64::from(uid.is_some()) - i64::from(before.is_some()));
        if uid.is_some() {
            self.pending_events.push_back(reference);
        }
    }

    fn count(&mut self, reference: &PodRef, more: i64) {
        let namespace = reference.namespace.clone().unwrap_or_default();
        let count = self.counts.entry(namespace.clone()).or_default();
        *count += more;
        self.shared.metrics.pods_missed(&namespace, *count);
        if *count == 0 {
            self.counts.remove(&namespace);
        }
    }

    /// Repeats events before the API server deletes them.
    fn repeat_events(&mut self) {
        let now = Instant::now();
        for (reference, (_, last_event)) in &mut self.pods {
            if last_event.is_some_and(|last_event| now >= last_event + REPEAT_INTERVAL) {
                *last_event = None;
                self.pending_events.push_back(reference.clone());
            }
        }
    }

    async fn record_next_event(&mut self) {
        let Some(reference) = self.pending_events.pop_front() else { return };
        let Some(pod) = self.shared.pods.get(&reference).filter(|pod| pod.is_missed()) else { return };
        if let Some((_, last_event)) = self.pods.get_mut(&reference) {
            *last_event = Some(Instant::now());
        }
        let owner = self.shared.owners.of(&pod).await;
        let namespace = pod.namespace().unwrap_or_default();
        info!(namespace, pod = pod.name_any(), "a pod asked for bindings and was created without them");
        self.shared.recorder.record(&pod.object_ref(&()), &event("it", &pod, owner.as_ref())).await;
        if let Some(owner) = &owner {
            let event = event("a pod of it", &pod, Some(owner));
            self.shared.recorder.record(&owner.reference(&namespace), &event).await;
        }
    }

    /// Evicts one pod, if an eviction is allowed.
    async fn evict_next(&mut self) {
        if !*self.is_reachable.borrow() {
            return;
        }
        let now = Instant::now();
        self.refused_until.retain(|_, until| now < *until);
        let pods_by_owner = self.pods_by_owner();
        self.evictions.retain(|owner| pods_by_owner.contains_key(owner), now);
        for (owner, pods) in pods_by_owner {
            if self.refused_until.contains_key(&owner) {
                continue;
            }
            let owned_pods: Vec<OwnedPod> = pods.iter().map(|pod| OwnedPod::of(pod)).collect();
            match self.evictions.next(&owner, &owned_pods, now) {
                Step::Wait => {}
                Step::BackOff(wait) => self.report_back_off(&pods, wait).await,
                Step::Evict(uid) => {
                    let Some(pod) = pods.iter().find(|pod| pod.uid().as_ref() == Some(&uid)) else {
                        continue;
                    };
                    if self.evict(pod).await {
                        self.evictions.record_eviction(&owner, &owned_pods, now);
                    } else {
                        self.refused_until.insert(owner, now + RETRY_AFTER);
                    }
                    return;
                }
            }
        }
    }

    /// The pods of owners with missed pods, in Namespaces that enable evictions, by the owner's uid.
    fn pods_by_owner(&self) -> BTreeMap<String, Vec<std::sync::Arc<AskingPod>>> {
        let mut pods_by_owner: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let may_be_evicted = |namespace: &str| {
            self.shared.namespaces.evicts_missed_pods(namespace)
                && !self.shared.namespaces.is_terminating(namespace)
        };
        let evicting: Vec<&String> =
            self.counts.keys().filter(|namespace| may_be_evicted(namespace)).collect();
        if evicting.is_empty() {
            return pods_by_owner;
        }
        let is_there =
            |pod: &AskingPod| pod.namespace().is_some_and(|namespace| evicting.contains(&&namespace));
        for pod in self.shared.pods.state_filter(is_there) {
            if let Some(owner) = pod.controller().filter(|owner| is_recreated(&pod, owner)) {
                pods_by_owner.entry(owner.uid.clone()).or_default().push(pod);
            }
        }
        pods_by_owner.retain(|_, pods| pods.iter().any(|pod| pod.is_missed()));
        pods_by_owner
    }

    /// Evicts a pod. Returns whether the pod is gone.
    async fn evict(&self, pod: &AskingPod) -> bool {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        // The successor in a StatefulSet has the same name.
        let parameters =
            EvictParams { delete_options: Some(delete_by_uid::only(pod.uid())), ..EvictParams::default() };
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &namespace);
        // kube retries refused evictions for minutes, which would delay the other pods.
        let Ok(evicted) = timeout(EVICTION_TIMEOUT, api.evict(&name, &parameters)).await else {
            info!(namespace, pod = name, "a missed pod cannot be evicted yet");
            return false;
        };
        match evicted {
            Ok(_) => {
                info!(namespace, pod = name, "evicted a pod that was created without its bindings");
                let (annotation, evict) = contract::namespace::MISSED;
                let note = format!(
                    "evicted because it was created without its bindings, so that its owner creates another pod: the Namespace has {annotation}: \
                     {evict}"
                );
                let event = Event::normal(EVENT_ACTION, "MissedPodEvicted", note);
                self.shared.recorder.record(&pod.object_ref(&()), &event).await;
                true
            }
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => true,
            Err(kube::Error::Api(status)) if status.code == 429 => {
                info!(namespace, pod = name, reason = status.message, "a missed pod cannot be evicted yet");
                false
            }
            Err(error) => {
                warn!(namespace, pod = name, error = explain(&error), "a missed pod cannot be evicted");
                false
            }
        }
    }

    async fn report_back_off(&self, pods: &[std::sync::Arc<AskingPod>], wait: Duration) {
        let Some(pod) = pods.first() else { return };
        let Some(owner) = self.shared.owners.of(pod).await else { return };
        let note = format!(
            "a pod was evicted because it was created without its bindings, and its replacement was created without them as well: the \
             API server does not call bindery's webhook for new pods. Check the MutatingWebhookConfiguration. The next eviction \
             follows in {} min at the earliest",
            wait.as_secs() / 60
        );
        let namespace = pod.namespace().unwrap_or_default();
        self.shared.recorder.record(&owner.reference(&namespace), &warning("MissedAgain", note)).await;
    }
}

/// The event about a missed pod, for the pod or its owner.
fn event(who: &str, pod: &AskingPod, owner: Option<&Owner>) -> Event {
    let namespace = pod.namespace().unwrap_or_default();
    let remedy = remedy(owner, &namespace, &pod.name_any());
    let note = match &pod.coverage {
        Coverage::Unclear { field } => format!(
            "{who} asks for bindings and does not have them: {field} is invalid, and the API server did not call bindery's webhook, \
             which would have refused the pod. To see the mistake: kubectl get pod {} -n {namespace} -o yaml | bindery inject -f \
             -. Correct it in the template, then: {remedy}",
            pod.name_any()
        ),
        Coverage::Full | Coverage::Lacking { .. } => {
            let asks =
                if pod.is_by_namespace { "must have, by default of its Namespace," } else { "asks for" };
            format!(
                "{who} {asks} {} and does not have it{}: {}. To bind it: {remedy}",
                asked_for(pod),
                in_containers(pod),
                if pod.is_by_namespace {
                    "it was created before the Namespace had that default, or while the API server did not call bindery's webhook"
                } else {
                    "the API server did not call bindery's webhook when it was created (not installed yet, no webhook \
                     configuration, or failurePolicy Ignore), or its annotations were added later, perhaps by another webhook"
                }
            )
        }
    };
    warning("BindingMissed", note)
}

fn asked_for(pod: &AskingPod) -> String {
    let names: Vec<String> = pod.demands.iter().map(Demand::label).collect();
    names.join(", ")
}

fn in_containers(pod: &AskingPod) -> String {
    match &pod.coverage {
        Coverage::Lacking { containers } if !containers.is_empty() => {
            format!(" in container {}", containers.join(", "))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
