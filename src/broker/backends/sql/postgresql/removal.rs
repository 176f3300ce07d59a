//! Removing databases and logins, whatever the login owns, was granted or has open, and whatever an earlier attempt
//! left. A login is locked out first; one that cannot be dropped then loses its rights and is dropped later.

use tokio_postgres::error::SqlState;

use crate::broker::{backends::sql::plan::Access, config::Kinds};

use super::{
    super::error::SharedSqlError,
    super::naming::group,
    Databases, Ownership,
    connection::Session,
    dialect::InWay,
    error::{Holder, SqlError},
    naming, ownership,
    server::{Roles, database_owner, databases, members, roles},
    undroppable_roles::Rest,
};

impl Databases {
    /// Removes a login of an instance's database.
    pub(super) async fn remove_login(&self, login: &str, database: &str, rest: Rest) -> Result<(), SqlError> {
        let groups = all_groups(database);
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let session = self.server.session().await?;
        let found = roles(&session, &[login]).await?;
        match ownership(&found, login, &groups, &session) {
            Ownership::Absent => {}
            Ownership::Foreign => {
                return Err(SqlError::Astray {
                    what: format!("role {login} exists and is a member of no role of {database}"),
                    remedy: format!("GRANT {} TO {login}", naming::owner(database)),
                });
            }
            Ownership::Ours => {
                self.lock_out(&session, login).await?;
                self.drop_or_settle(&session, login, database, Some(database), rest).await?;
            }
        }
        self.drop_empty_group(&session, database).await
    }

    /// Removes a marked login whose binding has no record.
    pub(super) async fn remove_stray_login(&self, login: &str) -> Result<(), SqlError> {
        let session = self.server.session().await?;
        let groups = roles(&session, &[login]).await?.remove(login).unwrap_or_default();
        let database = groups.iter().find_map(|group| naming::grouped_database(group));
        match database {
            Some(database) => Box::pin(self.remove_login(login, database, Rest::Refuse)).await,
            None => Ok(()),
        }
    }

    /// Removes a database, the logins left on it, and its owner role.
    pub(super) async fn remove_database(&self, database: &str, rest: Rest) -> Result<(), SqlError> {
        let owner = naming::owner(database);
        let session = self.server.session().await?;
        let found = roles(&session, &[&owner]).await?;
        let removed = match ownership(&found, &owner, &[&self.marker], &session) {
            // The owner is dropped last, so everything else is gone, unless another user dropped the owner.
            Ownership::Absent => match database_owner(&session, database).await? {
                None => Box::pin(self.drop_groups(&session, database, None, rest)).await,
                Some(other) => Err(self.astray_database(database, &other, &owner)),
            },
            Ownership::Foreign => Err(self.astray_role(&owner)),
            Ownership::Ours => Box::pin(self.remove_owned(&session, database, &owner, rest)).await,
        };
        self.drop_empty_group(&session, database).await?;
        removed
    }

    /// Drops the database before its roles, so that only objects elsewhere can prevent their removal.
    async fn remove_owned(
        &self,
        session: &Session,
        database: &str,
        owner: &str,
        rest: Rest,
    ) -> Result<(), SqlError> {
        let logins = self.lock_all_out(session, database, owner).await?;
        match database_owner(session, database).await? {
            Some(other) if other != owner => return Err(self.astray_database(database, &other, owner)),
            Some(_) => self.drop_database(session, database, owner).await?,
            // Dropping the owner would also drop the data of a renamed database.
            None => {
                let renamed = databases(session).await?.into_iter().find(|(_, of)| of == owner);
                if let Some((renamed, owner)) = renamed {
                    return Err(SharedSqlError::Foreign {
                        what: format!("database {renamed}, which belongs to role {owner},"),
                    }
                    .into());
                }
            }
        }
        let mut result = Ok(());
        for login in &logins {
            let dropped = self.drop_or_settle(session, login, database, None, rest).await;
            result = result.and(dropped);
        }
        result = result.and(Box::pin(self.drop_groups(session, database, None, rest)).await);
        result.and(self.drop_or_settle(session, owner, database, None, rest).await)
    }

    /// Drops a database of this installation, whatever its users did to prevent it. A session that the administrator
    /// may not end, such as a superuser's, still prevents the drop; the error names it.
    async fn drop_database(&self, session: &Session, database: &str, owner: &str) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let drop_database = || session.run([dialect.drop_database(database)]);
        match drop_database().await {
            Err(error) if !session.is_closed() => {
                tracing::debug!(database, "is not dropped at once: {error}");
            }
            dropped => return dropped,
        }
        self.roll_back(session, InWay::Database { database, owner }).await?;
        session.run(dialect.allow_connections(database, owner)).await?;
        let Err(error) = drop_database().await else { return Ok(()) };
        let Some(query) = dialect.sessions_in_database(database) else { return Err(error) };
        let is_held = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::OBJECT_IN_USE];
        if !error.code().is_some_and(|code| is_held.contains(code)) {
            return Err(error);
        }
        let rows = session.rows("look for sessions in the database", &query, &[]).await?;
        let sessions: Vec<_> = rows.iter().map(|row| Holder { pid: row.get(0), role: row.get(1) }).collect();
        if sessions.is_empty() {
            return Err(error);
        }
        Err(SqlError::InUse { database: database.to_owned(), sessions })
    }

    /// Removes the logins of a database, and releases the database and its owner from the installation.
    pub(super) async fn retain_database(&self, database: &str) -> Result<(), SqlError> {
        let owner = naming::owner(database);
        let session = self.server.session().await?;
        let dialect = session.dialect();
        let found = roles(&session, &[&owner]).await?;
        match ownership(&found, &owner, &[&self.marker], &session) {
            Ownership::Absent => {}
            Ownership::Foreign if is_retained(&found, &owner) => {}
            Ownership::Foreign => return Err(self.astray_role(&owner)),
            Ownership::Ours => {
                for login in self.lock_all_out(&session, database, &owner).await? {
                    self.drop_or_settle(&session, &login, database, Some(database), Rest::Later).await?;
                }
                Box::pin(self.drop_groups(&session, database, Some(database), Rest::Later)).await?;
                self.drop_empty_group(&session, database).await?;
                session.run(dialect.forbid_connections(database)).await?;
                self.turn_mark(&session, &owner).await?;
                session.run(dialect.mark_retained(&owner, &self.marker)).await?;
                self.must_be_unmarked(&session, &owner).await?;
                tracing::info!(database, "the instance is deleted and its database retained");
            }
        }
        Ok(())
    }

    /// Since PostgreSQL 16, REVOKE removes only what the role itself granted, and reports the rest only as a warning.
    async fn must_be_unmarked(&self, session: &Session, owner: &str) -> Result<(), SqlError> {
        let marks = roles(session, &[owner]).await?.remove(owner).unwrap_or_default();
        if !marks.contains(&self.marker) {
            return Ok(());
        }
        let grantors = session
            .texts("look who marked the role", &session.dialect().grantors_of_membership(owner, &self.marker))
            .await?;
        let revoke =
            |grantor: &String| format!("REVOKE {owner} FROM {} GRANTED BY \"{grantor}\"", self.marker);
        let remedy = grantors.iter().map(revoke).collect::<Vec<_>>().join("; ");
        Err(SqlError::StillMarked { owner: owner.to_owned(), remedy })
    }

    fn astray_database(&self, database: &str, has: &str, wants: &str) -> SqlError {
        SqlError::Astray {
            what: format!("database {database} exists and belongs to role {has}, not to {wants}"),
            remedy: format!(
                "CREATE ROLE {wants} ROLE {} (unless it exists); ALTER DATABASE {database} OWNER TO {wants}",
                self.marker
            ),
        }
    }

    fn astray_role(&self, role: &str) -> SqlError {
        SqlError::Astray {
            what: format!("role {role} exists and does not carry this installation's mark"),
            remedy: format!("GRANT {role} TO {}", self.marker),
        }
    }

    /// Locks out the logins of a database, and returns them.
    async fn lock_all_out(
        &self,
        session: &Session,
        database: &str,
        owner: &str,
    ) -> Result<Vec<String>, SqlError> {
        match session.run([session.dialect().join_role(owner, self.admin())]).await {
            // Another broker has already dropped the owner.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => return Ok(Vec::new()),
            acting => acting?,
        }
        let groups = all_groups(database);
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let logins = members(session, &groups).await?.into_keys().filter(|role| naming::is_login(role));
        let logins: Vec<_> = logins.collect();
        for login in &logins {
            self.lock_out(session, login).await?;
        }
        Ok(logins)
    }

    /// Drops the roles of a database except its owner.
    async fn drop_groups(
        &self,
        session: &Session,
        database: &str,
        home: Option<&str>,
        rest: Rest,
    ) -> Result<(), SqlError> {
        let groups = [Access::ReadWrite, Access::ReadOnly].map(|access| group(database, access));
        let found = roles(session, &groups.each_ref().map(String::as_str)).await?;
        let mut result = Ok(());
        for role in &groups {
            if ownership(&found, role, &[&self.marker], session) == Ownership::Ours {
                session.run([session.dialect().join_role(role, self.admin())]).await?;
                result = result.and(self.drop_or_settle(session, role, database, home, rest).await);
            }
        }
        result
    }
}

/// Whether the role owns a retained database.
fn is_retained(found: &Roles, role: &str) -> bool {
    found.get(role).is_some_and(|groups| groups.iter().any(|group| group == naming::RETAINED))
}

/// The roles that give access to a database.
pub(super) fn groups(database: &str) -> Vec<String> {
    Access::ALL.iter().map(|access| group(database, *access)).collect()
}

/// These roles, and the group for revoked roles.
fn all_groups(database: &str) -> Vec<String> {
    groups(database).into_iter().chain([naming::revoked(database)]).collect()
}
