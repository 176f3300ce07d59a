//! Deletes at the broker what it holds for an object. The steps are the same when an object is deleted, when a failed
//! creation is rolled back, and when the object of an ExternalResource is gone.

use std::time::Duration;

use kube::runtime::reflector::ObjectRef;

use crate::{
    apis::servicecatalog::{ExternalResource, ExternalResourceKind},
    catalog::{
        client::{BrokerClient, ClientError, Identity, InstanceKey, Progress},
        connections::BrokerError,
        context::Context,
        ledger::external_resource_name,
    },
    osb::{Operation, OperationState},
};

/// The progress of a deletion.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// The broker holds nothing any more.
    Done,
    /// The broker is still deleting. It may ask for a certain wait before the next poll.
    InProgress { operation: Option<String>, wait: Option<Duration> },
    /// The deletion failed at the broker.
    Failed(String),
}

/// An operation that is already running, if there is one. The inner value is its name, if the broker gave it one.
pub(super) type Begun = Option<Option<Operation>>;

/// The keys of the instance to which an ExternalResource belongs.
pub(super) fn key(external_resource: &ExternalResource) -> InstanceKey {
    InstanceKey {
        instance: external_resource.spec.instance_id.as_str().into(),
        service: external_resource.spec.service_id.as_str().into(),
        plan: external_resource.spec.plan_id.as_str().into(),
    }
}

/// The keys of a binding's instance. An update may have changed the plan of the instance since the binding was made.
pub(super) fn key_of_binding(context: &Context, binding: &ExternalResource) -> InstanceKey {
    let name = external_resource_name(ExternalResourceKind::ServiceInstance, &binding.spec.instance_id);
    let instance = context.stores.external_resources.get(&ObjectRef::new(&name));
    key(instance.as_deref().unwrap_or(binding))
}

/// Deletes an instance, or polls its deletion.
pub(super) async fn instance(
    context: &Context,
    external_resource: &ExternalResource,
    begun: Begun,
    identity: Option<&Identity>,
) -> Result<Released, BrokerError> {
    let client = connect(context, external_resource).await?;
    let ask = async |key: &InstanceKey| match &begun {
        None => delete(&client, key, identity).await,
        Some(operation) => poll(&client, key, operation.clone(), identity).await,
    };
    let mut outcome = ask(&key(external_resource)).await;
    // An update whose end bindery has not seen may have changed the plan.
    if let (Err(ClientError::Rejected { status: 400, .. }), Some(plan)) =
        (&outcome, &external_resource.spec.new_plan_id)
    {
        outcome = ask(&InstanceKey { plan: plan.as_str().into(), ..key(external_resource) }).await;
    }
    outcome.map_err(|error| refused(context, external_resource, error))
}

/// Runs a request with a time limit, if there is one: a broker that never answers takes a minute for each call. The
/// broker may still carry out a request that timed out; deletions are idempotent.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    external_resource: &ExternalResource,
    asking: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    let Some(limit) = limit else { return asking.await };
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| {
        let url = external_resource.spec.broker.url.shown();
        let cause = "the namespace's deletion does not wait any longer".to_owned();
        Err(ClientError::Unreachable { url, cause }.into())
    })
}

/// The client for the broker of an ExternalResource.
pub(super) async fn connect(
    context: &Context,
    external_resource: &ExternalResource,
) -> Result<std::sync::Arc<BrokerClient>, BrokerError> {
    let registered = context.stores.broker(&external_resource.spec.broker.key());
    context.connections.of_external_resource(external_resource, registered.as_deref()).await
}

/// The error of a failed request. If the broker refused the credentials, the next attempt reads them again. That cannot
/// work once the broker is gone, because ExternalResources do not store credentials from a URL.
pub(super) fn refused(
    context: &Context,
    external_resource: &ExternalResource,
    error: ClientError,
) -> BrokerError {
    let broker = external_resource.spec.broker.key();
    if !matches!(error, ClientError::Unauthorized { .. }) {
        return error.into();
    }
    context.connections.forget(&broker);
    if context.stores.broker(&broker).is_some() {
        return error.into();
    }
    BrokerError::Credentials(format!(
        "the broker refused the credentials and its {broker} is gone; register it again"
    ))
}

async fn delete(
    client: &BrokerClient,
    key: &InstanceKey,
    identity: Option<&Identity>,
) -> Result<Released, ClientError> {
    Ok(match client.deprovision(key, identity).await? {
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
    identity: Option<&Identity>,
) -> Result<Released, ClientError> {
    let polled = client.last_operation(key, operation.as_ref(), identity).await?;
    let Some(last) = polled.operation else { return Ok(Released::Done) };
    Ok(match last.state {
        // The operation that succeeded may be the creation, because the status that names it can be written by users.
        // A further delete request confirms that the broker holds nothing.
        OperationState::Succeeded => delete(client, key, identity).await?,
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
    async fn a_silent_broker_times_out_while_a_namespace_terminates() {
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
}
