//! The controller of NamespaceBindings. One task plans for all namespaces (`planner`) and enqueues those whose plan changed.
//! This file starts the watches and reconciles each enqueued namespace by itself, so that none delays the others.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures::{StreamExt, channel::mpsc};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        applier,
        controller::{Action, Config},
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc as tokio_mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    apply::{StepError, StepRunner, reference},
    diff::{Change as StepChange, Diff, EVENT_ACTION, Finding, Observed, Problem, Step, diff, owner},
    plan::{Assignment, Plan, Refusals, keep_active, retry_turn_is_over},
    rule::Rule,
};
use crate::apis::bindery::namespace_binding::NamespaceBinding;
use crate::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance},
    contract::branch,
    k8s::{
        backoff::Retries,
        events::{Event, Recorder},
        explain,
        guarded::Guarded,
        namespaces::NamespaceMeta,
        unreadable::Unreadable,
        watch::{self, Change},
    },
    telemetry::Metrics,
};

/// How many namespaces are reconciled concurrently. The API server answers quickly, and serves other clients as well.
const CONCURRENCY: u16 = 16;

/// What the planner must react to.
#[derive(Debug)]
pub(super) enum Trigger {
    /// The Namespace, or an object of a NamespaceBinding in it, changed.
    Namespace(String),
    /// A NamespaceBinding changed.
    Rules,
    /// Only a status must be written; the plan stays.
    Report,
}

/// The caches of the watched kinds.
pub(super) struct Stores {
    pub(super) rules: Store<NamespaceBinding>,
    pub(super) namespaces: Store<NamespaceMeta>,
    pub(super) instances: Store<ServiceInstance>,
    pub(super) bindings: Store<ServiceBinding>,
}

/// The state that the tasks share.
pub(super) struct Controller {
    pub(super) client: Client,
    /// bindery's own namespace.
    pub(super) own: String,
    pub(super) stores: Stores,
    pub(super) plan: ArcSwap<Plan>,
    /// The grace period of each NamespaceBinding: how long a namespace that is not selected any more keeps its objects.
    pub(super) graces: ArcSwap<HashMap<String, Duration>>,
    pub(super) findings: Mutex<HashMap<String, BTreeMap<String, Finding>>>,
    refusals: Mutex<Refusals>,
    pub(super) metrics: Arc<Metrics>,
    unreadable: Unreadable,
    pub(super) step_runner: StepRunner,
    pub(super) recorder: Recorder,
    /// When the pods of each namespace were last listed, where a ttl counts from the last pod.
    pod_checks: Mutex<HashMap<String, Timestamp>>,
    retries: Retries,
    triggers: tokio_mpsc::UnboundedSender<Trigger>,
}

/// Runs until `stop`, or until a task ends unexpectedly; returns the cause in that case.
pub(super) async fn run(
    client: Client,
    own: String,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Option<String> {
    let (rules, rule_writer) = reflector::store();
    let (namespaces, namespace_writer) = reflector::store();
    let (instances, instance_writer) = reflector::store();
    let (bindings, binding_writer) = reflector::store();
    let (sender, triggers) = tokio_mpsc::unbounded_channel();
    let (queue, queue_receiver) = mpsc::unbounded();
    let stores = Stores { rules, namespaces, instances, bindings };
    let controller = Arc::new(Controller::new(client, own, metrics, stores, sender));
    let mut tasks = JoinSet::new();
    let all = watch::of_all;
    let ours = || watch::of_all().labels(branch::NAMESPACE_BINDING);
    controller.watch(&mut tasks, all(), rule_writer, |_| Trigger::Rules);
    controller.watch(&mut tasks, all(), namespace_writer, |namespace: &NamespaceMeta| {
        Trigger::Namespace(namespace.name_any())
    });
    controller.watch(&mut tasks, ours(), instance_writer, within);
    controller.watch(&mut tasks, ours(), binding_writer, within);
    tasks.spawn(controller.clone().run_planner(triggers, queue));
    tasks.spawn(controller.clone().run_workers(queue_receiver));
    let ended = stop.run_until_cancelled(tasks.join_next()).await?;
    Some(ended.and_then(Result::err).map_or("without an error".to_owned(), |error| error.to_string()))
}

fn within(object: &impl ResourceExt) -> Trigger {
    Trigger::Namespace(object.namespace().unwrap_or_default())
}

impl Controller {
    pub(super) fn new(
        client: Client,
        own: String,
        metrics: Arc<Metrics>,
        stores: Stores,
        triggers: tokio_mpsc::UnboundedSender<Trigger>,
    ) -> Self {
        let recorder = Recorder::new(client.clone(), stores.namespaces.clone());
        Self {
            stores,
            plan: ArcSwap::default(),
            graces: ArcSwap::default(),
            findings: Mutex::default(),
            refusals: Mutex::default(),
            step_runner: StepRunner::new(client.clone(), recorder.clone()),
            pod_checks: Mutex::default(),
            retries: Retries::default(),
            unreadable: Unreadable::with_events(recorder.clone(), metrics.clone()),
            recorder,
            client,
            own,
            metrics,
            triggers,
        }
    }

    fn watch<K>(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        config: watcher::Config,
        writer: Writer<K>,
        trigger: impl Fn(&K) -> Trigger + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api: Api<Guarded<K>> = Api::all(self.client.clone());
        let controller = self.clone();
        let unreadable = self.unreadable.clone();
        tasks.spawn(watch::watch(api, config, unreadable, writer, move |change| {
            let (Change::Applied { object, .. } | Change::Deleted(object)) = change;
            controller.trigger(trigger(&object));
        }));
    }

    fn trigger(&self, trigger: Trigger) {
        // The receiver is gone only during shutdown.
        let _ = self.triggers.send(trigger);
    }

    pub(super) fn lock_findings(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<String, Finding>>> {
        // Nothing panics while it holds the lock, and the map stays consistent after any panic.
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_refusals(&self) -> MutexGuard<'_, Refusals> {
        // See above.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_pod_checks(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        // As above.
        self.pod_checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run_workers(self: Arc<Self>, queue_receiver: mpsc::UnboundedReceiver<ObjectRef<NamespaceMeta>>) {
        let store = self.stores.namespaces.clone();
        let work = |namespace: Arc<NamespaceMeta>, controller: Arc<Self>| {
            Box::pin(async move { Ok::<_, std::convert::Infallible>(controller.reconcile(&namespace).await) })
        };
        let never = |_: Arc<NamespaceMeta>, error: &std::convert::Infallible, _: Arc<Self>| match *error {};
        let queue = queue_receiver.map(Ok::<_, std::convert::Infallible>);
        let config = Config::default().concurrency(CONCURRENCY);
        applier(work, never, self.clone(), store, queue, config).for_each(|_| std::future::ready(())).await;
    }

    /// Reconciles one namespace.
    async fn reconcile(&self, namespace: &NamespaceMeta) -> Action {
        let started = Instant::now();
        let name = namespace.name_any();
        if namespace.metadata.deletion_timestamp.is_some() {
            self.lock_findings().remove(&name);
            self.lock_pod_checks().remove(&name);
            return Action::await_change();
        }
        let planned = self.plan.load_full();
        let assignments = planned.namespaces.get(&name).map_or(&[][..], Vec::as_slice);
        let activity = self.check_pods(namespace, assignments, Timestamp::now()).await;
        let mut diff = if activity.is_active {
            let is_there = |rule: &Rule| {
                let instance = ObjectRef::new(rule.binding_name()).within(&name);
                self.stores.instances.get(&instance).is_some_and(|it| owner(it.as_ref()) == rule.name())
            };
            self.diff(namespace, &keep_active(assignments, is_there), &planned)
        } else {
            self.diff(namespace, assignments, &planned)
        };
        diff.requeue_at = diff.requeue_at.into_iter().chain(activity.requeue_at).min();
        let has_failed = self.run_steps(namespace, &mut diff).await;
        self.record_findings(namespace, diff.findings).await;
        self.metrics.reconciled("Namespace", started.elapsed(), has_failed);
        let uid = namespace.uid().unwrap_or_default();
        if has_failed {
            return Action::requeue(self.retries.next(&uid, None));
        }
        self.retries.forget(&uid);
        diff.requeue_at.map_or_else(Action::await_change, |at| Action::requeue(duration_until(at)))
    }

    fn diff(&self, namespace: &NamespaceMeta, assignments: &[Assignment], planned: &Plan) -> Diff {
        let name = namespace.name_any();
        let is_frozen = |rule: &str| planned.frozen.contains(&(name.clone(), rule.to_owned()));
        let instances = self.stores.instances.state_filter(|instance| {
            instance.metadata.namespace.as_ref() == Some(&name) && !is_frozen(owner(instance))
        });
        let bindings = self.stores.bindings.state_filter(|binding| {
            binding.metadata.namespace.as_ref() == Some(&name) && !is_frozen(owner(binding))
        });
        let graces = self.graces.load();
        diff(&Observed {
            namespace: &namespace.metadata,
            assignments,
            instances: &instances,
            bindings: &bindings,
            grace: &|rule| graces.get(rule).copied(),
            unread: &planned.unread,
            now: Timestamp::now(),
        })
    }

    /// Executes the steps. A failed step skips the later steps of its NamespaceBinding only. Returns whether a step failed.
    async fn run_steps(&self, namespace: &NamespaceMeta, diff: &mut Diff) -> bool {
        let name = namespace.name_any();
        let mut failed = HashSet::new();
        for step in &diff.steps {
            // An instance that could not be created may exist and belong to somebody else: it gets no binding.
            if failed.contains(step.rule.as_str()) {
                continue;
            }
            let done = self.step_runner.run(&name, step).await;
            self.record_refusal(&name, step, done.as_ref().err());
            if let Err(error) = done {
                debug!(namespace = name, rule = step.rule, %error, "a step failed and is retried");
                diff.findings.entry(step.rule.clone()).or_default().problem = Some(error.problem());
                failed.insert(step.rule.as_str());
            }
        }
        let mut has_failed = !failed.is_empty();
        if let Some(stamp) = diff.metadata_patch.take()
            && let Err(error) = self.step_runner.patch_namespace(namespace, stamp).await
        {
            warn!(
                namespace = name,
                error = explain(&error),
                "the defaults for pods cannot be written to the Namespace"
            );
            has_failed = true;
        }
        has_failed
    }

    /// Records whether an instance could be created. A refused instance frees its slot of the limits, so the planner runs again.
    fn record_refusal(&self, namespace: &str, step: &Step, error: Option<&StepError>) {
        if !matches!(step.change, StepChange::CreateInstance(_)) {
            return;
        }
        let key = (namespace.to_owned(), step.rule.clone());
        let now = Timestamp::now();
        match error {
            None => {
                self.lock_refusals().remove(&key);
            }
            Some(error) if error.is_refusal() => {
                let known = self.lock_refusals().get(&key).copied();
                if known.is_none_or(|since| retry_turn_is_over(since, now)) {
                    self.lock_refusals().insert(key, now);
                    self.trigger(Trigger::Rules);
                }
            }
            Some(_) => {}
        }
    }

    /// Stores the findings of a namespace, and records an event for each new problem.
    async fn record_findings(&self, namespace: &NamespaceMeta, findings: BTreeMap<String, Finding>) {
        let name = namespace.name_any();
        let before = {
            let mut all = self.lock_findings();
            if findings.is_empty() { all.remove(&name) } else { all.insert(name.clone(), findings.clone()) }
        };
        let before = before.unwrap_or_default();
        if before == findings {
            return;
        }
        self.trigger(Trigger::Report);
        for (rule, finding) in &findings {
            let known = before.get(rule).and_then(|finding| finding.problem.as_ref());
            let Some(Problem { reason, message, is_failure }) = &finding.problem else { continue };
            if known.is_some_and(|known| known.reason == *reason) {
                continue;
            }
            let event = Event {
                is_warning: *is_failure,
                reason: (*reason).into(),
                action: EVENT_ACTION,
                note: message.clone(),
            };
            self.recorder.record(&reference(namespace), &event).await;
            info!(
                namespace = name,
                rule, reason, "a namespace cannot get the instance of a NamespaceBinding"
            );
        }
    }
}

pub(super) fn duration_until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}
