//! Creating logins.

use super::{
    super::error::SharedSqlError,
    BindingSpec, Bound, Databases, InstanceSpec,
    connection::Session,
    credentials::{self, ShownFields},
    dialect::{Entry, Statement},
    error::SqlError,
    marks::{Kind, Mark},
    naming,
    parameters::{BindingParameters, Expiry},
    password,
    server::{has_database, has_login, now},
};
use crate::{
    broker::{
        backends::sql::plan::Access,
        config::{ConfigError, SslMode},
    },
    osb::{BindingId, Credentials},
};

impl Databases {
    pub(super) async fn bind_once(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
    ) -> Result<Bound, SqlError> {
        let database = naming::database(&on.id);
        let login = naming::login(&on.id, &binding.id);
        let plan = self.plans.known(&on.plan_id)?;
        let parameters = BindingParameters::read(&binding.parameters)?;
        let access = parameters.access(plan)?;
        let sslmode = plan.sslmode_on(&self.server.settings);
        let ca = self.ca(sslmode).await?;
        let mut session = self.server.session().await?;
        let password = session.dialect().password(password::generate());

        let expiry = match parameters.lifetime(plan)? {
            Some(lifetime) => Some(Expiry::of(lifetime, now(&mut session).await?)),
            None => None,
        };
        let mark = Mark { name: login.clone(), kind: Kind::Login, database: database.clone() };
        let entry = Entry {
            login: &login,
            password: &password,
            is_encrypted: sslmode != SslMode::Disable,
            is_locked: false,
            connections: plan.connections(),
        };
        self.mark_login(&mut session, &mark, &binding.id, expiry).await?;
        make_login(&mut session, &mark, entry, access).await?;

        let mounted_at = binding.mounted_at();
        let shown = ShownFields {
            database: &database,
            login: &login,
            password: &password,
            sslmode,
            ca: ca.as_deref(),
            mounted_at: mounted_at.as_deref(),
        };
        Ok(self.bound(credentials::credentials(self.server.settings.for_clients(), shown), expiry))
    }

    /// Marks a login, unless the login belongs to another owner.
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
            return Err(
                SharedSqlError::Lost { what: format!("database {database} of this installation") }.into()
            );
        }
        if !is_marked(login) && has_login(session, login).await? {
            return Err(SharedSqlError::Foreign { what: format!("login {login}") }.into());
        }
        session.run([self.marks.write(mark, binding.as_str(), expiry.map(|expiry| expiry.ends_at))]).await
    }

    /// The text of the CA file, for applications that verify the server or can choose to.
    async fn ca(&self, sslmode: SslMode) -> Result<Option<String>, SqlError> {
        let Some(path) = self.server.settings.ca_file.clone().filter(|_| sslmode != SslMode::Disable) else {
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
            endpoints: vec![self.server.settings.endpoint()],
            expires_at: expiry.map(|expiry| expiry.ends_at),
            renew_before: expiry.map(|expiry| expiry.renew_before),
            ..Bound::default()
        }
    }
}

/// Creates a marked login, or brings an existing one up to date.
async fn make_login(
    session: &mut Session,
    mark: &Mark,
    entry: Entry<'_>,
    access: Access,
) -> Result<(), SqlError> {
    let dialect = session.dialect();
    let grant = Statement::grant(access, &dialect.grant_name(&mark.database), entry.login);
    if has_login(session, entry.login).await? {
        // An existing login may have had other rights. Set the password last, so that nobody logs in before the rights
        // are set.
        session.run([Statement::revoke_all(entry.login), grant, dialect.set_password(entry)]).await
    } else {
        session.run([dialect.create_login(entry), grant]).await
    }
}
