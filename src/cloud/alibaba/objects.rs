//! What a bucket of OSS holds: objects, and parts of unfinished uploads. A bucket must hold neither to be deleted.

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;

use super::{
    Account, AlibabaError, Call,
    buckets::{escaped, of},
    oss::OssRequest,
    users::found,
};
use crate::cloud::xml::{elements, text};

/// OSS deletes at most this many objects in a request.
const PAGE: &str = "1000";

/// A page of what a bucket holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The keys of objects.
    pub objects: Vec<String>,
    /// The keys and ids of unfinished uploads.
    pub uploads: Vec<(String, String)>,
    /// Whether there is more.
    pub is_truncated: bool,
}

impl Content {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.uploads.is_empty()
    }
}

impl Account {
    /// The first page of what a bucket holds.
    ///
    /// # Errors
    /// When OSS does not answer or refuses.
    pub async fn content(&self, bucket: &str) -> Result<Content, AlibabaError> {
        // Keys may hold characters that XML does not allow.
        let query = vec![("list-type", "2"), ("max-keys", PAGE), ("encoding-type", "url")];
        let request = OssRequest { query, ..of(bucket, "GET", "") };
        let listed = self.oss(Call::read("oss:ListObjects", bucket), &request).await?;
        let query = vec![("uploads", ""), ("max-uploads", PAGE), ("encoding-type", "url")];
        let request = OssRequest { query, ..of(bucket, "GET", "") };
        let uploads = self.oss(Call::read("oss:ListMultipartUploads", bucket), &request).await?;
        let part = |entry, name| elements(entry, name).next().map(text);
        let key = |entry| Some(percent_decode_str(&part(entry, "Key")?).decode_utf8_lossy().into_owned());
        let is_truncated = |xml: &str| elements(xml, "IsTruncated").next() == Some("true");
        Ok(Content {
            objects: elements(&listed, "Contents").filter_map(&key).collect(),
            uploads: elements(&uploads, "Upload")
                .filter_map(|entry| Some((key(entry)?, part(entry, "UploadId")?)))
                .collect(),
            is_truncated: is_truncated(&listed) || is_truncated(&uploads),
        })
    }

    /// Deletes a page of what a bucket holds.
    ///
    /// # Errors
    /// When OSS does not answer or refuses.
    pub async fn delete_content(&self, bucket: &str, content: &Content) -> Result<(), AlibabaError> {
        let (odd, plain): (Vec<_>, Vec<_>) =
            content.objects.iter().partition(|key| key.contains(char::is_control));
        for key in odd {
            let request = OssRequest { method: "DELETE", bucket: Some(bucket), key, ..OssRequest::default() };
            found(self.oss(Call::write("oss:DeleteObject", bucket), &request).await)?;
        }
        if !plain.is_empty() {
            let object = |key: &String| format!("<Object><Key>{}</Key></Object>", escaped(key));
            let objects: String = plain.into_iter().map(object).collect();
            let mut request = of(bucket, "POST", "delete");
            request.body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete><Quiet>true</Quiet>{objects}</Delete>"
            );
            // OSS demands it.
            request.headers.insert("content-md5", STANDARD.encode(Md5::digest(&request.body)));
            request.headers.insert("content-type", "application/xml".to_owned());
            self.oss(Call::write("oss:DeleteObject", bucket), &request).await?;
        }
        for (key, id) in &content.uploads {
            let request = OssRequest { key, query: vec![("uploadId", id)], ..of(bucket, "DELETE", "") };
            let call = Call::write("oss:AbortMultipartUpload", bucket);
            found(self.oss(call, &request).await)?;
        }
        Ok(())
    }
}
