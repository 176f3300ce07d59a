//! Prepared transactions (PREPARE TRANSACTION) of logins. They outlive their sessions and keep their locks without
//! limit; a login can use one to prevent its own role from being locked. A transaction must be rolled back in the
//! database where it was prepared and by the role that prepared it; the administrator acts as that role.

use tokio_postgres::error::SqlState;

use super::{
    Databases, connection::Session, dialect::InWay, error::SqlError, naming, server::database_owner,
};

/// A prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// The name that the user gave the transaction: any text.
    pub(super) gid: String,
    /// The role that prepared the transaction; `None` if that role is gone.
    pub(super) owner: Option<String>,
    pub(super) database: String,
}

impl Databases {
    /// Rolls back the prepared transactions of bindings that block something.
    ///
    /// # Errors
    /// Names one that only a superuser can roll back, with the remedy.
    pub(super) async fn roll_back(&self, session: &Session, in_way: InWay<'_>) -> Result<(), SqlError> {
        let Some(query) = session.dialect().prepared_transactions(in_way) else { return Ok(()) };
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
        match inside.run([dialect.roll_back_prepared(gid)]).await {
            // The transaction has ended meanwhile.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
            ended => ended,
        }
    }
}
