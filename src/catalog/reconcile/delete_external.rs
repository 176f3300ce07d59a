//! Having a broker delete what it holds: the same steps whether an object is being deleted, a failed creation is
//! undone, or an external resource's object is gone.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::now;
use crate::{
    apis::servicecatalog::ExternalResource,
    catalog::{
        client::{BrokerClient, ClientError, InstanceKey, Progress},
        connections::BrokerError,
        context::Context,
    },
    osb::{Operation, OperationState},
};

/// The shortest and longest time between two questions for an operation.
const POLL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How far the deletion is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// The broker holds nothing any more.
    Done,
    /// The broker is at work, and may ask for a certain wait.
    InProgress { operation: Option<String>, wait: Option<Duration> },
    /// The broker gave up.
    Failed(String),
}

/// The operation that was begun before, if one was: its name, where the broker gave it one.
pub(super) type Begun = Option<Option<Operation>>;

/// How long to wait before an operation is asked for again that runs since then, unless the broker says: a fifth of the
/// time it has taken, so that what takes a second is seen after a second and what takes an hour costs little. A broker that asks for no wait does not get a question
/// after the other.
pub(super) fn poll_wait(since: Option<&Time>, asked_for: Option<Duration>) -> Duration {
    let elapsed =
        since.and_then(|since| Duration::try_from(now().0.duration_since(since.0)).ok()).unwrap_or_default();
    asked_for.map_or((elapsed / 5).clamp(POLL.0, POLL.1), |wait| wait.max(POLL.0))
}

/// The keys of the instance that an external resource is about.
pub(super) fn key(external_resource: &ExternalResource) -> InstanceKey {
    InstanceKey {
        instance: external_resource.spec.instance_id.as_str().into(),
        service: external_resource.spec.service_id.as_str().into(),
        plan: external_resource.spec.plan_id.as_str().into(),
    }
}

/// Has an instance deleted, or asks how far its deletion is.
pub(super) async fn instance(
    context: &Context,
    external_resource: &ExternalResource,
    begun: Begun,
) -> Result<Released, BrokerError> {
    let client = connect(context, external_resource).await?;
    let outcome = match begun {
        None => delete(&client, &key(external_resource)).await,
        Some(operation) => poll(&client, &key(external_resource), operation).await,
    };
    outcome.map_err(|error| refused(context, external_resource, error))
}

/// Has a binding deleted.
pub(super) async fn binding(
    context: &Context,
    external_resource: &ExternalResource,
) -> Result<(), BrokerError> {
    let client = connect(context, external_resource).await?;
    let id = external_resource.spec.binding_id.as_deref().unwrap_or_default();
    client
        .unbind(&key(external_resource), &id.into())
        .await
        .map_err(|error| refused(context, external_resource, error))
}

/// Asks within a time, if there is one: a broker that never answers takes a minute a call. A request that is given up may
/// be carried out all the same; deletions can be asked for any number of times.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    external_resource: &ExternalResource,
    asking: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    let Some(limit) = limit else { return asking.await };
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| {
        let url = external_resource.spec.broker.url.shown();
        let cause = "its namespace waits no longer".to_owned();
        Err(ClientError::Unreachable { url, cause }.into())
    })
}

async fn connect(
    context: &Context,
    external_resource: &ExternalResource,
) -> Result<std::sync::Arc<BrokerClient>, BrokerError> {
    let registered = context.stores.broker(&external_resource.spec.broker.name);
    context.connections.of_external_resource(external_resource, registered.as_deref()).await
}

/// Credentials that are refused are read again the next time. ExternalResources do not keep those of a URL.
fn refused(context: &Context, external_resource: &ExternalResource, error: ClientError) -> BrokerError {
    let name = &external_resource.spec.broker.name;
    if !matches!(error, ClientError::Unauthorized { .. }) {
        return error.into();
    }
    context.connections.forget(name);
    if context.stores.broker(name).is_some() {
        return error.into();
    }
    BrokerError::Credentials(format!(
        "the broker refused the credentials and its ClusterServiceBroker {name:?} is gone; register it again"
    ))
}

async fn delete(client: &BrokerClient, key: &InstanceKey) -> Result<Released, ClientError> {
    Ok(match client.deprovision(key).await? {
        Progress::Done => Released::Done,
        Progress::InProgress(operation) => {
            Released::InProgress { operation: operation.map(|operation| operation.to_string()), wait: None }
        }
    })
}

async fn poll(
    client: &BrokerClient,
    key: &InstanceKey,
    operation: Option<Operation>,
) -> Result<Released, ClientError> {
    let polled = client.last_operation(key, operation.as_ref()).await?;
    let Some(last) = polled.operation else { return Ok(Released::Done) };
    Ok(match last.state {
        // What succeeded may be the creation: a status that users can write says which operation runs. A broker that holds
        // nothing any more confirms it.
        OperationState::Succeeded => delete(client, key).await?,
        OperationState::InProgress => Released::InProgress {
            operation: operation.map(|operation| operation.to_string()),
            wait: polled.retry_after,
        },
        OperationState::Failed => Released::Failed(
            last.description.unwrap_or_else(|| "without a description; see the broker's log".to_owned()),
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    fn external_resource() -> ExternalResource {
        let spec = json!({"kind": "ServiceInstance", "namespace": "feature-x", "name": "db", "uid": "1", "instanceID": "i",
            "serviceID": "s", "planID": "p", "broker": {"name": "bindery", "url": "https://user:secret@broker"}});
        ExternalResource::new("c", serde_json::from_value(spec).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_never_answers_is_given_up_where_a_namespace_waits() {
        let (limit, started) = (Duration::from_secs(30), Instant::now());
        let never = std::future::pending::<Result<(), BrokerError>>();
        let error = within(Some(limit), &external_resource(), never).await.unwrap_err();
        assert_eq!(started.elapsed(), limit);
        assert!(error.client().is_some_and(|error| !error.is_answer()), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        let later = async {
            tokio::time::sleep(2 * limit).await;
            Ok(7)
        };
        assert_eq!(
            within(None, &external_resource(), later).await.unwrap(),
            7,
            "elsewhere it may take its time"
        );
    }

    #[test]
    fn a_broker_is_asked_once_a_second_at_most() {
        let asked_for = |seconds| poll_wait(None, Some(Duration::from_secs(seconds)));
        assert_eq!(asked_for(0), Duration::from_secs(1));
        assert_eq!(asked_for(7), Duration::from_secs(7));
        assert_eq!(asked_for(300), Duration::from_mins(5), "the broker knows best how long it takes");
        assert_eq!(poll_wait(None, None), Duration::from_secs(1));
        let long_ago = Time(now().0 - Duration::from_hours(1));
        assert_eq!(poll_wait(Some(&long_ago), None), Duration::from_secs(30));
    }
}
