//! The RAM policy of a binding: the rights of each access level on its bucket alone. No access level may delete the bucket or
//! change who else may use it.

use crate::{
    broker::backends::access::Access,
    cloud::alibaba::policy::{self, Statement},
};

const READ_BUCKET: &[&str] = &["oss:ListObjects", "oss:GetBucketInfo", "oss:GetBucketLocation"];
const WRITE_BUCKET: &[&str] =
    &["oss:ListObjects", "oss:GetBucketInfo", "oss:GetBucketLocation", "oss:ListMultipartUploads"];
const OWN_BUCKET: &[&str] = &[
    "oss:ListObjects",
    "oss:GetBucketInfo",
    "oss:GetBucketLocation",
    "oss:ListMultipartUploads",
    "oss:GetBucketLifecycle",
    "oss:PutBucketLifecycle",
    "oss:DeleteBucketLifecycle",
    "oss:GetBucketCors",
    "oss:PutBucketCors",
    "oss:DeleteBucketCors",
];
const READ_OBJECTS: &[&str] = &["oss:GetObject"];
const WRITE_OBJECTS: &[&str] =
    &["oss:GetObject", "oss:PutObject", "oss:DeleteObject", "oss:ListParts", "oss:AbortMultipartUpload"];

/// The policy of a binding to a bucket, as JSON.
pub(super) fn policy_for(bucket: &str, access: Access) -> String {
    let (on_bucket, on_objects) = match access {
        Access::Read => (READ_BUCKET, READ_OBJECTS),
        Access::ReadWrite => (WRITE_BUCKET, WRITE_OBJECTS),
        Access::Owner => (OWN_BUCKET, WRITE_OBJECTS),
    };
    policy::document(&[
        Statement { actions: on_bucket, resources: vec![format!("acs:oss:*:*:{bucket}")] },
        Statement { actions: on_objects, resources: vec![format!("acs:oss:*:*:{bucket}/*")] },
    ])
}
