//! MySQL and MariaDB: an instance is a database, a binding is an account with rights on it. There is nothing on either
//! engine that a database could belong to, so an installation keeps a table of what it made (`marks`); what is not in it is
//! foreign and left alone. How each engine says it is in `dialect`.

mod connection;
mod credentials;
mod dialect;
mod error;
mod marks;
mod quote;
mod removal;
mod rights;
mod server;

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use secrecy::SecretString;

use self::{
    connection::Session,
    credentials::Told,
    dialect::{Entry, Statement},
    error::SqlError,
    marks::{Kind, Mark, Marks},
    removal::lock_out,
    server::{Server, databases, has_database, has_login, logins},
};
use serde_json::Value;

use super::{
    BindingSpec, Bound, InstanceSpec, Progress, Provider, Resource, ResourceKind, ServiceError, Unacceptable,
    naming,
    outcome::endpoint,
    parameters::{BindingParameters, Expiry, InstanceParameters, Plans},
    password,
};
use crate::{
    config::{Access, ConfigError, ReclaimPolicy, ServerSettings, SslMode},
    osb::{BindingId, Credentials, InstanceId, PlanId},
};

/// The databases of one installation on one server.
pub(crate) struct Databases {
    server: Server,
    plans: Plans,
    marker: String,
    marks: Marks,
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
        let marker = naming::marker(installation);
        Self { server: Server::new(settings), plans, marks: Marks::new(marker.clone()), marker }
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
        let forget = |error: &SqlError, _| {
            if error.is_lost() {
                self.server.forget_idle();
            }
        };
        work.retry(pauses).when(SqlError::is_passing).notify(forget).await.map_err(|error| {
            let is_passing = error.is_passing() || matches!(error, SqlError::Connect(_));
            let server = format!("{} ({}:{})", settings.name, settings.host, settings.port);
            let error = ServiceError::new(server, error);
            if is_passing { error.passing() } else { error }
        })
    }

    async fn provision_once(&self, instance: &InstanceSpec) -> Result<(), SqlError> {
        let database = naming::database(&instance.id);
        let parameters = InstanceParameters::read(&instance.parameters)?;
        let mut session = self.server.session().await?;

        if self.marks.named(&mut session, &[&database]).await?.is_empty() {
            if has_database(&mut session, &database).await? {
                return Err(SqlError::Foreign { what: format!("database {database}") });
            }
            session.run(self.marks.create()).await?;
            let mark = Mark { name: database.clone(), kind: Kind::Database, database: database.clone() };
            session.run([self.marks.write(&mark, instance.id.as_str(), None)]).await?;
        }
        if !has_database(&mut session, &database).await? {
            let encoding = parameters.encoding(self.plans.known(&instance.plan_id)?);
            session.run([Statement::create_database(&database, encoding)]).await?;
        }
        self.server.keep(session);
        Ok(())
    }

    async fn bind_once(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Bound, SqlError> {
        let database = naming::database(&on.id);
        let login = naming::login(&on.id, &binding.id);
        let plan = self.plans.known(&on.plan_id)?;
        let parameters = BindingParameters::read(&binding.parameters)?;
        let access = parameters.access(plan)?;
        let sslmode = plan.sslmode_on(&self.server.settings);
        let ca = self.ca(sslmode).await?;
        let mut session = self.server.session().await?;
        let password = session.dialect().password(password::generate());

        let expiry = parameters.lifetime(plan)?.map(|lifetime| Expiry::of(lifetime, Timestamp::now()));
        let mark = Mark { name: login.clone(), kind: Kind::Login, database: database.clone() };
        let entry = Entry {
            login: &login,
            password: &password,
            is_encrypted: sslmode != SslMode::Disable,
            is_locked: false,
        };
        self.mark_login(&mut session, &mark, &binding.id, expiry).await?;
        make_login(&mut session, &mark, entry, access).await?;
        self.server.keep(session);

        let told =
            Told { database: &database, login: &login, password: &password, sslmode, ca: ca.as_deref() };
        Ok(self.bound(credentials::credentials(&self.server.settings, told), expiry))
    }

    /// Marks a login, unless it is somebody else's.
    async fn mark_login(
        &self,
        session: &mut Session,
        mark: &Mark,
        binding: &BindingId,
        expiry: Option<Expiry>,
    ) -> Result<(), SqlError> {
        let Mark { name: login, database, .. } = mark;
        let marked = self.marks.named(session, &[database, login]).await?;
        let is_marked = |name: &String| marked.iter().any(|mark| mark.name == *name);
        if !is_marked(database) || !has_database(session, database).await? {
            return Err(SqlError::Lost { what: format!("database {database} of this installation") });
        }
        if !is_marked(login) && has_login(session, login).await? {
            return Err(SqlError::Foreign { what: format!("login {login}") });
        }
        session.run([self.marks.write(mark, binding.as_str(), expiry.map(|expiry| expiry.ends_at))]).await
    }

    /// The text of the CA's file, for applications that verify the server.
    async fn ca(&self, sslmode: SslMode) -> Result<Option<String>, SqlError> {
        let Some(path) = self.server.settings.ca_file.clone().filter(|_| sslmode.verifies()) else {
            return Ok(None);
        };
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(SqlError::CaFile(ConfigError::Unreadable { path, error })),
        }
    }

    fn bound(&self, credentials: Credentials, expiry: Option<Expiry>) -> Bound {
        Bound {
            credentials,
            endpoints: vec![endpoint(&self.server.settings)],
            expires_at: expiry.map(|expiry| expiry.ends_at),
            renew_before: expiry.map(|expiry| expiry.renew_before),
            ..Bound::default()
        }
    }

    /// The logins that are past their time.
    async fn expired_once(&self) -> Result<Vec<Mark>, SqlError> {
        let mut session = self.server.session().await?;
        let expired = self.marks.expired(&mut session).await?;
        self.server.keep(session);
        Ok(expired)
    }

    async fn expire_once(&self, login: &str) -> Result<(), SqlError> {
        let mut session = self.server.session().await?;
        if self.marks.is_expired(&mut session, login).await? {
            lock_out(&mut session, login).await?;
            session.run([self.marks.lock(login)]).await?;
            // It may have been bound anew in between, with more time.
            if self.marks.is_expired(&mut session, login).await? {
                tracing::info!(login, "is past its time and locked");
            } else {
                session.run([Statement::unlock_login(login)]).await?;
            }
        }
        self.server.keep(session);
        Ok(())
    }

    async fn resources_once(&self) -> Result<Vec<Resource>, SqlError> {
        let mut session = self.server.session().await?;
        let marks = self.marks.all(&mut session).await?;
        let (databases, logins) = (databases(&mut session).await?, logins(&mut session).await?);
        self.server.keep(session);
        Ok(inventory(&marks, databases, logins))
    }

    async fn check_once(&self) -> Result<String, SqlError> {
        let mut session = self.server.session().await?;
        let engine = session.engine();
        if let Some(oldest) = engine.too_old() {
            return Err(SqlError::TooOld { found: engine.to_string(), oldest });
        }
        let any = naming::database(&InstanceId::from("any"));
        let missing = rights::missing_rights(&mut session, &any, &self.marker).await?;
        if !missing.is_empty() {
            let (admin, missing) = (self.server.settings.user.clone(), missing.join("; "));
            return Err(SqlError::MissingRights { admin, missing });
        }
        self.server.keep(session);
        Ok(engine.to_string())
    }

    async fn change_password_once(&self, next: &SecretString) -> Result<(), SqlError> {
        let mut session = self.server.session().await?;
        session.run([session.dialect().change_own_password(next)]).await?;
        self.server.keep(session);
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
        self.attempt(|| self.provision_once(instance)).await.map(Progress::Done)
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let database = naming::database(&instance.id);
        // What cannot be read was never provisioned.
        let parameters = InstanceParameters::read(&instance.parameters).unwrap_or_default();
        let policy = self.plans.reclaim_policy(&parameters, &instance.plan_id);
        self.attempt(|| self.remove_database(&database, policy)).await.map(Progress::Done)
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        self.attempt(|| self.bind_once(on, binding)).await.map(Progress::Done)
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let login = naming::login(&on.id, &binding.id);
        self.attempt(|| self.remove_login(&login)).await.map(Progress::Done)
    }

    /// A login that cannot be locked out now keeps no other from it.
    async fn expire(&self) -> Result<(), ServiceError> {
        let mut result = Ok(());
        for mark in self.attempt(|| self.expired_once()).await? {
            let expired = self.attempt(|| self.expire_once(&mark.name)).await;
            result = result.and(expired);
        }
        result
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
        match resource.kind {
            ResourceKind::Database => {
                self.attempt(|| self.remove_database(name, ReclaimPolicy::Delete)).await
            }
            ResourceKind::Login => self.attempt(|| self.remove_login(name)).await,
            // There are none here.
            ResourceKind::OwnerRole | ResourceKind::AccessRole => Ok(()),
        }
    }

    async fn change_password(&self, next: &SecretString) -> Result<(), ServiceError> {
        self.attempt(|| self.change_password_once(next)).await
    }

    async fn check(&self) -> Result<String, ServiceError> {
        self.attempt(|| self.check_once()).await
    }
}

/// Makes a login that is marked, or what there is of it, as it is to be now.
async fn make_login(
    session: &mut Session,
    mark: &Mark,
    entry: Entry<'_>,
    access: Access,
) -> Result<(), SqlError> {
    let dialect = session.dialect();
    let grant = Statement::grant(access, &dialect.grant_name(&mark.database), entry.login);
    if has_login(session, entry.login).await? {
        // It may have had other rights. It gets in last.
        session.run([Statement::revoke_all(entry.login), grant, dialect.set_password(entry)]).await
    } else {
        session.run([dialect.create_login(entry), grant]).await
    }
}

/// Everything whose name has the form of ours, and whether it is marked. What is marked and not there is listed, too, so that
/// its mark is removed. A login that is kept for its database's sake is part of it.
fn inventory(marks: &[Mark], databases: Vec<String>, logins: Vec<String>) -> Vec<Resource> {
    let is_marked = |name: &str, is_database: bool| {
        marks.iter().any(|mark| mark.name == name && (mark.kind == Kind::Database) == is_database)
    };
    let is_part = |name: &String| {
        let is_kept = |mark: &Mark| mark.kind == Kind::Definer && is_marked(&mark.database, true);
        marks.iter().any(|mark| mark.name == *name && is_kept(mark))
    };
    let marked = |of_databases: bool| {
        let fitting = marks.iter().filter(move |mark| (mark.kind == Kind::Database) == of_databases);
        fitting.map(|mark| mark.name.clone())
    };
    let databases: BTreeSet<_> =
        databases.into_iter().filter(|name| naming::is_database(name)).chain(marked(true)).collect();
    let logins: BTreeSet<_> =
        logins.into_iter().filter(|name| naming::is_login(name)).chain(marked(false)).collect();
    let resource = |kind, name: String| {
        let ours = is_marked(&name, kind == ResourceKind::Database);
        Resource { kind, name, ours }
    };
    let databases = databases.into_iter().map(|name| resource(ResourceKind::Database, name));
    let logins = logins.into_iter().filter(|name| !is_part(name));
    databases.chain(logins.map(|name| resource(ResourceKind::Login, name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(name: &str, kind: Kind, database: &str) -> Mark {
        Mark { name: name.to_owned(), kind, database: database.to_owned() }
    }

    #[test]
    fn only_what_is_marked_is_ours() {
        let (ours, theirs) = (naming::database(&"i".into()), naming::database(&"j".into()));
        let login = |binding: &str| naming::login(&"i".into(), &binding.into());
        let marks = [
            mark(&ours, Kind::Database, &ours),
            mark(&login("b"), Kind::Login, &ours),
            mark(&login("kept"), Kind::Definer, &ours),
            mark(&login("stray"), Kind::Definer, &theirs),
        ];
        let databases = vec![ours.clone(), theirs.clone(), "mysql".to_owned()];
        let logins = ["b", "kept", "foreign"].map(login).into_iter().chain(["root".to_owned()]).collect();
        let found = inventory(&marks, databases, logins);
        let named = |ours: bool| -> BTreeSet<String> {
            found.iter().filter(|it| it.ours == ours).map(|it| it.name.clone()).collect()
        };
        assert_eq!(named(true), BTreeSet::from([ours, login("b"), login("stray")]));
        assert_eq!(named(false), BTreeSet::from([theirs, login("foreign")]));
    }
}
