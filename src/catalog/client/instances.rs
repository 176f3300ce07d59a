//! The requests about instances.

use reqwest::{Method, StatusCode};

use super::{
    BrokerClient, ClientError, Identity, InstanceKey, Polled, Progress, Provisioned, request::About,
};
use crate::osb::{InstanceId, Operation, ProvisionRequest, ProvisionResponse, UpdateRequest};

impl BrokerClient {
    /// `PUT /v2/service_instances/:instance_id`, asynchronously if the broker requires it.
    pub async fn provision(
        &self,
        id: &InstanceId,
        body: &ProvisionRequest,
        identity: Option<&Identity>,
    ) -> Result<Provisioned, ClientError> {
        let request =
            self.request(Method::PUT, About::Instance(id))?.accepts_incomplete().json(body).by(identity);
        let answer =
            self.send(request).await?.expect(&[StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED])?;
        let response: ProvisionResponse = answer.json()?;
        Ok(Provisioned {
            progress: answer.progress(response.operation),
            dashboard_url: response.dashboard_url,
        })
    }

    /// `PATCH /v2/service_instances/:instance_id`, asynchronously if the broker requires it. The dashboard's address
    /// is set if the broker has changed it.
    pub async fn update(
        &self,
        id: &InstanceId,
        body: &UpdateRequest,
        identity: Option<&Identity>,
    ) -> Result<Provisioned, ClientError> {
        let request =
            self.request(Method::PATCH, About::Instance(id))?.accepts_incomplete().json(body).by(identity);
        let answer = self.send(request).await?.expect(&[StatusCode::OK, StatusCode::ACCEPTED])?;
        let response: ProvisionResponse = answer.json_or_default()?;
        Ok(Provisioned {
            progress: answer.progress(response.operation),
            dashboard_url: response.dashboard_url,
        })
    }

    /// `DELETE /v2/service_instances/:instance_id`. An unknown instance (410) counts as success.
    pub async fn deprovision(
        &self,
        key: &InstanceKey,
        identity: Option<&Identity>,
    ) -> Result<Progress, ClientError> {
        let request = self
            .request(Method::DELETE, About::Instance(&key.instance))?
            .of(key)
            .accepts_incomplete()
            .by(identity);
        self.delete(request).await
    }

    /// `GET /v2/service_instances/:instance_id/last_operation`.
    pub async fn last_operation(
        &self,
        key: &InstanceKey,
        operation: Option<&Operation>,
        identity: Option<&Identity>,
    ) -> Result<Polled, ClientError> {
        let request = self.request(Method::GET, About::Instance(&key.instance))?.of(key).by(identity);
        self.poll(request.last_operation(operation)).await
    }
}
