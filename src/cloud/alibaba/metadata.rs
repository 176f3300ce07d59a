//! The metadata service of ECS: the role of the machine, and where the machine is. A token is asked for first, so that
//! a request that an application was tricked into does not get the credentials.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    AccessKey, Account, AlibabaError, Call, ErrorKind, Session,
    http::{Answer, Outgoing},
};
use crate::cloud::Retry;

/// How errors name the service, which has no actions.
const CALL: Call<'static> =
    Call { action: "ecs:Metadata", resource: "the machine", retry: Retry::Idempotent };

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_SECONDS: &str = "21600";
const ROLES: &str = "ram/security-credentials/";

impl Account {
    /// A fact about the machine, such as `region-id` or `vpc-id`; nothing if the service does not know it.
    ///
    /// # Errors
    /// When the service does not answer: the machine is none of Alibaba Cloud.
    pub async fn machine(&self, fact: &str) -> Result<Option<String>, AlibabaError> {
        let token = self.metadata_token().await?;
        let found = self.metadata(fact, token.as_deref()).await?;
        Ok(found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    /// A session of the machine's role.
    pub(super) async fn machine_session(&self) -> Result<Session, AlibabaError> {
        let failed = |problem: &str| AlibabaError::new(CALL, ErrorKind::Credentials, problem);
        let token = self.metadata_token().await?;
        let role = match self.settings.environment.get("ECS_METADATA") {
            Some(role) => role.to_owned(),
            None => {
                let listed = self.metadata(ROLES, token.as_deref()).await?;
                let role = listed.as_deref().map(str::trim).filter(|role| !role.is_empty());
                role.ok_or_else(|| failed("the machine has no RAM role; attach one, or set a key"))?
                    .to_owned()
            }
        };
        let path = format!("{ROLES}{role}");
        let Some(text) = self.metadata(&path, token.as_deref()).await? else {
            return Err(failed("the machine does not have the RAM role of ALIBABA_CLOUD_ECS_METADATA"));
        };
        let content: Value = serde_json::from_str(&text).unwrap_or_default();
        if content["Code"].as_str().is_some_and(|code| code != "Success") {
            return Err(failed("the metadata service has no credentials of the machine's RAM role"));
        }
        let field = |name: &str| content[name].as_str();
        let expires_at = field("Expiration").and_then(|end| end.parse().ok());
        match (field("AccessKeyId"), field("AccessKeySecret"), field("SecurityToken"), expires_at) {
            (Some(id), Some(secret), Some(token), Some(expires_at)) => Ok(Session {
                key: AccessKey { id: id.to_owned(), secret: secret.into(), token: Some(token.into()) },
                expires_at,
            }),
            _ => Err(failed("the metadata service did not answer with credentials")),
        }
    }

    /// A token for the other requests; nothing if the service is too old for tokens and the environment allows that.
    async fn metadata_token(&self) -> Result<Option<String>, AlibabaError> {
        let headers = BTreeMap::from([("x-aliyun-ecs-metadata-token-ttl-seconds", TOKEN_SECONDS.to_owned())]);
        let answer = self.ask_machine("PUT", TOKEN_PATH, &headers).await?;
        if answer.is_success() {
            return Ok(Some(answer.text()));
        }
        if self.settings.environment.is_true("IMDSV1_DISABLED") {
            let problem = format!("the metadata service gave no token: status {}", answer.status);
            return Err(AlibabaError::new(CALL, ErrorKind::Credentials, problem));
        }
        Ok(None)
    }

    async fn metadata(&self, path: &str, token: Option<&str>) -> Result<Option<String>, AlibabaError> {
        let token = token.map(|token| ("x-aliyun-ecs-metadata-token", token.to_owned()));
        let headers = token.into_iter().collect();
        let answer = self.ask_machine("GET", &format!("/latest/meta-data/{path}"), &headers).await?;
        match answer.status {
            200 => Ok(Some(answer.text())),
            404 => Ok(None),
            status => {
                let problem = format!("the metadata service answers status {status}");
                Err(AlibabaError::new(CALL, ErrorKind::Unavailable, problem))
            }
        }
    }

    async fn ask_machine(
        &self,
        method: &str,
        path: &str,
        headers: &BTreeMap<&'static str, String>,
    ) -> Result<Answer, AlibabaError> {
        let url = self.settings.endpoints.metadata();
        let mut url = url.map_err(|error| AlibabaError::new(CALL, ErrorKind::Invalid, error.to_string()))?;
        url.set_path(path);
        self.http.ask_metadata(CALL, Outgoing { method, url, headers, body: Vec::new() }).await
    }
}
