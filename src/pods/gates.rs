//! Opens the scheduling gates that the webhook added (`admission::gates`): at once when a binding becomes ready, and by
//! periodic checks for Secrets that another writer creates. A gate opens when the Secrets of all ServiceBindings of the
//! pod exist. Gates do not wait for plain Secrets and ConfigMaps: the kubelet does.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::time::{DelayQueue, delay_queue::Key};
use tracing::{debug, info, warn};

use super::{
    Shared,
    bindings::{BindingQueue, BindingRef},
    pod::AskingPod,
    pod_watch::{PodQueue, PodRef},
};
use crate::{
    contract::{FIELD_MANAGER, pod::GATE},
    injection::{Demand, Source},
    k8s::{explain, guarded::Guarded, list::turn, with_timeout},
};

/// The shortest and the longest interval between two checks of a pod when no binding changes.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The number of concurrent checks.
const CONCURRENCY: usize = 32;
/// The time limit of a check.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an API server may still call a webhook after its configuration was deleted.
const LAST_ONES: Duration = Duration::from_secs(2);
/// The page size of the list of all pods.
const PAGE: u32 = 100;

/// Opens gates. Never ends.
pub(super) async fn run(shared: Shared, mut pods: PodQueue, mut bindings: BindingQueue) {
    let mut waiting = Waiting::default();
    let mut looks = JoinSet::new();
    let at_once = Arc::new(Semaphore::new(CONCURRENCY));
    loop {
        tokio::select! {
            Some(pod) = pods.next() => match gated(&shared, &pod) {
                Some(_) => waiting.look(pod, Duration::ZERO),
                None => waiting.forget(&pod),
            },
            Some(binding) = bindings.next() => {
                if shared.bindings.store.get(&binding).is_some_and(|binding| binding.state().is_ready()) {
                    waiting.look_where(|pod| gated(&shared, pod).is_some_and(|pod| asks_for(&pod, &binding)));
                }
            }
            Some(due) = waiting.due.next() => {
                let pod = due.into_inner();
                waiting.pods.remove(&pod);
                if let Some(pod) = gated(&shared, &pod) {
                    waiting.looking.push(PodRef::from_obj(pod.as_ref()));
                    looks.spawn(look(shared.client.clone(), pod, at_once.clone()));
                }
            }
            Some(looked) = looks.join_next() => match looked {
                Ok(Look { pod, is_open }) => {
                    if !is_open {
                        report_lost(&shared, &pod);
                    }
                    waiting.looked(&PodRef::from_obj(pod.as_ref()), is_open, pause(&pod));
                }
                Err(error) => warn!(%error, "a look at a waiting pod panicked"),
            },
            else => return,
        }
    }
}

/// The pod, if it has bindery's gate.
fn gated(shared: &Shared, pod: &PodRef) -> Option<Arc<AskingPod>> {
    shared.pods.get(pod).filter(|pod| pod.is_gated())
}

/// Reports up-to-date bindings of a gated pod to the catalog: a Secret of one of them must be missing.
fn report_lost(shared: &Shared, pod: &AskingPod) {
    let namespace = pod.namespace().unwrap_or_default();
    let is_needed = |demand: &&Demand| demand.source == Source::ServiceBinding && !demand.needs.is_empty();
    for demand in pod.demands.iter().filter(is_needed) {
        let binding = shared.bindings.store.get(&BindingRef::new(&demand.name).within(&namespace));
        if binding.is_some_and(|binding| binding.is_up_to_date()) {
            shared.lost_secrets.report(&namespace, &demand.name);
        }
    }
}

fn asks_for(pod: &AskingPod, binding: &BindingRef) -> bool {
    pod.meta().namespace == binding.namespace && pod.asks_for(&binding.name)
}

/// The interval before the next check, which grows with the pod's age.
fn pause(pod: &AskingPod) -> Duration {
    let created = pod.meta().creation_timestamp.as_ref().map(|time| time.0);
    let age = created.map_or(Duration::ZERO, |at| jiff::Timestamp::now().duration_since(at).unsigned_abs());
    let (earliest, latest) = LOOK_AGAIN;
    // Jitter, so that pods that were created together are not always checked together.
    (age / 4).clamp(earliest, latest).mul_f64(0.75 + rand::random::<f64>() / 2.0)
}

/// The gated pods and the time of each one's next check.
#[derive(Default)]
struct Waiting {
    pods: HashMap<PodRef, Key>,
    due: DelayQueue<PodRef>,
    /// The pods that are being checked. A pod can be in the list twice.
    looking: Vec<PodRef>,
}

impl Waiting {
    /// Schedules the check of a pod after this time, in place of an earlier schedule.
    fn look(&mut self, pod: PodRef, after: Duration) {
        match self.pods.get(&pod) {
            Some(key) => self.due.reset(key, after),
            None => {
                let key = self.due.insert(pod.clone(), after);
                self.pods.insert(pod, key);
            }
        }
    }

    /// Schedules an immediate check of the matching pods, also of those whose running check may have missed the change.
    fn look_where(&mut self, is: impl Fn(&PodRef) -> bool) {
        let all = self.pods.keys().chain(&self.looking);
        let chosen: HashSet<PodRef> = all.filter(|pod| is(pod)).cloned().collect();
        for pod in chosen {
            self.look(pod, Duration::ZERO);
        }
    }

    /// Handles the end of a check: schedules the next one, unless one is scheduled already.
    fn looked(&mut self, pod: &PodRef, is_open: bool, pause: Duration) {
        if let Some(at) = self.looking.iter().position(|other| other == pod) {
            self.looking.swap_remove(at);
        }
        if !is_open && !self.pods.contains_key(pod) {
            self.look(pod.clone(), pause);
        }
    }

    fn forget(&mut self, pod: &PodRef) {
        if let Some(key) = self.pods.remove(pod) {
            self.due.remove(&key);
        }
    }
}

/// The result of a check.
struct Look {
    pod: Arc<AskingPod>,
    is_open: bool,
}

/// Opens the pod's gate if its Secrets exist.
async fn look(client: Client, pod: Arc<AskingPod>, at_once: Arc<Semaphore>) -> Look {
    // The semaphore is never closed.
    let _turn = at_once.acquire().await;
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let opened = async {
        let is_complete =
            has_all(&Api::namespaced(client.clone(), &namespace), &pod.needed_secrets()).await?;
        if is_complete {
            open(&Api::namespaced(client, &namespace), &name, pod.meta().uid.as_deref()).await?;
            info!(namespace, pod = name, "let a pod go: its Secrets are there");
        }
        Ok::<_, kube::Error>(is_complete)
    };
    let is_open = match with_timeout(PATIENCE, opened).await {
        Ok(is_open) => is_open,
        // The pod is gone or was replaced.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
            debug!(namespace, pod = name, status = status.message, "not opened");
            false
        }
        Err(error) => {
            warn!(
                namespace,
                pod = name,
                error = explain(&error),
                "a waiting pod cannot be let go; tried again"
            );
            false
        }
    };
    Look { pod, is_open }
}

/// Whether all these Secrets exist. Reads no data.
async fn has_all(api: &Api<Secret>, names: &[String]) -> kube::Result<bool> {
    for name in names {
        if api.get_metadata_opt(name).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes bindery's gate from a pod, and no other gate. With a uid, only from the pod with this uid.
///
/// # Errors
/// Fails with the API server's error: 404 if the pod is gone, 409 if it was replaced.
pub(crate) async fn open(api: &Api<Pod>, name: &str, uid: Option<&str>) -> kube::Result<()> {
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_metadata(name, &parameters, &Patch::Strategic(without_gate(uid))).await.map(drop)
}

/// Opens the gates of all pods before bindery is uninstalled, and returns their number. The webhook must not add new
/// ones any more; the function waits briefly for API servers that have not noticed this yet.
///
/// # Errors
/// Fails with the API server's error.
pub(crate) async fn open_all(client: Client) -> kube::Result<usize> {
    let mut opened = open_pending(&client).await?;
    tokio::time::sleep(LAST_ONES).await;
    opened += open_pending(&client).await?;
    Ok(opened)
}

async fn open_pending(client: &Client) -> kube::Result<usize> {
    let mut opened = 0;
    let mut page = ListParams::default().fields("status.phase=Pending").limit(PAGE);
    loop {
        let pods = Api::<Guarded<Pod>>::all(client.clone()).list(&page).await?;
        for pod in pods.items.iter().filter_map(|pod| pod.0.as_ref().ok()).filter(|pod| has_gate(pod)) {
            let api = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
            match open(&api, &pod.name_any(), pod.metadata.uid.as_deref()).await {
                Ok(()) => opened += 1,
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        if !turn(&mut page, pods.metadata) {
            return Ok(opened);
        }
    }
}

fn has_gate(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.into_iter().flatten().any(|gate| gate.name == GATE)
}

/// The patch that removes the gate. Gates are merged by name, so other gates need not be known.
fn without_gate(uid: Option<&str>) -> Value {
    let mut patch = json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}});
    if let Some(uid) = uid {
        patch["metadata"] = json!({"uid": uid});
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodRef {
        PodRef::new(name).within("shop")
    }

    /// The pods whose check is due within this time, in order.
    async fn due_within(waiting: &mut Waiting, time: Duration) -> Vec<String> {
        let mut names = Vec::new();
        let until = tokio::time::sleep(time);
        tokio::pin!(until);
        loop {
            tokio::select! {
                biased;
                Some(due) = waiting.due.next() => {
                    waiting.pods.remove(due.get_ref());
                    names.push(due.into_inner().name);
                }
                () = &mut until => return names,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_looked_at_when_it_is_due_and_once() {
        let mut waiting = Waiting::default();
        waiting.look(pod("late"), Duration::from_secs(9));
        waiting.look(pod("soon"), Duration::from_secs(3));
        assert_eq!(due_within(&mut waiting, Duration::from_secs(5)).await, ["soon"]);
        assert_eq!(due_within(&mut waiting, Duration::from_secs(5)).await, ["late"]);
        assert!(waiting.pods.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_brings_a_look_forward() {
        let mut waiting = Waiting::default();
        waiting.look(pod("a"), Duration::from_secs(30));
        waiting.look(pod("b"), Duration::from_secs(30));
        waiting.look_where(|pod| pod.name == "a");
        assert_eq!(due_within(&mut waiting, Duration::from_secs(1)).await, ["a"]);
        waiting.forget(&pod("b"));
        assert!(due_within(&mut waiting, Duration::from_mins(2)).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_during_a_look_has_another_one_follow() {
        let mut waiting = Waiting::default();
        waiting.looking.push(pod("a"));
        waiting.look_where(|_| true);
        waiting.looked(&pod("a"), false, Duration::from_secs(30));
        assert_eq!(due_within(&mut waiting, Duration::from_secs(1)).await, ["a"]);
        assert!(waiting.looking.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_in_vain_is_repeated_and_one_that_opened_is_not() {
        let mut waiting = Waiting::default();
        waiting.looked(&pod("closed"), false, Duration::from_secs(3));
        waiting.looked(&pod("open"), true, Duration::from_secs(3));
        assert_eq!(due_within(&mut waiting, Duration::from_mins(2)).await, ["closed"]);
    }

    #[test]
    fn the_patch_names_the_gate_and_the_pod() {
        let expected = json!({
            "metadata": {"uid": "u"},
            "spec": {"schedulingGates": [{"$patch": "delete", "name": "bindery.dev/binding"}]}
        });
        assert_eq!(without_gate(Some("u")), expected);
        assert_eq!(without_gate(None)["metadata"], Value::Null);
    }
}
