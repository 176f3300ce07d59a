//! Pods that asked for bindings and were created without them, because bindery was not there yet, its webhook
//! configuration was absent, or pods were let pass. They are counted, their owners told, and they are evicted where the
//! Namespace says so.

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
    evict::{Evictions, Sibling, Step, is_replaced},
    owner::{Owner, remedy},
    pod::{AskingPod, Share},
    warning,
    watch::{PodQueue, PodRef},
};
use crate::{
    contract,
    k8s::{
        delete_by_uid,
        events::{Event, REPEAT_INTERVAL},
        explain,
    },
};

/// How often the next eviction is thought about; at most one each time.
const EVICT_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after an eviction was refused, mostly by a `PodDisruptionBudget`.
const REFUSED: Duration = Duration::from_secs(10);
/// How long an eviction may take. The API server answers at once.
const EVICTION: Duration = Duration::from_secs(2);

/// The missed pods, and what was done about them.
struct Missed {
    shared: Shared,
    /// Each with its uid and when its users were told.
    pods: HashMap<PodRef, (String, Option<Instant>)>,
    /// By namespace.
    counts: BTreeMap<String, i64>,
    to_tell: VecDeque<PodRef>,
    evictions: Evictions,
    /// Until when not to ask again to evict a pod of this owner.
    refused: HashMap<String, Instant>,
    /// Whether the webhook is there to bind successors: without it they would be refused, and an owner lose its pod.
    is_reachable: watch::Receiver<bool>,
}

/// Runs for ever.
pub(super) async fn run(shared: Shared, mut queue: PodQueue, is_reachable: watch::Receiver<bool>) {
    let mut missed = Missed::new(shared, is_reachable);
    let mut ticks = interval(EVICT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // What is counted comes before what is told: there may be thousands to tell.
            biased;
            pod = queue.next() => match pod {
                Some(pod) => missed.see(pod),
                None => return,
            },
            _ = ticks.tick(), if !missed.pods.is_empty() => {
                missed.remind();
                missed.evict_next().await;
            }
            () = std::future::ready(()), if !missed.to_tell.is_empty() => missed.tell_next().await,
        }
    }
}

impl Missed {
    fn new(shared: Shared, is_reachable: watch::Receiver<bool>) -> Self {
        Self {
            shared,
            pods: HashMap::new(),
            counts: BTreeMap::new(),
            to_tell: VecDeque::new(),
            evictions: Evictions::default(),
            refused: HashMap::new(),
            is_reachable,
        }
    }

    fn see(&mut self, reference: PodRef) {
        let uid = self.shared.pods.get(&reference).filter(|pod| pod.is_missed()).and_then(|pod| pod.uid());
        let before = match &uid {
            Some(uid) if self.pods.get(&reference).is_some_and(|(known, _)| known == uid) => return,
            Some(uid) => self.pods.insert(reference.clone(), (uid.clone(), None)),
            None => self.pods.remove(&reference),
        };
        self.count(&reference, i64::from(uid.is_some()) - i64::from(before.is_some()));
        if uid.is_some() {
            self.to_tell.push_back(reference);
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

    /// Has pods told of again before what was told is forgotten.
    fn remind(&mut self) {
        let now = Instant::now();
        for (reference, (_, told)) in &mut self.pods {
            if told.is_some_and(|told| now >= told + REPEAT_INTERVAL) {
                *told = None;
                self.to_tell.push_back(reference.clone());
            }
        }
    }

    async fn tell_next(&mut self) {
        let Some(reference) = self.to_tell.pop_front() else { return };
        let Some(pod) = self.shared.pods.get(&reference).filter(|pod| pod.is_missed()) else { return };
        if let Some((_, told)) = self.pods.get_mut(&reference) {
            *told = Some(Instant::now());
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

    /// Evicts one pod, if there is one that may be.
    async fn evict_next(&mut self) {
        if !*self.is_reachable.borrow() {
            return;
        }
        let now = Instant::now();
        self.refused.retain(|_, until| now < *until);
        let families = self.families();
        self.evictions.keep_only(|owner| families.contains_key(owner), now);
        for (owner, family) in families {
            if self.refused.contains_key(&owner) {
                continue;
            }
            let siblings: Vec<Sibling> = family.iter().map(|pod| Sibling::of(pod)).collect();
            match self.evictions.next(&owner, &siblings, now) {
                Step::Wait => {}
                Step::Futile(wait) => self.tell_futile(&family, wait).await,
                Step::Evict(uid) => {
                    let Some(pod) = family.iter().find(|pod| pod.uid().as_ref() == Some(&uid)) else {
                        continue;
                    };
                    if self.evict(pod).await {
                        self.evictions.evicted(&owner, &siblings, now);
                    } else {
                        self.refused.insert(owner, now + REFUSED);
                    }
                    return;
                }
            }
        }
    }

    /// The pods of each owner that has missed ones, where pods may be evicted, by the owner's uid.
    fn families(&self) -> BTreeMap<String, Vec<std::sync::Arc<AskingPod>>> {
        let mut families: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let may_be_evicted = |namespace: &str| {
            self.shared.namespaces.evicts(namespace) && !self.shared.namespaces.is_ending(namespace)
        };
        let evicting: Vec<&String> =
            self.counts.keys().filter(|namespace| may_be_evicted(namespace)).collect();
        if evicting.is_empty() {
            return families;
        }
        let is_there =
            |pod: &AskingPod| pod.namespace().is_some_and(|namespace| evicting.contains(&&namespace));
        for pod in self.shared.pods.state_filter(is_there) {
            if let Some(owner) = pod.controller().filter(|owner| is_replaced(&pod, owner)) {
                families.entry(owner.uid.clone()).or_default().push(pod);
            }
        }
        families.retain(|_, family| family.iter().any(|pod| pod.is_missed()));
        families
    }

    /// Whether the pod was evicted, or is gone anyway.
    async fn evict(&self, pod: &AskingPod) -> bool {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        // A StatefulSet calls the successor the same.
        let parameters =
            EvictParams { delete_options: Some(delete_by_uid::only(pod.uid())), ..EvictParams::default() };
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &namespace);
        // kube asks again for minutes what a budget refuses; meanwhile nobody would look after the others.
        let Ok(evicted) = timeout(EVICTION, api.evict(&name, &parameters)).await else {
            info!(namespace, pod = name, "a missed pod cannot be evicted yet");
            return false;
        };
        match evicted {
            Ok(_) => {
                info!(namespace, pod = name, "evicted a pod that was created without its bindings");
                let (annotation, evict) = contract::namespace::MISSED;
                let note = format!(
                    "evicted, so that another is made that gets what it asks for: the Namespace says {annotation}: {evict}"
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

    async fn tell_futile(&self, family: &[std::sync::Arc<AskingPod>], wait: Duration) {
        let Some(pod) = family.first() else { return };
        let Some(owner) = self.shared.owners.of(pod).await else { return };
        let note = format!(
            "a pod was evicted because it was created without its bindings, and so was the one in its place: bindery is not \
             asked about new pods. Look at the MutatingWebhookConfiguration. The next is evicted in {} min at the earliest",
            wait.as_secs() / 60
        );
        let namespace = pod.namespace().unwrap_or_default();
        self.shared.recorder.record(&owner.reference(&namespace), &warning("MissedAgain", note)).await;
    }
}

/// What is told of a missed pod to its users, or to those of its owner.
fn event(who: &str, pod: &AskingPod, owner: Option<&Owner>) -> Event {
    let namespace = pod.namespace().unwrap_or_default();
    let remedy = remedy(owner, &namespace, &pod.name_any());
    let note = match &pod.share {
        Share::Unclear { field } => format!(
            "{who} asks for bindings that it has not got: {field} cannot be carried out, and bindery did not see it when the pod \
             was created, for it would have refused it. What is wrong says: kubectl get pod {} -n {namespace} -o yaml | bindery \
             inject -f -. Correct it in the template, or then: {remedy}",
            pod.name_any()
        ),
        Share::Full | Share::Lacking { .. } => {
            let asks = if pod.is_by_namespace { "is to have, by its Namespace," } else { "asks for" };
            format!(
                "{who} {asks} {} and has it not{}: {}. To bind it: {remedy}",
                asked_for(pod),
                in_containers(pod),
                if pod.is_by_namespace {
                    "it was created before the Namespace said so, or while bindery was not asked"
                } else {
                    "bindery was not asked when it was created (not installed yet, webhook configuration absent, or passed \
                     over by failurePolicy Ignore), or its annotations came later, also from another webhook"
                }
            )
        }
    };
    warning("BindingMissed", note)
}

fn asked_for(pod: &AskingPod) -> String {
    let names: Vec<String> = pod
        .demands
        .iter()
        .map(
            |demand| {
                if demand.is_binding { demand.secret.clone() } else { format!("secret/{}", demand.secret) }
            },
        )
        .collect();
    names.join(", ")
}

fn in_containers(pod: &AskingPod) -> String {
    match &pod.share {
        Share::Lacking { containers } if !containers.is_empty() => {
            format!(" in container {}", containers.join(", "))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Json, Router, extract::State, routing::post};
    use kube::{
        Client, Config,
        runtime::{reflector, watcher::Event},
    };
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::pods::{
        Bindings, Namespaces, Owners,
        pod::tests::{object, read},
    };

    /// An API server that evicts a pod, as often as it is told to.
    async fn api_server(evictions: Arc<AtomicUsize>) -> Client {
        let evict = async |State(evictions): State<Arc<AtomicUsize>>| {
            evictions.fetch_add(1, Ordering::SeqCst);
            Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
        };
        let path = "/api/v1/namespaces/shop/pods/web-1/eviction";
        let router = Router::new().route(path, post(evict)).with_state(evictions);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Client::try_from(Config::new(url.parse().unwrap())).unwrap()
    }

    /// The successor would be refused, and the owner have lost its pod.
    #[tokio::test]
    async fn nothing_is_evicted_while_the_webhook_cannot_be_reached() {
        let evictions = Arc::new(AtomicUsize::new(0));
        let client = api_server(evictions.clone()).await;
        let (pods, mut pod_writer) = reflector::store();
        let (namespaces, mut namespace_writer) = reflector::store();
        let owner =
            json!([{"apiVersion": "v1", "kind": "Cluster", "name": "web", "uid": "o", "controller": true}]);
        let pod = read(&object(&json!({"metadata": {"ownerReferences": owner}}))).unwrap();
        let reference = PodRef::from_obj(&pod);
        pod_writer.apply_watcher_event(&Event::Apply(pod));
        let (annotation, evict) = contract::namespace::MISSED;
        let namespace = json!({"metadata": {"name": "shop", "annotations": {annotation: evict}}});
        namespace_writer.apply_watcher_event(&Event::Apply(serde_json::from_value(namespace).unwrap()));
        let namespaces = Namespaces(namespaces);
        let shared = Shared {
            client: client.clone(),
            metrics: Arc::default(),
            unreadable: crate::k8s::unreadable::Unreadable::without_events(Arc::default()),
            pods,
            namespaces,
            bindings: Bindings::new(reflector::store().0),
            owners: Arc::new(Owners::new(client.clone())),
            recorder: crate::k8s::events::Recorder::new(client, reflector::store().0),
            lost_secrets: crate::bindings::LostSecrets::default(),
        };
        let (reachable, is_reachable) = watch::channel(false);
        let mut missed = Missed::new(shared, is_reachable);
        missed.see(reference);
        missed.evict_next().await;
        assert_eq!(evictions.load(Ordering::SeqCst), 0);
        reachable.send_replace(true);
        missed.evict_next().await;
        assert_eq!(evictions.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_missed_pod_is_told_what_it_lacks_why_and_what_to_do() {
        let pod = read(&object(&json!({}))).unwrap();
        assert_eq!(
            event("it", &pod, None).note,
            "it asks for db and has it not in container app: bindery was not asked when it was created (not installed yet, \
             webhook configuration absent, or passed over by failurePolicy Ignore), or its annotations came later, also from \
             another webhook. To bind it: delete the pod and create it again: kubectl delete pod web-1 -n shop"
        );
    }

    /// One event for all pods of a Deployment, so the text must not name one of them.
    #[test]
    fn what_an_owner_is_told_is_the_same_for_all_its_pods() {
        let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d"});
        let owner = Owner::of(&serde_json::from_value(owner).unwrap());
        let one = read(&object(&json!({}))).unwrap();
        let other = read(&object(&json!({"metadata": {"name": "web-2", "uid": "u2"}}))).unwrap();
        let told = event("a pod of it", &one, Some(&owner));
        assert_eq!(told, event("a pod of it", &other, Some(&owner)));
        assert!(
            told.note.ends_with("To bind it: kubectl rollout restart deployment/web -n shop"),
            "{}",
            told.note
        );
    }

    #[test]
    fn what_cannot_be_carried_out_is_named_but_not_repeated() {
        let pod =
            read(&object(&json!({"metadata": {"annotations": {"bindery.dev/bind": "hunter2 hunter2"}}})));
        let note = event("it", &pod.unwrap(), None).note;
        assert!(note.contains("metadata.annotations[bindery.dev/bind] cannot be carried out"), "{note}");
        assert!(!note.contains("hunter2"), "{note}");
    }
}
