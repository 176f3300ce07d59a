//! Sessions of STS: who the caller is, temporary credentials of a role, and the wait until AWS knows new ones.

use std::time::Duration;

use aws_sdk_sts::config::Credentials as SdkCredentials;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep};

use super::{Account, AwsError, Call, ErrorKind, users::AccessKey};

/// How often new credentials are tried.
const PAUSE: Duration = Duration::from_millis(500);
/// How often in a row new credentials must be accepted: AWS answers from several hosts, which learn them one by one.
const ACCEPTED: u32 = 2;
/// The longest session that AWS gives to a caller who has assumed a role (role chaining), and the default.
pub const LONGEST_CHAINED: Duration = Duration::from_hours(1);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The ARN of the user, or of the session of a role.
    pub arn: String,
    /// The account's number.
    pub account: String,
}

impl Caller {
    /// Whether the caller has assumed a role.
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.arn.contains(":assumed-role/")
    }
}

/// A session to begin.
#[derive(Clone, Copy, Debug)]
pub struct SessionRequest<'a> {
    /// The role to assume.
    pub role_arn: &'a str,
    /// The name of the session, which AWS's logs show.
    pub name: &'a str,
    /// The external id that the role's trust policy demands.
    pub external_id: Option<&'a str>,
    /// The policy that limits the session further.
    pub policy: Option<&'a str>,
    /// How long the session lasts.
    pub duration: Duration,
}

/// Temporary credentials. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Session {
    /// The access key.
    pub key: AccessKey,
    /// The token that belongs to the key.
    pub token: SecretString,
    /// When the credentials end, as AWS says.
    pub expires_at: Timestamp,
}

impl Account {
    /// Who calls.
    ///
    /// # Errors
    /// When STS does not answer, or the credentials are not valid.
    pub async fn caller(&self) -> Result<Caller, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("sts:GetCallerIdentity", "*");
        let answer = self.call(call, || clients.sts.get_caller_identity().send()).await?;
        let (Some(arn), Some(account)) = (answer.arn, answer.account) else {
            return Err(AwsError::incomplete(call, "account"));
        };
        Ok(Caller { arn, account })
    }

    /// Begins a session. A role that was just created is tried again for `patience`, since AWS needs time to know it.
    ///
    /// # Errors
    /// When STS does not answer or refuses.
    pub async fn assume_role(
        &self,
        wanted: &SessionRequest<'_>,
        patience: Duration,
    ) -> Result<Session, AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("sts:AssumeRole", wanted.role_arn);
        let seconds = i32::try_from(wanted.duration.as_secs()).unwrap_or(i32::MAX);
        let assume = || {
            clients
                .sts
                .assume_role()
                .role_arn(wanted.role_arn)
                .role_session_name(wanted.name)
                .set_external_id(wanted.external_id.map(ToOwned::to_owned))
                .set_policy(wanted.policy.map(ToOwned::to_owned))
                .duration_seconds(seconds)
                .send()
        };
        let deadline = Instant::now() + patience;
        let answer = loop {
            match self.call(call, assume).await {
                Err(error) if error.kind() == ErrorKind::Denied && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                }
                outcome => break outcome?,
            }
        };
        let credentials = answer.credentials.ok_or_else(|| AwsError::incomplete(call, "credentials"))?;
        let expires_at = Timestamp::from_second(credentials.expiration.secs())
            .map_err(|_| AwsError::incomplete(call, "time of expiry"))?;
        Ok(Session {
            key: AccessKey { id: credentials.access_key_id, secret: credentials.secret_access_key.into() },
            token: credentials.session_token.into(),
            expires_at,
        })
    }

    /// Waits until AWS accepts new credentials, by a call that needs no right.
    ///
    /// # Errors
    /// When AWS does not accept them within `patience`; the error is passing.
    pub async fn wait_until_known(
        &self,
        key: &AccessKey,
        token: Option<&SecretString>,
        patience: Duration,
    ) -> Result<(), AwsError> {
        let token = token.map(|token| token.expose_secret().to_owned());
        let credentials = SdkCredentials::new(&key.id, key.secret.expose_secret(), token, None, "binding");
        let sts = self.clients().await?.sts_with(credentials);
        let call = Call::read("sts:GetCallerIdentity", &key.id);
        let (deadline, mut accepted) = (Instant::now() + patience, 0);
        loop {
            self.rate.take().await;
            match sts.get_caller_identity().send().await {
                Ok(_) => {
                    accepted += 1;
                    if accepted >= ACCEPTED {
                        return Ok(());
                    }
                }
                Err(error) => {
                    accepted = 0;
                    let error = AwsError::from_sdk(call, &error);
                    if Instant::now() >= deadline {
                        let problem = format!(
                            "AWS does not know the new access key after {} s: {}",
                            patience.as_secs(),
                            error.message()
                        );
                        return Err(AwsError::before_call(&key.id, ErrorKind::Unavailable, problem));
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}
