//! Reconciles brokers of either scope: reads a broker's catalog (`sync` writes the classes and plans) and deletes the
//! classes and plans with the broker (`deletion`).

mod deletion;
mod sync;
mod withdrawn;

use std::{sync::Arc, time::Duration};

use kube::ResourceExt as _;
use serde_json::json;

use self::sync::Written;
use super::{Next, ReconcileError, has_finalizer, now, patch, status, with_finalizer};
use crate::{
    apis::servicecatalog::{
        ConditionType, ServiceBrokerStatus, broker::RelistBehavior, reasons, scope::BrokerObject,
    },
    catalog::{
        client::ClientError,
        connections::BrokerError,
        context::{Context, NamespaceState},
        scopes::BrokerKind,
    },
    k8s::events::Event,
};

/// The interval between reads of a catalog, unless the broker's `relistDuration` sets another. service-catalog waits
/// a day; reading a catalog is one small request, and users expect a new plan to appear soon.
const RELIST: Duration = Duration::from_mins(15);
/// The minimum of `relistDuration`.
const SHORTEST_RELIST: Duration = Duration::from_secs(10);
/// The shortest and longest wait between retries while a catalog cannot be read. A broker that has just started is
/// found within a second, and a broker that is gone for good causes little load.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(3));
/// The wait for a namespace that the watch has not seen yet.
const UNKNOWN_NAMESPACE_WAIT: Duration = Duration::from_secs(1);
/// How long a failing broker is retried with back-off before it counts as failed.
const RETRY_DEADLINE: Duration = Duration::from_hours(7 * 24);
/// How many skipped entries a message names.
const MAX_LISTED_ENTRIES: usize = 5;
/// Reconciles a broker.
pub(in crate::catalog) async fn reconcile<B: BrokerKind>(
    broker: Arc<B>,
    context: Arc<Context>,
) -> Result<Next, ReconcileError> {
    let namespace = broker.namespace();
    let api = B::api(context.client.clone(), namespace.as_deref());
    if broker.is_being_deleted() {
        return deletion::finish(&api, broker.as_ref(), &context).await;
    }
    match namespace.as_deref().map(|name| context.namespace(name)) {
        Some(NamespaceState::Unknown) => return Ok(Next::After(UNKNOWN_NAMESPACE_WAIT)),
        Some(NamespaceState::Terminating { .. }) => {
            return deletion::start_in_terminating_namespace(&api, broker.as_ref(), &context).await;
        }
        Some(NamespaceState::Active { .. }) | None => {}
    }
    withdrawn::delete_unused(broker.as_ref(), &context).await?;
    let old = broker.status().cloned().unwrap_or_default();
    let generation = broker.meta().generation.unwrap_or_default();
    let is_read = old.conditions.is_true(ConditionType::Ready) && old.reconciled_generation == generation;
    if is_read && context.connections.is_approved(broker.as_ref()).await {
        match until_relist(broker.as_ref()) {
            None => return Ok(Next::AwaitChange),
            Some(wait) if !wait.is_zero() => return Ok(Next::After(wait)),
            Some(_) => {}
        }
    }
    let mut broker = (*broker).clone();
    if broker.status().is_none() && !has_finalizer(&broker) {
        broker = patch(&context, &api, &broker, json!({"metadata": {"finalizers": with_finalizer(&broker)}}))
            .await?;
    }
    let mut new = old.clone();
    new.url = Some(broker.common().url.shown());
    let next = match read(&broker, &context).await {
        Ok(Written { left_out, is_anything_withdrawn }) => {
            let (reason, message) = catalog_condition(&left_out);
            status::set_ready(&mut new, true, reason, &message);
            if !left_out.is_empty() && !is_reported(&old, &message) {
                let event = Event::warning("Reconcile", reason, message);
                context.recorder.record(&broker.object_ref(&()), &event).await;
            }
            new.reconciled_generation = generation;
            new.last_catalog_retrieval_time = Some(now());
            new.operation_start_time = None;
            match broker.common().relist_behavior {
                _ if is_anything_withdrawn => Next::After(withdrawn::GRACE),
                RelistBehavior::Duration => Next::After(relist(&broker)),
                RelistBehavior::Manual => Next::AwaitChange,
            }
        }
        Err((reason, message)) => {
            if old.reconciled_generation != generation && old.conditions.is_true(ConditionType::Ready) {
                new.operation_start_time = None;
            }
            let since = status::start(&mut new);
            let elapsed = Duration::try_from(now().0.duration_since(since.0)).unwrap_or_default();
            set_failed_reading(&mut new, reason, message, elapsed);
            if elapsed < RETRY_DEADLINE {
                Next::RetryAfter((elapsed / 30).clamp(RETRY.0, RETRY.1))
            } else {
                Next::RetryAfter(relist(&broker))
            }
        }
    };
    report_new_failure(&context, &broker, &old, &new).await;
    status::write(&context, &api, &broker, &old, new).await?;
    Ok(next)
}

/// Sets the conditions after the catalog could not be read for some time.
fn set_failed_reading(
    status: &mut ServiceBrokerStatus,
    reason: &'static str,
    message: String,
    elapsed: Duration,
) {
    let now = now().0;
    status.conditions.set(ConditionType::Ready, false, reason, message, now);
    if elapsed < RETRY_DEADLINE {
        status.conditions.remove(ConditionType::Failed);
    } else {
        let reason = reasons::ERROR_RECONCILIATION_RETRY_TIMEOUT;
        let message = "The catalog could not be read for seven days; bindery now tries at the relist interval only. \
            To try at once, increase spec.relistRequests";
        status.conditions.set(ConditionType::Failed, true, reason, message, now);
    }
}

/// Records an event when `Failed` becomes true.
async fn report_new_failure<B: BrokerKind>(
    context: &Context,
    broker: &B,
    old: &ServiceBrokerStatus,
    new: &ServiceBrokerStatus,
) {
    let failed = new.conditions.get(ConditionType::Failed);
    if let Some(failed) = failed.filter(|_| !old.conditions.is_true(ConditionType::Failed)) {
        let reason = reasons::ERROR_RECONCILIATION_RETRY_TIMEOUT;
        let event = Event::warning("Reconcile", reason, failed.message.clone());
        context.recorder.record(&broker.object_ref(&()), &event).await;
    }
}

/// The condition's reason and message after the catalog was read.
fn catalog_condition(left_out: &[String]) -> (&'static str, String) {
    if left_out.is_empty() {
        return (reasons::FETCHED_CATALOG, "Successfully fetched catalog entries from broker.".to_owned());
    }
    let shown = left_out.iter().take(MAX_LISTED_ENTRIES).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = match left_out.len().saturating_sub(MAX_LISTED_ENTRIES) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message = format!(
        "The catalog was read, but these entries cannot be used: {shown}{more}; ask the broker's maintainers to \
        correct them"
    );
    (reasons::FETCHED_CATALOG_IN_PART, message)
}

fn is_reported(status: &ServiceBrokerStatus, message: &str) -> bool {
    status.conditions.get(ConditionType::Ready).is_some_and(|ready| ready.message == message)
}

/// Reads the catalog and writes its objects. The error is the condition's reason and message.
async fn read<B: BrokerKind>(broker: &B, context: &Context) -> Result<Written, (&'static str, String)> {
    let fetched = async {
        let client = context.connections.of(broker).await?;
        Ok::<_, BrokerError>(client.catalog().await?)
    };
    let offers = fetched.await.map_err(|error| {
        if matches!(error.client(), Some(ClientError::Unauthorized { .. })) {
            context.connections.forget(&broker.key());
        }
        match error {
            BrokerError::Credentials(message) => (reasons::ERROR_GETTING_AUTH_CREDENTIALS, message),
            BrokerError::NotApproved(message) => (reasons::SECRET_NOT_APPROVED, message),
            BrokerError::Client(error) => {
                (reasons::ERROR_FETCHING_CATALOG, format!("Error getting broker catalog: {error}"))
            }
        }
    })?;
    let synced = sync::write(broker, offers, context).await;
    synced.map_err(|error| {
        (reasons::ERROR_SYNCING_CATALOG, format!("Error syncing catalog from broker: {error}"))
    })
}

/// The time until the next read of the catalog, or `None` if it is read only on request.
fn until_relist(broker: &dyn BrokerObject) -> Option<Duration> {
    if broker.common().relist_behavior == RelistBehavior::Manual {
        return None;
    }
    let last = broker.status()?.last_catalog_retrieval_time.as_ref()?;
    let elapsed = Duration::try_from(now().0.duration_since(last.0)).unwrap_or_default();
    Some(relist(broker).saturating_sub(elapsed))
}

fn relist(broker: &dyn BrokerObject) -> Duration {
    // The API server validates the duration.
    let given = broker.common().relist_duration.as_ref();
    let given = given.and_then(|text| text.parse::<kube::core::Duration>().ok());
    given.map_or(RELIST, |given| Duration::from(given).max(SHORTEST_RELIST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::servicecatalog::{ClusterServiceBroker, ClusterServiceBrokerSpec};

    #[test]
    fn only_a_few_skipped_entries_are_named() {
        let left_out: Vec<_> = (0..7).map(|number| format!("mistake {number}")).collect();
        let (reason, message) = catalog_condition(&left_out);
        assert_eq!(reason, "FetchedCatalogInPart");
        assert!(message.contains("mistake 4; and 2 more") && !message.contains("mistake 5"), "{message}");
        assert_eq!(catalog_condition(&[]).0, "FetchedCatalog");
    }

    #[test]
    fn a_broker_that_fails_for_a_week_is_failed_until_it_is_read() {
        let failing = |status: &mut ServiceBrokerStatus, elapsed| {
            set_failed_reading(status, reasons::ERROR_FETCHING_CATALOG, "away".to_owned(), elapsed);
            status.conditions.last_state()
        };
        let mut status = ServiceBrokerStatus::default();
        let minute = Duration::from_mins(1);
        assert_eq!(failing(&mut status, Duration::from_hours(7 * 24 - 1)), "ErrorFetchingCatalog");
        assert_eq!(failing(&mut status, RETRY_DEADLINE), "Failed");
        let failed = status.conditions.get(ConditionType::Failed).cloned().unwrap();
        assert_eq!(failed.reason, "ErrorReconciliationRetryTimeout");
        failing(&mut status, RETRY_DEADLINE + minute);
        assert_eq!(status.conditions.get(ConditionType::Failed), Some(&failed), "its time stays");
        status::set_ready(&mut status, true, reasons::FETCHED_CATALOG, "");
        assert_eq!(status.conditions.last_state(), "Ready");
    }

    #[test]
    fn catalogs_are_read_every_fifteen_minutes_by_default() {
        let mut broker = ClusterServiceBroker::new("b", ClusterServiceBrokerSpec::default());
        assert_eq!(relist(&broker), RELIST);
        broker.spec.common.relist_duration = Some("1h30m".to_owned());
        assert_eq!(relist(&broker), Duration::from_mins(90));
        broker.spec.common.relist_duration = Some("1s".to_owned());
        assert_eq!(relist(&broker), SHORTEST_RELIST);
    }
}
