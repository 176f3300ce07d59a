//! MySQL and MariaDB: an instance is a database, and a binding is an account with rights on it. Databases have no
//! owner on these engines, so an installation keeps a table of what it created (`marks`); everything else is foreign
//! and is never changed. `dialect` has the statements of each engine.

mod bind;
mod confirm;
mod connection;
mod credentials;
mod dialect;
mod error;
mod inventory;
mod marks;
mod provision;
mod quote;
mod removal;
mod rights;
mod server;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use secrecy::SecretString;

pub(crate) use self::credentials::tls_parameters;
use self::{
    dialect::Statement,
    error::SqlError,
    inventory::inventory,
    marks::{Mark, Marks},
    removal::lock_out,
    server::{Server, databases, logins},
};
use super::{
    super::{
        Backend, BindingSpec, Bound, Confirmed, InstanceSpec, PlanSettings, Progress, Provider, Resource,
        ServiceError, password,
    },
    configure::{DatabaseServer, plans},
    error::SharedSqlError,
    naming,
    obstacle::{persist, service_error},
    parameters::{self, Plans},
    plan_methods::plan_methods,
    resource_kind::{DATABASE, LOGIN},
    service_kind::ServiceKind,
    settings::ServerSettings,
};
use crate::{
    broker::config::{BackendSettings, ConfigError, ReclaimPolicy},
    osb::{BindingId, InstanceId},
};

/// Parses the settings of a server and of its plans.
///
/// # Errors
/// Names the invalid field.
pub(crate) fn configure(
    backend: &BackendSettings,
    plans_on_it: &[PlanSettings],
) -> Result<Box<dyn Backend>, ConfigError> {
    let settings = ServerSettings::read(backend)?;
    if settings.client_ca.is_some() {
        let problem = "is for backends of type postgresql; leave it out";
        return Err(ConfigError::invalid(backend.settings.at("clientCa"), problem));
    }
    let plans = plans(backend, plans_on_it, &[ServiceKind::MySql])?;
    Ok(Box::new(DatabaseServer::new(settings, plans, |settings, plans, installation| {
        Arc::new(Databases::new(settings, plans, installation))
    })))
}

/// The databases of one installation on one server.
pub(crate) struct Databases {
    server: Server,
    plans: Plans,
    marker: String,
    marks: Marks,
    /// Whether the ids in marks of earlier versions have been replaced.
    ids_are_hidden: AtomicBool,
}

impl Databases {
    pub(crate) fn new(settings: ServerSettings, plans: Plans, installation: &str) -> Self {
        settings.warn_of_missing_ca();
        let marker = naming::marker(installation);
        let (server, marks) = (Server::new(settings), Marks::new(marker.clone()));
        Self { server, plans, marks, marker, ids_are_hidden: AtomicBool::new(false) }
    }

    /// Retries the work while an obstacle is temporary, and converts the remaining error.
    async fn attempt<T, F>(&self, work: impl FnMut() -> F) -> Result<T, ServiceError>
    where
        F: Future<Output = Result<T, SqlError>>,
    {
        let forget = |error: &SqlError| {
            if error.is_lost() {
                self.server.forget_idle();
            }
        };
        let outcome = persist(work, forget).await;
        outcome.map_err(|error| service_error(&self.server.settings, &error))
    }

    /// Replaces the ids that an earlier version wrote, once per start.
    async fn hide_ids(&self) -> Result<(), SqlError> {
        if self.ids_are_hidden.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut session = self.server.session().await?;
        self.marks.hide_ids(&mut session).await?;
        self.ids_are_hidden.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The expired logins.
    async fn expired_once(&self) -> Result<Vec<Mark>, SqlError> {
        let mut session = self.server.session().await?;
        let expired = self.marks.expired(&mut session).await?;
        Ok(expired)
    }

    async fn expire_once(&self, login: &str) -> Result<(), SqlError> {
        let mut session = self.server.session().await?;
        if self.marks.is_expired(&mut session, login).await? {
            lock_out(&mut session, login).await?;
            session.run([self.marks.lock(login)]).await?;
            // The login may have been bound again meanwhile, with a later expiry.
            if self.marks.is_expired(&mut session, login).await? {
                tracing::info!(login, "is past its time and locked");
            } else {
                session.run([Statement::unlock_login(login)]).await?;
            }
        }
        Ok(())
    }

    async fn resources_once(&self) -> Result<Vec<Resource>, SqlError> {
        let mut session = self.server.session().await?;
        let marks = self.marks.all(&mut session).await?;
        let (databases, logins) = (databases(&mut session).await?, logins(&mut session).await?);
        Ok(inventory(&marks, databases, logins))
    }

    async fn check_once(&self) -> Result<String, SqlError> {
        let mut session = self.server.session().await?;
        let engine = session.engine();
        if let Some(oldest) = engine.too_old() {
            return Err(SharedSqlError::TooOld { found: engine.to_string(), oldest }.into());
        }
        let any = naming::database(&InstanceId::from("any"));
        let missing = rights::missing_rights(&mut session, &any, &self.marker).await?;
        if !missing.is_empty() {
            let (admin, missing) = (self.server.settings.user.clone(), missing.join("; "));
            return Err(SqlError::MissingRights { admin, missing });
        }
        Ok(engine.to_string())
    }

    async fn change_password_once(&self, next: &SecretString) -> Result<(), SqlError> {
        let mut session = self.server.session().await?;
        let change = session.dialect().change_own_password(next);
        session.run([change]).await?;
        Ok(())
    }
}

#[async_trait]
impl Provider for Databases {
    plan_methods!();

    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.attempt(|| self.provision_once(instance)).await.map(Progress::Done)
    }

    /// Applies the plan's connection limit to the logins: the plan may be a different one now.
    async fn update(&self, _from: &InstanceSpec, to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.attempt(|| self.update_once(to)).await.map(Progress::Done)
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let database = naming::database(&instance.id);
        let policy = self.plans.reclaim_policy(instance);
        self.attempt(|| self.remove_database(&database, policy)).await.map(Progress::Done)
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        self.attempt(|| self.bind_once(on, binding)).await.map(Progress::Done)
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let login = naming::login(&on.id, &binding.id);
        self.attempt(|| self.remove_login(&login)).await?;
        Ok(Progress::Done(()))
    }

    async fn confirm(
        &self,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        self.attempt(|| self.confirm_once(on, binding)).await
    }

    /// A login that cannot be locked out does not prevent the lockout of others.
    async fn expire(&self) -> Result<(), ServiceError> {
        let mut result = Ok(());
        for mark in self.attempt(|| self.expired_once()).await? {
            let expired = self.attempt(|| self.expire_once(&mark.name)).await;
            result = result.and(expired);
        }
        result.and(self.attempt(|| self.hide_ids()).await)
    }

    async fn settle(&self) -> Result<(), ServiceError> {
        self.attempt(|| self.settle_once()).await
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        self.attempt(|| self.resources_once()).await
    }

    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
        let logins = bindings.iter().map(|binding| naming::login(instance, binding));
        [naming::database(instance)].into_iter().chain(logins).collect()
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        let name = &resource.name;
        match resource.kind.as_str() {
            DATABASE => self.attempt(|| self.remove_database(name, ReclaimPolicy::Delete)).await,
            LOGIN => {
                let removed = || async move {
                    if self.remove_login(name).await? {
                        Ok(())
                    } else {
                        Err(SqlError::StillDefiner { login: name.clone() })
                    }
                };
                self.attempt(removed).await
            }
            kind => Err(ServiceError::new(self.server.settings.address(), format!("holds no {kind}"))),
        }
    }

    async fn change_password(&self, next: &SecretString) -> Result<(), ServiceError> {
        self.attempt(|| self.change_password_once(next)).await
    }

    async fn check(&self) -> Result<String, ServiceError> {
        self.attempt(|| self.check_once()).await
    }
}
