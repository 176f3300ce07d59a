//! Connects watches, plan and steps. One task plans (`planner`); the controller then reconciles each affected
//! namespace separately, so that none delays the others.

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
    core::DeserializeGuard,
    runtime::{
        applier,
        controller::{Action, Config},
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc as news, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    apply::{Hands, StepError, reference},
    diff::{Change as StepChange, EVENT_ACTION, Finding, Look, Problem, Seen, Step, look, owner},
    plan::{Plan, Refusals, Share, kept, turn_is_over},
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
        namespaces::NamespaceMeta,
        unreadable::Unreadable,
        watch::{self, Change},
    },
    telemetry::Metrics,
};

/// How many namespaces are reconciled concurrently. Few suffice, because the API server answers quickly and has other
/// clients.
const CONCURRENCY: u16 = 16;

/// A change that the planner must consider.
#[derive(Debug)]
pub(super) enum News {
    /// An object of this namespace changed.
    Namespace(String),
    /// A NamespaceBinding changed.
    Rules,
    /// A status must be written, although no decision changed.
    Report,
}

/// The watch caches.
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
    /// The grace period of each NamespaceBinding.
    pub(super) graces: ArcSwap<HashMap<String, Duration>>,
    pub(super) findings: Mutex<HashMap<String, BTreeMap<String, Finding>>>,
    refusals: Mutex<Refusals>,
    pub(super) metrics: Arc<Metrics>,
    unreadable: Unreadable,
    pub(super) hands: Hands,
    pub(super) recorder: Recorder,
    /// When the pods of each namespace were looked at, where that matters.
    looks: Mutex<HashMap<String, Timestamp>>,
    retries: Retries,
    news: news::UnboundedSender<News>,
}

/// Runs until `stop` is cancelled or a task ends unexpectedly; returns which task ended.
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
    let (news, heard) = news::unbounded_channel();
    let (queue, wakes) = mpsc::unbounded();
    let stores = Stores { rules, namespaces, instances, bindings };
    let controller = Arc::new(Controller::new(client, own, metrics, stores, news));
    let mut tasks = JoinSet::new();
    let all = watcher::Config::default;
    let ours = || watcher::Config::default().labels(branch::NAMESPACE_BINDING);
    controller.watch(&mut tasks, all(), rule_writer, |_| News::Rules);
    controller.watch(&mut tasks, all(), namespace_writer, |namespace: &NamespaceMeta| {
        News::Namespace(namespace.name_any())
    });
    controller.watch(&mut tasks, ours(), instance_writer, within);
    controller.watch(&mut tasks, ours(), binding_writer, within);
    tasks.spawn(controller.clone().plan_for_ever(heard, queue));
    tasks.spawn(controller.clone().work_for_ever(wakes));
    let ended = stop.run_until_cancelled(tasks.join_next()).await?;
    Some(ended.and_then(Result::err).map_or("without an error".to_owned(), |error| error.to_string()))
}

fn within(object: &impl ResourceExt) -> News {
    News::Namespace(object.namespace().unwrap_or_default())
}

impl Controller {
    pub(super) fn new(
        client: Client,
        own: String,
        metrics: Arc<Metrics>,
        stores: Stores,
        news: news::UnboundedSender<News>,
    ) -> Self {
        let recorder = Recorder::new(client.clone(), stores.namespaces.clone());
        Self {
            stores,
            plan: ArcSwap::default(),
            graces: ArcSwap::default(),
            findings: Mutex::default(),
            refusals: Mutex::default(),
            hands: Hands::new(client.clone(), recorder.clone()),
            looks: Mutex::default(),
            retries: Retries::default(),
            unreadable: Unreadable::with_events(recorder.clone(), metrics.clone()),
            recorder,
            client,
            own,
            metrics,
            news,
        }
    }

    fn watch<K>(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        config: watcher::Config,
        writer: Writer<K>,
        news: impl Fn(&K) -> News + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api: Api<DeserializeGuard<K>> = Api::all(self.client.clone());
        let controller = self.clone();
        let unreadable = self.unreadable.clone();
        tasks.spawn(watch::watch(api, config, unreadable, writer, move |change| {
            let (Change::Applied { object, .. } | Change::Deleted(object)) = change;
            controller.hear(news(&object));
        }));
    }

    fn hear(&self, news: News) {
        // During a stop nobody receives any more.
        let _ = self.news.send(news);
    }

    pub(super) fn lock_findings(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<String, Finding>>> {
        // Nothing panics while it holds the lock, and the map stays consistent after any panic.
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_refusals(&self) -> MutexGuard<'_, Refusals> {
        // See above.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_looks(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        // See above.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work_for_ever(self: Arc<Self>, wakes: mpsc::UnboundedReceiver<ObjectRef<NamespaceMeta>>) {
        let store = self.stores.namespaces.clone();
        let work = |namespace: Arc<NamespaceMeta>, controller: Arc<Self>| {
            Box::pin(async move { Ok::<_, std::convert::Infallible>(controller.work(&namespace).await) })
        };
        let never = |_: Arc<NamespaceMeta>, error: &std::convert::Infallible, _: Arc<Self>| match *error {};
        let queue = wakes.map(Ok::<_, std::convert::Infallible>);
        let config = Config::default().concurrency(CONCURRENCY);
        applier(work, never, self.clone(), store, queue, config).for_each(|_| std::future::ready(())).await;
    }

    /// Reconciles a namespace.
    async fn work(&self, namespace: &NamespaceMeta) -> Action {
        let started = Instant::now();
        let name = namespace.name_any();
        if namespace.metadata.deletion_timestamp.is_some() {
            self.lock_findings().remove(&name);
            self.lock_looks().remove(&name);
            return Action::await_change();
        }
        let planned = self.plan.load_full();
        let shares = planned.namespaces.get(&name).map_or(&[][..], Vec::as_slice);
        let activity = self.see_pods(namespace, shares, Timestamp::now()).await;
        let mut looked = if activity.keeps {
            let is_there = |rule: &Rule| {
                let instance = ObjectRef::new(rule.binding_name()).within(&name);
                self.stores.instances.get(&instance).is_some_and(|it| owner(it.as_ref()) == rule.name())
            };
            self.look(namespace, &kept(shares, is_there), &planned)
        } else {
            self.look(namespace, shares, &planned)
        };
        looked.again = looked.again.into_iter().chain(activity.again).min();
        let has_failed = self.carry_out(namespace, &mut looked).await;
        self.found(namespace, looked.findings).await;
        self.metrics.reconciled("Namespace", started.elapsed(), has_failed);
        let uid = namespace.uid().unwrap_or_default();
        if has_failed {
            return Action::requeue(self.retries.next(&uid, None));
        }
        self.retries.forget(&uid);
        looked.again.map_or_else(Action::await_change, |at| Action::requeue(until(at)))
    }

    fn look(&self, namespace: &NamespaceMeta, shares: &[Share], planned: &Plan) -> Look {
        let name = namespace.name_any();
        let is_frozen = |rule: &str| planned.frozen.contains(&(name.clone(), rule.to_owned()));
        let instances = self.stores.instances.state_filter(|instance| {
            instance.metadata.namespace.as_ref() == Some(&name) && !is_frozen(owner(instance))
        });
        let bindings = self.stores.bindings.state_filter(|binding| {
            binding.metadata.namespace.as_ref() == Some(&name) && !is_frozen(owner(binding))
        });
        let graces = self.graces.load();
        look(&Seen {
            namespace: &namespace.metadata,
            shares,
            instances: &instances,
            bindings: &bindings,
            grace: &|rule| graces.get(rule).copied(),
            unread: &planned.unread,
            now: Timestamp::now(),
        })
    }

    /// Carries out the steps. If a step of a NamespaceBinding fails, its later steps are skipped, but not those of
    /// other NamespaceBindings. Returns whether any step must be retried.
    async fn carry_out(&self, namespace: &NamespaceMeta, looked: &mut Look) -> bool {
        let name = namespace.name_any();
        let mut failed = HashSet::new();
        for step in &looked.steps {
            // The instance may exist and belong to another user, so no binding is created for it.
            if failed.contains(step.rule.as_str()) {
                continue;
            }
            let done = self.hands.carry_out(&name, step).await;
            self.note_refusal(&name, step, done.as_ref().err());
            if let Err(error) = done {
                debug!(namespace = name, rule = step.rule, %error, "a step failed; retrying");
                looked.findings.entry(step.rule.clone()).or_default().problem = Some(error.problem());
                failed.insert(step.rule.as_str());
            }
        }
        let mut has_failed = !failed.is_empty();
        if let Some(stamp) = looked.stamp.take()
            && let Err(error) = self.hands.stamp(namespace, stamp).await
        {
            warn!(
                namespace = name,
                error = explain(&error),
                "cannot write the default for pods to the Namespace"
            );
            has_failed = true;
        }
        has_failed
    }

    /// Records whether an instance can be created. One that cannot releases its slot, so everything is decided again.
    fn note_refusal(&self, namespace: &str, step: &Step, error: Option<&StepError>) {
        if !matches!(step.change, StepChange::Make(_)) {
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
                if known.is_none_or(|since| turn_is_over(since, now)) {
                    self.lock_refusals().insert(key, now);
                    self.hear(News::Rules);
                }
            }
            Some(_) => {}
        }
    }

    /// Stores the findings and records events for the namespace's users about new ones.
    async fn found(&self, namespace: &NamespaceMeta, findings: BTreeMap<String, Finding>) {
        let name = namespace.name_any();
        let before = {
            let mut all = self.lock_findings();
            if findings.is_empty() { all.remove(&name) } else { all.insert(name.clone(), findings.clone()) }
        };
        let before = before.unwrap_or_default();
        if before == findings {
            return;
        }
        self.hear(News::Report);
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
            info!(namespace = name, rule, reason, "a namespace does not have what it is to have");
        }
    }
}

pub(super) fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}
