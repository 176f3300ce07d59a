//! Runs a controller for each kind that has a stack.

use std::{convert::Infallible, sync::Arc};

use futures::{StreamExt, TryStreamExt, future::join_all, pin_mut};
use kube::{
    Api, Client,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action, Config},
        reflector::{self, store::Writer},
        watcher,
    },
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    definitions,
    ledger::Ledger,
    reconcile::Operator,
    release::Objects,
    settings::{OperatorSettings, StackEvents},
};
use crate::{
    apis::aws_operator::{AwsObject, Kind},
    contract::aws_operator::ADOPTABLE,
    k8s::{explain_watch, namespaces::NamespaceMeta},
    telemetry::Metrics,
};

/// How many objects of a kind are reconciled concurrently.
const CONCURRENCY: u16 = 8;
/// The prefix of the annotations of AWS Controllers for Kubernetes, which objects inherit from their Namespace.
const ACK_PREFIX: &str = "services.k8s.aws/";

/// A task of the operator ended without having been stopped.
#[derive(Debug, thiserror::Error)]
#[error("a task of the AWS operator ended unexpectedly, which is a defect; report it with the log")]
pub struct OperatorEnded;

/// Runs the operator until `stop`. Only one process of an installation may run it, which the caller ensures.
///
/// # Errors
/// When a task ends unexpectedly.
pub async fn run(
    client: Client,
    settings: OperatorSettings,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), OperatorEnded> {
    if stop.run_until_cancelled(definitions::establish(&client)).await.is_none() {
        return Ok(());
    }
    let (namespaces, writer) = reflector::store();
    let mut tasks = JoinSet::new();
    tasks.spawn(watch_namespaces(client.clone(), writer));
    let (ledger, records) = Ledger::new(&client, &settings.cluster);
    tasks.spawn(Ledger::watch(Api::all(client.clone()), settings.cluster.clone(), records));
    // The first reconcile already needs the Namespace's annotations and the accounts of the stacks.
    let known = async { tokio::join!(namespaces.wait_until_ready(), ledger.wait_until_ready()) };
    if stop.run_until_cancelled(known).await.is_none() {
        return Ok(());
    }
    let (kinds, scope) = (settings.kinds.clone(), settings.namespace.clone());
    let events = settings.events;
    let operator = Arc::new(Operator::new(client.clone(), settings, namespaces, ledger, metrics));
    let mut stores = Vec::new();
    for kind in kinds.into_iter().filter(|kind| kind.has_stack()) {
        let api: Api<AwsObject> = match &scope {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            None => Api::all_with(client.clone(), &kind),
        };
        let controller = Controller::new_with(api, watcher::Config::default(), kind);
        stores.push((kind, controller.store()));
        tasks.spawn(control(controller, kind, operator.clone(), stop.clone()));
    }
    tasks.spawn(hear(operator.clone(), events, stop.clone()));
    tasks.spawn(release(operator, Objects { stores, scope }, stop.clone()));
    match stop.run_until_cancelled(tasks.join_next()).await {
        None => {
            // The watches of Namespaces and of the ledger never end.
            while tasks.len() > 2 {
                tasks.join_next().await;
            }
            Ok(())
        }
        Some(_) if stop.is_cancelled() => Ok(()),
        Some(_) => Err(OperatorEnded),
    }
}

async fn release(operator: Arc<Operator>, objects: Objects, stop: CancellationToken) {
    stop.run_until_cancelled(operator.release_abandoned(objects)).await;
}

/// Receives the events of the stacks of all accounts. Ends only with the operator.
async fn hear(operator: Arc<Operator>, events: StackEvents, stop: CancellationToken) {
    let heard = operator.accounts.with_channels().map(|account| operator.hear(events, account));
    stop.run_until_cancelled(join_all(heard)).await;
    stop.cancelled().await;
}

async fn control(
    controller: Controller<AwsObject>,
    kind: Kind,
    operator: Arc<Operator>,
    stop: CancellationToken,
) {
    let reconcile = move |object: Arc<AwsObject>, operator: Arc<Operator>| async move {
        Ok::<_, Infallible>(operator.reconcile(kind, &object).await)
    };
    let never = |_: Arc<AwsObject>, error: &Infallible, _: Arc<Operator>| -> Action { match *error {} };
    controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(reconcile, never, operator)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// Keeps the cache of Namespaces up to date. Never ends.
async fn watch_namespaces(client: Client, writer: Writer<NamespaceMeta>) {
    let api = Api::all(client);
    let keep = |namespace: &mut NamespaceMeta| {
        let metadata = &mut namespace.metadata;
        (metadata.managed_fields, metadata.labels) = (None, None);
        if let Some(annotations) = &mut metadata.annotations {
            annotations.retain(|name, _| name.starts_with(ACK_PREFIX) || name == ADOPTABLE);
        }
    };
    let events = watcher(api, watcher::Config::default()).modify(keep).default_backoff().reflect(writer);
    let events = events.inspect_err(|error| {
        debug!(error = explain_watch(error), "the watch of Namespaces was interrupted");
    });
    pin_mut!(events);
    while events.next().await.is_some() {}
}
