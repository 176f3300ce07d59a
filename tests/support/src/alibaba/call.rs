//! A call as it arrived: which product and action, and its parameters. Calls of RDS, RAM and STS name product and action
//! in the headers `x-acs-version` and `x-acs-action`; for OSS method, path and query decide (OSS API reference); paths
//! below `/latest/` are those of the metadata service of ECS.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes, to_bytes};
use hyper::{Request, body::Incoming};
use percent_encoding::percent_decode_str;

use super::{
    refusal::{Refusal, refuse},
    signature::{Headers, Query, pairs},
};

/// No answer of the documentation allows more.
const LARGEST_BODY: usize = 5 * 1024 * 1024;

/// Who answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    Rds,
    Ram,
    Sts,
    Oss,
    Metadata,
    Unknown,
}

impl Product {
    /// The product in the actions of policies.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Rds => "rds",
            Self::Ram => "ram",
            Self::Sts => "sts",
            Self::Oss => "oss",
            Self::Metadata => "metadata",
            Self::Unknown => "unknown",
        }
    }
}

/// A call with all that arrived.
pub(super) struct Call {
    pub(super) product: Product,
    /// The action, such as `CreateDBInstance` or `PutBucket`.
    pub(super) action: String,
    pub(super) method: String,
    /// The decoded path.
    pub(super) path: String,
    pub(super) query: Query,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
    pub(super) parameters: Parameters,
}

impl Call {
    /// Reads a request. `None` if the client went away.
    pub(super) async fn read(request: Request<Incoming>) -> Option<Self> {
        let (head, body) = request.into_parts();
        let body = to_bytes(Body::new(body), LARGEST_BODY).await.ok()?;
        let text =
            |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Headers =
            head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let path = percent_decode_str(head.uri.path()).decode_utf8_lossy().into_owned();
        let query = pairs(head.uri.query().unwrap_or_default());
        let form =
            headers.get("content-type").filter(|it| it.starts_with("application/x-www-form-urlencoded"));
        let form = form.map(|_| pairs(&String::from_utf8_lossy(&body))).unwrap_or_default();
        let parameters = Parameters(query.iter().cloned().chain(form).collect());
        let method = head.method.as_str().to_owned();
        let product = product(&path, &headers);
        let action = match product {
            Product::Oss => oss_action(&method, &path, &query).to_owned(),
            Product::Metadata => path.trim_start_matches("/latest/").to_owned(),
            _ => headers.get("x-acs-action").cloned().unwrap_or_default(),
        };
        Some(Self { product, action, method, path, query, headers, body, parameters })
    }

    /// The name in logs and faults, such as `rds:CreateDBInstance`.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.product.prefix(), self.action)
    }

    /// The bucket and the key in the path; both may be empty.
    pub(super) fn object(&self) -> (&str, &str) {
        let path = self.path.trim_start_matches('/');
        path.split_once('/').unwrap_or((path, ""))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

fn product(path: &str, headers: &Headers) -> Product {
    match headers.get("x-acs-version").map(String::as_str) {
        Some("2014-08-15") => Product::Rds,
        Some("2015-05-01") => Product::Ram,
        Some("2015-04-01") => Product::Sts,
        Some(_) => Product::Unknown,
        None if path.starts_with("/latest/") => Product::Metadata,
        None => Product::Oss,
    }
}

fn oss_action(method: &str, path: &str, query: &Query) -> &'static str {
    let has = |name: &str| query.iter().any(|(found, _)| found == name);
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    match (method, bucket.is_empty(), key.is_empty()) {
        ("GET", true, _) => "ListBuckets",
        ("PUT", false, true) if has("acl") => "PutBucketAcl",
        ("PUT", false, true) if has("tagging") => "PutBucketTags",
        ("PUT", false, true) if has("publicAccessBlock") => "PutBucketPublicAccessBlock",
        ("PUT", false, true) => "PutBucket",
        ("GET", false, true) if has("acl") => "GetBucketAcl",
        ("GET", false, true) if has("tagging") => "GetBucketTags",
        ("GET", false, true) if has("bucketInfo") => "GetBucketInfo",
        ("GET", false, true) if has("publicAccessBlock") => "GetBucketPublicAccessBlock",
        ("GET", false, true) if has("uploads") => "ListMultipartUploads",
        ("GET", false, true) if has("list-type") => "ListObjectsV2",
        ("POST", false, true) if has("delete") => "DeleteMultipleObjects",
        ("DELETE", false, true) if query.is_empty() => "DeleteBucket",
        ("POST", false, false) if has("uploads") => "InitiateMultipartUpload",
        ("DELETE", false, false) if has("uploadId") => "AbortMultipartUpload",
        ("PUT", false, false) => "PutObject",
        ("GET", false, false) => "GetObject",
        ("HEAD", false, false) => "HeadObject",
        ("DELETE", false, false) => "DeleteObject",
        _ => "Unknown",
    }
}

/// The parameters of an action.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(pub(super) BTreeMap<String, String>);

impl Parameters {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter that the documentation demands. Its absence is `MissingParameter` (common error codes, doc-detail
    /// 26313).
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        let missing = || {
            let message = format!(
                "The input parameter \"{name}\" that is mandatory for processing this request is not supplied."
            );
            Refusal::new(400, "MissingParameter", message)
        };
        self.get(name).ok_or_else(missing)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, Refusal> {
        match self.get(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => refuse(400, &format!("Invalid{name}.Malformed"), format!("{name} is no number.")),
        }
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The values of a list: `ResourceId.1`, `ResourceId.2`, …
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|index| self.get(&format!("{name}.{index}"))).collect()
    }

    /// The pairs of `Tag.1.Key` and `Tag.1.Value`, …
    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let tag = |index: u32| {
            let key = self.get(&format!("Tag.{index}.Key"))?;
            Some((key.to_owned(), self.get(&format!("Tag.{index}.Value")).unwrap_or_default().to_owned()))
        };
        (1..).map_while(tag).collect()
    }
}
