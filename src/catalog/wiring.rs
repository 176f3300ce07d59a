//! Connects watches, caches, queues and reconcilers, and runs them as tasks that end when they are dropped.

use std::{fmt::Debug, sync::Arc};

use futures::channel::mpsc::unbounded;
use kube::{
    Api, Client, Resource,
    core::DeserializeGuard,
    runtime::{
        reflector::{self, Store, store::Writer},
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
};
use crate::{
    bindings::LostSecrets,
    k8s::watch::{self, Change},
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
    let (brokers, broker_writer) = reflector::store();
    let (classes, class_writer) = reflector::store();
    let (plans, plan_writer) = reflector::store();
    let (instances, instance_writer) = reflector::store();
    let (bindings, binding_writer) = reflector::store();
    let (external_resources, external_resource_writer) = reflector::store();
    let (namespaces, namespace_writer) = reflector::store();
    let stores = Stores { brokers, classes, plans, instances, bindings, external_resources, namespaces };
    let context = Arc::new(Context::new(client, stores, metrics, cluster_id, settings.approvals));

    let (broker_queue, broker_receiver) = unbounded();
    let (instance_queue, instance_receiver) = unbounded();
    let (binding_queue, binding_receiver) = unbounded();
    let (external_resource_queue, external_resource_receiver) = unbounded();
    let queues = Queues {
        brokers: broker_queue,
        instances: instance_queue,
        bindings: binding_queue,
        external_resources: external_resource_queue,
    };

    let mut watches = JoinSet::new();
    let mut watching = Watching { watches: &mut watches, context: &context, queues: &queues };
    watching.start(broker_writer, Queues::broker);
    watching.start(class_writer, Queues::class);
    watching.start(plan_writer, Queues::plan);
    watching.start(instance_writer, Queues::instance);
    watching.start(binding_writer, Queues::binding);
    watching.start(external_resource_writer, Queues::external_resource);
    watching.start(namespace_writer, Queues::namespace);

    watches.spawn(look_for_lost(context.clone(), queues.clone(), settings.lost_secrets));
    let mut tasks = Tasks { context, synced: CancellationToken::new(), watches, reconcilers: JoinSet::new() };
    tasks.await_stores();
    tasks.reconcile(|stores| &stores.brokers, broker_receiver, stop, broker::reconcile);
    tasks.reconcile(|stores| &stores.instances, instance_receiver, stop, instance::reconcile);
    tasks.reconcile(|stores| &stores.bindings, binding_receiver, stop, binding::reconcile);
    tasks.reconcile(
        |stores| &stores.external_resources,
        external_resource_receiver,
        stop,
        external_resource::reconcile,
    );
    tasks
}

/// Enqueues bindings whose Secrets are reported as missing; never returns.
async fn look_for_lost(context: Arc<Context>, queues: Queues, lost_secrets: LostSecrets) {
    loop {
        for (namespace, binding) in lost_secrets.next().await {
            queues.lost(&context, &namespace, &binding);
        }
    }
}

/// The parameters of a watch.
struct Watching<'a> {
    watches: &'a mut JoinSet<()>,
    context: &'a Arc<Context>,
    queues: &'a Queues,
}

impl Watching<'_> {
    fn start<K>(&mut self, writer: Writer<K>, tell: fn(&Queues, &Context, &Change<K>))
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api: Api<DeserializeGuard<K>> = Api::all(self.context.client.clone());
        let (context, queues) = (self.context.clone(), self.queues.clone());
        let tell = move |change| tell(&queues, &context, &change);
        let unreadable = self.context.unreadable.clone();
        self.watches.spawn(watch::watch(api, watcher::Config::default(), unreadable, writer, tell));
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

    fn reconcile<K, Work>(
        &mut self,
        store: fn(&Stores) -> &Store<K>,
        queue: reconcile::Queue<K>,
        stop: &CancellationToken,
        work: fn(Arc<K>, Arc<Context>) -> Work,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
        Work: Future<Output = Result<reconcile::Next, reconcile::ReconcileError>> + Send + 'static,
    {
        let (context, stop, synced) = (self.context.clone(), stop.clone(), self.synced.clone());
        let store = store(&context.stores).clone();
        self.reconcilers.spawn(async move {
            if stop.run_until_cancelled(synced.cancelled()).await.is_none() {
                return;
            }
            reconcile::run(store, queue, context, stop, work).await;
        });
    }
}
