//! The requests about bindings.

use reqwest::{Method, StatusCode};
use serde::Serialize;

use super::{BrokerClient, ClientError, Identity, InstanceKey, Polled, Progress, request::About};
use crate::osb::{AsyncResponse, BindResponse, BindingId, InstanceId, Operation};

/// The answer to a bind.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// The result.
    Done(Box<BindResponse>),
    /// The broker is still working (202). Poll `binding_last_operation` with this name, then fetch the binding.
    InProgress(Option<Operation>),
}

impl BrokerClient {
    /// `PUT /v2/service_instances/:instance_id/service_bindings/:binding_id`, asynchronously if the broker requires
    /// it. The body is a [`BindRequest`](crate::osb::BindRequest), or a [`RotateRequest`](crate::osb::RotateRequest) for
    /// credentials that replace others.
    pub async fn bind(
        &self,
        instance: &InstanceId,
        binding: &BindingId,
        body: &(impl Serialize + Sync),
        identity: Option<&Identity>,
    ) -> Result<Bound, ClientError> {
        let request = self
            .request(Method::PUT, About::Binding(instance, binding))?
            .accepts_incomplete()
            .json(body)
            .by(identity);
        let answer =
            self.send(request).await?.expect(&[StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED])?;
        if answer.status() == StatusCode::ACCEPTED {
            let response: AsyncResponse = answer.json_or_default()?;
            return Ok(Bound::InProgress(response.operation));
        }
        Ok(Bound::Done(Box::new(answer.json()?)))
    }

    /// `GET /v2/service_instances/:instance_id/service_bindings/:binding_id`, of services whose bindings are
    /// retrievable and after an asynchronous bind.
    pub async fn binding(
        &self,
        key: &InstanceKey,
        binding: &BindingId,
        identity: Option<&Identity>,
    ) -> Result<BindResponse, ClientError> {
        let request = self.request(Method::GET, About::Binding(&key.instance, binding))?.of(key).by(identity);
        self.send(request).await?.expect(&[StatusCode::OK])?.json()
    }

    /// `DELETE /v2/service_instances/:instance_id/service_bindings/:binding_id`, asynchronously if the broker requires
    /// it. An unknown binding (410) counts as success.
    pub async fn unbind(
        &self,
        key: &InstanceKey,
        binding: &BindingId,
        identity: Option<&Identity>,
    ) -> Result<Progress, ClientError> {
        let request = self
            .request(Method::DELETE, About::Binding(&key.instance, binding))?
            .of(key)
            .accepts_incomplete()
            .by(identity);
        self.delete(request).await
    }

    /// `GET /v2/service_instances/:instance_id/service_bindings/:binding_id/last_operation`.
    pub async fn binding_last_operation(
        &self,
        key: &InstanceKey,
        binding: &BindingId,
        operation: Option<&Operation>,
        identity: Option<&Identity>,
    ) -> Result<Polled, ClientError> {
        let request = self.request(Method::GET, About::Binding(&key.instance, binding))?.of(key).by(identity);
        self.poll(request.last_operation(operation)).await
    }
}
