//! PostgreSQL and CockroachDB: an instance is a database with an owner role that cannot log in; a binding is a login
//! that is a member of the owner role or of a role with fewer rights. The installation's marker role is a member of
//! these roles; everything outside of this tree is foreign and is never changed. `dialect` has the statements of each
//! engine.

mod administrator;
mod bind;
mod certificate;
mod comments;
mod confirm;
mod connection;
mod credentials;
mod dependents;
mod dialect;
mod drop_role;
mod engine;
mod error;
mod inventory;
mod lockout;
mod marks;
mod pooler;
mod prepared;
mod provision;
mod quote;
mod removal;
mod server;
mod sharing;
mod start;
mod undroppable_roles;

use std::sync::{Arc, atomic::AtomicBool};

use async_trait::async_trait;
use secrecy::SecretString;

use self::{
    connection::Session,
    dialect::InstanceNames,
    error::SqlError,
    server::{Roles, Server, all_roles, databases},
    undroppable_roles::Rest,
};
use super::{
    super::{
        Backend, BindingSpec, Bound, Confirmed, InstanceSpec, PlanSettings, Progress, Provider, Resource,
        ServiceError, Unacceptable,
    },
    configure::{DatabaseServer, plans},
    naming,
    obstacle::{persist, service_error},
    parameters::{BindingParameters, InstanceParameters, Plans},
    plan::Access,
    plan_methods::plan_methods,
    resource_kind::{ACCESS_ROLE, DATABASE, LOGIN, OWNER_ROLE},
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
    let plans = plans(backend, plans_on_it, &[ServiceKind::CockroachDb, ServiceKind::PostgreSql])?;
    Ok(Box::new(DatabaseServer::new(settings, plans, |settings, plans, installation| {
        Arc::new(Databases::new(settings, plans, installation))
    })))
}

/// The databases of one installation on one server.
pub(crate) struct Databases {
    server: Server,
    plans: Plans,
    installation: String,
    marker: String,
    /// Whether the ids in comments of earlier versions have been replaced.
    ids_are_hidden: AtomicBool,
}

/// The owner of a role.
#[derive(Debug, PartialEq, Eq)]
enum Ownership {
    Absent,
    Ours,
    Foreign,
}

impl Databases {
    pub(crate) fn new(settings: ServerSettings, plans: Plans, installation: &str) -> Self {
        settings.warn_of_missing_ca();
        let for_cockroachdb = plans.all().all(|(kind, _)| *kind == ServiceKind::CockroachDb);
        Self {
            server: Server::new(settings, for_cockroachdb),
            plans,
            installation: installation.to_owned(),
            marker: naming::marker(installation),
            ids_are_hidden: AtomicBool::new(false),
        }
    }

    fn admin(&self) -> &str {
        &self.server.settings.user
    }

    fn names<'a>(&'a self, database: &'a str, owner: &'a str) -> InstanceNames<'a> {
        InstanceNames { database, owner, marker: &self.marker }
    }

    /// Opens a session in an instance's database, even if the database's owner has prevented connections.
    async fn enter(&self, session: &Session, database: &str, owner: &str) -> Result<Session, SqlError> {
        match self.server.session_in(database).await {
            Err(error) if error.is_shut_out() => {
                session.run(session.dialect().allow_connections(database, owner)).await?;
                self.server.session_in(database).await
            }
            entered => entered,
        }
    }

    /// Retries the work while an obstacle is temporary, and converts the remaining error. Retries once more after
    /// missing rights if the administrator could take the roles that it lacked.
    async fn attempt<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, ServiceError>
    where
        F: Future<Output = Result<T, SqlError>>,
    {
        let outcome = match persist(&mut work, |_| ()).await {
            Err(error) if error.is_denied() => match self.take_roles(error.concerns_retained()).await {
                Ok(0) => Err(error),
                Ok(_) => persist(&mut work, |_| ()).await,
                Err(lacking) => Err(lacking),
            },
            outcome => outcome,
        };
        outcome.map_err(|error| service_error(&self.server.settings, &error))
    }

    /// Recorded parameters were valid when they were requested.
    fn understood<T>(&self, read: Result<T, Unacceptable>) -> Result<T, ServiceError> {
        read.map_err(|error| ServiceError::new(&self.server.settings.name, error))
    }

    async fn resources_once(&self) -> Result<Vec<Resource>, SqlError> {
        let session = self.server.session().await?;
        let (roles, databases) = (all_roles(&session).await?, databases(&session).await?);
        Ok(inventory::inventory(
            &roles,
            databases.iter().map(|(name, owner)| (name.as_str(), owner.as_str())),
            &self.marker,
        ))
    }
}

#[async_trait]
impl Provider for Databases {
    plan_methods!();

    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let asked = self.understood(InstanceParameters::read(&instance.parameters))?;
        self.attempt(|| self.provision_once(instance, &asked)).await.map(Progress::Done)
    }

    async fn update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let had = self.understood(InstanceParameters::read(&from.parameters))?;
        let wanted = self.understood(InstanceParameters::read(&to.parameters))?;
        self.attempt(|| self.update_once(to, &had, &wanted)).await.map(Progress::Done)
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let database = naming::database(&instance.id);
        match self.plans.reclaim_policy(instance) {
            ReclaimPolicy::Delete => {
                self.attempt(|| Box::pin(self.remove_database(&database, Rest::Later))).await?;
            }
            ReclaimPolicy::Retain => self.attempt(|| Box::pin(self.retain_database(&database))).await?,
        }
        Ok(Progress::Done(()))
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        let asked = self.understood(BindingParameters::read(&binding.parameters))?;
        self.attempt(|| self.bind_once(on, binding, asked)).await.map(Progress::Done)
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let (database, login) = (naming::database(&on.id), naming::login(&on.id, &binding.id));
        Box::pin(self.attempt(|| self.remove_login(&login, &database, Rest::Later))).await.map(Progress::Done)
    }

    async fn confirm(
        &self,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        self.attempt(|| self.confirm_once(on, binding)).await
    }

    async fn expire(&self) -> Result<(), ServiceError> {
        self.attempt(|| self.expire_once()).await?;
        self.attempt(|| self.hide_ids()).await
    }

    async fn settle(&self) -> Result<(), ServiceError> {
        Box::pin(self.attempt(|| self.settle_once())).await
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        self.attempt(|| self.resources_once()).await
    }

    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
        let (database, owner) = instance_names(instance);
        let logins = bindings.iter().map(|binding| naming::login(instance, binding));
        [database, owner].into_iter().chain(logins).collect()
    }

    fn other_names(&self, instance: &InstanceId) -> Vec<String> {
        let database = naming::database(instance);
        let groups = [Access::ReadWrite, Access::ReadOnly].map(|access| naming::group(&database, access));
        groups.into_iter().chain([naming::revoked(&database)]).collect()
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        match resource.kind.as_str() {
            DATABASE => self.attempt(|| Box::pin(self.remove_database(&resource.name, Rest::Refuse))).await,
            OWNER_ROLE | ACCESS_ROLE => match naming::grouped_database(&resource.name) {
                Some(database) => {
                    self.attempt(|| Box::pin(self.remove_database(database, Rest::Refuse))).await
                }
                None => Ok(()),
            },
            LOGIN => self.attempt(|| Box::pin(self.remove_stray_login(&resource.name))).await,
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

fn instance_names(instance: &InstanceId) -> (String, String) {
    let database = naming::database(instance);
    let owner = naming::owner(&database);
    (database, owner)
}

/// The owner of a role: this installation if the role is a member of one of `groups`, or carries one as its mark.
/// Where the engine cannot create and mark a role in one statement, an interruption may have left a role with neither.
fn ownership(roles: &Roles, role: &str, groups: &[&str], session: &Session) -> Ownership {
    match roles.get(role) {
        None => Ownership::Absent,
        Some(found) if found.iter().any(|name| groups.contains(&name.as_str())) => Ownership::Ours,
        Some(found) if found.is_empty() && !session.dialect().marks_at_creation() => Ownership::Ours,
        Some(_) => Ownership::Foreign,
    }
}
