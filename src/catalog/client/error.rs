//! Errors of requests to a broker, each with its remedy. No message contains credentials or a raw body.

use std::{error::Error, fmt, io};

use rustls::CertificateError;
use url::Url;

use crate::osb::ErrorBody;

/// How many characters of a broker's description are repeated.
const LONGEST_DESCRIPTION: usize = 500;

/// The name of a host that stands only for addresses that are never called.
#[derive(Debug, thiserror::Error)]
#[error("{0} is a link-local or metadata address")]
pub(super) struct Refused(pub(super) String);

/// A request to a broker failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("spec.url of the broker is not a usable URL: {0}; write it as https://host[:port][/path]")]
    BadUrl(String),
    /// An id cannot be a segment of a path.
    #[error("the id {0:?} cannot be used: it becomes part of a path; choose another externalID")]
    BadId(String),
    /// The CA bundle holds no certificate.
    #[error("spec.caBundle of the broker holds no certificate; put PEM certificates there, base64 once")]
    BadCaBundle,
    /// The client could not be set up.
    #[error("TLS cannot be set up: {0}; check spec.caBundle of the broker and the system's certificates")]
    Tls(String),
    /// The address is link-local or a cloud's metadata service.
    #[error(
        "{0} is a link-local or metadata address, which bindery never calls; check spec.url of the broker"
    )]
    RefusedAddress(String),
    /// The broker could not be reached, so it has not received the request.
    #[error("no answer from {url}: {cause}; check that the broker runs and that spec.url is right")]
    Unreachable {
        /// The URL, without credentials and path.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// TLS with the broker failed, so it has not received the request.
    #[error("{url} cannot be trusted: {cause}; {remedy}")]
    Untrusted {
        /// The URL, without credentials and path.
        url: String,
        /// What is wrong with the certificate, or that there is no TLS.
        cause: String,
        /// How to mend it.
        remedy: &'static str,
    },
    /// The request was sent, and no complete answer came: the broker may have acted.
    #[error("no answer from {url}: {cause}; check the broker's log and load")]
    NoReply {
        /// The URL, without credentials and path.
        url: String,
        /// Why.
        cause: String,
    },
    /// The broker still works on the request; the request must be repeated.
    #[error("the broker is still working on the request; bindery asks again")]
    Unfinished,
    /// The broker has not yet answered as many requests as it may get at a time.
    #[error("the broker is slow: it has not answered earlier requests yet; bindery retries")]
    Busy,
    /// 401 or 403.
    #[error(
        "the broker refused the credentials (status {status}); check the Secret that spec.authInfo of the broker names, or \
         the user and password in spec.url"
    )]
    Unauthorized {
        /// 401 or 403.
        status: u16,
    },
    /// The answer does not come from an Open Service Broker.
    #[error("{0}: the URL is probably not an Open Service Broker; check spec.url")]
    NotOsb(NotOsb),
    /// The broker's own error.
    #[error("the broker answered status {status}: {}", described(.body))]
    Rejected {
        /// The status.
        status: u16,
        /// The broker's message.
        body: ErrorBody,
    },
    /// The catalog is invalid.
    #[error(
        "the broker's catalog does not follow the Open Service Broker API: {0}; ask the broker's maintainers"
    )]
    BadCatalog(String),
    /// A successful answer that cannot be parsed.
    #[error(
        "the broker's answer (status {status}) does not follow the Open Service Broker API: line {line}, column {column}; \
         ask the broker's maintainers"
    )]
    Malformed {
        /// The status.
        status: u16,
        /// The line of the parse error.
        line: usize,
        /// The column of the parse error.
        column: usize,
    },
}

/// How the answer shows that the server is no Open Service Broker.
#[derive(Debug, PartialEq, Eq)]
pub enum NotOsb {
    /// A web page.
    Html {
        /// Its status.
        status: u16,
    },
    /// A redirect; redirects are not followed.
    Redirect {
        /// Its status.
        status: u16,
    },
    /// A success status that the request does not have.
    Status {
        /// The status.
        status: u16,
    },
    /// An answer that is larger than any broker's.
    TooLarge {
        /// Its status.
        status: u16,
        /// The limit.
        megabytes: usize,
    },
}

impl fmt::Display for NotOsb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Html { status } => write!(f, "answered HTML, status {status}"),
            Self::Redirect { status } => {
                write!(f, "answered a redirect, status {status}, which is not followed")
            }
            Self::Status { status } => write!(f, "answered status {status}, which this request cannot have"),
            Self::TooLarge { status, megabytes } => {
                write!(f, "answered more than {megabytes} MiB, status {status}")
            }
        }
    }
}

impl NotOsb {
    fn status(&self) -> u16 {
        let (Self::Html { status }
        | Self::Redirect { status }
        | Self::Status { status }
        | Self::TooLarge { status, .. }) = self;
        *status
    }
}

impl ClientError {
    pub(super) fn without_answer(url: &Url, error: &reqwest::Error) -> Self {
        if let Some(refused) = cause::<Refused>(error) {
            return Self::RefusedAddress(refused.0.clone());
        }
        let is_http = url.scheme() == "http";
        let (url, why) = (url.origin().ascii_serialization(), causes(error));
        if let Some(remedy) = cause::<rustls::Error>(error).and_then(remedy) {
            return Self::Untrusted { url, cause: why, remedy };
        }
        let cause = match cause::<hyper::Error>(error) {
            _ if error.is_timeout() => "it took too long".to_owned(),
            Some(answer) if is_http && answer.is_parse() => {
                format!(
                    "the answer is not HTTP ({why}): if the port serves https, write spec.url of the broker with https://"
                )
            }
            _ => why,
        };
        if error.is_connect() { Self::Unreachable { url, cause } } else { Self::NoReply { url, cause } }
    }

    /// Whether a retry without a change is useless because the request itself is wrong. Only 400 means that
    /// (service-catalog `pkg/controller/controller.go`).
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Rejected { status: 400, .. })
    }

    /// After a provision or a bind: whether the broker may hold something that its answer does not confirm, so that
    /// the platform deletes it (spec.md, "Orphan Mitigation"). That is so without an answer, after a server error, and
    /// after a success other than 200 that cannot be used. 408 means that the broker did not receive the request.
    #[must_use]
    pub fn needs_orphan_mitigation(&self) -> bool {
        match self {
            Self::NoReply { .. } => true,
            Self::Rejected { status, .. } | Self::Malformed { status, .. } => is_uncertain(*status),
            Self::NotOsb(not_osb) => is_uncertain(not_osb.status()),
            _ => false,
        }
    }

    /// Whether the broker answered at all.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::Malformed { .. })
    }
}

fn is_uncertain(status: u16) -> bool {
    matches!(status, 201..=299 | 500..=599)
}

/// The error of this type among the causes, also inside of `io::Error`s, which do not name theirs as a source.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.and_then(|inner| cause(inner)).or_else(|| cause(error.source()?))
}

/// What mends an error of TLS that a retry does not mend.
fn remedy(error: &rustls::Error) -> Option<&'static str> {
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::InvalidMessage(_) => {
            return Some(
                "the port does not speak TLS: write spec.url of the broker with http://, or use its port for https",
            );
        }
        _ => return None,
    };
    Some(match certificate {
        // An authority of the same name with another key leads to a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "put the certificate of the authority that signed the broker's certificate into spec.caBundle of the broker"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "write a name that the certificate has into spec.url of the broker, or have a certificate issued for this one"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the broker's certificate"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "check the clocks of the nodes and of the certificate's authority"
        }
        _ => "have a valid certificate issued for the broker",
    })
}

/// The innermost cause, which is the informative one ("Connection refused", "certificate has expired").
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    shortened(&cause.to_string())
}

fn described(body: &ErrorBody) -> String {
    let text = match (&body.error, &body.description) {
        (Some(error), Some(description)) => format!("{error}: {description}"),
        (Some(text), None) | (None, Some(text)) => text.clone(),
        (None, None) => "without a description; see the broker's log".to_owned(),
    };
    shortened(&text)
}

fn shortened(text: &str) -> String {
    let line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    match line.char_indices().nth(LONGEST_DESCRIPTION) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
