//! The HTTP API of RabbitMQ's management plugin, as far as users need it
//! (<https://www.rabbitmq.com/docs/http-api-reference>). Every call is idempotent, so it is repeated after a passing error.
//! Passwords are sent as their hash (<https://www.rabbitmq.com/docs/passwords>): the server gets none to log.

use std::{path::Path, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Certificate, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use super::error::RabbitMqError;
use crate::{
    broker::backends::access::Access,
    cloud::{error_chain, http_client},
};

const CONNECT: Duration = Duration::from_secs(3);
const REQUEST: Duration = Duration::from_secs(10);
const RETRIES: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// More of the server's reason is not shown.
const LONGEST_REASON: usize = 200;

/// A user on the server.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub(super) tags: Vec<String>,
}

/// A user as it is created.
#[derive(Serialize)]
pub(super) struct NewUser<'a> {
    password_hash: String,
    hashing_algorithm: &'static str,
    tags: &'a str,
}

impl<'a> NewUser<'a> {
    pub(super) fn new(password: &SecretString, tag: &'a str) -> Self {
        let password_hash = hash(rand::random(), password);
        Self { password_hash, hashing_algorithm: "rabbit_password_hashing_sha256", tags: tag }
    }
}

/// What a user may do with the exchanges and queues whose names match
/// (<https://www.rabbitmq.com/docs/access-control#authorisation>).
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Permissions {
    configure: &'static str,
    write: &'static str,
    read: &'static str,
}

impl Permissions {
    /// A user that reads a queue also acknowledges its messages. Only an owner declares and deletes queues and exchanges.
    pub(super) fn of(access: Access) -> Self {
        let (all, none) = (".*", "");
        match access {
            Access::Read => Self { configure: none, write: none, read: all },
            Access::ReadWrite => Self { configure: none, write: all, read: all },
            Access::Owner => Self { configure: all, write: all, read: all },
        }
    }
}

/// A client that logs in as a user with the tag `administrator`.
pub(super) struct Management {
    client: reqwest::Client,
    url: Url,
    user: String,
    password: SecretString,
    ca: Option<String>,
}

impl Management {
    /// Opens no connection.
    pub(super) fn new(
        url: Url,
        user: String,
        password: SecretString,
        ca_file: Option<&Path>,
    ) -> Result<Self, RabbitMqError> {
        let builder = http_client().connect_timeout(CONNECT).timeout(REQUEST).https_only(true);
        let Some(file) = ca_file else {
            let client = builder.build().map_err(|error| no_answer("the start of the client", error))?;
            return Ok(Self { client, url, user, password, ca: None });
        };
        let unusable = |problem| RabbitMqError::Ca { file: file.display().to_string(), problem };
        let ca = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(ca.as_bytes())
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| unusable("it has no certificate".to_owned()))?;
        let client = builder.tls_certs_only(certificates).build();
        let client = client.map_err(|error| unusable(error_chain(&error)))?;
        Ok(Self { client, url, user, password, ca: Some(ca) })
    }

    /// The certificates that clients must trust, unless those are the system's.
    pub(super) fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// Checks that the server is there and accepts the login.
    pub(super) async fn log_in(&self) -> Result<(), RabbitMqError> {
        self.call::<()>(Method::GET, &["whoami"], None).await.map(drop)
    }

    pub(super) async fn user(&self, name: &str) -> Result<Option<User>, RabbitMqError> {
        let Some(answer) = self.call::<()>(Method::GET, &["users", name], None).await? else {
            return Ok(None);
        };
        let read = serde_json::from_value(answer).map(Some);
        read.map_err(|error| RabbitMqError::NoAnswer {
            call: format!("GET users/{name}"),
            problem: error.to_string(),
        })
    }

    /// Creates a user, or replaces the password and the tags.
    pub(super) async fn put_user(&self, name: &str, user: &NewUser<'_>) -> Result<(), RabbitMqError> {
        self.call(Method::PUT, &["users", name], Some(user)).await.map(drop)
    }

    pub(super) async fn delete_user(&self, name: &str) -> Result<(), RabbitMqError> {
        self.call::<()>(Method::DELETE, &["users", name], None).await.map(drop)
    }

    pub(super) async fn permit(
        &self,
        user: &str,
        virtual_host: &str,
        permissions: &Permissions,
    ) -> Result<(), RabbitMqError> {
        self.call(Method::PUT, &["permissions", virtual_host, user], Some(permissions)).await.map(drop)
    }

    pub(super) async fn has_permissions(
        &self,
        user: &str,
        virtual_host: &str,
    ) -> Result<bool, RabbitMqError> {
        let found = self.call::<()>(Method::GET, &["permissions", virtual_host, user], None).await?;
        Ok(found.is_some())
    }

    /// The answer; nothing, if GET or DELETE find nothing.
    async fn call<B: Serialize>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&B>,
    ) -> Result<Option<Value>, RabbitMqError> {
        let pauses =
            ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(RETRIES).with_jitter();
        let attempt = || self.call_once(method.clone(), path, body);
        attempt.retry(pauses).when(RabbitMqError::is_passing).await
    }

    async fn call_once<B: Serialize>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&B>,
    ) -> Result<Option<Value>, RabbitMqError> {
        let call = format!("{method} {}", path.join("/"));
        let mut url = self.url.clone();
        // The name of the virtual host is `/`, which separates nothing here.
        let encoded: Vec<_> =
            path.iter().map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
        url.set_path(&format!("/api/{}", encoded.join("/")));
        let may_be_missing = method != Method::PUT;
        let mut request =
            self.client.request(method, url).basic_auth(&self.user, Some(self.password.expose_secret()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| no_answer(&call, error))?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(|error| no_answer(&call, error))?;
        let content: Value = serde_json::from_slice(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(Some(content));
        }
        if status == StatusCode::NOT_FOUND && may_be_missing {
            return Ok(None);
        }
        let reason = content["reason"].as_str().unwrap_or_default();
        let reason = reason.chars().filter(|char| !char.is_control()).take(LONGEST_REASON).collect();
        Err(RabbitMqError::Refused { call, status: status.as_u16(), reason })
    }
}

/// The salt, and the SHA-256 of salt and password.
fn hash(salt: [u8; 4], password: &SecretString) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(password.expose_secret()).finalize();
    BASE64_STANDARD.encode([&salt[..], &digest].concat())
}

fn no_answer(call: &str, error: reqwest::Error) -> RabbitMqError {
    RabbitMqError::NoAnswer { call: call.to_owned(), problem: error_chain(&error.without_url()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of <https://www.rabbitmq.com/docs/passwords#computing-password-hash>: the password `test12`.
    #[test]
    fn a_password_is_hashed_as_documented() {
        let hash = hash([0x90, 0x8d, 0xc6, 0x0a], &"test12".into());
        assert_eq!(hash, "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }

    #[test]
    fn only_an_owner_declares() {
        assert_eq!(Permissions::of(Access::Owner).configure, ".*");
        for access in [Access::Read, Access::ReadWrite] {
            assert_eq!(Permissions::of(access).configure, "");
        }
        assert_eq!(Permissions::of(Access::Read).write, "");
    }
}
