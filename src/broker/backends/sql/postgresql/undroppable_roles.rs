//! Roles that cannot be dropped because something outside of bindery's control depends on them: another tenant's
//! grant, or an administrator's grant in another database. Such a role has no rights: it cannot log in, belongs to no
//! other group and has no members. It waits as a member of the instance's group for revoked roles until nothing
//! depends on it; every broker retries the drop periodically, and `bindery sweep` lists the role.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use tokio_postgres::Row;

use super::{
    Databases,
    connection::Session,
    dependents::Dependent,
    error::SqlError,
    naming,
    server::{Roles, all_roles, databases, members, roles},
};

/// A conflict with another session ends within this many retries.
const TRIES: usize = 7;
const PAUSE: Duration = Duration::from_millis(100);
/// How many dependencies an error names.
const NAMED: usize = 3;

/// What a removal does when a dependency prevents the drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Succeeds: the rights are gone, and the role is dropped later.
    Later,
    /// Fails, and names what depends on the role.
    Refuse,
}

impl Databases {
    /// Drops a locked-out role of a database, or removes its rights and leaves the rest for later.
    ///
    /// # Errors
    /// When neither succeeds; with [`Rest::Refuse`], also when the role still exists.
    pub(super) async fn drop_or_settle(
        &self,
        session: &Session,
        role: &str,
        database: &str,
        home: Option<&str>,
        rest: Rest,
    ) -> Result<(), SqlError> {
        let pauses = ConstantBuilder::default().with_delay(PAUSE).with_max_times(TRIES);
        let drop_role = || self.drop_role(session, role, home);
        let error =
            match drop_role.retry(pauses).when(|error| error.is_conflict() && !session.is_closed()).await {
                Ok(()) => return Ok(()),
                Err(error) if session.is_closed() => return Err(error),
                Err(error) => self.explained(session, role, error).await,
            };
        self.take_rights(session, role, database).await?;
        tracing::warn!(server = %self.server.settings.name, role, "the role has lost its rights and is dropped later: {error}");
        match rest {
            Rest::Later => Ok(()),
            Rest::Refuse => Err(error),
        }
    }

    /// Makes a role a member of the group for revoked roles and of no other, and removes all its members except
    /// bindery's own.
    async fn take_rights(&self, session: &Session, role: &str, database: &str) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let revoked = naming::revoked(database);
        let found = roles(session, &[role, &revoked]).await?;
        if !found.contains_key(&revoked) {
            session.run([dialect.create_marker(&self.marker)]).await?;
            session.run(dialect.create_group(&revoked, &self.marker)).await?;
        }
        session.run([dialect.join_role(&revoked, self.admin())]).await?;
        session.run([dialect.grant_role(&revoked, role)]).await?;
        let mut changes = Vec::new();
        for group in found.get(role).into_iter().flatten() {
            if *group != revoked && naming::grouped_database(group).is_some() {
                changes.push(dialect.revoke_role(group, role));
            }
        }
        for member in members(session, &[role]).await?.keys() {
            if member != self.admin() && !naming::is_mark(member) {
                changes.push(dialect.revoke_role(role, member));
            }
        }
        session.run(changes).await
    }

    /// Makes a role that was left for later a role of its database again.
    pub(super) async fn take_back(
        &self,
        session: &Session,
        database: &str,
        role: &str,
    ) -> Result<(), SqlError> {
        let revoked = naming::revoked(database);
        let waits = members(session, &[&revoked]).await?.contains_key(role);
        session.run(waits.then(|| session.dialect().revoke_role(&revoked, role))).await
    }

    /// Drops the roles that were left for later, if nothing depends on them any more. A role that stays does not block
    /// the others.
    pub(super) async fn settle_once(&self) -> Result<(), SqlError> {
        let session = self.server.session().await?;
        let all = all_roles(&session).await?;
        let groups: Vec<_> = all.keys().filter(|role| self.is_revoked_group(&all, role)).collect();
        if groups.is_empty() {
            return Ok(());
        }
        let databases = databases(&session).await?;
        for group in groups {
            let Some(database) = naming::grouped_database(group) else { continue };
            let is_there = databases.contains_key(database);
            // An access role counts as waiting only once the database is gone.
            let may_go = |role: &str| {
                naming::is_login(role) || !is_there && naming::grouped_database(role) == Some(database)
            };
            let waiting = all.iter().filter(|(role, groups)| groups.contains(group) && may_go(role));
            for role in waiting.map(|(role, _)| role) {
                match self.drop_role(&session, role, is_there.then_some(database)).await {
                    Ok(()) => {
                        tracing::info!(server = %self.server.settings.name, role, "the role is dropped at last");
                    }
                    Err(error) if session.is_closed() => return Err(error),
                    Err(error) => tracing::debug!(role, "the role stays: {error}"),
                }
            }
            self.drop_empty_group(&session, database).await?;
        }
        Ok(())
    }

    /// Drops the group for revoked roles, unless it still has members: without the group, these would be unmarked.
    pub(super) async fn drop_empty_group(&self, session: &Session, database: &str) -> Result<(), SqlError> {
        let revoked = naming::revoked(database);
        let found = roles(session, &[&revoked]).await?;
        if !self.is_revoked_group(&found, &revoked) {
            return Ok(());
        }
        let members = members(session, &[&revoked]).await?;
        if members.keys().any(|role| naming::is_login(role) || naming::grouped_database(role).is_some()) {
            return Ok(());
        }
        match self.drop_role(session, &revoked, None).await {
            Err(error) if session.is_closed() => Err(error),
            Err(error) => {
                tracing::debug!(role = revoked, "the role stays: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whether a role is a database's group for revoked roles and carries this installation's mark.
    fn is_revoked_group(&self, roles: &Roles, role: &str) -> bool {
        let is_one = naming::grouped_database(role).is_some_and(|database| naming::revoked(database) == role);
        is_one && roles.get(role).is_some_and(|marks| marks.contains(&self.marker))
    }

    /// Adds what depends on a role to the error, if that is why the role was not dropped.
    async fn explained(&self, session: &Session, role: &str, error: SqlError) -> SqlError {
        if !error.is_of_dependents() {
            return error;
        }
        match self.dependents(session, role).await {
            Ok(found) if !found.is_empty() => SqlError::Depended { role: role.to_owned(), on: found.into() },
            // Use the server's own message.
            Ok(_) | Err(_) => error,
        }
    }

    /// What depends on a role, by name in databases where the administrator may connect.
    async fn dependents(&self, session: &Session, role: &str) -> Result<Vec<Dependent>, SqlError> {
        let dialect = session.dialect();
        let Some(query) = dialect.dependents(role) else { return Ok(Vec::new()) };
        let mut places =
            session.texts("look for the role's objects", &dialect.databases_with_dependents(role)).await?;
        places.push(self.server.settings.database.clone());
        let mut found = Vec::new();
        for database in places {
            if found.len() > NAMED {
                break;
            }
            let Ok(inside) = self.server.session_in(&database).await else {
                found.push(Dependent { database, object: None });
                continue;
            };
            let rows = inside.rows("look for what depends on the role", &query, &[]).await?;
            let is_counted = |row: &&Row| !row.get::<_, bool>(3) || database == self.server.settings.database;
            found.extend(rows.iter().filter(is_counted).map(|row| Dependent::read(row, role, &database)));
        }
        found.truncate(NAMED);
        Ok(found)
    }
}
