//! Dropping a role: its objects are reassigned to the owner of the database, and its grants are revoked, in its own
//! database and in every other one. Foreign databases get little time: the role is already locked out, and a removal
//! must not depend on what another tenant does in another database.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::error::SqlState;

use super::{
    Databases,
    connection::Session,
    dialect::{DefaultPrivilege, Statement},
    error::SqlError,
    naming,
    removal::groups,
    server::{database_owner, members, roles},
    sharing::{groups_of, share_what_is},
};

/// The time limit for all foreign databases together.
const ELSEWHERE: Duration = Duration::from_secs(15);

impl Databases {
    /// Drops a role. Usually nothing depends on it; otherwise removes its objects and grants first, in its own
    /// database, then in all others.
    pub(super) async fn drop_role(
        &self,
        session: &Session,
        role: &str,
        home: Option<&str>,
    ) -> Result<(), SqlError> {
        let drop_role = || self.run_past_locks(session, role, session.dialect().drop_role(role));
        if !is_held(drop_role().await)? {
            return Ok(());
        }
        let mut failed = None;
        if let Some(home) = home {
            failed = self.release(session, role, home, &[]).await.err();
            if !is_held(drop_role().await)? {
                return Ok(());
            }
        }
        let elsewhere = self.release_elsewhere(session, role);
        match timeout(ELSEWHERE, elsewhere).await {
            Ok(released) => failed = failed.or(released.err()),
            Err(_) => tracing::info!(role, "other databases take too long to give the role up"),
        }
        match (drop_role().await, failed) {
            // A retry may succeed.
            (Err(_), Some(error)) if error.is_conflict() && !session.is_closed() => Err(error),
            (Err(dropped), Some(error)) => {
                tracing::warn!(server = %self.server.settings.name, role, "the role is not released everywhere: {error}");
                Err(dropped)
            }
            (dropped, _) => dropped,
        }
    }

    /// Releases a role in all databases with objects of the role or grants to it. A failure in one does not block the
    /// others; returns the first failure.
    async fn release_elsewhere(&self, session: &Session, role: &str) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let mut places =
            session.texts("look for the role's objects", &dialect.databases_with_dependents(role)).await?;
        // Grants on shared objects can be revoked from any database.
        places.push(self.server.settings.database.clone());
        // Default privileges are rarely the cause, and resetting them takes many statements.
        let reset = dialect.reset_default_privileges(role);
        let mut result = Ok(());
        for place in places {
            result = result.and(self.release(session, role, &place, &reset).await);
        }
        result
    }

    /// In a database of this installation, gives the role's objects to the database's owner, and revokes what was
    /// granted to the role. In other databases, drops the objects: there is no owner to give them to. Runs `then` in
    /// the same database.
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
        if !is_ours && self.holds_data(session, role, database).await? {
            tracing::warn!(role, database, "belongs to {owner}: what the role owns there stays");
            return Ok(());
        }
        if is_ours {
            self.act_for_logins(session, database).await?;
        }
        let heir = is_ours.then_some(owner.as_str());
        let released = self.release_inside(session, role, database, heir, then).await;
        if is_retained {
            session.run(session.dialect().forbid_connections(database)).await?;
        }
        released
    }

    /// Whether a database holds the data of an instance, owned by the instance's owner role, although it is not the
    /// instance's database: an administrator restored it there or renamed it. Objects that tenants create as the owner
    /// in the maintenance database, which is open to all, do not count as data.
    async fn holds_data(&self, session: &Session, role: &str, database: &str) -> Result<bool, SqlError> {
        if naming::owned_database(role).is_none() || database == self.server.settings.database {
            return Ok(false);
        }
        let Some(query) = session.dialect().owns_objects_in(role, database) else { return Ok(false) };
        let rows = session.rows("look for what the role owns", &query, &[]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Releases a role in the session's database; `heir`, if any, gets the role's objects.
    async fn release_inside(
        &self,
        session: &Session,
        role: &str,
        database: &str,
        heir: Option<&str>,
        then: &[Statement],
    ) -> Result<(), SqlError> {
        let entered = match heir {
            Some(owner) => self.enter(session, database, owner).await,
            None => self.server.session_in(database).await,
        };
        let inside = match entered {
            Ok(inside) => inside,
            // The database was dropped meanwhile.
            Err(error) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => return Ok(()),
            Err(error) => return Err(error),
        };
        let dialect = inside.dialect();
        if let Some(heir) = heir.filter(|heir| *heir != role) {
            // Share the role's objects with the groups first; the heir keeps these grants.
            let groups = groups_of(session, database).await?;
            share_what_is(&inside, &[role.to_owned()], &groups).await?;
            self.run_past_locks(&inside, role, dialect.reassign_owned(role, heir)).await?;
        }
        for privilege in default_privileges(&inside, role).await? {
            inside.run([privilege.revoke()]).await?;
        }
        self.run_past_locks(&inside, role, dialect.drop_owned(role)).await?;
        self.revoke_of_grantors(&inside, role).await?;
        inside.run(then.iter().cloned()).await
    }

    /// Revokes grants of users who may grant without owning the object (WITH GRANT OPTION): a revoke by the
    /// administrator acts as the owner, which leaves such grants.
    async fn revoke_of_grantors(&self, inside: &Session, role: &str) -> Result<(), SqlError> {
        let dialect = inside.dialect();
        let Some(query) = dialect.grants_by_others(role) else { return Ok(()) };
        let rows = inside.rows("look for grants to the role", &query, &[]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let take_back = dialect.revoke_grant((row.get(0), row.get(1)), row.get(2), role);
            inside.run([dialect.set_role(row.get(3)), take_back]).await?;
        }
        inside.run([dialect.reset_role()]).await
    }

    /// Makes the administrator a member of every login of a database: only a member of the grantor can revoke a
    /// privilege, and any login may have granted one under its own name. Logins of an earlier bindery lack this
    /// membership.
    pub(super) async fn act_for_logins(&self, session: &Session, database: &str) -> Result<(), SqlError> {
        let groups = groups(database);
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let members = members(session, &groups).await?.into_keys();
        let logins = members.filter(|role| naming::is_login(role));
        session.run(logins.map(|login| session.dialect().join_role(&login, self.admin()))).await
    }
}

/// Whether something depends on the role, so that it was not dropped.
fn is_held(dropped: Result<(), SqlError>) -> Result<bool, SqlError> {
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
