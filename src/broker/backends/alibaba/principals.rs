//! Bindings of buckets: each has a RAM user with an access key, a RAM role with a session, or a RAM role for the pods of a
//! service account, and one policy for the bucket. Without the policy, none of them has rights.

use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep};

use super::{
    Services,
    binding_policy::policy_for,
    catalog::BucketDefinition,
    grant::{BucketGrant, Holder},
    naming,
    settings::Rrsa,
};
use crate::{
    broker::backends::{
        BindingSpec, Bound, InstanceSpec, Progress, ServiceError, service_account::ServiceAccount,
    },
    cloud::alibaba::{
        AccessKey, ErrorKind, Session, policy, sessions::SessionRequest, users::PrincipalRequest,
    },
    osb::{Endpoint, Object},
};

/// How long Alibaba Cloud may take until it knows a new key, role or policy.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(500);
/// How often a user or role is looked for whom RAM does not know, although there is a policy.
const LOOKS: u32 = 4;

impl Services {
    pub(super) async fn bind_bucket(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        granted: &BucketGrant,
        definition: &BucketDefinition,
    ) -> Result<Progress<Bound>, ServiceError> {
        let failed = |error| self.failed(&error);
        let (bucket, name) = (self.instance_name(&on.id), self.binding_name(&on.id, &binding.id));
        if self.account.bucket(&bucket).await.map_err(failed)?.is_none() {
            let problem = "the bucket is missing; provision the instance again";
            return Err(ServiceError::new(&self.name, problem));
        }
        // An earlier attempt may have left credentials that nobody knows.
        self.remove_principal(&name).await?;
        let policy = policy_for(&bucket, granted.access);
        let comment = naming::comment(binding);
        let wanted = PrincipalRequest { name: &name, comment: &comment, policy: &policy };
        let begun = Timestamp::now();
        let (mut key, mut expires_at, mut role) = (None, None, None);
        match &granted.holder {
            Holder::User => key = Some(self.account.create_user(&wanted).await.map_err(failed)?),
            Holder::Session(duration) => {
                let session = self.session(&wanted, *duration).await?;
                (key, expires_at) = (Some(session.key), Some(session.expires_at));
            }
            Holder::Pods(account) => role = Some(self.role_for(&wanted, account).await?),
        }
        if let Some(key) = &key {
            self.until_known(&bucket, key).await?;
        }
        let endpoint = self.account.oss_endpoint().await.map_err(failed)?;
        let region = self.account.region().await.map_err(failed)?;
        let host = endpoint.host_str().unwrap_or_default();
        let port = endpoint.port_or_known_default().unwrap_or_default();
        let endpoint_url = endpoint.as_str().trim_end_matches('/');
        let shown = Shown {
            bucket: &bucket,
            name: &name,
            host,
            endpoint: endpoint_url,
            region: &region,
            key: key.as_ref(),
            role: role.as_deref(),
        };
        Ok(Progress::Done(Bound {
            credentials: shown.credentials(definition).into(),
            endpoints: vec![Endpoint {
                host: host.to_owned(),
                ports: vec![port.to_string()],
                protocol: Some("tcp".to_owned()),
            }],
            expires_at,
            // The last third of the time is left for the renewal.
            renew_before: expires_at.map(|end| {
                let length = end.duration_since(begun);
                begun.checked_add(length / 3 * 2).unwrap_or(end).round(jiff::Unit::Second).unwrap_or(end)
            }),
            ..Bound::default()
        }))
    }

    async fn session(
        &self,
        wanted: &PrincipalRequest<'_>,
        duration: Duration,
    ) -> Result<Session, ServiceError> {
        let failed = |error| self.failed(&error);
        let caller = self.account.caller().await.map_err(failed)?;
        let trust = policy::trust(&caller);
        let role = self.account.create_role(wanted, &trust, &caller.account).await.map_err(failed)?;
        let request = SessionRequest {
            role_arn: &role,
            name: wanted.name,
            external_id: None,
            policy: Some(wanted.policy),
            duration,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.account.assume_role(&request).await {
                Ok(session) => return Ok(session),
                // STS knows a new role, and whom it trusts, only after a while.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied)
                        && Instant::now() < deadline =>
                {
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Creates a role for the pods of a service account. Returns its ARN.
    async fn role_for(
        &self,
        wanted: &PrincipalRequest<'_>,
        account: &ServiceAccount,
    ) -> Result<String, ServiceError> {
        let failed = |error| self.failed(&error);
        let Some(Rrsa { oidc_provider_arn, issuer }) = &self.settings.rrsa else {
            let problem = "the backend names no provider of the cluster's tokens; set rrsa, or ask for other credentials";
            return Err(ServiceError::new(&self.name, problem));
        };
        let subject = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
        let trust = policy::trust_token(oidc_provider_arn, issuer, &subject);
        let caller = self.account.caller().await.map_err(failed)?;
        self.account.create_role(wanted, &trust, &caller.account).await.map_err(failed)
    }

    /// Waits until OSS lets the key in.
    async fn until_known(&self, bucket: &str, key: &AccessKey) -> Result<(), ServiceError> {
        let deadline = Instant::now() + PATIENCE;
        while !self.account.may_list(bucket, key).await.map_err(|error| self.failed(&error))? {
            if Instant::now() >= deadline {
                let problem = "Alibaba Cloud does not accept the new access key yet; try again later";
                return Err(ServiceError::new(&self.name, problem).passing());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Removes the user or role of a binding, and last its policy. The plan may have changed its kind of credentials.
    /// While there is a policy, a user or role that RAM does not know may only be too new.
    pub(super) async fn remove_principal(&self, name: &str) -> Result<(), ServiceError> {
        let failed = |error| self.failed(&error);
        let has_policy = self.account.has_policy(name).await.map_err(failed)?;
        for _ in 0..if has_policy { LOOKS } else { 1 } {
            let was_user = self.account.delete_user(name).await.map_err(failed)?;
            if was_user || self.account.delete_role(name).await.map_err(failed)? {
                break;
            }
            if has_policy {
                sleep(PAUSE).await;
            }
        }
        self.account.delete_policy(name).await.map_err(failed)
    }

    /// Removes all users, roles and policies whose names begin with this.
    pub(super) async fn remove_principals(&self, prefix: &str) -> Result<(), ServiceError> {
        let failed = |error| self.failed(&error);
        let mut names = self.account.policies(prefix).await.map_err(failed)?;
        names.extend(self.account.users(prefix).await.map_err(failed)?);
        names.sort();
        names.dedup();
        for name in names {
            self.remove_principal(&name).await?;
        }
        Ok(())
    }
}

/// What becomes the credentials of a binding.
struct Shown<'a> {
    bucket: &'a str,
    name: &'a str,
    host: &'a str,
    endpoint: &'a str,
    region: &'a str,
    /// Absent for a role.
    key: Option<&'a AccessKey>,
    role: Option<&'a str>,
}

impl Shown<'_> {
    /// The keys of the former broker, and what SDKs need beside. What belongs to another kind of credentials that the plan
    /// offers is empty, which SDKs take for absent.
    fn credentials(&self, definition: &BucketDefinition) -> Object {
        let Self { bucket, name, host, endpoint, region, key, role } = self;
        let secret = key.map_or("", |key| key.secret.expose_secret());
        let id = key.map_or("", |key| key.id.as_str());
        let token = key.and_then(|key| key.token.as_ref()).map_or("", |token| token.expose_secret());
        let login = if key.is_some() {
            format!("{id}:{}@", utf8_percent_encode(secret, NON_ALPHANUMERIC))
        } else {
            String::new()
        };
        let uri = format!("oss://{login}{host}/{bucket}");
        let mut keys = vec![
            ("bucket", *bucket),
            ("username", *name),
            ("access_key_id", id),
            ("secret_access_key", secret),
            ("host", *host),
            ("uri", &uri),
            ("endpoint", *endpoint),
            ("region", *region),
        ];
        if definition.offers_sessions() {
            keys.push(("security_token", token));
        }
        if definition.offers_roles() {
            keys.push(("role_arn", role.unwrap_or_default()));
        }
        keys.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
    }
}
