//! Sessions of STS: who the caller is, and temporary credentials of a role.

use std::time::Duration;

use serde_json::Value;

use super::{
    AccessKey, Account, AlibabaError, Call, Session,
    endpoints::Product,
    rpc::{Parameters, Signer},
};

/// The longest session that every role allows.
pub const LONGEST_BY_DEFAULT: Duration = Duration::from_hours(1);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The ARN of the user, or of the session of a role.
    pub arn: String,
    /// The account's number.
    pub account: String,
}

/// A session to begin.
#[derive(Clone, Copy, Debug)]
pub struct SessionRequest<'a> {
    /// The role to assume.
    pub role_arn: &'a str,
    /// The name of the session, which Alibaba Cloud's logs show.
    pub name: &'a str,
    /// The external id that the role's trust policy demands.
    pub external_id: Option<&'a str>,
    /// The policy that limits the session further.
    pub policy: Option<&'a str>,
    /// How long the session lasts.
    pub duration: Duration,
}

/// A role by a token of the cluster.
pub(super) struct WebIdentity<'a> {
    pub(super) role_arn: &'a str,
    pub(super) provider_arn: &'a str,
    pub(super) token: &'a str,
    pub(super) name: &'a str,
}

impl Account {
    /// Who the caller is.
    ///
    /// # Errors
    /// When STS does not answer or refuses.
    pub async fn caller(&self) -> Result<Caller, AlibabaError> {
        let call = Call::read("sts:GetCallerIdentity", "*");
        let answer = self.rpc(call, Product::Sts, &Parameters::default()).await?;
        match (answer["Arn"].as_str(), answer["AccountId"].as_str()) {
            (Some(arn), Some(account)) => Ok(Caller { arn: arn.to_owned(), account: account.to_owned() }),
            _ => Err(AlibabaError::incomplete(call, "Arn and AccountId")),
        }
    }

    /// Begins a session.
    ///
    /// # Errors
    /// When STS does not answer or refuses.
    pub async fn assume_role(&self, request: &SessionRequest<'_>) -> Result<Session, AlibabaError> {
        let call = Call::read("sts:AssumeRole", request.role_arn);
        session(call, &self.rpc(call, Product::Sts, &parameters(request)).await?)
    }

    /// Begins a session with another key than the account's own.
    pub(super) async fn assume_role_with(
        &self,
        key: &AccessKey,
        request: &SessionRequest<'_>,
    ) -> Result<Session, AlibabaError> {
        let call = Call::read("sts:AssumeRole", request.role_arn);
        let answer = self.rpc_once(call, Product::Sts, &parameters(request), Signer::Key(key)).await?;
        session(call, &answer)
    }

    /// Begins a session by a token of the cluster (RRSA).
    pub(super) async fn assume_role_by_token(
        &self,
        identity: &WebIdentity<'_>,
        duration: Duration,
    ) -> Result<Session, AlibabaError> {
        let call = Call::read("sts:AssumeRoleWithOIDC", identity.role_arn);
        let parameters = Parameters::new(&[
            ("RoleArn", identity.role_arn),
            ("OIDCProviderArn", identity.provider_arn),
            ("OIDCToken", identity.token),
            ("RoleSessionName", identity.name),
            ("DurationSeconds", &duration.as_secs().to_string()),
        ]);
        session(call, &self.rpc_once(call, Product::Sts, &parameters, Signer::Anonymous).await?)
    }
}

fn parameters(request: &SessionRequest<'_>) -> Parameters {
    let seconds = request.duration.as_secs().to_string();
    Parameters::new(&[
        ("RoleArn", request.role_arn),
        ("RoleSessionName", request.name),
        ("DurationSeconds", &seconds),
    ])
    .with_some("ExternalId", request.external_id)
    .with_some("Policy", request.policy)
}

fn session(call: Call<'_>, answer: &Value) -> Result<Session, AlibabaError> {
    let credentials = &answer["Credentials"];
    let field = |name: &str| credentials[name].as_str();
    let expires_at = field("Expiration").and_then(|end| end.parse().ok());
    match (field("AccessKeyId"), field("AccessKeySecret"), field("SecurityToken"), expires_at) {
        (Some(id), Some(secret), Some(token), Some(expires_at)) => Ok(Session {
            key: AccessKey { id: id.to_owned(), secret: secret.into(), token: Some(token.into()) },
            expires_at,
        }),
        _ => Err(AlibabaError::incomplete(call, "credentials")),
    }
}
