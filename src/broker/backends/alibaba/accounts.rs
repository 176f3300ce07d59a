//! Bindings that are accounts of a database. An account carries its binding's name as description from its creation, so
//! it is found again whatever its user has called it. RDS creates and deletes accounts after it has answered.

use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use secrecy::SecretString;
use tokio::time::{Instant, sleep};

use super::{
    Services, account_credentials::AccountCredentials, catalog::ServerDefinition, grant::AccountGrant,
    naming, soon,
};
use crate::{
    broker::backends::{BindingSpec, Bound, InstanceSpec, Progress, ServiceError},
    cloud::alibaba::{
        AlibabaError, ErrorKind,
        db_accounts::{DbAccount, DbAccountRequest},
        db_instances::DbInstance,
    },
    osb::Endpoint,
};

/// How long a call waits for an account. Only the call that has set a password knows it.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(500);
/// Together with the end, as long as RDS allows.
const RANDOM_LETTERS: usize = 28;
/// One letter of each kind that RDS asks for, all of which are valid in a URL.
const EVERY_KIND: &str = "_0aA";

impl Services {
    pub(super) async fn bind_account(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        definition: &ServerDefinition,
        granted: &AccountGrant,
    ) -> Result<Progress<Bound>, ServiceError> {
        let Some(server) = self.server_of(&on.id).await?.filter(|server| !server.is_leaving()) else {
            let problem = "the database server is missing; wait for the instance, or provision it again";
            return Err(ServiceError::new(&self.name, problem));
        };
        if let Some(waiting) = self.until_usable(&server)? {
            return Ok(waiting);
        }
        let Some((host, port)) = server.address.clone() else {
            return Ok(soon("the database server has no address yet"));
        };
        let ca = self.ca_of(&server, definition).await?;
        let name = granted.username.clone().unwrap_or_else(|| naming::account(&on.id, &binding.id));
        let password = granted.password.clone().unwrap_or_else(new_password);
        let mark = self.binding_name(&on.id, &binding.id);
        let wanted = DbAccountRequest { name: &name, password: &password, description: &mark };
        if let Progress::Pending(waiting) = self.make_account(&server, &wanted).await? {
            return Ok(Progress::Pending(waiting));
        }
        let database = naming::database(&on.id);
        if let Progress::Pending(waiting) = self.grant(&server, &mark, &database, granted.privilege).await? {
            return Ok(Progress::Pending(waiting));
        }
        let mounted_at = binding.mounted_at();
        let credentials = AccountCredentials {
            engine: definition.engine,
            host: &host,
            port,
            database: &database,
            name: &name,
            password: &password,
            ca: ca.as_deref(),
            mounted_at: mounted_at.as_deref(),
        };
        Ok(Progress::Done(Bound {
            credentials: credentials.keys().into(),
            endpoints: vec![Endpoint {
                host: host.clone(),
                ports: vec![port.to_string()],
                protocol: Some("tcp".to_owned()),
            }],
            ..Bound::default()
        }))
    }

    /// Brings the account into being with this password. An account that an earlier attempt has left gets the password.
    async fn make_account(
        &self,
        server: &DbInstance,
        wanted: &DbAccountRequest<'_>,
    ) -> Result<Progress<()>, ServiceError> {
        let accounts = self.account.db_accounts(&server.id).await.map_err(|error| self.failed(&error))?;
        if let Some(found) = accounts.iter().find(|account| account.description == wanted.description) {
            if found.name != wanted.name {
                return self.remove_account(&server.id, &found.name).await;
            }
            if !found.is_available {
                return Ok(soon("Alibaba Cloud creates the account"));
            }
            let reset = self.account.reset_db_password(&server.id, wanted.name, wanted.password).await;
            return reset.map_or_else(|error| self.waiting(&error), |()| Ok(Progress::Done(())));
        }
        if accounts.iter().any(|account| account.name.eq_ignore_ascii_case(wanted.name)) {
            let problem =
                format!("an account {} exists; choose another Username, or leave it out", wanted.name);
            return Err(ServiceError::new(&self.name, problem));
        }
        match self.account.create_db_account(&server.id, wanted).await {
            Ok(()) => {}
            // The list will say whose account it is.
            Err(error) if error.kind() == ErrorKind::Exists => {
                return Ok(soon("Alibaba Cloud creates the account"));
            }
            Err(error) => return self.waiting(&error),
        }
        let is_available = |account: &DbAccount| account.is_available;
        self.until(&server.id, wanted.description, "Alibaba Cloud creates the account", is_available).await
    }

    /// Grants the privilege on the instance's database alone.
    async fn grant(
        &self,
        server: &DbInstance,
        mark: &str,
        database: &str,
        privilege: &str,
    ) -> Result<Progress<()>, ServiceError> {
        let deadline = Instant::now() + PATIENCE;
        let accounts = self.account.db_accounts(&server.id).await.map_err(|error| self.failed(&error))?;
        let Some(account) = accounts.into_iter().find(|account| account.description == mark) else {
            return Ok(soon("Alibaba Cloud creates the account"));
        };
        if account.has(database, privilege) {
            return Ok(Progress::Done(()));
        }
        loop {
            match self.account.grant_db_privilege(&server.id, &account.name, database, privilege).await {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                }
                Err(error) => return self.waiting(&error),
            }
        }
        // How RDS shows a privilege differs between engines, so that there is one must do.
        let is_granted = |account: &DbAccount| account.privileges.iter().any(|(name, _)| name == database);
        self.until(&server.id, mark, "Alibaba Cloud grants the privileges", is_granted).await
    }

    /// Waits within the call until the account is as it should be; the next call begins anew.
    async fn until(
        &self,
        server: &str,
        mark: &str,
        description: &str,
        is_done: impl Fn(&DbAccount) -> bool,
    ) -> Result<Progress<()>, ServiceError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let accounts = self.account.db_accounts(server).await.map_err(|error| self.failed(&error))?;
            if accounts.iter().any(|account| account.description == mark && is_done(account)) {
                return Ok(Progress::Done(()));
            }
            if Instant::now() >= deadline {
                return Ok(soon(description));
            }
            sleep(PAUSE).await;
        }
    }

    pub(super) async fn unbind_account(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
    ) -> Result<Progress<()>, ServiceError> {
        // A server that is gone, or is being deleted, has taken its accounts along.
        let Some(server) = self.server_of(&on.id).await?.filter(|server| !server.is_leaving()) else {
            return Ok(Progress::Done(()));
        };
        let mark = self.binding_name(&on.id, &binding.id);
        if let Progress::Pending(waiting) = self.remove_accounts(&server.id, &mark).await? {
            return Ok(Progress::Pending(waiting));
        }
        // A list may lack an account that is new.
        match self.account.delete_db_account(&server.id, &naming::account(&on.id, &binding.id)).await {
            Ok(()) => Ok(Progress::Done(())),
            Err(error) => self.waiting(&error),
        }
    }

    /// Deletes the accounts whose description begins with this, and waits until they are gone.
    pub(super) async fn remove_accounts(
        &self,
        server: &str,
        marks: &str,
    ) -> Result<Progress<()>, ServiceError> {
        let accounts = match self.account.db_accounts(server).await {
            Ok(accounts) => accounts,
            Err(error) => return self.waiting(&error),
        };
        for account in accounts.iter().filter(|account| account.description.starts_with(marks)) {
            if let Progress::Pending(waiting) = self.remove_account(server, &account.name).await? {
                return Ok(Progress::Pending(waiting));
            }
        }
        Ok(Progress::Done(()))
    }

    /// Starts to delete an account that is listed; the next call sees whether it is gone.
    async fn remove_account(&self, server: &str, name: &str) -> Result<Progress<()>, ServiceError> {
        let deleted: Result<(), AlibabaError> = self.account.delete_db_account(server, name).await;
        match deleted {
            Ok(()) => Ok(soon("Alibaba Cloud deletes the account")),
            Err(error) => self.waiting(&error),
        }
    }
}

/// A new password from the thread's cryptographic random generator.
fn new_password() -> SecretString {
    format!("{}{EVERY_KIND}", Alphanumeric.sample_string(&mut rand::rng(), RANDOM_LETTERS)).into()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_password_has_every_kind_of_letter_and_the_length_that_is_allowed() {
        let password = new_password();
        let password = password.expose_secret();
        assert_eq!(password.len(), 32);
        assert!(password.contains(|letter: char| letter.is_ascii_uppercase()), "{password}");
        assert_ne!(password, new_password().expose_secret());
    }
}
