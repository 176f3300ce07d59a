//! The credentials of an account, in the order of the official SDK: a key of the environment, a role by the cluster's
//! token (RRSA), the role of the machine; or a static key of the settings before all of these. Files of the SDK's
//! command line are not read. A source that is configured and fails is an error: another source could be somebody else.

use std::{path::Path, time::Duration};

use jiff::SignedDuration;

use super::{
    AccessKey, Account, AlibabaError, Call, ErrorKind,
    key::Cached,
    sessions::{SessionRequest, WebIdentity},
};
use crate::cloud::credentials::{StaticKey, UnreadableFile, contents};

/// New credentials are got so long before the present ones end.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
const DEFAULT_SESSION: Duration = Duration::from_hours(1);
const SESSION_NAME: &str = "bindery";

impl Account {
    /// The key of the account's calls.
    pub(super) async fn key(&self) -> Result<AccessKey, AlibabaError> {
        let mut cached = self.cached.lock().await;
        if let Some(present) = cached.as_ref().filter(|present| present.lasts(AHEAD)) {
            return Ok(present.key.clone());
        }
        match (self.obtain().await.map_err(AlibabaError::of_credentials), &*cached) {
            (Ok(obtained), _) => Ok(cached.insert(obtained).key.clone()),
            (Err(error), Some(present)) if present.lasts(SignedDuration::ZERO) => {
                tracing::warn!(%error, "cannot renew the credentials of Alibaba Cloud; the present ones still last");
                Ok(present.key.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Makes the next call obtain a key anew, if the outcome is that the present one was refused.
    pub(super) async fn forget_refused<T>(&self, outcome: &Result<T, AlibabaError>) {
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Credentials) {
            *self.cached.lock().await = None;
        }
    }

    async fn obtain(&self) -> Result<Cached, AlibabaError> {
        let own = match self.settings.credentials.static_key().await? {
            Some(key) => key.into(),
            None => self.chain().await?,
        };
        let Some(role) = &self.settings.role else { return Ok(own) };
        let request = SessionRequest {
            role_arn: &role.arn,
            name: SESSION_NAME,
            external_id: role.external_id.as_deref(),
            policy: None,
            duration: DEFAULT_SESSION,
        };
        Ok(self.assume_role_with(&own.key, &request).await?.into())
    }

    async fn chain(&self) -> Result<Cached, AlibabaError> {
        let environment = &self.settings.environment;
        if let (Some(id), Some(secret)) =
            (environment.get("ACCESS_KEY_ID"), environment.get("ACCESS_KEY_SECRET"))
        {
            let token = environment.get("SECURITY_TOKEN").map(Into::into);
            let key = AccessKey { id: id.to_owned(), secret: secret.into(), token };
            return Ok(Cached { key, expires_at: None });
        }
        if let (Some(role_arn), Some(provider_arn), Some(token_file)) = (
            environment.get("ROLE_ARN"),
            environment.get("OIDC_PROVIDER_ARN"),
            environment.get("OIDC_TOKEN_FILE"),
        ) {
            let token = contents(Path::new(token_file), "the token of the cluster").await?;
            let name = environment.get("ROLE_SESSION_NAME").unwrap_or(SESSION_NAME);
            let identity = WebIdentity { role_arn, provider_arn, token: token.trim(), name };
            return Ok(self.assume_role_by_token(&identity, DEFAULT_SESSION).await?.into());
        }
        if environment.is_true("ECS_METADATA_DISABLED") {
            let problem = "no credentials are configured: set a key, a role by token (RRSA), or allow the metadata service";
            return Err(AlibabaError::new(
                Call::read("credentials", "the account"),
                ErrorKind::Credentials,
                problem,
            ));
        }
        Ok(self.machine_session().await?.into())
    }
}

impl From<UnreadableFile> for AlibabaError {
    fn from(error: UnreadableFile) -> Self {
        let file = error.file.display().to_string();
        Self::new(Call::read("credentials", &file), ErrorKind::Credentials, error.to_string())
    }
}

impl From<StaticKey> for Cached {
    fn from(StaticKey { id, secret }: StaticKey) -> Self {
        Self { key: AccessKey { id, secret, token: None }, expires_at: None }
    }
}
