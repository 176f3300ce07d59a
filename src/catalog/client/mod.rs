//! A client of the Open Service Broker API 2.17: one for each broker, with a method for each verb. It follows no
//! redirects, calls no link-local address, waits some seconds for its turn and at most a minute for an answer, and
//! reads at most four megabytes. `reconcile` decides which broker to call and when.

mod address;
mod answer;
mod error;
mod offers;
mod queue;

use std::{fmt, sync::Arc, time::Duration};

use k8s_openapi::ByteString;
use percent_encoding::percent_decode_str;
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap, redirect};
use secrecy::{ExposeSecret, SecretString};
use tracing::{Instrument as _, field, info_span};
use url::Url;
use uuid::Uuid;

use self::answer::Answer;
pub(super) use self::queue::Queue;
pub use self::{
    error::ClientError,
    offers::{LeftOut, Offers},
};
use crate::apis::servicecatalog::BrokerUrl;
use crate::{
    osb::{
        ApiVersion, AsyncResponse, BindRequest, BindResponse, BindingId, InstanceId, LastOperation,
        Operation, PlanId, ProvisionRequest, ProvisionResponse, ServiceId, header,
    },
    telemetry::traces,
};

/// The time limit of a request after its turn has come, including connecting.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The time limit of connecting; short, so that a dead broker does not delay the others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The credentials for a broker.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A bearer token.
    Bearer(SecretString),
}

/// All settings of a broker's client.
#[derive(Debug)]
pub struct Endpoint {
    /// The broker's address. Credentials in it are used unless `credentials` is set.
    pub url: BrokerUrl,
    /// Accept any certificate.
    pub insecure_skip_tls_verify: bool,
    /// The certificate authorities to trust, PEM. Default: those of the system.
    pub ca_bundle: Option<ByteString>,
    /// Overrides credentials in the URL.
    pub credentials: Option<Credentials>,
}

/// The progress of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Done.
    Done,
    /// The broker is still working (202); poll `last_operation` with this name.
    InProgress(Option<Operation>),
}

/// The answer to a provision.
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
        let (base, in_url) = split_url(&endpoint.url)?;
        address::check(&base)?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("bindery/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // A proxy would resolve the name itself and could call addresses that the resolver refuses.
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(address::Resolver)
            .tls_danger_accept_invalid_certs(endpoint.insecure_skip_tls_verify);
        if let Some(bundle) = &endpoint.ca_bundle {
            let certificates = reqwest::Certificate::from_pem_bundle(&bundle.0)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or(ClientError::BadCaBundle)?;
            http = http.tls_certs_only(certificates);
        }
        let http = http.build().map_err(|error| ClientError::Tls(error::causes(&error)))?;
        let credentials = endpoint.credentials.clone().or(in_url);
        Ok(Self { http, base, credentials, queue: Arc::default() })
    }

    /// The same client with the queue that it shares with other clients of the broker.
    pub(super) fn in_queue(self, queue: Arc<Queue>) -> Self {
        Self { queue, ..self }
    }

    /// `GET /v2/catalog`; unusable entries are skipped.
    pub async fn catalog(&self) -> Result<Offers, ClientError> {
        let answer = self.send(self.request(Method::GET, &["catalog"])?).await?.expect(&[StatusCode::OK])?;
        offers::read(answer.json()?).map_err(ClientError::BadCatalog)
    }

    /// `PUT /v2/service_instances/:instance_id`, asynchronously if the broker requires it.
    pub async fn provision(
        &self,
        id: &InstanceId,
        body: &ProvisionRequest,
    ) -> Result<Provisioned, ClientError> {
        let request = self
            .request(Method::PUT, &["service_instances", id.as_str()])?
            .query_pair("accepts_incomplete", "true")
            .json(body);
        let answer =
            self.send(request).await?.expect(&[StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED])?;
        let response: ProvisionResponse = answer.json()?;
        Ok(Provisioned {
            progress: answer.progress(response.operation),
            dashboard_url: response.dashboard_url,
        })
    }

    /// `GET /v2/service_instances/:instance_id/last_operation`.
    pub async fn last_operation(
        &self,
        key: &InstanceKey,
        operation: Option<&Operation>,
    ) -> Result<Polled, ClientError> {
        let mut request = self
            .request(Method::GET, &["service_instances", key.instance.as_str(), "last_operation"])?
            .of(key);
        if let Some(operation) = operation {
            request = request.query_pair("operation", operation.as_str());
        }
        let answer = self.send(request).await?;
        if answer.status() == StatusCode::GONE {
            return Ok(Polled { operation: None, retry_after: None });
        }
        let answer = answer.expect(&[StatusCode::OK])?;
        Ok(Polled { operation: Some(answer.json()?), retry_after: answer.retry_after() })
    }

    /// `DELETE /v2/service_instances/:instance_id`. An unknown instance (410) counts as success.
    pub async fn deprovision(&self, key: &InstanceKey) -> Result<Progress, ClientError> {
        let request = self
            .request(Method::DELETE, &["service_instances", key.instance.as_str()])?
            .of(key)
            .query_pair("accepts_incomplete", "true");
        let answer =
            self.send(request).await?.expect(&[StatusCode::OK, StatusCode::ACCEPTED, StatusCode::GONE])?;
        if answer.status() == StatusCode::ACCEPTED {
            let response: AsyncResponse = answer.json_or_default()?;
            return Ok(Progress::InProgress(response.operation));
        }
        answer.refuse_html()?;
        Ok(Progress::Done)
    }

    /// `PUT /v2/service_instances/:instance_id/service_bindings/:binding_id`, synchronously.
    pub async fn bind(
        &self,
        instance: &InstanceId,
        binding: &BindingId,
        body: &BindRequest,
    ) -> Result<BindResponse, ClientError> {
        let path = ["service_instances", instance.as_str(), "service_bindings", binding.as_str()];
        let request = self.request(Method::PUT, &path)?.json(body);
        self.send(request).await?.expect(&[StatusCode::OK, StatusCode::CREATED])?.json()
    }

    /// `GET /v2/service_instances/:instance_id/service_bindings/:binding_id`, of services whose bindings are retrievable.
    pub async fn binding(&self, key: &InstanceKey, binding: &BindingId) -> Result<BindResponse, ClientError> {
        let path = ["service_instances", key.instance.as_str(), "service_bindings", binding.as_str()];
        let request = self.request(Method::GET, &path)?.of(key);
        self.send(request).await?.expect(&[StatusCode::OK])?.json()
    }

    /// `DELETE /v2/service_instances/:instance_id/service_bindings/:binding_id`. 410 is success.
    pub async fn unbind(&self, key: &InstanceKey, binding: &BindingId) -> Result<(), ClientError> {
        let path = ["service_instances", key.instance.as_str(), "service_bindings", binding.as_str()];
        let request = self.request(Method::DELETE, &path)?.of(key);
        self.send(request).await?.expect(&[StatusCode::OK, StatusCode::GONE])?.refuse_html()
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<Request, ClientError> {
        if let Some(segment) = path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(ClientError::BadId((*segment).to_owned()));
        }
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::BadUrl("it has no host".to_owned()))?
            .pop_if_empty()
            .push("v2")
            .extend(path);
        Ok(Request { method, url, body: None })
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

/// A request before it is sent.
struct Request {
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
}

impl Request {
    fn query_pair(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    fn of(self, key: &InstanceKey) -> Self {
        self.query_pair("service_id", key.service.as_str()).query_pair("plan_id", key.plan.as_str())
    }

    fn json(mut self, body: &impl serde::Serialize) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the requests' types have string keys and no fallible members"
        )]
        let body = serde_json::to_vec(body).expect("an Open Service Broker request is JSON");
        self.body = Some(body);
        self
    }
}

/// Splits the URL into the address and the credentials.
fn split_url(url: &BrokerUrl) -> Result<(Url, Option<Credentials>), ClientError> {
    let mut base = Url::parse(url.expose()).map_err(|error| ClientError::BadUrl(error.to_string()))?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(ClientError::BadUrl(format!("its scheme is {}", base.scheme())));
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials =
        (!base.username().is_empty() || base.password().is_some()).then(|| Credentials::Basic {
            username: decoded(base.username()),
            password: decoded(base.password().unwrap_or_default()).into(),
        });
    let stripped = base.set_username("").and_then(|()| base.set_password(None));
    stripped.map_err(|()| ClientError::BadUrl("it has no host".to_owned()))?;
    base.set_query(None);
    base.set_fragment(None);
    Ok((base, credentials))
}

#[cfg(test)]
mod tests;
