//! PostgreSQL and CockroachDB: an instance is a database with an owner role that nobody logs in as, a binding is a login
//! that is a member of it, or of another role with fewer rights. The installation's marker role has these roles as members;
//! what is not in that tree is foreign and left alone. How each engine says it is in `dialect`.

mod bind;
mod certificate;
mod connection;
mod credentials;
mod dialect;
mod error;
mod inventory;
mod lockout;
mod provision;
mod quote;
mod removal;
mod server;

use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use secrecy::SecretString;
use serde_json::Value;

use self::{
    connection::{Engine, Session},
    dialect::InstanceNames,
    error::SqlError,
    server::{Roles, Server, all_roles, databases},
};
use super::{
    BindingSpec, Bound, InstanceSpec, Progress, Provider, Resource, ResourceKind, ServiceError, Unacceptable,
    naming,
    parameters::{BindingParameters, InstanceParameters, Plans},
};
use crate::{
    config::{Access, ReclaimPolicy, ServerSettings, ServiceKind, SslMode},
    osb::{BindingId, InstanceId, PlanId},
};

/// The databases of one installation on one server.
pub(crate) struct Databases {
    server: Server,
    plans: Plans,
    installation: String,
    marker: String,
}

/// Whose a role is.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Absent,
    Ours,
    Foreign,
}

impl Databases {
    pub(crate) fn new(settings: ServerSettings, plans: Plans, installation: &str) -> Self {
        if settings.sslmode == SslMode::Require && settings.ca_file.is_none() {
            tracing::warn!(
                server = %settings.name,
                "sslmode is require and there is no CA file: the connection is encrypted, but the server is not verified; \
                 set caFile and sslmode: verify-full"
            );
        }
        let for_cockroachdb = plans.all().all(|(kind, _)| *kind == ServiceKind::CockroachDb);
        Self {
            server: Server::new(settings, for_cockroachdb),
            plans,
            installation: installation.to_owned(),
            marker: naming::marker(installation),
        }
    }

    fn admin(&self) -> &str {
        &self.server.settings.user
    }

    fn names<'a>(&'a self, database: &'a str, owner: &'a str) -> InstanceNames<'a> {
        InstanceNames { database, owner, marker: &self.marker }
    }

    /// Does the work again while what stands in its way passes by itself, and puts what remains in words.
    async fn attempt<T, F>(&self, work: impl FnMut() -> F) -> Result<T, ServiceError>
    where
        F: Future<Output = Result<T, SqlError>>,
    {
        let settings = &self.server.settings;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .with_max_times(6)
            .with_jitter();
        work.retry(pauses).when(SqlError::is_passing).await.map_err(|error| {
            let is_passing = error.is_passing() || matches!(error, SqlError::Connect(_));
            let server = format!("{} ({}:{})", settings.name, settings.host, settings.port);
            let error = ServiceError::new(server, error);
            if is_passing { error.passing() } else { error }
        })
    }

    /// What was recorded was understood when it was asked for.
    fn understood<T>(&self, read: Result<T, Unacceptable>) -> Result<T, ServiceError> {
        read.map_err(|error| ServiceError::new(&self.server.settings.name, error))
    }

    async fn resources_once(&self) -> Result<Vec<Resource>, SqlError> {
        let session = self.server.session().await?;
        let (roles, databases) = (all_roles(&session).await?, databases(&session).await?);
        self.server.keep(session);
        Ok(inventory::inventory(
            &roles,
            databases.iter().map(|(name, owner)| (name.as_str(), owner.as_str())),
            &self.marker,
        ))
    }

    async fn check_once(&self) -> Result<String, SqlError> {
        let session = self.server.session().await?;
        if let Some(oldest) = session.engine().too_old() {
            return Err(SqlError::TooOld { found: session.engine().to_string(), oldest });
        }
        self.check_kinds(session.engine())?;
        let missing = session.texts("read its own rights", &session.dialect().missing_rights()).await?;
        if !missing.is_empty() {
            return Err(SqlError::MissingRights {
                admin: self.admin().to_owned(),
                missing: missing.join(", "),
            });
        }
        let engine = self.server.told(session.engine());
        let known = databases(&session).await?;
        let templates = self.plans.all().flat_map(|(_, plan)| plan.templates.iter());
        for (template, database) in templates {
            let what = format!("database {database}, the plan's template {template:?},");
            if !known.contains_key(database) {
                return Err(SqlError::NoTemplate { what });
            }
            let is_open = session.dialect().is_admitted(database, "public");
            if session.rows("look at the template", &is_open, &[]).await?.iter().any(|row| row.get(0)) {
                return Err(SqlError::OpenTemplate { what });
            }
        }
        self.server.keep(session);
        Ok(engine)
    }

    async fn change_password_once(&self, next: &SecretString) -> Result<(), SqlError> {
        let session = self.server.session().await?;
        let verifier = credentials::verifier(next);
        session.run([session.dialect().change_own_password(self.admin(), &verifier)]).await?;
        self.server.keep(session);
        Ok(())
    }

    /// A service has the engine that it is called after; only PostgreSQL can stand in for CockroachDB.
    fn check_kinds(&self, engine: Engine) -> Result<(), SqlError> {
        let wants_postgresql = self.plans.all().any(|(kind, _)| *kind == ServiceKind::PostgreSql);
        if wants_postgresql && matches!(engine, Engine::CockroachDb { .. }) {
            return Err(SqlError::OtherEngine { found: engine.to_string() });
        }
        Ok(())
    }
}

#[async_trait]
impl Provider for Databases {
    fn schemas(&self, plan: &PlanId) -> Option<Value> {
        self.plans.schemas(plan)
    }

    fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
        self.plans.check_instance(wanted)
    }

    fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        self.plans.check_update(from, to)
    }

    fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
        self.plans.check_binding(on, wanted)
    }

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
        let asked = InstanceParameters::read(&instance.parameters).unwrap_or_default();
        match self.plans.reclaim_policy(&asked, &instance.plan_id) {
            ReclaimPolicy::Delete => self.attempt(|| self.remove_database(&database)).await?,
            ReclaimPolicy::Retain => self.attempt(|| self.retain_database(&database)).await?,
        }
        Ok(Progress::Done(()))
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        let asked = self.understood(BindingParameters::read(&binding.parameters))?;
        self.attempt(|| self.bind_once(on, binding, asked)).await.map(Progress::Done)
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let (database, login) = (naming::database(&on.id), naming::login(&on.id, &binding.id));
        self.attempt(|| self.remove_login(&login, &database)).await.map(Progress::Done)
    }

    async fn expire(&self) -> Result<(), ServiceError> {
        self.attempt(|| self.expire_once()).await
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
        [Access::ReadWrite, Access::ReadOnly].map(|access| naming::group(&database, access)).into()
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        match resource.kind {
            ResourceKind::Database => self.attempt(|| self.remove_database(&resource.name)).await,
            ResourceKind::OwnerRole | ResourceKind::AccessRole => {
                match naming::grouped_database(&resource.name) {
                    Some(database) => self.attempt(|| self.remove_database(database)).await,
                    None => Ok(()),
                }
            }
            ResourceKind::Login => self.attempt(|| self.remove_stray_login(&resource.name)).await,
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

/// Whose a role is: ours when it is a member of one of `groups`. A role that is a member of nothing may be one of ours that
/// an interruption left unmarked, where the engine cannot make and mark in one statement.
fn standing(roles: &Roles, role: &str, groups: &[&str], session: &Session) -> Standing {
    match roles.get(role) {
        None => Standing::Absent,
        Some(found) if found.iter().any(|name| groups.contains(&name.as_str())) => Standing::Ours,
        Some(found) if found.is_empty() && !session.dialect().marks_at_creation() => Standing::Ours,
        Some(_) => Standing::Foreign,
    }
}
