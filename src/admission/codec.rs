//! The parts of `admission.k8s.io/v1`'s `AdmissionReview` that bindery reads and writes
//! (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>). kube's own type reads
//! the object's metadata into a struct, which drops fields that it does not know; here each handler says how much of the object is
//! read, and the rest is skipped.

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

/// Why a body is not a review that can be answered.
#[derive(Debug, Error)]
pub enum MalformedReview {
    /// It is not JSON, or not shaped as a review.
    #[error("the body is not an AdmissionReview: {}", without_values(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    /// It is a review of another version.
    #[error("apiVersion is `{0}`; set admissionReviewVersions of the webhook to [v1]")]
    Version(String),
    /// It is something else.
    #[error("kind is `{0}`; only an AdmissionReview can be answered")]
    Kind(String),
    /// It has no request.
    #[error("request is missing; an AdmissionReview to answer has one")]
    NoRequest,
    /// Its request has no uid.
    #[error("request.uid is empty; without it no answer can be told apart from others")]
    NoUid,
    /// Its request has no object.
    #[error("request.object is missing; a pod to create has one")]
    NoObject,
    /// Its request has no namespace.
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

/// What the API server asks about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<T, Before = IgnoredAny, Author = IgnoredAny> {
    uid: String,
    kind: GroupVersionKind,
    sub_resource: Option<String>,
    operation: String,
    /// The namespace of the request; that of the object is empty for pods made by controllers (P3).
    namespace: Option<String>,
    /// The object as it is to be.
    #[serde(default)]
    pub(crate) object: T,
    /// The object as it was.
    #[serde(default)]
    pub(crate) old_object: Before,
    /// Who asks.
    #[serde(default)]
    pub(crate) user_info: Author,
}

#[derive(Debug, Deserialize)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// What is read of a review whose object cannot be read.
#[derive(Debug, Deserialize)]
struct Identified {
    uid: String,
}

impl<T, Before, Author> Request<T, Before, Author> {
    /// Whether this is about objects of a kind, and not about a subresource (P6). An empty group is that of Kubernetes' core.
    pub(crate) fn is_of(&self, group: &str, kind: &str) -> bool {
        let is_whole = self.sub_resource.as_deref().is_none_or(str::is_empty);
        is_whole && self.kind.group == group && self.kind.kind == kind
    }

    /// The version of the object's API.
    pub(crate) fn version(&self) -> &str {
        &self.kind.version
    }

    /// Whether an object is created.
    pub(crate) fn is_creation(&self) -> bool {
        self.operation == "CREATE"
    }

    /// Whether an object is created or changed, and not a subresource.
    pub(crate) fn is_written(&self) -> bool {
        matches!(self.operation.as_str(), "CREATE" | "UPDATE")
            && self.sub_resource.as_deref().is_none_or(str::is_empty)
    }

    /// The namespace of the request. It becomes part of a path, so nothing else may pass for a name.
    pub(crate) fn namespace(&self) -> Result<&str, MalformedReview> {
        let is_name = |name: &&str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        self.namespace.as_deref().filter(is_name).ok_or(MalformedReview::NoNamespace)
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }
}

/// What can be made of a body.
pub(super) enum Reading<R> {
    Request(R),
    /// A review of this uid, with an object that cannot be read.
    Unreadable {
        uid: String,
        why: serde_json::Error,
    },
}

/// Reads the request out of a review.
pub(super) fn read<T, Before, Author>(
    body: &[u8],
) -> Result<Reading<Request<T, Before, Author>>, MalformedReview>
where
    Request<T, Before, Author>: DeserializeOwned,
{
    // Few objects nest so deep that they have to be trimmed first.
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
    /// Echoes the request's (P8).
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    patch: Option<EncodedPatch>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
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
    /// The answer to the request of this uid.
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
        let response = Response { uid, allowed, status, patch, warnings: &decision.warnings };
        Self { api_version: API_VERSION, kind: KIND, response }
    }
}
