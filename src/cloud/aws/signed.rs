//! Calls of services of which bindery needs one or two: JSON over HTTP, signed here. The SDK's clients of these services
//! would take longer to build than the rest of the program.

use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::ProvideCredentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use serde_json::Value;

use super::{Account, AwsError, Call, ErrorKind};
use crate::cloud::http_client;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A request in JSON.
pub(super) struct JsonRequest<'a> {
    /// The service, as its host and its signatures name it.
    pub(super) service: &'static str,
    pub(super) method: &'static str,
    /// The path with its query; both percent-encoded.
    pub(super) path: &'a str,
    /// The operation, for services that have one path for all.
    pub(super) target: Option<&'static str>,
    pub(super) body: Option<&'a Value>,
}

impl Account {
    /// Sends a signed request within the rate limit, and again after an error that permits it. The answer may hold a
    /// secret.
    ///
    /// # Errors
    /// Names the action, the resource and the remedy.
    pub(super) async fn json(&self, call: Call<'_>, request: &JsonRequest<'_>) -> Result<Value, AwsError> {
        self.repeating(call, || self.json_once(call, request)).await
    }

    async fn json_once(&self, call: Call<'_>, request: &JsonRequest<'_>) -> Result<Value, AwsError> {
        let failed = |kind, problem: String| AwsError::of_call(call, kind, problem, None);
        let clients = self.clients().await?;
        let body = request.body.map(Value::to_string).unwrap_or_default();
        let url = format!("{}{}", self.endpoint(request.service, &clients.region), request.path);
        let content = match request.target {
            None => "application/json",
            Some(_) if request.service == "sqs" => "application/x-amz-json-1.0",
            Some(_) => "application/x-amz-json-1.1",
        };
        let mut headers = vec![("content-type".to_owned(), content.to_owned())];
        headers.extend(request.target.map(|target| ("x-amz-target".to_owned(), target.to_owned())));
        let credentials = self.credentials_provider().await?.provide_credentials().await;
        let identity = credentials.map_err(|error| failed(ErrorKind::Credentials, error.to_string()))?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&clients.region)
            .name(request.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(ErrorKind::Invalid, error.to_string()))?
            .into();
        let to_sign = SignableRequest::new(
            request.method,
            &url,
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            SignableBody::Bytes(body.as_bytes()),
        );
        let signed = to_sign.and_then(|request| sign(request, &parameters));
        let (signature, _) =
            signed.map_err(|error| failed(ErrorKind::Invalid, error.to_string()))?.into_parts();
        headers.extend(signature.headers().map(|(name, value)| (name.to_owned(), value.to_owned())));
        send(call, request.method, &url, &headers, body).await
    }
}

async fn send(
    call: Call<'_>,
    method: &str,
    url: &str,
    headers: &[(String, String)],
    body: String,
) -> Result<Value, AwsError> {
    let failed = |kind, problem: String| AwsError::of_call(call, kind, problem, None);
    // An error of the client shows its URL, which has no secret.
    let unavailable = |error: reqwest::Error| failed(ErrorKind::Unavailable, error.to_string());
    let client = http_client().timeout(TIMEOUT).build().map_err(unavailable)?;
    let method = reqwest::Method::from_bytes(method.as_bytes())
        .map_err(|error| failed(ErrorKind::Invalid, error.to_string()))?;
    let mut request = client.request(method, url).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.map_err(unavailable)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = answer.bytes().await.map_err(unavailable)?;
    let content: Value = serde_json::from_slice(&text).unwrap_or_default();
    if status.is_success() {
        return Ok(content);
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let field = |names: [&str; 2]| names.iter().find_map(|name| content[*name].as_str());
    let code = header("x-amzn-errortype").or_else(|| field(["__type", "code"]).map(ToOwned::to_owned));
    let message = field(["message", "Message"]).unwrap_or_default();
    let id = header("x-amzn-requestid");
    Err(AwsError::of_answer(call, code.as_deref().unwrap_or_default(), message, status.as_u16(), id))
}
