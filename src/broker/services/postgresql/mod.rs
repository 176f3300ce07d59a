//! CockroachDB, and PostgreSQL standing in for it: an instance is a database with an owner role that nobody logs in as, a
//! binding is a login that is a member of it. The installation's marker role has the owner roles as members; what is not
//! in that tree is foreign and left alone. How each engine says it is in `dialect`.

mod connection;
mod credentials;
mod dialect;
mod error;
mod quote;
mod removal;
mod server;

use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};

use self::{
    connection::Session,
    dialect::InstanceNames,
    error::SqlError,
    server::{Roles, Server, all_roles, database_owner, databases, roles},
};
use super::{
    BindingSpec, Bound, InstanceSpec, Progress, Provider, Resource, ResourceKind, ServiceError, Unacceptable,
    naming, parameters::Plans, password,
};
use crate::{
    config::{ServerSettings, SslMode},
    osb::{BindingId, Credentials, Endpoint, InstanceId},
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
        Self {
            server: Server::new(settings),
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

    async fn provision_once(&self, instance: &InstanceId) -> Result<(), SqlError> {
        let (database, owner) = instance_names(instance);
        let names = self.names(&database, &owner);
        let session = self.server.session().await?;
        let dialect = session.dialect();

        let found = roles(&session, &[&owner, &self.marker]).await?;
        if standing(&found, &owner, &self.marker, &session) == Standing::Foreign {
            return Err(SqlError::Foreign { what: format!("role {owner}") });
        }
        match database_owner(&session, &database).await? {
            Some(other) if other != owner => {
                return Err(SqlError::Foreign { what: format!("database {database}") });
            }
            _ => {}
        }
        if !found.contains_key(&self.marker) {
            session.run([dialect.create_marker(&self.marker)]).await?;
        }
        session.run(dialect.create_owner(names)).await?;
        session.run([dialect.act_for(&owner, self.admin()), dialect.create_database(names)]).await?;
        // The id is arbitrary text; what makes it a comment is quoted in the dialect.
        let comment = format!("bindery installation={} instance={instance}", self.installation);
        session.run(dialect.lock_down(names, &comment)).await?;
        self.server.keep(session);
        Ok(())
    }

    async fn bind_once(&self, instance: &InstanceId, binding: &BindingId) -> Result<Credentials, SqlError> {
        let (database, owner) = instance_names(instance);
        let login = naming::login(instance, binding);
        let names = self.names(&database, &owner);
        let session = self.server.session().await?;
        let dialect = session.dialect();

        let found = roles(&session, &[&owner, &login]).await?;
        if standing(&found, &owner, &self.marker, &session) != Standing::Ours {
            return Err(SqlError::Lost { what: format!("database {database} of this installation") });
        }
        let password = password::generate();
        let verifier = credentials::verifier(&password);
        match standing(&found, &login, &owner, &session) {
            Standing::Foreign => return Err(SqlError::Foreign { what: format!("role {login}") }),
            Standing::Absent => session.run([dialect.create_login(&login, names, &verifier)]).await?,
            Standing::Ours => session.run([dialect.set_password(&login, &verifier)]).await?,
        }
        session.run(dialect.equip_login(&login, names)).await?;
        // What this login grants to others is in the way of dropping them, and only one who may act for it takes it back.
        session.run([dialect.act_for(&login, self.admin())]).await?;
        let shared = dialect.share_objects(&login, names);
        if !shared.is_empty() {
            self.server.session_in(&database).await?.run(shared).await?;
        }
        self.server.keep(session);
        Ok(credentials::credentials(&self.server.settings, &database, &login, &password))
    }

    async fn resources_once(&self) -> Result<Vec<Resource>, SqlError> {
        let session = self.server.session().await?;
        let (roles, databases) = (all_roles(&session).await?, databases(&session).await?);
        self.server.keep(session);
        Ok(inventory(
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
        let missing = session.texts("read its own rights", &session.dialect().missing_rights()).await?;
        if !missing.is_empty() {
            return Err(SqlError::MissingRights {
                admin: self.admin().to_owned(),
                missing: missing.join(", "),
            });
        }
        let engine = session.engine().to_string();
        self.server.keep(session);
        Ok(engine)
    }
}

#[async_trait]
impl Provider for Databases {
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
        self.attempt(|| self.provision_once(&instance.id)).await.map(Progress::Done)
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let database = naming::database(&instance.id);
        self.attempt(|| self.remove_database(&database)).await.map(Progress::Done)
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        let credentials = self.attempt(|| self.bind_once(&on.id, &binding.id)).await?;
        let settings = &self.server.settings;
        let endpoint = Endpoint {
            host: settings.host.clone(),
            ports: vec![settings.port.to_string()],
            protocol: Some("tcp".to_owned()),
        };
        Ok(Progress::Done(Bound { credentials, endpoints: vec![endpoint], ..Bound::default() }))
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let (database, login) = (naming::database(&on.id), naming::login(&on.id, &binding.id));
        self.attempt(|| self.remove_login(&login, &database)).await.map(Progress::Done)
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        self.attempt(|| self.resources_once()).await
    }

    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
        let (database, owner) = instance_names(instance);
        let logins = bindings.iter().map(|binding| naming::login(instance, binding));
        [database, owner].into_iter().chain(logins).collect()
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        match resource.kind {
            ResourceKind::Database => self.attempt(|| self.remove_database(&resource.name)).await,
            ResourceKind::OwnerRole => match naming::owned_database(&resource.name) {
                Some(database) => self.attempt(|| self.remove_database(database)).await,
                None => Ok(()),
            },
            ResourceKind::Login => self.attempt(|| self.remove_stray_login(&resource.name)).await,
        }
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

/// Whose a role is: ours when it is a member of `group`. A role that is a member of nothing may be one of ours that an
/// interruption left unmarked, where the engine cannot make and mark in one statement.
fn standing(roles: &Roles, role: &str, group: &str, session: &Session) -> Standing {
    match roles.get(role) {
        None => Standing::Absent,
        Some(groups) if groups.iter().any(|name| name == group) => Standing::Ours,
        Some(groups) if groups.is_empty() && !session.dialect().marks_at_creation() => Standing::Ours,
        Some(_) => Standing::Foreign,
    }
}

/// Everything whose name has the form of ours, and whether it hangs on the marker.
fn inventory<'a>(
    roles: &Roles,
    databases: impl Iterator<Item = (&'a str, &'a str)>,
    marker: &str,
) -> Vec<Resource> {
    let is_marked =
        |role: &str| roles.get(role).is_some_and(|groups| groups.iter().any(|group| group == marker));
    let databases = databases.filter(|(name, _)| naming::is_database(name)).map(|(name, owner)| Resource {
        kind: ResourceKind::Database,
        name: name.to_owned(),
        ours: naming::owned_database(owner) == Some(name) && is_marked(owner),
    });
    let logins = roles.iter().filter(|(name, _)| naming::is_login(name)).map(|(name, groups)| Resource {
        kind: ResourceKind::Login,
        name: name.clone(),
        ours: groups.iter().any(|group| naming::owned_database(group).is_some() && is_marked(group)),
    });
    let owners = roles.keys().filter(|name| naming::owned_database(name).is_some()).map(|name| Resource {
        kind: ResourceKind::OwnerRole,
        name: name.clone(),
        ours: is_marked(name),
    });
    let mut found: Vec<_> = databases.chain(logins).chain(owners).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hangs_on_the_marker_is_ours() {
        let (ours, theirs) = (naming::database(&"i".into()), naming::database(&"j".into()));
        let (our_login, their_login) =
            (naming::login(&"i".into(), &"b".into()), naming::login(&"j".into(), &"b".into()));
        let roles = Roles::from([
            (naming::owner(&ours), vec!["bindery_us".to_owned()]),
            (our_login.clone(), vec![naming::owner(&ours)]),
            (naming::owner(&theirs), vec!["bindery_them".to_owned()]),
            (their_login.clone(), vec![naming::owner(&theirs)]),
            ("someone".to_owned(), vec![]),
        ]);
        let owners = [
            (ours.as_str(), naming::owner(&ours)),
            (theirs.as_str(), naming::owner(&theirs)),
            ("app", "someone".into()),
        ];
        let found =
            inventory(&roles, owners.iter().map(|(name, owner)| (*name, owner.as_str())), "bindery_us");
        let named = |ours: bool| -> Vec<&str> {
            found
                .iter()
                .filter(|resource| resource.ours == ours)
                .map(|resource| resource.name.as_str())
                .collect()
        };
        assert_eq!(named(true), [ours.as_str(), our_login.as_str(), naming::owner(&ours).as_str()]);
        assert_eq!(named(false).len(), 3);
    }
}
