//! Bindings: each has a user or a role of its own, with one policy for the resources of its instance. Removing the user
//! or role revokes the credentials, also those of sessions that have not ended.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use secrecy::SecretString;

use super::{
    Services,
    credentials::{address, credentials, role},
    grant::Granted,
    naming,
    plan::Plan,
};
use crate::{
    broker::backends::{BindingSpec, Bound, InstanceSpec, Progress, ServiceError, cloud_error::foreign},
    cloud::aws::{
        policy::{self, Use},
        sessions::{LONGEST_CHAINED, SessionRequest},
        users::{AccessKey, Principal, PrincipalRequest},
    },
    osb::{BindingId, InstanceId},
};

/// How long AWS may take until it knows a new key or role.
const PATIENCE: Duration = Duration::from_mins(1);

/// An access key and what belongs to it.
struct Issued {
    key: AccessKey,
    token: Option<SecretString>,
    /// When the credentials were made, and when they end.
    validity: Option<(Timestamp, Timestamp)>,
}

impl Services {
    pub(super) async fn bind_once(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
    ) -> Result<Progress<Bound>, ServiceError> {
        let plan = self.plan(on)?;
        let granted = plan
            .service
            .grant(&binding.parameters, &binding.context)
            .map_err(|error| ServiceError::new(&self.name, error))?;
        let stack = self.stack_of(on).await?.filter(|stack| stack.status.is_usable()).ok_or_else(|| {
            let problem = format!(
                "stack {} is missing or unusable; wait for the instance, or provision it again",
                naming::stack(&on.id)
            );
            ServiceError::new(&self.name, problem)
        })?;
        // An earlier attempt may have left credentials that nobody knows.
        self.remove_principal(&on.id, &binding.id).await?;
        let region = self.account.region().await.map_err(|error| self.failed(&error))?;
        let definition = &plan.service.definition;
        let outputs = definition.shown(&stack.outputs);
        let (access, usage) = match granted {
            Granted::User(access) => (access, Use::User),
            Granted::Session(access, _) => (access, Use::Session),
            Granted::Role(access, _) => (access, Use::Role),
            Granted::OnServer(access) => return self.bind_on_server(on, binding, access, &stack).await,
            Granted::Address => {
                let credentials = address(plan.naming(), &outputs, &region).into();
                return Ok(Progress::Done(Bound { credentials, ..Bound::default() }));
            }
        };
        let statements = definition.statements(access, &stack.outputs);
        let policy =
            policy::document(&statements, usage).map_err(|error| ServiceError::new(&self.name, error))?;
        let (name, path) =
            (naming::principal(&on.id, &binding.id), naming::instance_path(&self.installation, &on.id));
        let mut tags = self.settings.tags.clone();
        tags.extend(naming::binding_tags(&self.installation, on, binding));
        let boundary = self.settings.boundary.as_deref();
        let wanted = PrincipalRequest { name: &name, path: &path, policy: &policy, boundary, tags: &tags };
        let issued = match granted {
            Granted::Role(_, whom) => {
                let arn = self.role_for(&wanted, &whom).await?;
                let credentials = role(plan.naming(), &outputs, &region, &arn, plan.offers()).into();
                return Ok(Progress::Done(Bound { credentials, ..Bound::default() }));
            }
            Granted::Session(_, duration) => self.session(&wanted, duration).await?,
            _ => {
                let key = self.account.create_user(&wanted).await.map_err(|error| self.failed(&error))?;
                Issued { key, token: None, validity: None }
            }
        };
        let known = self.account.wait_until_known(&issued.key, issued.token.as_ref(), PATIENCE).await;
        known.map_err(|error| self.failed(&error))?;
        Ok(Progress::Done(bound(plan, &outputs, &region, &issued)))
    }

    async fn session(
        &self,
        wanted: &PrincipalRequest<'_>,
        duration: Duration,
    ) -> Result<Issued, ServiceError> {
        let failed = |error| self.failed(&error);
        let caller = self.account.caller().await.map_err(failed)?;
        // AWS refuses a longer session to a caller that has assumed a role.
        let duration = if caller.is_session() { duration.min(LONGEST_CHAINED) } else { duration };
        let trust = policy::trust(&caller, wanted.name);
        let role =
            self.account.create_role(wanted, &trust, duration.max(LONGEST_CHAINED)).await.map_err(failed)?;
        let request = SessionRequest {
            role_arn: &role,
            name: wanted.name,
            external_id: Some(wanted.name),
            policy: Some(wanted.policy),
            duration,
        };
        let begun = Timestamp::now();
        let session = self.account.assume_role(&request, PATIENCE).await.map_err(failed)?;
        Ok(Issued {
            key: session.key,
            token: Some(session.token),
            validity: Some((begun, session.expires_at)),
        })
    }

    /// Removes the user and the role of a binding. The plan may have changed its kind of credentials.
    pub(super) async fn remove_principal(
        &self,
        instance: &InstanceId,
        binding: &BindingId,
    ) -> Result<(), ServiceError> {
        let name = naming::principal(instance, binding);
        let failed = |error| self.failed(&error);
        if let Some(user) = self.account.user(&name).await.map_err(failed)? {
            self.check_ours(&user)?;
            self.account.delete_user(&name).await.map_err(failed)?;
        }
        self.remove_role(&name).await
    }

    /// Removes all users and roles below a path of this installation.
    pub(super) async fn remove_principals(&self, path: &str) -> Result<(), ServiceError> {
        let failed = |error| self.failed(&error);
        for user in self.account.users(path).await.map_err(failed)? {
            self.account.delete_user(&user.name).await.map_err(failed)?;
        }
        for role in self.account.roles(path).await.map_err(failed)? {
            self.remove_role(&role.name).await?;
        }
        Ok(())
    }

    fn check_ours(&self, principal: &Principal) -> Result<(), ServiceError> {
        if self.owns(principal) {
            return Ok(());
        }
        Err(foreign(&self.name, &format!("user {}", principal.name)))
    }

    pub(super) fn owns(&self, principal: &Principal) -> bool {
        principal.path.starts_with(&naming::installation_path(&self.installation))
    }
}

fn bound(plan: &Plan, outputs: &BTreeMap<String, String>, region: &str, issued: &Issued) -> Bound {
    let Issued { key, token, validity } = issued;
    // The last third of the time is left for the renewal.
    let renew_before = validity.map(|(begun, end)| {
        let length = end.duration_since(begun);
        begun.checked_add(length / 3 * 2).unwrap_or(end).round(jiff::Unit::Second).unwrap_or(end)
    });
    Bound {
        credentials: credentials(plan.naming(), outputs, region, key, token.as_ref(), plan.offers()).into(),
        expires_at: validity.map(|(_, end)| end),
        renew_before,
        ..Bound::default()
    }
}
