//! The requests to a broker about the credentials of one binding, and what the answers mean.

use std::time::Duration;

use serde::Serialize;

use super::{
    NotBound, Remedy,
    broker_errors::{OTHER_PARAMETERS, condition_of},
    clear_operation, orphans,
    parameters::are_in_force,
    request::Request,
};
use crate::{
    apis::servicecatalog::{ServiceBindingStatus, reasons, scope::BrokerObject},
    catalog::{
        client::{Bound, BrokerClient, ClientError, Identity, InstanceKey},
        connections::BrokerError,
        reconcile::{now, polling::poll_interval},
    },
    osb::{BindRequest, BindResponse, BindingId, Operation, OperationState, RotateRequest},
};

/// The wait before a bind is repeated after its operation has ended.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const IN_PROGRESS: &str = "The binding is being created asynchronously";

/// What all requests about a binding have in common.
pub(super) struct Conversation<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) broker: &'a dyn BrokerObject,
    /// The instance. An update may have changed its plan since the binding was made.
    pub(super) key: InstanceKey,
    pub(super) id: BindingId,
    pub(super) identity: Option<Identity>,
    /// Whether the credentials replace others, which stay in use until then.
    pub(super) is_rotation: bool,
}

impl Conversation<'_> {
    /// Asks the broker to create or repeat the credentials.
    pub(super) async fn bind(
        &self,
        body: BindRequest,
        new: &mut ServiceBindingStatus,
    ) -> Result<BindResponse, NotBound> {
        if !are_in_force(self.request.parameters, new) {
            return self.fetch_unchanged().await;
        }
        self.ask(&body, new).await
    }

    /// Asks the broker for credentials that replace others. It copies the parameters of those.
    pub(super) async fn succeed(
        &self,
        predecessor: &str,
        new: &mut ServiceBindingStatus,
    ) -> Result<BindResponse, NotBound> {
        self.ask(&RotateRequest { predecessor_binding_id: predecessor.into() }, new).await
    }

    /// Asks again for credentials that have replaced others.
    pub(super) async fn repeat_rotation(
        &self,
        predecessor: &str,
        new: &mut ServiceBindingStatus,
    ) -> Result<BindResponse, NotBound> {
        // A broker may refuse to repeat the request once the predecessor is deleted; one that has lost the credentials may create
        // new ones.
        if self.is_retrievable() {
            match self.fetch().await {
                Err(BrokerError::Client(ClientError::Rejected { status: 404, .. })) => {}
                fetched => return self.complete(fetched.map_err(|error| self.condition_of(error))?),
            }
        }
        self.succeed(predecessor, new).await
    }

    async fn ask(
        &self,
        body: &(impl Serialize + Sync),
        new: &mut ServiceBindingStatus,
    ) -> Result<BindResponse, NotBound> {
        let asked = async {
            let client = self.client().await?;
            Ok::<_, BrokerError>(
                client.bind(&self.key.instance, &self.id, body, self.identity.as_ref()).await?,
            )
        };
        match asked.await {
            Ok(Bound::InProgress(operation)) => {
                new.async_op_in_progress = true;
                new.last_operation = operation.map(|operation| operation.to_string());
                new.polling_start_time.get_or_insert_with(now);
                Err(in_progress(new, None, None))
            }
            Ok(Bound::Done(response)) if response.gives_something() => Ok(*response),
            Ok(Bound::Done(_)) if self.is_retrievable() => self
                .fetch()
                .await
                .map_err(|error| self.condition_of(error))
                .and_then(|response| self.complete(response)),
            Ok(Bound::Done(response)) => self.complete(*response),
            Err(error) => {
                let is_uncertain = error.client().is_some_and(ClientError::needs_orphan_mitigation);
                let failure = self.condition_of(error);
                Err(if is_uncertain { orphans::start(new, failure) } else { failure })
            }
        }
    }

    /// Polls an asynchronous bind; fetches the credentials when it has succeeded.
    pub(super) async fn poll(&self, new: &mut ServiceBindingStatus) -> Result<BindResponse, NotBound> {
        let operation = new.last_operation.clone().map(Operation::from);
        let asked = async {
            let client = self.client().await?;
            let (key, identity) = (&self.key, self.identity.as_ref());
            Ok::<_, BrokerError>(
                client.binding_last_operation(key, &self.id, operation.as_ref(), identity).await?,
            )
        };
        let polled = match asked.await {
            Ok(polled) => polled,
            Err(BrokerError::Client(ClientError::Rejected { status: 404, .. })) => {
                return Err(ask_again(new));
            }
            // As in the old Service Catalog, a broker answers so when an operation has failed for good.
            Err(BrokerError::Client(error)) if error.is_terminal() => {
                return Err(self.failed(new, &error.to_string()));
            }
            Err(error) => {
                let message = format!("Error polling last operation: {error}");
                return Err(NotBound::new(reasons::ERROR_POLLING_LAST_OPERATION, message, Remedy::Retry));
            }
        };
        let Some(last) = polled.operation else { return Err(ask_again(new)) };
        match last.state {
            OperationState::InProgress => Err(in_progress(new, last.description, polled.retry_after)),
            OperationState::Failed => {
                let about = last.description.unwrap_or_else(|| "the broker gives no reason".to_owned());
                Err(self.failed(new, &about))
            }
            // A repeated bind returns the credentials of a service that does not let bindings be fetched.
            OperationState::Succeeded if !self.is_retrievable() => Err(ask_again(new)),
            OperationState::Succeeded => {
                let fetched = self.fetch().await.map_err(|error| {
                    let message = format!("The binding was created, but it could not be fetched: {error}");
                    NotBound::new(reasons::FETCHING_BINDING_FAILED, message, Remedy::Retry)
                })?;
                let response = self.complete(fetched)?;
                clear_operation(new);
                Ok(response)
            }
        }
    }

    /// Fetches the credentials although the parameters for a request are no longer those of the credentials.
    async fn fetch_unchanged(&self) -> Result<BindResponse, NotBound> {
        if self.is_retrievable() {
            let fetched = self.fetch().await.map_err(|error| self.condition_of(error))?;
            return self.complete(fetched);
        }
        let message = "the Secrets of spec.parametersFrom have changed since the credentials were made, so the broker cannot be \
            asked for them again; restore the Secrets, or delete the binding and create it again";
        Err(NotBound::new(reasons::ERROR_WITH_PARAMETERS, message, Remedy::Retry))
    }

    async fn fetch(&self) -> Result<BindResponse, BrokerError> {
        Ok(self.client().await?.binding(&self.key, &self.id, self.identity.as_ref()).await?)
    }

    /// The answer if it has a result.
    fn complete(&self, response: BindResponse) -> Result<BindResponse, NotBound> {
        if response.gives_something() {
            return Ok(response);
        }
        let also = if self.is_retrievable() {
            "neither to the bind request nor to a fetch"
        } else {
            "and the service does not allow fetching them"
        };
        let message =
            format!("the broker's answer has no credentials, {also}; delete the binding and create it again");
        Err(NotBound::new(reasons::BIND_RESULT_MISSING, message, Remedy::Retry))
    }

    /// The broker has failed for good to create the credentials.
    fn failed(&self, new: &mut ServiceBindingStatus, about: &str) -> NotBound {
        let about = self.request.parameters.redacted(about);
        let remedy = if self.is_rotation { "" } else { "; delete the binding and create it again" };
        let message = format!("Error binding: {about}{remedy}");
        orphans::start(new, NotBound::new(reasons::BIND_CALL_FAILED, message, Remedy::Never))
    }

    fn condition_of(&self, error: BrokerError) -> NotBound {
        let mut not_bound = condition_of(self.request.context, &self.broker.key(), error);
        // A broker may quote a parameter that it refuses.
        not_bound.message = self.request.parameters.redacted(&not_bound.message);
        if self.is_rotation
            && let Some(message) = not_bound.message.strip_suffix(OTHER_PARAMETERS)
        {
            not_bound.message = message.to_owned();
        }
        not_bound
    }

    fn is_retrievable(&self) -> bool {
        self.request.offer.class.common().binding_retrievable
    }

    async fn client(&self) -> Result<std::sync::Arc<BrokerClient>, BrokerError> {
        self.request.context.connections.of(self.broker).await
    }
}

/// The broker does not know the operation, or cannot show its result.
fn ask_again(new: &mut ServiceBindingStatus) -> NotBound {
    clear_operation(new);
    NotBound::new(reasons::BINDING, IN_PROGRESS, Remedy::After(ASK_AGAIN))
}

fn in_progress(
    new: &ServiceBindingStatus,
    description: Option<String>,
    retry_after: Option<Duration>,
) -> NotBound {
    let about = description.map(|text| format!(" ({text})")).unwrap_or_default();
    let wait = poll_interval(new.operation_start_time.as_ref(), retry_after);
    NotBound::new(reasons::BINDING, format!("{IN_PROGRESS}{about}"), Remedy::After(wait))
}
