//! Files in a bucket of S3, which bindery lists, reads and writes. The requests are signed here: the SDK's crate for S3 would
//! take longer to build than all others together.

use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::ProvideCredentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use super::{Account, AwsError, Call, ErrorKind};
use crate::cloud::{
    http_client,
    xml::{elements, text},
};

const TIMEOUT: Duration = Duration::from_secs(20);
/// No more files are listed.
const MOST_FILES: usize = 1_000;
/// What S3 leaves as it is in a query, and with `/` in a path.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const IN_PATH: &AsciiSet = &IN_QUERY.remove(b'/');

/// A part of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's name.
    pub name: String,
    /// The beginning of the keys.
    pub prefix: String,
    /// The bucket's region; absent: the account's.
    pub region: Option<String>,
}

/// A file in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketFile {
    /// The key.
    pub key: String,
    /// The length in bytes.
    pub size: u64,
}

/// What is asked of S3.
struct Asked<'a> {
    method: Method,
    body: &'a str,
}

impl Account {
    /// The files below the prefix.
    ///
    /// # Errors
    /// When the bucket cannot be listed, or has too many files.
    pub async fn files(&self, bucket: &Bucket) -> Result<Vec<BucketFile>, AwsError> {
        let mut files = Vec::new();
        let mut token = None::<String>;
        loop {
            let mut query = format!("list-type=2&prefix={}", utf8_percent_encode(&bucket.prefix, IN_QUERY));
            if let Some(token) = &token {
                // The signature is for a query in alphabetical order.
                query = format!("continuation-token={}&{query}", utf8_percent_encode(token, IN_QUERY));
            }
            let call = Call::read("s3:ListBucket", &bucket.name);
            let listing = self.read(call, bucket, &format!("?{query}")).await?;
            files.extend(elements(&listing, "Contents").filter_map(|entry| {
                let of = |name| elements(entry, name).next();
                Some(BucketFile { key: text(of("Key")?), size: of("Size")?.parse().ok()? })
            }));
            if files.len() > MOST_FILES {
                let problem = format!("has more than {MOST_FILES} files; choose a longer prefix");
                return Err(AwsError::before_call(&bucket.name, ErrorKind::Invalid, problem));
            }
            token = elements(&listing, "NextContinuationToken").next().map(text);
            if token.is_none() {
                return Ok(files);
            }
        }
    }

    /// The text of a file.
    ///
    /// # Errors
    /// When the file cannot be read or is not text.
    pub async fn file(&self, bucket: &Bucket, key: &str) -> Result<String, AwsError> {
        let call = Call::read("s3:GetObject", key);
        self.read(call, bucket, &format!("/{}", utf8_percent_encode(key, IN_PATH))).await
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When the bucket cannot be written.
    pub async fn put_file(&self, bucket: &Bucket, key: &str, text: &str) -> Result<(), AwsError> {
        let call = Call::write("s3:PutObject", key);
        let rest = format!("/{}", utf8_percent_encode(key, IN_PATH));
        self.ask(call, &Asked { method: Method::PUT, body: text }, bucket, &rest).await.map(drop)
    }

    /// The URL of a file, as CloudFormation takes it.
    ///
    /// # Errors
    /// When no region is configured.
    pub async fn file_url(&self, bucket: &Bucket, key: &str) -> Result<String, AwsError> {
        Ok(format!("{}/{}", self.bucket_url(bucket).await?, utf8_percent_encode(key, IN_PATH)))
    }

    async fn bucket_url(&self, bucket: &Bucket) -> Result<String, AwsError> {
        let region = self.bucket_region(bucket).await?;
        let endpoint = self.endpoint("s3", &region);
        Ok(format!("{}/{}", endpoint.trim_end_matches('/'), utf8_percent_encode(&bucket.name, IN_QUERY)))
    }

    async fn bucket_region(&self, bucket: &Bucket) -> Result<String, AwsError> {
        match &bucket.region {
            Some(region) => Ok(region.clone()),
            None => self.region().await,
        }
    }

    async fn read(&self, call: Call<'_>, bucket: &Bucket, rest: &str) -> Result<String, AwsError> {
        self.ask(call, &Asked { method: Method::GET, body: "" }, bucket, rest).await
    }

    async fn ask(
        &self,
        call: Call<'_>,
        asked: &Asked<'_>,
        bucket: &Bucket,
        rest: &str,
    ) -> Result<String, AwsError> {
        let url = format!("{}{rest}", self.bucket_url(bucket).await?);
        let region = self.bucket_region(bucket).await?;
        self.repeating(call, || self.ask_once(call, asked, &url, &region)).await
    }

    async fn ask_once(
        &self,
        call: Call<'_>,
        asked: &Asked<'_>,
        url: &str,
        region: &str,
    ) -> Result<String, AwsError> {
        let lost = |error: reqwest::Error| {
            AwsError::of_call(call, ErrorKind::Unavailable, error.without_url().to_string(), None)
        };
        let http = http_client().timeout(TIMEOUT).build().map_err(lost)?;
        let mut request = http.request(asked.method.clone(), url).body(asked.body.to_owned());
        for (name, value) in self.signature(call, asked, url, region).await? {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let body = response.text().await.map_err(lost)?;
        if status.is_success() {
            return Ok(body);
        }
        let part = |name| elements(&body, name).next().map(text).unwrap_or_default();
        Err(AwsError::of_answer(call, &part("Code"), &part("Message"), status.as_u16(), None))
    }

    /// The headers that sign a request.
    async fn signature(
        &self,
        call: Call<'_>,
        asked: &Asked<'_>,
        url: &str,
        region: &str,
    ) -> Result<Vec<(String, String)>, AwsError> {
        let unsigned = |problem: String| AwsError::of_call(call, ErrorKind::Credentials, problem, None);
        let provider = self.credentials_provider().await?;
        let credentials =
            provider.provide_credentials().await.map_err(|error| unsigned(error.to_string()))?;
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| unsigned(error.to_string()))?
            .into();
        let body = SignableBody::Bytes(asked.body.as_bytes());
        let signable = SignableRequest::new(asked.method.as_str(), url, std::iter::empty(), body);
        let signed = signable.and_then(|request| sign(request, &parameters));
        let (instructions, _) = signed.map_err(|error| unsigned(error.to_string()))?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
