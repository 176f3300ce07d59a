//! Decodes and encodes `AdmissionReview` of `admission.k8s.io/v1`
//! (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>). kube's own type reads
//! the object's metadata into a struct, which drops unknown fields. Here each handler declares which parts of the
//! object it needs, and the decoder skips the rest.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use thiserror::Error;

use super::decision::{Decision, Denial};
use crate::k8s::{trim::trimmed, without_values};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Why a request body is not a review that can be answered.
#[derive(Debug, Error)]
pub enum MalformedReview {
    /// The body is not JSON or does not have the structure of a review.
    #[error("the body is not an AdmissionReview: {}", without_values(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    /// The review has an unsupported version.
    #[error("apiVersion is `{0}`; set admissionReviewVersions of the webhook to [v1]")]
    Version(String),
    /// The body is an object of another kind.
    #[error("kind is `{0}`; only an AdmissionReview can be answered")]
    Kind(String),
    /// The review has no request.
    #[error("request is missing; an AdmissionReview to answer has one")]
    NoRequest,
    /// The request has no uid.
    #[error("request.uid is empty; without it no answer can be told apart from others")]
    NoUid,
    /// The request has no object.
    #[error("request.object is missing; a pod to create has one")]
    NoObject,
    /// The request has no namespace.
    #[error("request.namespace is missing or no name; a pod to create has one")]
    NoNamespace,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<R> {
    api_version: String,
    kind: String,
    request: Option<R>,
}

/// The request in a review.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<T, Before = IgnoredAny, Author = IgnoredAny> {
    uid: String,
    kind: GroupVersionKind,
    sub_resource: Option<String>,
    operation: String,
    /// The namespace of the request. The object's own namespace is empty in pods that controllers create (P3).
    namespace: Option<String>,
    /// The object that is to be stored.
    #[serde(default)]
    pub(crate) object: T,
    /// The stored object before the change.
    #[serde(default)]
    pub(crate) old_object: Before,
    /// The user who sent the request to the API server.
    #[serde(default)]
    pub(crate) user_info: Author,
}

#[derive(Debug, Deserialize)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// The only field that is decoded from a review whose object cannot be decoded.
#[derive(Debug, Deserialize)]
struct Identified {
    uid: String,
}

impl<T, Before, Author> Request<T, Before, Author> {
    /// Whether the request concerns an object of this kind itself, not a subresource (P6). The core group is the empty
    /// string.
    pub(crate) fn is_of(&self, group: &str, kind: &str) -> bool {
        let is_whole = self.sub_resource.as_deref().is_none_or(str::is_empty);
        is_whole && self.kind.group == group && self.kind.kind == kind
    }

    /// The version of the object's API.
    pub(crate) fn version(&self) -> &str {
        &self.kind.version
    }

    pub(crate) fn is_creation(&self) -> bool {
        self.operation == "CREATE"
    }

    /// Whether the request creates or updates an object itself, not a subresource.
    pub(crate) fn is_written(&self) -> bool {
        matches!(self.operation.as_str(), "CREATE" | "UPDATE")
            && self.sub_resource.as_deref().is_none_or(str::is_empty)
    }

    /// The namespace of the request. It becomes part of a URL path, so anything that is not a valid name is refused.
    pub(crate) fn namespace(&self) -> Result<&str, MalformedReview> {
        let is_name = |name: &&str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        self.namespace.as_deref().filter(is_name).ok_or(MalformedReview::NoNamespace)
    }

    /// The subresource that the request is about; empty for the object itself.
    pub(crate) fn sub_resource(&self) -> &str {
        self.sub_resource.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }
}

/// The result of decoding a body.
pub(super) enum Reading<R> {
    Request(R),
    /// A review whose uid was decoded but whose object was not.
    Unreadable {
        uid: String,
        why: serde_json::Error,
    },
}

/// Decodes the request of a review.
pub(super) fn read<T, Before, Author>(
    body: &[u8],
) -> Result<Reading<Request<T, Before, Author>>, MalformedReview>
where
    Request<T, Before, Author>: DeserializeOwned,
{
    // Trimming costs time, and only objects with very deep nesting need it.
    let read: Result<Review<Request<T, Before, Author>>, _> =
        serde_json::from_slice(body).or_else(|_| serde_json::from_slice(&trimmed(body)));
    match read.map(Review::into_request) {
        Ok(Ok(request)) if request.uid.is_empty() => Err(MalformedReview::NoUid),
        Ok(request) => request.map(Reading::Request),
        Err(why) => match serde_json::from_slice(&trimmed(body)).map(Review::<Identified>::into_request) {
            Ok(Ok(Identified { uid })) if !uid.is_empty() => Ok(Reading::Unreadable { uid, why }),
            _ => Err(why.into()),
        },
    }
}

impl<R> Review<R> {
    fn into_request(self) -> Result<R, MalformedReview> {
        if self.kind != KIND {
            return Err(MalformedReview::Kind(self.kind));
        }
        if self.api_version != API_VERSION {
            return Err(MalformedReview::Version(self.api_version));
        }
        self.request.ok_or(MalformedReview::NoRequest)
    }
}

/// The review that answers a request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    /// The uid of the request (P8).
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    patch: Option<EncodedPatch>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: &'a BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncodedPatch {
    patch_type: &'static str,
    patch: String,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

impl<'a> Answer<'a> {
    /// Encodes the response to the request with this uid.
    #[expect(
        clippy::expect_used,
        reason = "a patch consists of strings and JSON values, which always can be written"
    )]
    pub(super) fn new(uid: &'a str, decision: &'a Decision) -> Self {
        let status = decision.denial.as_ref().map(|Denial { status, message }| {
            let (code, reason) = status.parts();
            Status { code, reason, message }
        });
        let allowed = status.is_none();
        let patch = (allowed && !decision.patch.is_empty()).then(|| {
            let patch = STANDARD.encode(serde_json::to_vec(&decision.patch).expect("a patch is JSON"));
            EncodedPatch { patch_type: "JSONPatch", patch }
        });
        let Decision { warnings, audit, .. } = decision;
        let response = Response { uid, allowed, status, patch, warnings, audit_annotations: audit };
        Self { api_version: API_VERSION, kind: KIND, response }
    }
}
