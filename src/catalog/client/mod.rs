//! A client of the Open Service Broker API 2.17: one for each broker, with a method for each verb. It follows no
//! redirects, calls no link-local address, waits some seconds for its turn and at most a minute for an answer, and
//! reads at most four megabytes. `reconcile` decides which broker to call and when.

mod address;
mod answer;
mod bindings;
mod endpoint;
mod error;
mod identity;
mod instances;
mod offers;
mod queue;
mod request;

use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use secrecy::ExposeSecret;
use tracing::{Instrument as _, field, info_span};
use url::Url;
use uuid::Uuid;

pub(super) use self::queue::Queue;
use self::{
    answer::Answer,
    request::{About, Request},
};
pub use self::{
    bindings::Bound,
    endpoint::{Credentials, Endpoint},
    error::ClientError,
    identity::Identity,
    offers::{LeftOut, Offers},
};
use crate::{
    osb::{ApiVersion, AsyncResponse, InstanceId, LastOperation, Operation, PlanId, ServiceId, header},
    telemetry::traces,
};

/// The progress of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Done.
    Done,
    /// The broker is still working (202); poll `last_operation` with this name.
    InProgress(Option<Operation>),
}

/// The answer to a provision or an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// The progress.
    pub progress: Progress,
    /// The web page for managing the instance.
    pub dashboard_url: Option<String>,
}

/// The answer to `last_operation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// The operation, or `None` if the broker no longer knows the instance (410).
    pub operation: Option<LastOperation>,
    /// How long the broker asks to wait before the next poll.
    pub retry_after: Option<Duration>,
}

/// The instance, service and plan, which every request after the first names.
#[derive(Clone, Debug)]
pub struct InstanceKey {
    /// The instance.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceId,
    /// Its plan.
    pub plan: PlanId,
}

/// A client of one broker.
pub struct BrokerClient {
    http: reqwest::Client,
    base: Url,
    credentials: Option<Credentials>,
    queue: Arc<Queue>,
}

impl fmt::Debug for BrokerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerClient").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl BrokerClient {
    /// Creates a client for this endpoint without calling it.
    pub fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let (base, in_url) = endpoint::split_url(&endpoint.url)?;
        address::check(&base)?;
        let http = endpoint.http()?;
        let credentials = endpoint.credentials.clone().or(in_url);
        Ok(Self { http, base, credentials, queue: Arc::default() })
    }

    /// The same client with the queue that it shares with other clients of the broker.
    pub(super) fn in_queue(self, queue: Arc<Queue>) -> Self {
        Self { queue, ..self }
    }

    /// `GET /v2/catalog`; unusable entries are skipped.
    pub async fn catalog(&self) -> Result<Offers, ClientError> {
        let answer =
            self.send(self.request(Method::GET, About::Catalog)?).await?.expect(&[StatusCode::OK])?;
        offers::read(answer.json()?).map_err(ClientError::BadCatalog)
    }

    fn request(&self, method: Method, about: About<'_>) -> Result<Request, ClientError> {
        Request::new(&self.base, method, about)
    }

    /// Sends a request for a deletion.
    async fn delete(&self, request: Request) -> Result<Progress, ClientError> {
        let answer =
            self.send(request).await?.expect(&[StatusCode::OK, StatusCode::ACCEPTED, StatusCode::GONE])?;
        if answer.status() == StatusCode::ACCEPTED {
            let response: AsyncResponse = answer.json_or_default()?;
            return Ok(Progress::InProgress(response.operation));
        }
        answer.refuse_html()?;
        Ok(Progress::Done)
    }

    /// Sends a poll.
    async fn poll(&self, request: Request) -> Result<Polled, ClientError> {
        let answer = self.send(request).await?;
        if answer.status() == StatusCode::GONE {
            answer.refuse_html()?;
            return Ok(Polled { operation: None, retry_after: None });
        }
        let answer = answer.expect(&[StatusCode::OK])?;
        Ok(Polled { operation: Some(answer.json()?), retry_after: answer.retry_after() })
    }

    async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        let Some(turn) = self.queue.take().await else { return Err(ClientError::Busy) };
        let (method, path) = (request.method.as_str(), request.url.path());
        let span = info_span!(
            target: traces::TARGET, "ask", otel.kind = "client", method, path, status = field::Empty
        );
        let sent = self.sent(request).instrument(span.clone()).await;
        if let Ok(answer) = &sent {
            turn.answered();
            span.record("status", answer.status().as_u16());
        }
        sent
    }

    async fn sent(&self, request: Request) -> Result<Answer, ClientError> {
        let url = request.url.clone();
        let mut trace = HeaderMap::new();
        traces::pass_on(&mut trace);
        let response = self
            .authorize(self.http.request(request.method, request.url))
            .header(header::API_VERSION, ApiVersion::LATEST.to_string())
            .header(header::REQUEST_IDENTITY, Uuid::new_v4().to_string())
            .headers(trace);
        let response = match request.identity {
            Some(identity) => response.header(header::ORIGINATING_IDENTITY, identity),
            None => response,
        };
        let response = match request.body {
            Some(body) => response.header(reqwest::header::CONTENT_TYPE, "application/json").body(body),
            None => response,
        };
        Answer::read(&url, response.send().await).await
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Some(Credentials::Basic { username, password }) => {
                request.basic_auth(username, Some(password.expose_secret()))
            }
            Some(Credentials::Bearer(token)) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }
}

#[cfg(test)]
mod tests;
