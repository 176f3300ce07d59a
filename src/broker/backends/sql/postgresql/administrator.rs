//! The administrator's account: its rights, the roles that it can change, and its password.

use secrecy::SecretString;

use super::{
    Databases, bind, connection::Session, credentials, engine::Engine, error::SqlError, server::databases,
};
use crate::broker::backends::sql::{error::SharedSqlError, naming::RETAINED, service_kind::ServiceKind};

impl Databases {
    pub(super) async fn check_once(&self) -> Result<String, SqlError> {
        let session = self.server.session().await?;
        Self::must_be_recent(session.engine())?;
        self.check_kinds(session.engine())?;
        self.plans.all().try_for_each(|(_, plan)| bind::must_limit(session.engine(), plan))?;
        let missing = session.texts("read its own rights", &session.dialect().missing_rights()).await?;
        if !missing.is_empty() {
            let remedy = session.dialect().missing_rights_remedy(self.admin(), &missing);
            return Err(SqlError::MissingRights {
                admin: self.admin().to_owned(),
                missing: missing.join(", "),
                remedy,
            });
        }
        self.take_roles_in(&session, &[&self.marker]).await?;
        self.look_for_reserve(&session).await?;
        if let Err(error) = self.turn_marks(&session).await {
            tracing::warn!(server = %self.server.settings.name, "the marks of an earlier release stay: {error}");
        }
        let engine = self.server.engine_for_users(session.engine());
        let known = databases(&session).await?;
        let templates = self.plans.all().flat_map(|(_, plan)| plan.templates.iter());
        for (template, database) in templates {
            let what = format!("database {database}, the plan's template {template:?},");
            if !known.contains_key(database) {
                return Err(SqlError::NoTemplate { what });
            }
            let is_open = session.dialect().may_connect(database, "public");
            if session.rows("look at the template", &is_open, &[]).await?.iter().any(|row| row.get(0)) {
                return Err(SqlError::OpenTemplate { what });
            }
        }
        Ok(engine)
    }

    /// Logs when the server reserves no connection for the administrator, so that clients can use up all of them.
    async fn look_for_reserve(&self, session: &Session) -> Result<(), SqlError> {
        let Some(query) = session.dialect().uses_reserved_connections() else { return Ok(()) };
        let rows = session.rows("look for reserved connections", query, &[]).await?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            let admin = self.admin();
            tracing::info!(
                server = %self.server.settings.name,
                "no connection is reserved for {admin}: when clients have taken all, a broker that starts cannot revoke any; set \
                 reserved_connections and GRANT pg_use_reserved_connections TO {admin}"
            );
        }
        Ok(())
    }

    pub(super) async fn change_password_once(&self, next: &SecretString) -> Result<(), SqlError> {
        let session = self.server.session().await?;
        let verifier = credentials::verifier(next);
        session.run([session.dialect().change_own_password(self.admin(), &verifier)]).await?;
        Ok(())
    }

    /// A service must run on the engine that it is named after; only PostgreSQL may stand in for CockroachDB.
    fn check_kinds(&self, engine: Engine) -> Result<(), SqlError> {
        let wants_postgresql = self.plans.all().any(|(kind, _)| *kind == ServiceKind::PostgreSql);
        if wants_postgresql && matches!(engine, Engine::CockroachDb { .. }) {
            return Err(SqlError::OtherEngine { found: engine.to_string() });
        }
        Ok(())
    }

    /// # Errors
    /// When this version of the engine supports no new resources. Existing ones can still be removed.
    pub(super) fn must_be_recent(engine: Engine) -> Result<(), SqlError> {
        engine
            .too_old()
            .map_or(Ok(()), |oldest| Err(SharedSqlError::TooOld { found: engine.to_string(), oldest }.into()))
    }

    /// Takes ADMIN OPTION on the installation's roles that the administrator cannot change yet; returns their number.
    pub(super) async fn take_roles(&self, with_retained: bool) -> Result<usize, SqlError> {
        let session = self.server.session().await?;
        let among = if with_retained { [self.marker.as_str(), RETAINED] } else { [self.marker.as_str(); 2] };
        let taken = self.take_roles_in(&session, &among).await?;
        Ok(taken)
    }

    /// After an upgrade to PostgreSQL 16, a restore, or a rename of the administrator, the administrator may have
    /// ADMIN OPTION on none of the roles; since version 16 only a role with this option can grant it.
    async fn take_roles_in(&self, session: &Session, among: &[&str]) -> Result<usize, SqlError> {
        let dialect = session.dialect();
        let Some(query) = dialect.roles_without_admin_option(among) else { return Ok(0) };
        let mut taken = 0;
        let mut lacking = Vec::new();
        for row in session.rows("look for roles that the administrator cannot change", &query, &[]).await? {
            let (role, has_admin_option): (String, bool) = (row.get(0), row.get(1));
            if has_admin_option || dialect.can_take_admin_option() {
                session.run([dialect.join_role(&role, self.admin())]).await?;
                taken += 1;
            } else {
                lacking.push(role);
            }
        }
        let Some(example) = lacking.first() else { return Ok(taken) };
        Err(SqlError::NotAdministrator {
            admin: self.admin().to_owned(),
            count: lacking.len(),
            example: example.clone(),
            remedy: dialect.admin_option_remedy(&self.marker, self.admin()).unwrap_or_default(),
        })
    }
}
