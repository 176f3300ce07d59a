//! Pods that are injected and wait for their Secrets. The kubelet reports that a Secret is missing; the events recorded
//! here explain the cause. Each waiting pod has its own deadline; other pods cost nothing. Several pods are diagnosed
//! concurrently, so that a read that hangs delays only the events of its own pod.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use kube::{Resource, ResourceExt};
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue::Key};
use tracing::debug;

use super::{
    Shared,
    bindings::{BindingQueue, BindingRef},
    diagnosis::{Cause, diagnose},
    pod::AskingPod,
    pod_watch::{PodQueue, PodRef},
    warning,
};
use crate::k8s::{
    events::{Event, REPEAT_INTERVAL},
    explain, with_timeout,
};

/// How long a pod waits before its first event.
const FIRST_EVENT_AFTER: Duration = Duration::from_secs(5);
/// The longest interval between two diagnoses of a pod.
const MAX_INTERVAL: Duration = Duration::from_mins(2);
/// The wait after a change of a binding, because changes come in groups.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// The number of concurrent diagnoses.
const CONCURRENCY: usize = 32;
/// The time limit of a diagnosis.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(10);

/// A pod that may be waiting for a Secret.
struct WaitingPod {
    uid: String,
    /// The key of its deadline; `None` during a diagnosis.
    deadline: Option<Key>,
    /// Whether one of its bindings changed during a diagnosis, which may have missed the change.
    has_changed: bool,
    /// The interval before the next diagnosis.
    interval: Duration,
    last_event: Option<LastEvent>,
}

/// The last event about a pod, and its time.
type LastEvent = (Event, Instant);

/// The result of a diagnosis.
struct Diagnosed {
    reference: PodRef,
    uid: String,
    /// The last event, including one of this diagnosis.
    last_event: Option<LastEvent>,
}

struct Waiting {
    shared: Shared,
    pods: HashMap<PodRef, WaitingPod>,
    deadlines: DelayQueue<PodRef>,
    /// The number of pods with an event, by namespace.
    counts: BTreeMap<String, i64>,
}

/// Handles changes and deadlines. Never ends.
pub(super) async fn run(shared: Shared, mut pods: PodQueue, mut bindings: BindingQueue) {
    let (known, deadlines) = (HashMap::new(), DelayQueue::new());
    let mut waiting = Waiting { shared, pods: known, deadlines, counts: BTreeMap::new() };
    let mut diagnoses = FuturesUnordered::new();
    loop {
        tokio::select! {
            // Pods that started meanwhile need no diagnosis.
            biased;
            pod = pods.next() => match pod {
                Some(pod) => waiting.handle(pod),
                None => return,
            },
            binding = bindings.next() => match binding {
                Some(binding) => waiting.diagnose_soon(&binding),
                None => return,
            },
            Some(diagnosed) = diagnoses.next() => waiting.diagnosed(diagnosed),
            Some(due) = waiting.deadlines.next(), if diagnoses.len() < CONCURRENCY => {
                diagnoses.extend(waiting.due(due.into_inner()));
            }
        }
    }
}

impl Waiting {
    fn handle(&mut self, reference: PodRef) {
        let pod = self.shared.pods.get(&reference).filter(|pod| pod.may_wait());
        let uid = pod.and_then(|pod| pod.uid());
        if let Some(waiting_pod) = self.pods.get(&reference) {
            if Some(&waiting_pod.uid) == uid.as_ref() {
                return;
            }
            if let Some(deadline) = &waiting_pod.deadline {
                self.deadlines.remove(deadline);
            }
            self.forget(&reference);
        }
        if let Some(uid) = uid {
            let deadline = Some(self.deadlines.insert(reference.clone(), FIRST_EVENT_AFTER));
            self.pods.insert(
                reference,
                WaitingPod {
                    uid,
                    deadline,
                    has_changed: false,
                    interval: FIRST_EVENT_AFTER,
                    last_event: None,
                },
            );
        }
    }

    fn forget(&mut self, reference: &PodRef) {
        if self.pods.remove(reference).is_some_and(|waiting_pod| waiting_pod.last_event.is_some()) {
            self.count(reference, -1);
        }
    }

    fn count(&mut self, reference: &PodRef, more: i64) {
        let namespace = reference.namespace.clone().unwrap_or_default();
        let count = self.counts.entry(namespace.clone()).or_default();
        *count += more;
        self.shared.metrics.pods_waiting(&namespace, *count);
        if *count == 0 {
            self.counts.remove(&namespace);
        }
    }

    /// Makes the pods of a changed binding due soon, if they have an event or are being diagnosed.
    fn diagnose_soon(&mut self, binding: &BindingRef) {
        for (reference, waiting_pod) in &mut self.pods {
            let is_of = |pod: &AskingPod| pod.asks_for(&binding.name);
            if (waiting_pod.last_event.is_some() || waiting_pod.deadline.is_none())
                && reference.namespace == binding.namespace
                && self.shared.pods.get(reference).is_some_and(|pod| is_of(&pod))
            {
                match &waiting_pod.deadline {
                    Some(deadline) => self.deadlines.reset(deadline, DEBOUNCE),
                    None => waiting_pod.has_changed = true,
                }
            }
        }
    }

    /// The diagnosis of a pod whose deadline has come, if the pod still waits.
    fn due(&mut self, reference: PodRef) -> Option<impl Future<Output = Diagnosed> + use<>> {
        let Some(pod) = self.shared.pods.get(&reference).filter(|pod| pod.may_wait()) else {
            // The watch has already reported the removal of the pod from the store.
            self.forget(&reference);
            return None;
        };
        let waiting_pod = self.pods.get_mut(&reference)?;
        waiting_pod.deadline = None;
        let (shared, uid, last_event) =
            (self.shared.clone(), waiting_pod.uid.clone(), waiting_pod.last_event.clone());
        Some(async move {
            Diagnosed { reference, uid, last_event: report_cause(&shared, &pod, last_event).await }
        })
    }

    /// Handles the end of a diagnosis: sets the pod's next deadline, unless the pod is gone or was replaced.
    fn diagnosed(&mut self, Diagnosed { reference, uid, last_event }: Diagnosed) {
        let is_it = |waiting_pod: &&mut WaitingPod| waiting_pod.uid == uid && waiting_pod.deadline.is_none();
        let Some(waiting_pod) = self.pods.get_mut(&reference).filter(is_it) else { return };
        let more = i64::from(last_event.is_some()) - i64::from(waiting_pod.last_event.is_some());
        waiting_pod.last_event = last_event;
        waiting_pod.interval = (waiting_pod.interval * 2).min(MAX_INTERVAL);
        let has_changed = std::mem::take(&mut waiting_pod.has_changed) && waiting_pod.last_event.is_some();
        let wait = if has_changed { DEBOUNCE } else { waiting_pod.interval };
        waiting_pod.deadline = Some(self.deadlines.insert(reference.clone(), wait));
        self.count(&reference, more);
    }
}

/// Finds out what a pod waits for, and records an event if that is new. Returns the last event.
async fn report_cause(shared: &Shared, pod: &AskingPod, last_event: Option<LastEvent>) -> Option<LastEvent> {
    let namespace = pod.namespace().unwrap_or_default();
    let names = pod.demands.iter().map(|demand| demand.name.as_str());
    let bindings = shared.bindings.of(&namespace, names);
    let diagnosed =
        with_timeout(DIAGNOSIS_TIMEOUT, diagnose(&shared.client, &namespace, &pod.demands, &bindings));
    let causes = match diagnosed.await {
        Ok(causes) => causes,
        Err(error) => {
            debug!(
                namespace,
                pod = pod.name_any(),
                error = explain(&error),
                "what a pod waits for cannot be read"
            );
            return last_event;
        }
    };
    for binding in causes.iter().filter_map(|cause| cause.lost.as_deref()) {
        shared.lost_secrets.report(&namespace, binding);
    }
    let event = event("it waits", &causes)?;
    if let Some((before, at)) =
        last_event.filter(|(before, at)| *before == event && at.elapsed() < REPEAT_INTERVAL)
    {
        return Some((before, at));
    }
    shared.recorder.record(&pod.object_ref(&()), &event).await;
    if let (Some(owner), Some(event)) =
        (shared.owners.of(pod).await, self::event("a pod of it waits", &causes))
    {
        shared.recorder.record(&owner.reference(&namespace), &event).await;
    }
    Some((event, Instant::now()))
}

/// The event about a waiting pod; `None` if the pod waits for no Secret.
fn event(who: &str, causes: &[Cause]) -> Option<Event> {
    let first = causes.first()?;
    let texts: Vec<&str> = causes.iter().map(|cause| cause.text.as_str()).collect();
    Some(warning(first.reason, format!("{who} for credentials: {}", texts.join("; and "))))
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{Arc, Mutex},
    };

    use axum::{
        body::Body,
        http::{Request, Response, StatusCode},
    };
    use futures::channel::mpsc::unbounded;
    use kube::{
        Client,
        runtime::{reflector, watcher::Event},
    };
    use serde_json::json;
    use tokio::time::sleep;

    use super::*;
    use crate::{
        pods::{
            Bindings, Namespaces, Owners,
            pod::tests::{bound, read},
        },
        telemetry::Metrics,
    };

    /// An API server without Secrets, which never answers about the namespace `hung`. It records the paths.
    fn api_server(asked: Arc<Mutex<Vec<String>>>) -> Client {
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let path = request.uri().path().to_owned();
            asked.lock().unwrap().push(path.clone());
            async move {
                if path.contains("/namespaces/hung/") {
                    pending::<()>().await;
                }
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"});
                let answer =
                    Response::builder().status(StatusCode::NOT_FOUND).body(Body::from(status.to_string()));
                Ok::<_, std::io::Error>(answer.unwrap())
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_silences_no_other_pod() {
        let (asked, metrics) = (Arc::default(), Arc::new(Metrics::new()));
        let client = api_server(Arc::clone(&asked));
        let (pods, mut writer) = reflector::store();
        let namespaces = Namespaces(reflector::store().0);
        let shared = Shared {
            client: client.clone(),
            metrics: metrics.clone(),
            unreadable: crate::k8s::unreadable::Unreadable::without_events(Arc::default()),
            pods,
            namespaces,
            bindings: Bindings::new(crate::k8s::cache::cache().0),
            owners: Arc::new(Owners::new(client.clone())),
            recorder: crate::k8s::events::Recorder::new(client, reflector::store().0),
            lost_secrets: crate::bindings::LostSecrets::default(),
        };
        let (changed_pods, pod_queue) = unbounded();
        let (_changed_bindings, binding_queue) = unbounded();
        for namespace in ["hung", "shop"] {
            let waits = json!({"metadata": {"namespace": namespace}, "status": {"phase": "Pending"}});
            let pod = read(&bound(&waits)).unwrap();
            assert!(pod.may_wait());
            let reference = PodRef::from_obj(&pod);
            writer.apply_watcher_event(&Event::Apply(pod));
            changed_pods.unbounded_send(reference).unwrap();
        }
        tokio::spawn(run(shared, pod_queue, binding_queue));
        sleep(FIRST_EVENT_AFTER + Duration::from_secs(1)).await;
        let text = metrics.encode().unwrap();
        assert!(text.contains("bindery_pods_waiting{namespace=\"shop\"} 1\n"), "{text}");
        let looks = || asked.lock().unwrap().iter().filter(|path| path.contains("/namespaces/hung/")).count();
        assert_eq!(looks(), 1);
        // The diagnosis timed out, and is retried.
        sleep(DIAGNOSIS_TIMEOUT + FIRST_EVENT_AFTER * 2).await;
        assert_eq!(looks(), 2);
    }

    fn cause(reason: &'static str, text: &str) -> Cause {
        Cause { reason, text: text.to_owned(), lost: None }
    }

    #[test]
    fn one_event_names_all_causes() {
        let event = event("it waits", &[cause("BindingMissing", "a"), cause("SecretMissing", "b")]).unwrap();
        assert_eq!(
            (&*event.reason, event.note.as_str()),
            ("BindingMissing", "it waits for credentials: a; and b")
        );
    }

    #[test]
    fn a_pod_that_waits_for_something_else_gets_no_event() {
        assert_eq!(event("it waits", &[]), None);
    }
}
