//! Pods that got what they ask for, as far as the webhook goes, and wait for its Secrets. The kubelet says that a Secret
//! is missing; here pod and owner are told why it is. Each waiting pod has a deadline of its own; others cost nothing.
//! Several are looked at at a time, so that an answer that does not come silences nothing but what it is about.

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
    diagnosis::{Why, whys},
    pod::AskingPod,
    warning,
    watch::{PodQueue, PodRef},
};
use crate::k8s::{
    events::{Event, REPEAT_INTERVAL},
    explain, in_time,
};

/// How long a pod may wait before anybody is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often at least it is looked at what a pod waits for.
const LOOK_AT_LEAST: Duration = Duration::from_mins(2);
/// How soon after a change of a binding: changes come in groups.
const AFTER_CHANGE: Duration = Duration::from_millis(500);
/// How many pods are looked at at the same time.
const CONCURRENCY: usize = 32;
/// How long it may take to find out what a pod waits for.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// A pod that may be waiting for a Secret.
struct Held {
    uid: String,
    /// Its place among the deadlines; none while it is looked at.
    deadline: Option<Key>,
    /// Whether a binding of it changed while it was looked at, perhaps too early.
    is_hurried: bool,
    /// How long until the next look.
    wait: Duration,
    told: Option<Told>,
}

/// What a pod's users were told, and when.
type Told = (Event, Instant);

/// What came of a look at a pod.
struct Looked {
    reference: PodRef,
    uid: String,
    /// What its users have been told by now.
    told: Option<Told>,
}

struct Waiting {
    shared: Shared,
    held: HashMap<PodRef, Held>,
    deadlines: DelayQueue<PodRef>,
    /// Pods whose users were told, by namespace.
    counts: BTreeMap<String, i64>,
}

/// Runs for ever.
pub(super) async fn run(shared: Shared, mut pods: PodQueue, mut bindings: BindingQueue) {
    let (held, deadlines) = (HashMap::new(), DelayQueue::new());
    let mut waiting = Waiting { shared, held, deadlines, counts: BTreeMap::new() };
    let mut looks = FuturesUnordered::new();
    loop {
        tokio::select! {
            // What starts meanwhile need not be looked at.
            biased;
            pod = pods.next() => match pod {
                Some(pod) => waiting.see(pod),
                None => return,
            },
            binding = bindings.next() => match binding {
                Some(binding) => waiting.hurry(&binding),
                None => return,
            },
            Some(looked) = looks.next() => waiting.looked(looked),
            Some(due) = waiting.deadlines.next(), if looks.len() < CONCURRENCY => {
                looks.extend(waiting.due(due.into_inner()));
            }
        }
    }
}

impl Waiting {
    fn see(&mut self, reference: PodRef) {
        let pod = self.shared.pods.get(&reference).filter(|pod| pod.may_wait());
        let uid = pod.and_then(|pod| pod.uid());
        if let Some(held) = self.held.get(&reference) {
            if Some(&held.uid) == uid.as_ref() {
                return;
            }
            if let Some(deadline) = &held.deadline {
                self.deadlines.remove(deadline);
            }
            self.forget(&reference);
        }
        if let Some(uid) = uid {
            let deadline = Some(self.deadlines.insert(reference.clone(), PATIENCE));
            self.held
                .insert(reference, Held { uid, deadline, is_hurried: false, wait: PATIENCE, told: None });
        }
    }

    fn forget(&mut self, reference: &PodRef) {
        if self.held.remove(reference).is_some_and(|held| held.told.is_some()) {
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

    /// A binding has changed: there may be something else to tell those who were told of it, or are just being told.
    fn hurry(&mut self, binding: &BindingRef) {
        for (reference, held) in &mut self.held {
            let is_of = |pod: &AskingPod| pod.asks_for(&binding.name);
            if (held.told.is_some() || held.deadline.is_none())
                && reference.namespace == binding.namespace
                && self.shared.pods.get(reference).is_some_and(|pod| is_of(&pod))
            {
                match &held.deadline {
                    Some(deadline) => self.deadlines.reset(deadline, AFTER_CHANGE),
                    None => held.is_hurried = true,
                }
            }
        }
    }

    /// The look at a pod whose deadline has come, if it still waits.
    fn due(&mut self, reference: PodRef) -> Option<impl Future<Output = Looked> + use<>> {
        let Some(pod) = self.shared.pods.get(&reference).filter(|pod| pod.may_wait()) else {
            // Whoever removes the pod from the store has told so.
            self.forget(&reference);
            return None;
        };
        let held = self.held.get_mut(&reference)?;
        held.deadline = None;
        let (shared, uid, told) = (self.shared.clone(), held.uid.clone(), held.told.clone());
        Some(async move { Looked { reference, uid, told: tell(&shared, &pod, told).await } })
    }

    /// A look has ended: sets the pod's next deadline, unless it is gone or another one by now.
    fn looked(&mut self, Looked { reference, uid, told }: Looked) {
        let is_it = |held: &&mut Held| held.uid == uid && held.deadline.is_none();
        let Some(held) = self.held.get_mut(&reference).filter(is_it) else { return };
        let more = i64::from(told.is_some()) - i64::from(held.told.is_some());
        held.told = told;
        held.wait = (held.wait * 2).min(LOOK_AT_LEAST);
        let is_hurried = std::mem::take(&mut held.is_hurried) && held.told.is_some();
        let wait = if is_hurried { AFTER_CHANGE } else { held.wait };
        held.deadline = Some(self.deadlines.insert(reference.clone(), wait));
        self.count(&reference, more);
    }
}

/// Looks at what a pod waits for, and tells its users if that is new. What they have been told afterwards.
async fn tell(shared: &Shared, pod: &AskingPod, told: Option<Told>) -> Option<Told> {
    let namespace = pod.namespace().unwrap_or_default();
    let bindings = shared.bindings.of(&namespace);
    let looked = in_time(LONGEST_LOOK, whys(&shared.client, &namespace, &pod.demands, &bindings));
    let whys = match looked.await {
        Ok(whys) => whys,
        Err(error) => {
            debug!(
                namespace,
                pod = pod.name_any(),
                error = explain(&error),
                "what a pod waits for cannot be looked up"
            );
            return told;
        }
    };
    for binding in whys.iter().filter_map(|why| why.lost.as_deref()) {
        shared.lost_secrets.report(&namespace, binding);
    }
    let event = event("it waits", &whys)?;
    if let Some((before, at)) = told.filter(|(before, at)| *before == event && at.elapsed() < REPEAT_INTERVAL)
    {
        return Some((before, at));
    }
    shared.recorder.record(&pod.object_ref(&()), &event).await;
    if let (Some(owner), Some(event)) = (shared.owners.of(pod).await, self::event("a pod of it waits", &whys))
    {
        shared.recorder.record(&owner.reference(&namespace), &event).await;
    }
    Some((event, Instant::now()))
}

/// What is told of a waiting pod; nothing when no Secret is what it waits for.
fn event(who: &str, whys: &[Why]) -> Option<Event> {
    let first = whys.first()?;
    let texts: Vec<&str> = whys.iter().map(|why| why.text.as_str()).collect();
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

    /// An API server without Secrets, which answers nothing about the namespace `hung`. Paths are noted.
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
            bindings: Bindings::new(reflector::store().0),
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
        sleep(PATIENCE + Duration::from_secs(1)).await;
        let text = metrics.encode().unwrap();
        assert!(text.contains("bindery_pods_waiting{namespace=\"shop\"} 1\n"), "{text}");
        let looks = || asked.lock().unwrap().iter().filter(|path| path.contains("/namespaces/hung/")).count();
        assert_eq!(looks(), 1);
        // Given up, and tried again like any other.
        sleep(LONGEST_LOOK + PATIENCE * 2).await;
        assert_eq!(looks(), 2);
    }

    fn why(reason: &'static str, text: &str) -> Why {
        Why { reason, text: text.to_owned(), lost: None }
    }

    #[test]
    fn all_reasons_are_told_in_one_event() {
        let event = event("it waits", &[why("BindingMissing", "a"), why("SecretMissing", "b")]).unwrap();
        assert_eq!(
            (&*event.reason, event.note.as_str()),
            ("BindingMissing", "it waits for credentials: a; and b")
        );
    }

    #[test]
    fn a_pod_that_waits_for_something_else_is_not_told_of() {
        assert_eq!(event("it waits", &[]), None);
    }
}
