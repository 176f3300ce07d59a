//! Buckets of OSS.

use std::collections::BTreeMap;

use super::{AccessKey, Account, AlibabaError, Call, ErrorKind, oss::OssRequest, users::found};
use crate::cloud::xml::{elements, text};

/// What is known about a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketInfo {
    /// Where the bucket is, as `oss-cn-hangzhou`.
    pub location: String,
    /// Who may read it without credentials: `private`, `public-read` or `public-read-write`.
    pub acl: String,
    /// The storage class.
    pub storage_class: String,
}

impl Account {
    /// A bucket of the account; nothing if nobody has a bucket of this name.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Denied`] if the bucket is of another account.
    pub async fn bucket(&self, name: &str) -> Result<Option<BucketInfo>, AlibabaError> {
        let call = Call::read("oss:GetBucketInfo", name);
        let Some(xml) = found(self.oss(call, &of(name, "GET", "bucketInfo")).await)? else { return Ok(None) };
        let part = |name| elements(&xml, name).next().map(text).unwrap_or_default();
        Ok(Some(BucketInfo {
            location: part("Location"),
            acl: part("Grant"),
            storage_class: part("StorageClass"),
        }))
    }

    /// The names of the account's buckets in the region that begin with this prefix.
    ///
    /// # Errors
    /// When OSS does not answer or refuses.
    pub async fn buckets(&self, prefix: &str) -> Result<Vec<String>, AlibabaError> {
        let location = format!("oss-{}", self.region().await?);
        let call = Call::read("oss:ListBuckets", "*");
        let (mut names, mut marker) = (Vec::new(), String::new());
        loop {
            let mut query = vec![("max-keys", "1000"), ("prefix", prefix)];
            if !marker.is_empty() {
                query.push(("marker", &marker));
            }
            let xml = self.oss(call, &OssRequest { method: "GET", query, ..OssRequest::default() }).await?;
            let is_here = |bucket: &&str| {
                let at = elements(bucket, "Location").next();
                at.is_none_or(|at| at == location)
            };
            let here = elements(&xml, "Bucket").filter(is_here);
            names.extend(here.filter_map(|bucket| elements(bucket, "Name").next().map(text)));
            marker = elements(&xml, "NextMarker").next().map(text).unwrap_or_default();
            if marker.is_empty() {
                return Ok(names);
            }
        }
    }

    /// Creates a bucket, or sets the access list of one of the account.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Exists`] if the bucket is of another account, or of another storage class.
    pub async fn create_bucket(
        &self,
        name: &str,
        acl: &str,
        storage_class: &str,
    ) -> Result<(), AlibabaError> {
        let mut request = OssRequest { method: "PUT", bucket: Some(name), ..OssRequest::default() };
        request.headers.insert("x-oss-acl", acl.to_owned());
        request.headers.insert("content-type", "application/xml".to_owned());
        request.body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><CreateBucketConfiguration><StorageClass>{}</StorageClass></CreateBucketConfiguration>",
            escaped(storage_class)
        );
        self.oss(Call::write("oss:PutBucket", name), &request).await.map(drop)
    }

    /// Sets who may read a bucket without credentials.
    ///
    /// # Errors
    /// When OSS does not answer or refuses.
    pub async fn set_bucket_acl(&self, name: &str, acl: &str) -> Result<(), AlibabaError> {
        let mut request = of(name, "PUT", "acl");
        request.headers.insert("x-oss-acl", acl.to_owned());
        self.oss(Call::write("oss:PutBucketAcl", name), &request).await.map(drop)
    }

    /// The tags of a bucket; none if it does not exist.
    ///
    /// # Errors
    /// When OSS does not answer or refuses.
    pub async fn bucket_tags(&self, name: &str) -> Result<BTreeMap<String, String>, AlibabaError> {
        let call = Call::read("oss:GetBucketTagging", name);
        let xml = found(self.oss(call, &of(name, "GET", "tagging")).await)?.unwrap_or_default();
        let part = |tag, name| elements(tag, name).next().map(text);
        let tags = elements(&xml, "Tag").filter_map(|tag| Some((part(tag, "Key")?, part(tag, "Value")?)));
        Ok(tags.collect())
    }

    /// Sets the tags of a bucket.
    ///
    /// # Errors
    /// When OSS does not answer or refuses.
    pub async fn tag_bucket(&self, name: &str, tags: &BTreeMap<String, String>) -> Result<(), AlibabaError> {
        let tag = |(key, value): (&String, &String)| {
            format!("<Tag><Key>{}</Key><Value>{}</Value></Tag>", escaped(key), escaped(value))
        };
        let mut request = of(name, "PUT", "tagging");
        request.headers.insert("content-type", "application/xml".to_owned());
        request.body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Tagging><TagSet>{}</TagSet></Tagging>",
            tags.iter().map(tag).collect::<String>()
        );
        self.oss(Call::write("oss:PutBucketTagging", name), &request).await.map(drop)
    }

    /// Deletes a bucket. Nothing happens if it is gone.
    ///
    /// # Errors
    /// With the code `BucketNotEmpty` if it holds objects or parts of uploads.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), AlibabaError> {
        let request = OssRequest { method: "DELETE", bucket: Some(name), ..OssRequest::default() };
        found(self.oss(Call::write("oss:DeleteBucket", name), &request).await).map(drop)
    }

    /// Whether a key may list the objects of a bucket already. New keys and policies need some time.
    ///
    /// # Errors
    /// When OSS does not answer.
    pub async fn may_list(&self, name: &str, key: &AccessKey) -> Result<bool, AlibabaError> {
        let request =
            OssRequest { query: vec![("list-type", "2"), ("max-keys", "1")], ..of(name, "GET", "") };
        match self.oss_once(Call::read("oss:ListObjects", name), &request, key).await {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Denied
                        | ErrorKind::Credentials
                        | ErrorKind::Throttled
                        | ErrorKind::Unavailable
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// A request to a part of a bucket.
pub(super) fn of<'a>(bucket: &'a str, method: &'a str, part: &'a str) -> OssRequest<'a> {
    let bucket = Some(bucket);
    OssRequest { method, bucket, query: vec![(part, "")], ..OssRequest::default() }
}

/// A text within XML.
pub(super) fn escaped(text: &str) -> String {
    [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&apos;")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
