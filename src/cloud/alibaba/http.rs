//! The HTTP client: time-outs, no redirects, and a limit for the size of answers.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use reqwest::Method;
use url::Url;

use super::{AlibabaError, Call, ErrorKind};
use crate::cloud::{error_chain, http_client};

const CONNECT: Duration = Duration::from_secs(3);
/// RDS answers some calls only after many seconds.
const REQUEST: Duration = Duration::from_secs(30);
/// The metadata service is on the same machine, or not there at all.
const METADATA: Duration = Duration::from_secs(2);
/// More than a page of any list.
const LARGEST_ANSWER: usize = 8 << 20;

/// The clients, which are made at the first request.
#[derive(Debug, Default)]
pub(super) struct Http {
    products: OnceLock<reqwest::Client>,
    metadata: OnceLock<reqwest::Client>,
}

/// A request whose headers are complete.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a str,
    pub(super) url: Url,
    pub(super) headers: &'a BTreeMap<&'static str, String>,
    pub(super) body: Vec<u8>,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The id that OSS has in a header.
    pub(super) request_id: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text. It may hold a secret.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Http {
    /// Sends a request to a product.
    pub(super) async fn send(&self, call: Call<'_>, request: Outgoing<'_>) -> Result<Answer, AlibabaError> {
        let settings = || http_client().connect_timeout(CONNECT).timeout(REQUEST);
        send(call, client(call, &self.products, settings)?, request).await
    }

    /// Sends a request to the metadata service, past any proxy.
    pub(super) async fn ask_metadata(
        &self,
        call: Call<'_>,
        request: Outgoing<'_>,
    ) -> Result<Answer, AlibabaError> {
        let settings = || http_client().timeout(METADATA).no_proxy();
        send(call, client(call, &self.metadata, settings)?, request).await
    }
}

fn client<'c>(
    call: Call<'_>,
    made: &'c OnceLock<reqwest::Client>,
    settings: impl Fn() -> reqwest::ClientBuilder,
) -> Result<&'c reqwest::Client, AlibabaError> {
    if let Some(client) = made.get() {
        return Ok(client);
    }
    let client = settings().build().map_err(|error| lost(call, error))?;
    Ok(made.get_or_init(|| client))
}

async fn send(
    call: Call<'_>,
    client: &reqwest::Client,
    request: Outgoing<'_>,
) -> Result<Answer, AlibabaError> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|error| AlibabaError::new(call, ErrorKind::Invalid, error.to_string()))?;
    let mut sent = client.request(method, request.url).body(request.body);
    for (name, value) in request.headers {
        sent = sent.header(*name, value);
    }
    let mut answer = sent.send().await.map_err(|error| lost(call, error))?;
    let (status, headers) = (answer.status().as_u16(), answer.headers());
    let request_id = headers.get("x-oss-request-id").and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| lost(call, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            return Err(AlibabaError::new(call, ErrorKind::Invalid, "the answer is too large"));
        }
    }
    Ok(Answer { status, request_id, body })
}

/// The URL stays out of the error, since its query may hold a password.
fn lost(call: Call<'_>, error: reqwest::Error) -> AlibabaError {
    AlibabaError::new(call, ErrorKind::Unavailable, error_chain(&error.without_url()))
}
