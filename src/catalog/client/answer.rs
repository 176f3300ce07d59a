//! Reads a broker's answer within limits, and classifies it: success, the broker's own error, or no Open Service
//! Broker at all.

use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;

use super::{ClientError, Progress, error::NotOsb};
use crate::osb::{ErrorBody, Operation};

/// The size limit of an answer. Catalogs with long schemas reach a megabyte.
const LARGEST: usize = 4 << 20;
/// The longest wait that a broker may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);

/// A complete answer.
pub(super) struct Answer {
    status: StatusCode,
    is_html: bool,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the response of a request.
    pub(super) async fn read(url: &Url, response: reqwest::Result<Response>) -> Result<Self, ClientError> {
        let mut response = response.map_err(|error| ClientError::unreachable(url, &error))?;
        let status = response.status();
        let text =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if status.is_redirection() {
            return Err(ClientError::NotOsb(NotOsb::Redirect { status: status.as_u16() }));
        }
        let html_type = text(header::CONTENT_TYPE).starts_with("text/html");
        let retry_after = text(header::RETRY_AFTER).parse().ok().map(Duration::from_secs);
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| ClientError::unreachable(url, &error))?
        {
            if body.len() + chunk.len() > LARGEST {
                return Err(ClientError::NotOsb(NotOsb::TooLarge { megabytes: LARGEST >> 20 }));
            }
            body.extend_from_slice(&chunk);
        }
        let is_html = html_type || body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
        let retry_after = retry_after.map(|wait| wait.min(LONGEST_RETRY_AFTER));
        Ok(Self { status, is_html, retry_after, body })
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns the answer if its status is one of these, otherwise the matching error.
    pub(super) fn expect(self, expected: &[StatusCode]) -> Result<Self, ClientError> {
        let status = self.status.as_u16();
        if expected.contains(&self.status) {
            return Ok(self);
        }
        if self.status == StatusCode::UNAUTHORIZED || self.status == StatusCode::FORBIDDEN {
            return Err(ClientError::Unauthorized { status });
        }
        if self.is_html {
            return Err(ClientError::NotOsb(NotOsb::Html { status }));
        }
        if self.status.is_success() {
            return Err(ClientError::NotOsb(NotOsb::Status { status }));
        }
        let body: ErrorBody = serde_json::from_slice(&self.body).unwrap_or_default();
        Err(ClientError::Rejected { status, body })
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        self.refuse_html()?;
        // serde's own message may quote the body, which may contain credentials.
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Malformed {
            status: self.status.as_u16(),
            line: error.line(),
            column: error.column(),
        })
    }

    /// The body as JSON, or the default if the body is empty.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, ClientError> {
        if matches!(self.body.trim_ascii(), b"" | b"null") { Ok(T::default()) } else { self.json() }
    }

    /// Refuses a web page: a success page of another server is not a broker's answer.
    pub(super) fn refuse_html(&self) -> Result<(), ClientError> {
        if self.is_html {
            return Err(ClientError::NotOsb(NotOsb::Html { status: self.status.as_u16() }));
        }
        Ok(())
    }

    pub(super) fn progress(&self, operation: Option<Operation>) -> Progress {
        if self.status == StatusCode::ACCEPTED { Progress::InProgress(operation) } else { Progress::Done }
    }
}
