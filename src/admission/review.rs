//! The parts of `admission.k8s.io/v1`'s `AdmissionReview` that bindery reads and writes
//! (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>). kube's own type reads
//! the object's metadata into a struct, which drops fields that it does not know; here the object stays raw JSON, as much of
//! it as is looked at.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::k8s::{trim::trimmed, without_values};

use super::{
    namespaces::NamespaceUnread,
    sparse_decode::{self, Object},
};
use crate::injection::{InjectError, Injection, Problem, Warning};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Why a body is not a review that can be answered.
#[derive(Debug, Error)]
pub(super) enum MalformedReview {
    #[error("the body is not an AdmissionReview: {}", without_values(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    #[error("apiVersion is `{0}`; set admissionReviewVersions of the webhook to [v1]")]
    Version(String),
    #[error("kind is `{0}`; only an AdmissionReview can be answered")]
    Kind(String),
    #[error("request is missing; an AdmissionReview to answer has one")]
    NoRequest,
    #[error("request.uid is empty; without it no answer can be told apart from others")]
    NoUid,
    #[error("request.object is missing; a pod to create has one")]
    NoObject,
    #[error("request.object has too many values")]
    TooMuch,
    #[error("request.namespace is missing or no name; a pod to create has one")]
    NoNamespace,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// What the API server asks about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) uid: String,
    kind: GroupVersionKind,
    sub_resource: Option<String>,
    operation: String,
    /// The namespace of the request; that of the object is empty for pods made by controllers (P3).
    pub(super) namespace: Option<String>,
    #[serde(default, deserialize_with = "sparse_decode::object")]
    object: Object,
}

#[derive(Debug, Deserialize)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

impl Request {
    /// Reads the request out of a review.
    pub(super) fn read(body: &[u8]) -> Result<Self, MalformedReview> {
        // Few objects nest so deep that they have to be trimmed first.
        let review: Review =
            serde_json::from_slice(body).or_else(|_| serde_json::from_slice(&trimmed(body)))?;
        if review.kind != KIND {
            return Err(MalformedReview::Kind(review.kind));
        }
        if review.api_version != API_VERSION {
            return Err(MalformedReview::Version(review.api_version));
        }
        match review.request {
            None => Err(MalformedReview::NoRequest),
            Some(request) if request.uid.is_empty() => Err(MalformedReview::NoUid),
            Some(request) => Ok(request),
        }
    }

    /// The object as it is to be, unless it is a subresource.
    pub(super) fn written_object(&self) -> Option<&Value> {
        let is_written = matches!(self.operation.as_str(), "CREATE" | "UPDATE");
        self.object.value().filter(|_| is_written && !self.has_subresource())
    }

    fn has_subresource(&self) -> bool {
        self.sub_resource.as_deref().is_some_and(|name| !name.is_empty())
    }

    /// The pod, if one is to be created. Everything else is none of this webhook's business: most fields of a pod that
    /// exists cannot be changed (P5), and its subresources are not pods (P6).
    pub(super) fn created_pod(&self) -> Result<Option<&Value>, MalformedReview> {
        let GroupVersionKind { group, version, kind } = &self.kind;
        let is_pod = (group.as_str(), version.as_str(), kind.as_str()) == ("", "v1", "Pod");
        if !is_pod || self.has_subresource() || self.operation != "CREATE" {
            return Ok(None);
        }
        match &self.object {
            Object::Read(pod) => Ok(Some(pod)),
            Object::None => Err(MalformedReview::NoObject),
            Object::TooMuch => Err(MalformedReview::TooMuch),
        }
    }

    /// The namespace in which the pod is to be created. It becomes part of a path, so nothing else may pass for a name.
    pub(super) fn pod_namespace(&self) -> Result<&str, MalformedReview> {
        let is_name = |name: &&str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        self.namespace.as_deref().filter(is_name).ok_or(MalformedReview::NoNamespace)
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
    status: Option<Status>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    patch: Option<EncodedPatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncodedPatch {
    patch_type: &'static str,
    patch: String,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl<'a> Answer<'a> {
    /// Lets the object pass as it is.
    pub(super) fn allow(request: &'a Request) -> Self {
        let response =
            Response { uid: &request.uid, allowed: true, status: None, patch: None, warnings: Vec::new() };
        Self { api_version: API_VERSION, kind: KIND, response }
    }

    /// Lets the object pass as it is, with what its owner should know.
    pub(super) fn warn(request: &'a Request, warnings: &[Warning]) -> Self {
        let mut answer = Self::allow(request);
        answer.response.warnings = warnings.iter().map(ToString::to_string).collect();
        answer
    }

    /// Lets the pod pass with what it lacks.
    #[expect(
        clippy::expect_used,
        reason = "a patch consists of strings and JSON values, which always can be written"
    )]
    pub(super) fn inject(request: &'a Request, injection: &Injection) -> Self {
        let mut answer = Self::warn(request, &injection.warnings);
        if !injection.is_empty() {
            let patch = STANDARD.encode(serde_json::to_vec(&injection.patch).expect("a patch is JSON"));
            answer.response.patch = Some(EncodedPatch { patch_type: "JSONPatch", patch });
        }
        answer
    }

    /// Refuses the pod, with the codes that the API server itself uses for such errors.
    pub(super) fn refuse(request: &'a Request, error: &InjectError) -> Self {
        let (code, reason) = match error.problem() {
            Problem::Shape(_) => (400, "BadRequest"),
            _ => (422, "Invalid"),
        };
        Self::deny(request, Status { code, reason, message: error.to_string() })
    }

    /// Refuses the pod because it is not known what it is to get. Its owner tries again.
    pub(super) fn postpone(request: &'a Request, error: &NamespaceUnread) -> Self {
        Self::deny(request, Status { code: 503, reason: "ServiceUnavailable", message: error.to_string() })
    }

    fn deny(request: &'a Request, status: Status) -> Self {
        let mut answer = Self::allow(request);
        answer.response.allowed = false;
        answer.response.status = Some(status);
        answer
    }
}
