//! Deletes a binding at the broker, or polls its deletion. The steps are the same when a ServiceBinding is deleted, when a failed
//! bind is cleaned up, and when the object of an ExternalResource is gone.

use super::delete_external::{Begun, Released, connect, key_of_binding, refused};
use crate::{
    apis::servicecatalog::ExternalResource,
    catalog::{
        client::{BrokerClient, ClientError, Identity, InstanceKey, Progress},
        connections::BrokerError,
        context::Context,
    },
    osb::{BindingId, Operation, OperationState},
};

/// Deletes a binding, or polls its deletion.
pub(super) async fn step(
    context: &Context,
    external_resource: &ExternalResource,
    begun: Begun,
    identity: Option<&Identity>,
) -> Result<Released, BrokerError> {
    let deletion = Deletion {
        client: &*connect(context, external_resource).await?,
        key: key_of_binding(context, external_resource),
        id: external_resource.spec.binding_id.as_deref().unwrap_or_default().into(),
        identity,
    };
    let outcome = match begun {
        None => deletion.request().await,
        Some(operation) => deletion.poll(operation).await,
    };
    outcome.map_err(|error| refused(context, external_resource, error))
}

/// Deletes a binding that must be gone before the next step. While the broker is still deleting, this fails.
pub(super) async fn at_once(
    context: &Context,
    external_resource: &ExternalResource,
) -> Result<(), BrokerError> {
    match step(context, external_resource, None, None).await? {
        Released::Done => Ok(()),
        Released::InProgress { .. } | Released::Failed(_) => Err(ClientError::Unfinished.into()),
    }
}

struct Deletion<'a> {
    client: &'a BrokerClient,
    key: InstanceKey,
    id: BindingId,
    identity: Option<&'a Identity>,
}

impl Deletion<'_> {
    async fn request(&self) -> Result<Released, ClientError> {
        Ok(match self.client.unbind(&self.key, &self.id, self.identity).await? {
            Progress::Done => Released::Done,
            Progress::InProgress(operation) => Released::InProgress {
                operation: operation.map(|operation| operation.to_string()),
                wait: None,
            },
        })
    }

    async fn poll(&self, operation: Option<Operation>) -> Result<Released, ClientError> {
        let polled =
            self.client.binding_last_operation(&self.key, &self.id, operation.as_ref(), self.identity).await;
        let polled = match polled {
            // The broker does not know the operation any more.
            Err(ClientError::Rejected { status: 404, .. }) => return self.request().await,
            polled => polled?,
        };
        let Some(last) = polled.operation else { return Ok(Released::Done) };
        match last.state {
            // The operation that succeeded may be the creation, because the status that names it can be written by
            // users. A further request confirms that the broker holds nothing.
            OperationState::Succeeded => self.request().await,
            OperationState::InProgress => Ok(Released::InProgress {
                operation: operation.map(|operation| operation.to_string()),
                wait: polled.retry_after,
            }),
            OperationState::Failed => Ok(Released::Failed(
                last.description.unwrap_or_else(|| "without a description; see the broker's log".to_owned()),
            )),
        }
    }
}
