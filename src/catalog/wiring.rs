//! Connects watches, caches, queues and reconcilers, and runs them as tasks that end when they are dropped.

use std::{fmt::Debug, sync::Arc};

use kube::{
    Api, Client, Resource,
    runtime::{
        reflector::{self, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    CatalogSettings,
    context::{Context, Stores},
    enqueue::Queues,
    reconcile::{self, binding, broker, external_resource, instance},
    work_queue::WorkQueue,
};
use crate::{
    apis::servicecatalog::{
        ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ExternalResource, ServiceBinding,
        ServiceBroker, ServiceClass, ServiceInstance, ServicePlan,
    },
    bindings::LostSecrets,
    contract::external_resource::NOT_OF_STACKS,
    k8s::{
        cache,
        guarded::Guarded,
        namespaces::NamespaceMeta,
        watch::{self, CacheReader, CacheWriter, Change},
    },
    telemetry::Metrics,
};

/// All running tasks.
pub(super) struct Tasks {
    context: Arc<Context>,
    /// Cancelled once every kind has been listed. Only one task waits for the stores, because a store wakes only its
    /// latest waiter.
    synced: CancellationToken,
    watches: JoinSet<()>,
    reconcilers: JoinSet<()>,
}

impl Tasks {
    /// Waits until every kind has been listed once.
    pub(super) async fn synced(&self) {
        self.synced.cancelled().await;
    }

    /// Waits until a task ends unexpectedly, and returns the reason.
    pub(super) async fn ended(&mut self) -> String {
        let ended: Option<Result<(), JoinError>> = tokio::select! {
            ended = self.watches.join_next() => ended,
            ended = self.reconcilers.join_next() => ended,
        };
        match ended {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) | None => "without an error".to_owned(),
        }
    }

    /// Waits after the stop until running reconciles are done.
    pub(super) async fn finished(&mut self) {
        while self.reconcilers.join_next().await.is_some() {}
    }
}

/// Starts all watches and reconcilers. Reconcilers begin once all kinds that they read have been listed.
pub(super) fn start(
    client: Client,
    metrics: Arc<Metrics>,
    cluster_id: String,
    settings: CatalogSettings,
    stop: &CancellationToken,
) -> Tasks {
    let (stores, writers) = stores();
    let context = Arc::new(Context::new(client, stores, metrics, cluster_id, &settings));
    let queues = queues();

    let mut watches = JoinSet::new();
    let mut watching = Watching { watches: &mut watches, context: &context, queues: &queues };
    watching.start(writers.cluster_brokers, Queues::broker);
    watching.start(writers.cluster_classes, Queues::class);
    watching.start(writers.cluster_plans, Queues::plan);
    watching.start(writers.brokers, Queues::broker);
    watching.start(writers.classes, Queues::class);
    watching.start(writers.plans, Queues::plan);
    watching.start(writers.instances, Queues::instance);
    watching.start(writers.bindings, Queues::binding);
    let at_brokers = watch::of_all().labels(NOT_OF_STACKS);
    watching.start_of(at_brokers, writers.external_resources, Queues::external_resource);
    watching.start(writers.namespaces, Queues::namespace);

    watches.spawn(look_for_lost(context.clone(), queues.clone(), settings.lost_secrets));
    let mut tasks = Tasks { context, synced: CancellationToken::new(), watches, reconcilers: JoinSet::new() };
    tasks.await_stores();
    tasks.reconcile(|stores| &stores.cluster_brokers, &queues.cluster_brokers, stop, broker::reconcile);
    tasks.reconcile(|stores| &stores.brokers, &queues.brokers, stop, broker::reconcile);
    tasks.reconcile(|stores| &stores.instances, &queues.instances, stop, instance::reconcile);
    tasks.reconcile(|stores| &stores.bindings, &queues.bindings, stop, binding::reconcile);
    let resources = &queues.external_resources;
    tasks.reconcile(|stores| &stores.external_resources, resources, stop, external_resource::reconcile);
    tasks
}

/// The writers of the watch caches.
struct Writers {
    cluster_brokers: Writer<ClusterServiceBroker>,
    cluster_classes: Writer<ClusterServiceClass>,
    cluster_plans: Writer<ClusterServicePlan>,
    brokers: Writer<ServiceBroker>,
    classes: Writer<ServiceClass>,
    plans: Writer<ServicePlan>,
    instances: cache::Writer<ServiceInstance>,
    bindings: cache::Writer<ServiceBinding>,
    external_resources: cache::Writer<ExternalResource>,
    namespaces: Writer<NamespaceMeta>,
}

fn stores() -> (Stores, Writers) {
    let (cluster_brokers, cluster_broker_writer) = reflector::store();
    let (cluster_classes, cluster_class_writer) = reflector::store();
    let (cluster_plans, cluster_plan_writer) = reflector::store();
    let (brokers, broker_writer) = reflector::store();
    let (classes, class_writer) = reflector::store();
    let (plans, plan_writer) = reflector::store();
    let (instances, instance_writer) = cache::cache();
    let (bindings, binding_writer) = cache::cache();
    let (external_resources, external_resource_writer) = cache::cache();
    let (namespaces, namespace_writer) = reflector::store();
    let stores = Stores {
        cluster_brokers,
        cluster_classes,
        cluster_plans,
        brokers,
        classes,
        plans,
        instances,
        bindings,
        external_resources,
        namespaces,
    };
    let writers = Writers {
        cluster_brokers: cluster_broker_writer,
        cluster_classes: cluster_class_writer,
        cluster_plans: cluster_plan_writer,
        brokers: broker_writer,
        classes: class_writer,
        plans: plan_writer,
        instances: instance_writer,
        bindings: binding_writer,
        external_resources: external_resource_writer,
        namespaces: namespace_writer,
    };
    (stores, writers)
}

fn queues() -> Queues {
    Queues {
        cluster_brokers: WorkQueue::default(),
        brokers: WorkQueue::default(),
        instances: WorkQueue::default(),
        bindings: WorkQueue::default(),
        external_resources: WorkQueue::default(),
    }
}

/// Enqueues bindings whose Secrets are reported as missing; never returns.
async fn look_for_lost(context: Arc<Context>, queues: Queues, lost_secrets: LostSecrets) {
    loop {
        for (namespace, binding) in lost_secrets.next().await {
            queues.lost(&context, &namespace, &binding);
        }
    }
}

/// Starts the watches.
struct Watching<'a> {
    watches: &'a mut JoinSet<()>,
    context: &'a Arc<Context>,
    queues: &'a Queues,
}

impl Watching<'_> {
    fn start<K>(&mut self, writer: impl CacheWriter<K> + 'static, tell: fn(&Queues, &Context, &Change<K>))
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.start_of(watch::of_all(), writer, tell);
    }

    /// Watches the objects that `selected` selects.
    fn start_of<K>(
        &mut self,
        selected: watcher::Config,
        writer: impl CacheWriter<K> + 'static,
        tell: fn(&Queues, &Context, &Change<K>),
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api: Api<Guarded<K>> = Api::all(self.context.client.clone());
        let (context, queues) = (self.context.clone(), self.queues.clone());
        let tell = move |change| tell(&queues, &context, &change);
        let unreadable = self.context.unreadable.clone();
        self.watches.spawn(watch::watch(api, selected, unreadable, writer, tell));
    }
}

impl Tasks {
    fn await_stores(&mut self) {
        let (context, synced) = (self.context.clone(), self.synced.clone());
        self.watches.spawn(async move {
            context.stores.synced().await;
            synced.cancel();
            std::future::pending::<()>().await;
        });
    }

    fn reconcile<K, Store, Work>(
        &mut self,
        store: fn(&Stores) -> &Store,
        queue: &WorkQueue<K>,
        stop: &CancellationToken,
        work: fn(Arc<K>, Arc<Context>) -> Work,
    ) where
        K: Resource<DynamicType = ()> + Send + Sync + 'static,
        Store: CacheReader<K> + Sync,
        Work: Future<Output = Result<reconcile::Next, reconcile::ReconcileError>> + Send + 'static,
    {
        let (context, stop, synced) = (self.context.clone(), stop.clone(), self.synced.clone());
        let (store, queue) = (store(&context.stores).clone(), queue.clone());
        self.reconcilers.spawn(async move {
            if stop.run_until_cancelled(synced.cancelled()).await.is_none() {
                return;
            }
            reconcile::run(store, queue, context, stop, work).await;
        });
    }
}
