//! Checks whether a server still has what the records say: administrators drop, rename and restore databases and
//! roles, too.

use tokio_postgres::types::Type;

use super::{
    super::drift::{BIND_AGAIN, missing_database, missing_login},
    Databases, Ownership,
    connection::Session,
    error::SqlError,
    instance_names, naming, ownership,
    server::{database_owner, roles},
};
use crate::broker::{
    backends::{BindingSpec, Confirmed, InstanceSpec, sql::plan::Access},
    config::Kinds,
};

/// What the server has under the name of an instance's database.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The instance's database, with its owner role.
    Ours,
    /// No database.
    Nothing,
    /// A database that belongs to another role.
    OfOther(String),
    /// A database whose owner does not carry the installation's mark.
    Unmarked,
}

impl Databases {
    /// Looks for an instance's database.
    pub(super) async fn find(&self, session: &Session, database: &str) -> Result<Found, SqlError> {
        let owner = naming::owner(database);
        Ok(match database_owner(session, database).await? {
            None => Found::Nothing,
            Some(other) if other != owner => Found::OfOther(other),
            Some(_) => {
                let found = roles(session, &[&owner]).await?;
                match ownership(&found, &owner, &[&self.marker], session) {
                    Ownership::Ours => Found::Ours,
                    Ownership::Absent | Ownership::Foreign => Found::Unmarked,
                }
            }
        })
    }

    /// Checks that an instance, and optionally a binding of it, exists. Applies the plan's connection limit to an
    /// existing login, because the plan may have changed.
    pub(super) async fn confirm_once(
        &self,
        instance: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, SqlError> {
        let (database, owner) = instance_names(&instance.id);
        let session = self.server.session().await?;
        let found = self.find(&session, &database).await?;
        if let Some(problem) = problem(&found, &database, &owner, &self.marker) {
            return Ok(Confirmed::Differs(problem));
        }
        let Some(binding) = binding else { return Ok(Confirmed::There) };
        let login = naming::login(&instance.id, &binding.id);
        if let Some(problem) = self.problem_of_login(&session, &login, &database).await? {
            return Ok(Confirmed::Differs(problem));
        }
        if let Ok(plan) = self.plans.known(&instance.plan_id) {
            session.run(session.dialect().limit_connections(&login, plan.connections())).await?;
        }
        Ok(Confirmed::There)
    }

    /// # Errors
    /// When an instance's database is missing or belongs to another owner.
    pub(super) async fn must_be_there(
        &self,
        session: &Session,
        database: &str,
        owner: &str,
    ) -> Result<(), SqlError> {
        let found = match database_owner(session, database).await? {
            None => Found::Nothing,
            Some(other) if other != owner => Found::OfOther(other),
            Some(_) => Found::Ours,
        };
        problem(&found, database, owner, &self.marker)
            .map_or(Ok(()), |problem| Err(SqlError::Differs(problem)))
    }

    async fn problem_of_login(
        &self,
        session: &Session,
        login: &str,
        database: &str,
    ) -> Result<Option<String>, SqlError> {
        let groups: Vec<_> = Access::ALL.iter().map(|access| naming::group(database, *access)).collect();
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let found = roles(session, &[login]).await?;
        Ok(match ownership(&found, login, &groups, session) {
            Ownership::Absent => Some(missing_login(login)),
            Ownership::Foreign => Some(format!(
                "role {login} on the database server has no access to {database}: another one was made in the login's place, \
                 or its membership was revoked; drop that role, then {BIND_AGAIN}"
            )),
            Ownership::Ours if is_locked(session, login).await? => Some(format!(
                "login {login} is locked on the database server (NOLOGIN); unlock it there, or {BIND_AGAIN}"
            )),
            Ownership::Ours => None,
        })
    }
}

/// The problem and the remedy.
fn problem(found: &Found, database: &str, owner: &str, marker: &str) -> Option<String> {
    match found {
        Found::Ours => None,
        Found::Nothing => Some(missing_database(database, "restore it with its roles")),
        Found::OfOther(other) => Some(format!(
            "database {database} on the database server belongs to role {other} in place of {owner}; give it back \
             (ALTER DATABASE {database} OWNER TO {owner}), or rename or drop it and delete the service instance"
        )),
        Found::Unmarked => Some(format!(
            "role {owner}, which owns database {database}, does not carry this installation's mark {marker}; restore the mark as \
             docs/restore.md tells"
        )),
    }
}

/// Whether a login is locked although it has not expired.
async fn is_locked(session: &Session, login: &str) -> Result<bool, SqlError> {
    let sql = "SELECT NOT rolcanlogin AND (rolvaliduntil IS NULL OR rolvaliduntil > now()) FROM pg_catalog.pg_roles \
        WHERE rolname::text = $1";
    let rows = session.rows("look at the login", sql, &[(&login, Type::TEXT)]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}
