//! Remote procedure calls of RDS, RAM and STS: parameters in the query, answers in JSON.

use jiff::Timestamp;
use serde_json::Value;
use url::{Position, Url};
use uuid::Uuid;

use super::{
    AccessKey, Account, AlibabaError, Call, ErrorKind, acs3,
    endpoints::Product,
    error::Refusal,
    http::{Answer, Outgoing},
    percent,
};
use crate::cloud::retry::repeating;

/// The parameters whose values are secret.
const SECRET: [&str; 2] = ["AccountPassword", "OIDCToken"];
const FORM: &str = "application/x-www-form-urlencoded";

/// The parameters of a call.
#[derive(Clone, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn new(parameters: &[(&str, &str)]) -> Self {
        Self(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// Adds a parameter.
    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// Adds a parameter if it has a value.
    pub(super) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds tags as a list.
    pub(super) fn with_tags<'a>(self, tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        tags.into_iter().zip(1..).fold(self, |parameters, ((key, value), n)| {
            parameters.with(format!("Tag.{n}.Key"), key).with(format!("Tag.{n}.Value"), value)
        })
    }

    fn query(&self) -> String {
        percent::query(self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())), false)
    }

    /// The text with every secret replaced.
    fn redact(&self, text: &str) -> String {
        let secrets =
            self.0.iter().filter(|(name, value)| SECRET.contains(&name.as_str()) && !value.is_empty());
        secrets.fold(text.to_owned(), |text, (_, secret)| text.replace(secret, "[redacted]"))
    }
}

/// Who makes a call.
#[derive(Clone, Copy)]
pub(super) enum Signer<'a> {
    /// The owner of a key.
    Key(&'a AccessKey),
    /// Nobody: the parameters prove who asks, and are part of the body.
    Anonymous,
}

impl Account {
    /// Makes a call within the rate limit, and again after an error that permits it.
    pub(super) async fn rpc(
        &self,
        call: Call<'_>,
        product: Product,
        parameters: &Parameters,
    ) -> Result<Value, AlibabaError> {
        let attempt = || async {
            let key = self.key().await?;
            self.rpc_once(call, product, parameters, Signer::Key(&key)).await
        };
        let outcome = repeating(&self.rate, call, attempt).await;
        self.forget_refused(&outcome).await;
        outcome
    }

    /// Makes a call once.
    pub(super) async fn rpc_once(
        &self,
        call: Call<'_>,
        product: Product,
        parameters: &Parameters,
        signer: Signer<'_>,
    ) -> Result<Value, AlibabaError> {
        let invalid = |problem: String| AlibabaError::new(call, ErrorKind::Invalid, problem);
        let region = self.region().await?;
        let mut url =
            self.settings.endpoints.of(product, &region).map_err(|error| invalid(error.to_string()))?;
        let query = parameters.query();
        let (key, query, body, content_type) = match signer {
            Signer::Key(key) => (Some(key), query, Vec::new(), None),
            Signer::Anonymous => (None, String::new(), query.into_bytes(), Some(FORM)),
        };
        let host = host(&url).to_owned();
        let unsigned = acs3::Unsigned {
            method: "POST",
            host: &host,
            action: call.action.split_once(':').map_or(call.action, |(_, action)| action),
            version: product.version(),
            query: &query,
            content_type,
            body: &body,
            date: &Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            nonce: &Uuid::new_v4().simple().to_string(),
        };
        let headers = acs3::headers(&unsigned, key);
        url.set_path("/");
        url.set_query(Some(&query).filter(|query| !query.is_empty()).map(String::as_str));
        let outgoing = Outgoing { method: "POST", url, headers: &headers, body };
        let answer = self.http.send(call, outgoing).await?;
        read(call, &answer, parameters)
    }
}

/// The host with its port, as the client's header has it.
fn host(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

fn read(call: Call<'_>, answer: &Answer, parameters: &Parameters) -> Result<Value, AlibabaError> {
    let content: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match content {
        Some(content) if answer.is_success() => Ok(content),
        // A proxy in between, such as a captive portal, answers something else.
        None if answer.is_success() => {
            Err(AlibabaError::new(call, ErrorKind::Unavailable, "the answer is no JSON"))
        }
        content => {
            let content = content.unwrap_or_default();
            let field = |name: &str| content[name].as_str().unwrap_or_default();
            Err(AlibabaError::of_answer(
                call,
                Refusal {
                    status: answer.status,
                    code: field("Code").to_owned(),
                    message: parameters.redact(field("Message")),
                    request_id: content["RequestId"].as_str().map(ToOwned::to_owned),
                },
            ))
        }
    }
}

/// The text of a field of an answer, which may also be a number.
pub(super) fn text(of: &Value, name: &str) -> Option<String> {
    match &of[name] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The entries of a list that an answer has within an object: `Accounts.DBInstanceAccount[]`.
pub(super) fn entries<'a>(of: &'a Value, path: [&str; 2]) -> impl Iterator<Item = &'a Value> {
    of[path[0]][path[1]].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, request_id: None, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn an_error_repeats_no_password() {
        let parameters = Parameters::new(&[("AccountName", "app"), ("AccountPassword", "s3cret")]);
        let body =
            r#"{"Code":"InvalidAccountPassword.Format","Message":"s3cret of app is weak","RequestId":"r"}"#;
        let call = Call::once("rds:CreateAccount", "app");
        let error = read(call, &answer(400, body), &parameters).unwrap_err().to_string();
        assert!(error.contains("[redacted] of app is weak") && error.contains("request r"), "{error}");
    }

    #[test]
    fn an_answer_that_is_not_of_the_product_is_no_success() {
        let call = Call::read("rds:DescribeAccounts", "i");
        let error = read(call, &answer(200, "<html>"), &Parameters::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let error = read(call, &answer(502, "<html>"), &Parameters::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_host_has_its_port() {
        assert_eq!(host(&Url::parse("http://127.0.0.1:8080/").unwrap()), "127.0.0.1:8080");
        assert_eq!(host(&Url::parse("https://rds.aliyuncs.com").unwrap()), "rds.aliyuncs.com");
    }

    #[test]
    fn tags_are_numbered() {
        let tags = std::collections::BTreeMap::from([
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), "2".to_owned()),
        ]);
        let query = Parameters::default().with_tags(&tags).query();
        assert_eq!(query, "Tag.1.Key=a&Tag.1.Value=1&Tag.2.Key=b&Tag.2.Value=2");
    }
}
