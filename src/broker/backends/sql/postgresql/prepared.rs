//! Prepared transactions (PREPARE TRANSACTION) of logins. They outlive their sessions, keep their locks for ever, and with
//! one a login can keep its own role from being locked. A transaction is rolled back in the database where it was prepared, by
//! the role that prepared it; the administrator acts for that role.

use tokio_postgres::error::SqlState;

use super::{
    Databases, connection::Session, dialect::InWay, error::SqlError, naming, server::database_owner,
};

/// A prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// What its user called it: any text.
    pub(super) gid: String,
    /// The role that prepared it; none if that role is gone.
    pub(super) owner: Option<String>,
    pub(super) database: String,
}

impl Databases {
    /// Rolls back the prepared transactions of bindings that are in the way of something.
    ///
    /// # Errors
    /// Names one that only a superuser can roll back, and how.
    pub(super) async fn roll_back(&self, session: &Session, in_way: InWay<'_>) -> Result<(), SqlError> {
        let Some(query) = session.dialect().prepared(in_way) else { return Ok(()) };
        let rows = session.rows("look for prepared transactions", &query, &[]).await?;
        let found =
            rows.iter().map(|row| Prepared { gid: row.get(0), owner: row.get(1), database: row.get(2) });
        let mut result = Ok(());
        for prepared in found {
            if let Err(error) = self.roll_back_one(session, &prepared).await {
                tracing::warn!(
                    server = %self.server.settings.name,
                    gid = ?prepared.gid,
                    database = prepared.database,
                    "a prepared transaction cannot be rolled back: {error}"
                );
                let Prepared { gid, database, .. } = prepared;
                result = result.and(Err(SqlError::Prepared { gid, database }));
            }
        }
        result
    }

    async fn roll_back_one(&self, session: &Session, prepared: &Prepared) -> Result<(), SqlError> {
        let Prepared { gid, owner, database } = prepared;
        let of_database = database_owner(session, database).await?.unwrap_or_default();
        let inside = if of_database == naming::owner(database) {
            self.enter(session, database, &of_database).await?
        } else {
            self.server.session_in(database).await?
        };
        let dialect = inside.dialect();
        if let Some(owner) = owner {
            inside.run([dialect.set_role(owner)]).await?;
        }
        match inside.run([dialect.roll_back(gid)]).await {
            // It ended meanwhile.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
            ended => ended,
        }
    }
}
