//! What bindery has created on an account, for `bindery sweep`: users and roles first, since their removal revokes
//! credentials, then stacks.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Services, naming};
use crate::{
    broker::backends::{Progress, Resource, ServiceError},
    cloud::aws::users::Principal,
};

const USER: &str = "user";
const ROLE: &str = "role";
const STACK: &str = "stack";

/// How long a sweep waits for the deletion of a stack. Brokers cannot write to their store meanwhile.
const DELETION: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

impl Services {
    pub(super) async fn inventory(&self) -> Result<Vec<Resource>, ServiceError> {
        let failed = |error| self.failed(&error);
        let users = self.account.users(naming::ROOT_PATH).await.map_err(failed)?;
        let roles = self.account.roles(naming::ROOT_PATH).await.map_err(failed)?;
        let stacks = self.account.stacks().await.map_err(failed)?;
        let principal = |kind: &str, principal: Principal| Resource {
            kind: kind.to_owned(),
            ours: self.owns(&principal),
            name: principal.name,
            exists: true,
        };
        let prefix = format!("{}-", naming::STACK_PREFIX);
        let stacks = stacks.into_iter().filter(|stack| stack.name.starts_with(&prefix)).map(|stack| {
            Resource { kind: STACK.to_owned(), ours: self.is_ours(&stack), name: stack.name, exists: true }
        });
        let users = users.into_iter().map(|user| principal(USER, user));
        let roles = roles.into_iter().map(|role| principal(ROLE, role));
        Ok(users.chain(roles).chain(stacks).collect())
    }

    /// Removes a resource of this installation. The deletion of a stack may take minutes; the error then says so.
    pub(super) async fn remove_resource(&self, resource: &Resource) -> Result<(), ServiceError> {
        let failed = |error| self.failed(&error);
        let name = resource.name.as_str();
        match resource.kind.as_str() {
            USER => self.account.delete_user(name).await.map_err(failed),
            ROLE => self.remove_role(name).await,
            STACK => {
                let Some(stack) = self.account.stack(name).await.map_err(failed)? else { return Ok(()) };
                let Progress::Pending(pending) = self.remove_stack(&stack).await? else { return Ok(()) };
                let deadline = Instant::now() + DELETION;
                while Instant::now() < deadline {
                    if self.account.stack(name).await.map_err(failed)?.is_none() {
                        return Ok(());
                    }
                    sleep(PAUSE).await;
                }
                let problem = format!("{}; sweep again in some minutes", pending.description);
                Err(ServiceError::new(&self.name, problem))
            }
            kind => Err(ServiceError::new(&self.name, format!("holds no {kind}"))),
        }
    }
}
