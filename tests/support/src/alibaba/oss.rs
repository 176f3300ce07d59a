//! OSS by path: `/BUCKET/KEY` (OSS API reference; path style as the SDK uses it for IP addresses). One region, and one
//! owner; names that others own can be set by a test. Not here: versions of objects, parts, presigned URLs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Settings,
    account::{ACCOUNT, REGION},
    call::{Call, Product},
    identities::Caller,
    policy::Context,
    refusal::{Refusal, refuse},
    server::Answer,
};

type Result<T> = std::result::Result<T, Refusal>;

/// The number of buckets of a region at most (PutBucket: TooManyBuckets).
const MOST_BUCKETS: usize = 100;

#[derive(Default)]
pub(super) struct Oss {
    pub(super) buckets: BTreeMap<String, Bucket>,
    /// Names that another account owns.
    pub(super) foreign: BTreeSet<String>,
}

#[derive(Default)]
pub(super) struct Bucket {
    pub(super) acl: String,
    pub(super) class: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) blocks_public_access: bool,
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    /// Uploads of parts that are not complete: id and key.
    pub(super) uploads: BTreeMap<String, String>,
}

impl Oss {
    /// Answers an action.
    pub(super) fn answer(
        &mut self,
        call: &Call,
        caller: Option<&Caller>,
        settings: &Settings,
    ) -> Result<Answer> {
        let (name, key) = call.object();
        match caller {
            Some(caller) => check(call, caller)?,
            None => self.check_anonymous(call)?,
        }
        match call.action.as_str() {
            "ListBuckets" => return Ok(self.list_buckets(call, settings)),
            "PutBucket" => return self.put_bucket(call, name),
            "Unknown" => return refuse(501, "NotImplemented", "The stand-in does not know this request."),
            _ => {}
        }
        let Some(bucket) = self.buckets.get_mut(name) else {
            if self.foreign.contains(name) {
                return refuse(403, "AccessDenied", format!("The bucket {name} belongs to another account."));
            }
            return refuse(404, "NoSuchBucket", "The specified bucket does not exist.");
        };
        match call.action.as_str() {
            "DeleteBucket" => {
                if !bucket.objects.is_empty() || !bucket.uploads.is_empty() {
                    return refuse(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.");
                }
                self.buckets.remove(name);
                Ok(Answer::empty(204))
            }
            _ if key.is_empty() => bucket.configure(name, call, settings),
            _ => bucket.act_on_object(name, key, call),
        }
    }

    /// An object of a bucket whose ACL is public may be read by anybody, unless public access is blocked.
    fn check_anonymous(&self, call: &Call) -> Result<()> {
        let bucket = self.buckets.get(call.object().0);
        let is_public =
            bucket.is_some_and(|it| it.acl.starts_with("public-read") && !it.blocks_public_access);
        if is_public && matches!(call.action.as_str(), "GetObject" | "HeadObject") {
            return Ok(());
        }
        refuse(403, "AccessDenied", "AccessDenied")
    }

    fn list_buckets(&self, call: &Call, settings: &Settings) -> Answer {
        let (prefix, marker) = (query(call, "prefix"), query(call, "marker"));
        let mut rest = self
            .buckets
            .iter()
            .filter(|(name, _)| name.starts_with(prefix) && (marker.is_empty() || name.as_str() > marker))
            .peekable();
        let listed: Vec<_> = rest.by_ref().take(most(call, settings)).collect();
        let next = rest.peek().and(listed.last()).map(|(name, _)| name.as_str()).unwrap_or_default();
        let buckets: String = listed
            .iter()
            .map(|(name, bucket)| {
                format!(
                    "<Bucket><Name>{name}</Name><Location>oss-{REGION}</Location>\
                    <StorageClass>{}</StorageClass></Bucket>",
                    bucket.class
                )
            })
            .collect();
        xml(&format!(
            "<ListAllMyBucketsResult><IsTruncated>{}</IsTruncated><NextMarker>{next}</NextMarker>\
             <Buckets>{buckets}</Buckets></ListAllMyBucketsResult>",
            !next.is_empty()
        ))
    }

    /// A bucket of one's own is put again without a change, unless its class differs (PutBucket).
    fn put_bucket(&mut self, call: &Call, name: &str) -> Result<Answer> {
        let is_allowed = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        let is_valid = (3..=63).contains(&name.len())
            && name.chars().all(is_allowed)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !is_valid {
            return refuse(400, "InvalidBucketName", "The specified bucket is not valid.");
        }
        let acl = call.header("x-oss-acl").unwrap_or("private").to_owned();
        check_acl(&acl)?;
        let class = text(call, "StorageClass").unwrap_or_else(|| "Standard".to_owned());
        if !["Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"].contains(&class.as_str()) {
            return refuse(400, "InvalidStorageClass", format!("The storage class {class} is not valid."));
        }
        let taken = "The requested bucket name is not available.";
        if self.foreign.contains(name) {
            return refuse(409, "BucketAlreadyExists", taken);
        }
        if let Some(bucket) = self.buckets.get_mut(name) {
            if bucket.class != class {
                return refuse(409, "BucketAlreadyExists", taken);
            }
            bucket.acl = acl;
            return Ok(Answer::empty(200));
        }
        if self.buckets.len() >= MOST_BUCKETS {
            return refuse(400, "TooManyBuckets", "You have attempted to create more buckets than allowed.");
        }
        self.buckets.insert(name.to_owned(), Bucket { acl, class, ..Bucket::default() });
        Ok(Answer::empty(200))
    }

    /// What exists.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (name, bucket) in &self.buckets {
            left.push(format!("oss bucket {name}"));
            left.extend(bucket.objects.keys().map(|key| format!("oss object {name}/{key}")));
        }
        left
    }
}

impl Bucket {
    fn configure(&mut self, name: &str, call: &Call, settings: &Settings) -> Result<Answer> {
        Ok(match call.action.as_str() {
            "GetBucketInfo" => xml(&format!(
                "<BucketInfo><Bucket><Name>{name}</Name><Location>oss-{REGION}</Location><StorageClass>{}</StorageClass>\
                 <ExtranetEndpoint>oss-{REGION}.aliyuncs.com</ExtranetEndpoint><IntranetEndpoint>oss-{REGION}-internal.aliyuncs.com</IntranetEndpoint>\
                 <Owner><ID>{ACCOUNT}</ID><DisplayName>{ACCOUNT}</DisplayName></Owner><AccessControlList><Grant>{}</Grant></AccessControlList>\
                 <BlockPublicAccess>{}</BlockPublicAccess></Bucket></BucketInfo>",
                self.class, self.acl, self.blocks_public_access
            )),
            "PutBucketAcl" => {
                let acl = call.header("x-oss-acl").unwrap_or_default();
                check_acl(acl)?;
                acl.clone_into(&mut self.acl);
                Answer::empty(200)
            }
            "GetBucketAcl" => xml(&format!(
                "<AccessControlPolicy><AccessControlList><Grant>{}</Grant></AccessControlList></AccessControlPolicy>",
                self.acl
            )),
            "PutBucketTags" => {
                let body = String::from_utf8_lossy(&call.body).into_owned();
                let (keys, values) = (elements(&body, "Key"), elements(&body, "Value"));
                if keys.is_empty() || keys.len() != values.len() || keys.len() > 20 {
                    return refuse(400, "MalformedXML", "The XML you provided was not well-formed.");
                }
                self.tags = keys.into_iter().zip(values).collect();
                Answer::empty(200)
            }
            "GetBucketTags" => {
                let tag = |(key, value): (&String, &String)| {
                    format!("<Tag><Key>{}</Key><Value>{}</Value></Tag>", escaped(key), escaped(value))
                };
                let tags: String = self.tags.iter().map(tag).collect();
                xml(&format!("<Tagging><TagSet>{tags}</TagSet></Tagging>"))
            }
            "PutBucketPublicAccessBlock" => {
                self.blocks_public_access = text(call, "BlockPublicAccess").as_deref() == Some("true");
                Answer::empty(200)
            }
            "GetBucketPublicAccessBlock" => xml(&format!(
                "<PublicAccessBlockConfiguration><BlockPublicAccess>{}</BlockPublicAccess></PublicAccessBlockConfiguration>",
                self.blocks_public_access
            )),
            "ListObjectsV2" => self.list_objects(name, call, settings),
            "ListMultipartUploads" => {
                let upload = |(id, key): (&String, &String)| {
                    format!("<Upload><Key>{}</Key><UploadId>{id}</UploadId></Upload>", escaped(key))
                };
                let uploads: String = self.uploads.iter().map(upload).collect();
                xml(&format!(
                    "<ListMultipartUploadsResult><Bucket>{name}</Bucket><IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>"
                ))
            }
            "DeleteMultipleObjects" => {
                for key in elements(&String::from_utf8_lossy(&call.body), "Key") {
                    self.objects.remove(&key);
                }
                xml("<DeleteResult></DeleteResult>")
            }
            _ => return refuse(501, "NotImplemented", "The stand-in does not know this request."),
        })
    }

    /// The default is 100 keys a page, and 1,000 are the most (ListObjectsV2).
    fn list_objects(&self, name: &str, call: &Call, settings: &Settings) -> Answer {
        let (prefix, after) = (query(call, "prefix"), query(call, "continuation-token"));
        let mut rest = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && (after.is_empty() || key.as_str() > after))
            .peekable();
        let listed: Vec<_> = rest.by_ref().take(most(call, settings)).collect();
        let next = rest.peek().and(listed.last()).map(|(key, _)| escaped(key)).unwrap_or_default();
        let is_encoded = query(call, "encoding-type") == "url";
        let key = |key: &str| if is_encoded { super::signature::encode_path(key) } else { escaped(key) };
        let contents: String = listed
            .iter()
            .map(|(name, content)| {
                format!("<Contents><Key>{}</Key><Size>{}</Size></Contents>", key(name), content.len())
            })
            .collect();
        let token = if next.is_empty() {
            String::new()
        } else {
            format!("<NextContinuationToken>{next}</NextContinuationToken>")
        };
        xml(&format!(
            "<ListBucketResult><Name>{name}</Name><KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>{token}{contents}</ListBucketResult>",
            listed.len(),
            !next.is_empty()
        ))
    }

    fn act_on_object(&mut self, name: &str, key: &str, call: &Call) -> Result<Answer> {
        Ok(match call.action.as_str() {
            "PutObject" => {
                self.objects.insert(key.to_owned(), call.body.to_vec());
                Answer::empty(200)
            }
            "GetObject" | "HeadObject" => match self.objects.get(key) {
                Some(content) if call.action == "GetObject" => Answer::Plain(200, content.clone()),
                Some(_) => Answer::empty(200),
                None => return refuse(404, "NoSuchKey", "The specified key does not exist."),
            },
            "DeleteObject" => {
                self.objects.remove(key);
                Answer::empty(204)
            }
            "InitiateMultipartUpload" => {
                let id = super::random("0123456789ABCDEF", 32);
                self.uploads.insert(id.clone(), key.to_owned());
                xml(&format!(
                    "<InitiateMultipartUploadResult><Bucket>{name}</Bucket><Key>{}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
                    escaped(key)
                ))
            }
            "AbortMultipartUpload" => match self.uploads.remove(query(call, "uploadId")) {
                Some(_) => Answer::empty(204),
                None => return refuse(404, "NoSuchUpload", "The specified upload does not exist."),
            },
            _ => return refuse(501, "NotImplemented", "The stand-in does not know this request."),
        })
    }
}

/// The right that a request needs (OSS developer guide, "Authorization syntax and elements").
fn check(call: &Call, caller: &Caller) -> Result<()> {
    let (bucket, key) = call.object();
    let action = match call.action.as_str() {
        "PutBucketTags" => "PutBucketTagging",
        "GetBucketTags" => "GetBucketTagging",
        "ListObjectsV2" => "ListObjects",
        "HeadObject" => "GetObject",
        "InitiateMultipartUpload" => "PutObject",
        "DeleteMultipleObjects" => "DeleteObject",
        other => other,
    };
    let of = |path: &str| format!("acs:oss:{REGION}:{ACCOUNT}:{path}");
    let resources = match call.action.as_str() {
        "ListBuckets" => vec![of("*")],
        "DeleteMultipleObjects" => {
            let keys = elements(&String::from_utf8_lossy(&call.body), "Key");
            keys.iter().map(|key| of(&format!("{bucket}/{key}"))).collect()
        }
        _ if key.is_empty() => vec![of(bucket)],
        _ => vec![of(&format!("{bucket}/{key}"))],
    };
    let prefix = query(call, "prefix").to_owned();
    caller.check(Product::Oss, action, &resources, Context::from([("oss:Prefix".to_owned(), prefix)]))
}

fn check_acl(acl: &str) -> Result<()> {
    if ["private", "public-read", "public-read-write"].contains(&acl) {
        return Ok(());
    }
    refuse(400, "InvalidArgument", format!("The ACL {acl} is not valid."))
}

fn most(call: &Call, settings: &Settings) -> usize {
    query(call, "max-keys").parse().unwrap_or(100).clamp(1, 1000).min(settings.longest_page)
}

fn query<'a>(call: &'a Call, name: &str) -> &'a str {
    let found = call.query.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value.as_str()).unwrap_or_default()
}

/// The content of an element of the body.
fn text(call: &Call, element: &str) -> Option<String> {
    elements(&String::from_utf8_lossy(&call.body), element).into_iter().next()
}

/// The contents of all elements of this name.
pub(super) fn elements(xml: &str, name: &str) -> Vec<String> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let content = |rest: &str| rest.split(&end).next().unwrap_or_default().to_owned();
    let plain = |text: String| {
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    };
    xml.split(&start).skip(1).map(|rest| plain(content(rest))).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn xml(content: &str) -> Answer {
    Answer::Plain(200, format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{content}").into_bytes())
}
