//! Taking databases and logins away, so that it works whatever the login owns, was granted or has open, and whatever an
//! earlier attempt left.

use tokio_postgres::error::SqlState;

use crate::config::{Access, Kinds};

use super::{
    super::naming::group,
    Databases, Standing,
    connection::Session,
    dialect::{DefaultPrivilege, Statement},
    error::{Holder, SqlError},
    naming,
    server::{database_owner, members, roles},
    standing,
};

impl Databases {
    /// Removes a login of an instance's database.
    pub(super) async fn remove_login(&self, login: &str, database: &str) -> Result<(), SqlError> {
        let groups = groups(database);
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let session = self.server.session().await?;
        let found = roles(&session, &[login]).await?;
        match standing(&found, login, &groups, &session) {
            Standing::Absent => {}
            Standing::Foreign => return Err(SqlError::Foreign { what: format!("role {login}") }),
            Standing::Ours => {
                self.lock_out(&session, login).await?;
                self.drop_role(&session, login, Some(database)).await?;
            }
        }
        Ok(())
    }

    /// Removes a marked login whose binding nobody knows.
    pub(super) async fn remove_stray_login(&self, login: &str) -> Result<(), SqlError> {
        let session = self.server.session().await?;
        let groups = roles(&session, &[login]).await?.remove(login).unwrap_or_default();
        let database = groups.iter().find_map(|group| naming::grouped_database(group));
        match database {
            Some(database) => self.remove_login(login, database).await,
            None => Ok(()),
        }
    }

    /// Removes a database, the logins left on it, and its owner role.
    pub(super) async fn remove_database(&self, database: &str) -> Result<(), SqlError> {
        let owner = naming::owner(database);
        let session = self.server.session().await?;
        let found = roles(&session, &[&owner]).await?;
        match standing(&found, &owner, &[&self.marker], &session) {
            // The owner goes last: whatever else there was is gone, unless somebody else dropped the owner.
            Standing::Absent => self.drop_groups(&session, database, None).await?,
            Standing::Foreign => {}
            Standing::Ours => return self.remove_owned(&session, database, &owner).await,
        }
        match database_owner(&session, database).await? {
            Some(other) => Err(foreign(database, &other)),
            None => Ok(()),
        }
    }

    async fn remove_owned(&self, session: &Session, database: &str, owner: &str) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let logins = self.lock_all_out(session, database, owner).await?;
        match database_owner(session, database).await? {
            Some(other) if other != owner => return Err(foreign(database, &other)),
            Some(_) => {
                session.run(dialect.open_up(database)).await?;
                self.drop_database(session, database).await?;
            }
            None => {}
        }
        for login in &logins {
            self.drop_role(session, login, None).await?;
        }
        self.drop_groups(session, database, None).await?;
        self.drop_role(session, owner, None).await
    }

    /// Drops a database. A session that the administrator may not end, such as a superuser's, keeps it; the error names it.
    async fn drop_database(&self, session: &Session, database: &str) -> Result<(), SqlError> {
        let dialect = session.dialect();
        match session.run([dialect.drop_database(database)]).await {
            Err(error)
                if error.code().is_some_and(|code| {
                    [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::OBJECT_IN_USE].contains(code)
                }) =>
            {
                let Some(query) = dialect.sessions_in(database) else { return Err(error) };
                let rows = session.rows("look for sessions in the database", &query, &[]).await?;
                let sessions: Vec<_> =
                    rows.iter().map(|row| Holder { pid: row.get(0), role: row.get(1) }).collect();
                if sessions.is_empty() {
                    return Err(error);
                }
                Err(SqlError::InUse { database: database.to_owned(), sessions })
            }
            outcome => outcome,
        }
    }

    /// Removes the logins of a database and keeps it, with its owner, out of the installation's hands.
    pub(super) async fn retain_database(&self, database: &str) -> Result<(), SqlError> {
        let owner = naming::owner(database);
        let session = self.server.session().await?;
        let dialect = session.dialect();
        let found = roles(&session, &[&owner]).await?;
        match standing(&found, &owner, &[&self.marker], &session) {
            Standing::Absent | Standing::Foreign => {}
            Standing::Ours => {
                for login in self.lock_all_out(&session, database, &owner).await? {
                    self.drop_role(&session, &login, Some(database)).await?;
                }
                self.drop_groups(&session, database, Some(database)).await?;
                session.run(dialect.close_off(database)).await?;
                session.run(dialect.retain(&owner, &self.marker)).await?;
                tracing::info!(database, "the instance is deleted and its database retained");
            }
        }
        Ok(())
    }

    /// Locks out the logins of a database, and answers which they are.
    async fn lock_all_out(
        &self,
        session: &Session,
        database: &str,
        owner: &str,
    ) -> Result<Vec<String>, SqlError> {
        session.run([session.dialect().act_for(owner, self.admin())]).await?;
        let groups = groups(database);
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let logins = members(session, &groups).await?.into_keys().filter(|role| naming::is_login(role));
        let logins: Vec<_> = logins.collect();
        for login in &logins {
            self.lock_out(session, login).await?;
        }
        Ok(logins)
    }

    /// Drops the roles of a database beside its owner.
    async fn drop_groups(
        &self,
        session: &Session,
        database: &str,
        home: Option<&str>,
    ) -> Result<(), SqlError> {
        let groups = [Access::ReadWrite, Access::ReadOnly].map(|access| group(database, access));
        let found = roles(session, &groups.each_ref().map(String::as_str)).await?;
        for role in &groups {
            if standing(&found, role, &[&self.marker], session) == Standing::Ours {
                session.run([session.dialect().act_for(role, self.admin())]).await?;
                self.drop_role(session, role, home).await?;
            }
        }
        Ok(())
    }

    /// Drops a role. Mostly nothing is in its way; otherwise its objects and grants go first, those in its own database,
    /// then those wherever else there are some.
    async fn drop_role(&self, session: &Session, role: &str, home: Option<&str>) -> Result<(), SqlError> {
        let drop_role = || self.run_past_locks(session, role, session.dialect().drop_role(role));
        if !depends(drop_role().await)? {
            return Ok(());
        }
        if let Some(home) = home {
            self.release(session, role, home, &[]).await?;
            if !depends(drop_role().await)? {
                return Ok(());
            }
        }
        let mut places =
            session.texts("look for the role's objects", &session.dialect().databases_of(role)).await?;
        // What was granted on shared objects goes from any database.
        places.push(self.server.settings.database.clone());
        // This is rarely what is in the way, and takes many statements.
        let reset = session.dialect().reset_defaults(role);
        for place in places {
            self.release(session, role, &place, &reset).await?;
        }
        drop_role().await
    }

    /// Hands what the role owns in a database of ours to that database's owner, and takes back what was granted to it.
    /// What it owns elsewhere is dropped: there is nobody to hand it to. Then comes what else is to be done there.
    async fn release(
        &self,
        session: &Session,
        role: &str,
        database: &str,
        then: &[Statement],
    ) -> Result<(), SqlError> {
        let Some(owner) = database_owner(session, database).await? else { return Ok(()) };
        let marks = roles(session, &[&owner]).await?.remove(&owner).unwrap_or_default();
        let is_one = owner == naming::owner(database);
        let is_retained = is_one && marks.iter().any(|mark| mark == naming::RETAINED);
        let is_ours = is_one && (is_retained || marks.contains(&self.marker));
        if is_ours {
            session.run(session.dialect().open_up(database)).await?;
            self.act_for_logins(session, &owner).await?;
        }
        let released = self.release_inside(role, database, is_ours.then_some(owner.as_str()), then).await;
        if is_retained {
            session.run(session.dialect().close_off(database)).await?;
        }
        released
    }

    /// The same, in the database; `heir` gets what the role owns, if there is one.
    async fn release_inside(
        &self,
        role: &str,
        database: &str,
        heir: Option<&str>,
        then: &[Statement],
    ) -> Result<(), SqlError> {
        let inside = match self.server.session_in(database).await {
            Ok(inside) => inside,
            // It was dropped in between.
            Err(error) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => return Ok(()),
            Err(error) if heir.is_none() && error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                tracing::warn!(
                    database,
                    role,
                    "cannot be entered to look for what the role has there: {error}"
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let dialect = inside.dialect();
        if let Some(heir) = heir.filter(|heir| *heir != role) {
            self.run_past_locks(&inside, role, dialect.reassign(role, heir)).await?;
        }
        for privilege in default_privileges(&inside, role).await? {
            inside.run([privilege.revoke()]).await?;
        }
        self.run_past_locks(&inside, role, dialect.drop_owned(role)).await?;
        inside.run(then.iter().cloned()).await
    }

    /// Makes the administrator a member of every login of a database. A privilege is taken back by who may act for its
    /// grantor, and any of them may have granted one under its own name; those that an earlier bindery made lack this.
    async fn act_for_logins(&self, session: &Session, owner: &str) -> Result<(), SqlError> {
        let members = members(session, &[owner]).await?.into_keys();
        let logins = members.filter(|role| naming::is_login(role));
        session.run(logins.map(|login| session.dialect().act_for(&login, self.admin()))).await
    }
}

/// A database that belongs to somebody else.
fn foreign(database: &str, owner: &str) -> SqlError {
    SqlError::Foreign { what: format!("database {database}, which belongs to role {owner},") }
}

/// The roles that give access to a database.
fn groups(database: &str) -> Vec<String> {
    Access::ALL.iter().map(|access| group(database, *access)).collect()
}

/// Whether the role was not dropped because something depends on it.
fn depends(dropped: Result<(), SqlError>) -> Result<bool, SqlError> {
    match dropped {
        Ok(()) => Ok(false),
        Err(error) if error.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => Ok(true),
        Err(error) => Err(error),
    }
}

async fn default_privileges(session: &Session, role: &str) -> Result<Vec<DefaultPrivilege>, SqlError> {
    let dialect = session.dialect();
    if dialect.default_privileges(role, None).is_empty() {
        return Ok(Vec::new());
    }
    let in_schemas = session.texts("list schemas", dialect.schemas()).await?.into_iter().map(Some);
    let schemas: Vec<_> = std::iter::once(None).chain(in_schemas).collect();
    let mut found = Vec::new();
    for schema in schemas {
        for query in dialect.default_privileges(role, schema.as_deref()) {
            for row in session.rows("read default privileges", &query, &[]).await? {
                let maker: String = row.get(0);
                let privilege = DefaultPrivilege {
                    role: Some(maker).filter(|maker| !maker.is_empty()),
                    schema: schema.clone(),
                    object_type: row.get(1),
                    grantee: row.get(2),
                };
                if !privilege.is_builtin() {
                    found.push(privilege);
                }
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}
