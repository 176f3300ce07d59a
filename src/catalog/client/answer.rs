//! Reads a broker's answer within limits, and classifies it: success, the broker's own error, or no Open Service
//! Broker at all.

use std::time::Duration;

use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
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
        let mut response = response.map_err(|error| ClientError::without_answer(url, &error))?;
        let status = response.status();
        let text =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if status.is_redirection() {
            return Err(ClientError::NotOsb(NotOsb::Redirect { status: status.as_u16() }));
        }
        let html_type = text(header::CONTENT_TYPE).starts_with("text/html");
        let retry_after = wait(text(header::RETRY_AFTER), Timestamp::now());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LARGEST => {
                    let status = status.as_u16();
                    return Err(ClientError::NotOsb(NotOsb::TooLarge { status, megabytes: LARGEST >> 20 }));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                // The status alone says that the broker has done nothing.
                Err(_) if status.is_client_error() => break,
                Err(error) => return Err(ClientError::without_answer(url, &error)),
            }
        }
        let is_html = html_type || body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
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

/// The wait that `Retry-After` asks for: seconds, or a date (RFC 9110, section 10.2.3).
fn wait(value: &str, now: Timestamp) -> Option<Duration> {
    let asked = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = rfc2822::parse(value).ok()?.timestamp();
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = "2026-11-29T18:00:00Z".parse().unwrap();
        for (value, seconds) in [
            ("7", Some(7)),
            ("Sun, 29 Nov 2026 18:00:20 GMT", Some(20)),
            ("Sun, 29 Nov 2026 17:00:00 GMT", Some(0)),
            ("Mon, 30 Nov 2026 18:00:00 GMT", Some(600)),
            ("86400", Some(600)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(wait(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
