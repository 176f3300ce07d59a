//! Requests to OSS: REST, with XML. The bucket is part of the host, or of the path where the host is an address.

use std::collections::BTreeMap;

use jiff::Timestamp;
use url::{Host, Url};

use super::{
    AccessKey, Account, AlibabaError, Call, ErrorKind,
    error::Refusal,
    http::{Answer, Outgoing},
    oss4, percent,
};
use crate::cloud::{
    retry::repeating,
    xml::{elements, text},
};

/// A request.
#[derive(Clone, Debug, Default)]
pub(super) struct OssRequest<'a> {
    pub(super) method: &'a str,
    /// None for the list of all buckets.
    pub(super) bucket: Option<&'a str>,
    pub(super) key: &'a str,
    pub(super) query: Vec<(&'a str, &'a str)>,
    /// The headers to sign: `content-type`, `content-md5` and those of OSS.
    pub(super) headers: BTreeMap<&'static str, String>,
    pub(super) body: String,
}

impl Account {
    /// Sends a request within the rate limit, and again after an error that permits it. Returns the answer's XML.
    pub(super) async fn oss(&self, call: Call<'_>, request: &OssRequest<'_>) -> Result<String, AlibabaError> {
        let attempt = || async { self.oss_once(call, request, &self.key().await?).await };
        let outcome = repeating(&self.rate, call, attempt).await;
        self.forget_refused(&outcome).await;
        outcome
    }

    /// Sends a request once, with this key.
    pub(super) async fn oss_once(
        &self,
        call: Call<'_>,
        request: &OssRequest<'_>,
        key: &AccessKey,
    ) -> Result<String, AlibabaError> {
        let region = self.region().await?;
        let query = percent::query(request.query.iter().copied(), true);
        let url = self.url_of(request.bucket, request.key, &query, &region);
        let url = url.map_err(|error| AlibabaError::new(call, ErrorKind::Invalid, error.to_string()))?;
        let unsigned = oss4::Unsigned {
            method: request.method,
            region: &region,
            bucket: request.bucket,
            key: request.key,
            query: &query,
            headers: request.headers.clone(),
            date: &Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string(),
        };
        let headers = oss4::headers(&unsigned, key);
        let body = request.body.clone().into_bytes();
        let outgoing = Outgoing { method: request.method, url, headers: &headers, body };
        let answer = self.http.send(call, outgoing).await?;
        if answer.is_success() { Ok(answer.text()) } else { Err(refused(call, &answer)) }
    }

    fn url_of(
        &self,
        bucket: Option<&str>,
        key: &str,
        query: &str,
        region: &str,
    ) -> Result<Url, url::ParseError> {
        let mut url = self.settings.endpoints.oss(region)?;
        let key = percent::path(key);
        let path = match (bucket, url.host()) {
            (Some(bucket), Some(Host::Domain(domain))) => {
                let host = format!("{bucket}.{domain}");
                url.set_host(Some(&host))?;
                format!("/{key}")
            }
            (Some(bucket), _) => format!("/{bucket}/{key}"),
            (None, _) => "/".to_owned(),
        };
        url.set_path(&path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        Ok(url)
    }

    /// The address that applications use for OSS, with the scheme of TLS unless a test has none.
    ///
    /// # Errors
    /// When no region is configured.
    pub async fn oss_endpoint(&self) -> Result<Url, AlibabaError> {
        let region = self.region().await?;
        let call = Call::read("oss", &region);
        let endpoint = self.settings.endpoints.oss(&region);
        endpoint.map_err(|error| AlibabaError::new(call, ErrorKind::Invalid, error.to_string()))
    }
}

fn refused(call: Call<'_>, answer: &Answer) -> AlibabaError {
    let xml = answer.text();
    let part = |name| elements(&xml, name).next().map(text);
    let refusal = Refusal {
        status: answer.status,
        code: part("Code").unwrap_or_default(),
        message: part("Message").unwrap_or_default(),
        request_id: answer.request_id.clone().or_else(|| part("RequestId")),
    };
    AlibabaError::of_answer(call, refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::alibaba::{AccountSettings, Endpoints};

    fn url(oss: Option<&str>, bucket: Option<&str>, key: &str, query: &str) -> String {
        let oss = oss.map(|url| url.parse().unwrap());
        let endpoints = Endpoints { oss, ..Endpoints::default() };
        let account = Account::new(AccountSettings { endpoints, ..AccountSettings::default() });
        account.url_of(bucket, key, query, "cn-hangzhou").unwrap().to_string()
    }

    #[test]
    fn a_bucket_is_part_of_the_host_or_of_the_path() {
        assert_eq!(url(None, Some("b"), "a b", ""), "https://b.oss-cn-hangzhou.aliyuncs.com/a%20b");
        assert_eq!(url(None, None, "", "prefix=x"), "https://oss-cn-hangzhou.aliyuncs.com/?prefix=x");
        let inside = Some("https://oss-cn-hangzhou-internal.aliyuncs.com");
        assert_eq!(url(inside, Some("b"), "", "acl"), "https://b.oss-cn-hangzhou-internal.aliyuncs.com/?acl");
        assert_eq!(url(Some("http://127.0.0.1:80"), Some("b"), "k", ""), "http://127.0.0.1/b/k");
    }

    #[test]
    fn an_error_in_xml_is_read() {
        let body = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>gone</Message><RequestId>r</RequestId></Error>";
        let answer = Answer { status: 404, request_id: None, body: body.as_bytes().to_vec() };
        let error = refused(Call::read("oss:GetBucketInfo", "b"), &answer);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("request r"), "{error}");
    }
}
