//! Marks: one row for each database and login that an installation created, in a table of the installation's own. The
//! row is written before the resource is created and removed after it is gone; a resource without a row is foreign.
//! MySQL has no comments on databases and no roles that could safely carry a mark, so the marks have a database of
//! their own.

use jiff::{Timestamp, tz::TimeZone};

use super::{
    super::error::SharedSqlError,
    super::naming::digest,
    connection::{Session, Texts},
    dialect::Statement,
    error::SqlError,
    quote::{identifier, literal},
    server::OF_CLIENTS,
};

const TABLE: &str = "marks";
const READS: &str = "read the marks";
const WRITES: &str = "write the mark";

/// The kind of a marked resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Database,
    /// The login of a binding.
    Login,
    /// The login of a deleted binding, kept because something runs as it; dropped with its database.
    Definer,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Login => "login",
            Self::Definer => "definer",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Database, Self::Login, Self::Definer].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The database that the resource belongs to; for a database, its own name.
    pub(super) database: String,
}

/// The marks of one installation.
pub(super) struct Marks {
    schema: String,
}

impl Marks {
    /// Marks in a database of this name.
    pub(super) fn new(schema: String) -> Self {
        Self { schema }
    }

    fn table(&self) -> String {
        format!("{}.{TABLE}", identifier(&self.schema))
    }

    /// Creates the table if it does not exist. Times are UTC; `id` is the digest of the platform's id, for human
    /// readers.
    pub(super) fn create(&self) -> [Statement; 2] {
        let table = format!(
            "CREATE TABLE IF NOT EXISTS {} (\
               name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, \
               kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
               database_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
               id MEDIUMTEXT CHARACTER SET utf8mb4, \
               expires_at DATETIME, \
               is_locked BOOLEAN NOT NULL DEFAULT FALSE, \
               KEY (database_name), KEY (expires_at)) ENGINE = InnoDB",
            self.table()
        );
        let schema = format!("CREATE DATABASE IF NOT EXISTS {}", identifier(&self.schema));
        [schema, table].map(|sql| Statement::new("create the table of marks", sql))
    }

    /// Marks a database or a login; replaces an existing mark.
    pub(super) fn write(&self, mark: &Mark, id: &str, expires_at: Option<Timestamp>) -> Statement {
        let expires_at = expires_at.map_or_else(|| "NULL".to_owned(), |time| literal(&datetime(time)));
        let sql = format!(
            "REPLACE INTO {} (name, kind, database_name, id, expires_at) VALUES ({}, {}, {}, {}, {expires_at})",
            self.table(),
            literal(&mark.name),
            literal(mark.kind.as_str()),
            literal(&mark.database),
            literal(&digest(id)),
        );
        Statement::new(WRITES, sql)
    }

    /// Replaces ids that an earlier version wrote with their digests.
    pub(super) async fn hide_ids(&self, session: &mut Session) -> Result<(), SqlError> {
        let sql = format!(
            "UPDATE {} SET id = CONCAT('sha256:', SHA2(id, 256)) WHERE id NOT REGEXP '^sha256:[0-9a-f]{{64}}$'",
            self.table()
        );
        match session.run([Statement::new(WRITES, sql)]).await {
            Err(error) if error.is_without_marks() => Ok(()),
            done => done,
        }
    }

    /// Records that a login is locked, if it is still expired.
    pub(super) fn lock(&self, login: &str) -> Statement {
        let sql = format!(
            "UPDATE {} SET is_locked = TRUE WHERE name = {} AND expires_at <= UTC_TIMESTAMP()",
            self.table(),
            literal(login)
        );
        Statement::new(WRITES, sql)
    }

    /// Records that a login is kept because something runs as it.
    pub(super) fn keep_definer(&self, login: &str) -> Statement {
        let sql = format!(
            "UPDATE {} SET kind = {}, expires_at = NULL, is_locked = TRUE WHERE name = {}",
            self.table(),
            literal(Kind::Definer.as_str()),
            literal(login)
        );
        Statement::new(WRITES, sql)
    }

    pub(super) fn remove(&self, name: &str) -> Statement {
        let sql = format!("DELETE FROM {} WHERE name = {}", self.table(), literal(name));
        Statement::new("remove the mark", sql)
    }

    /// The marks of the named resources.
    pub(super) async fn named(&self, session: &mut Session, names: &[&str]) -> Result<Vec<Mark>, SqlError> {
        let names: Vec<_> = names.iter().map(|name| literal(name)).collect();
        self.read(session, &format!("name IN ({})", names.join(", "))).await
    }

    /// The marks of a database and of its logins.
    pub(super) async fn of_database(
        &self,
        session: &mut Session,
        database: &str,
    ) -> Result<Vec<Mark>, SqlError> {
        self.read(session, &format!("database_name = {}", literal(database))).await
    }

    /// The marks of expired logins that are not locked yet or still have sessions: a client that was logging in while
    /// its login was being locked may have a session.
    pub(super) async fn expired(&self, session: &mut Session) -> Result<Vec<Mark>, SqlError> {
        let condition = format!(
            "expires_at <= UTC_TIMESTAMP() AND (NOT is_locked OR name IN \
               (SELECT USER FROM information_schema.PROCESSLIST WHERE {OF_CLIENTS}))"
        );
        self.read(session, &condition).await
    }

    /// Whether a login has expired.
    pub(super) async fn is_expired(&self, session: &mut Session, login: &str) -> Result<bool, SqlError> {
        let condition = format!("name = {} AND expires_at <= UTC_TIMESTAMP()", literal(login));
        Ok(!self.read(session, &condition).await?.is_empty())
    }

    pub(super) async fn all(&self, session: &mut Session) -> Result<Vec<Mark>, SqlError> {
        self.read(session, "TRUE").await
    }

    /// An installation that has created nothing on this server has no table.
    async fn read(&self, session: &mut Session, condition: &str) -> Result<Vec<Mark>, SqlError> {
        let sql =
            format!("SELECT name, kind, database_name FROM {} WHERE {condition} ORDER BY name", self.table());
        match session.rows(READS, &sql).await {
            Ok(rows) => rows.into_iter().map(mark).collect(),
            Err(error) if error.is_without_marks() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn mark(row: Texts) -> Result<Mark, SqlError> {
    let mut row = row.into_iter().flatten();
    let mark = match (row.next(), row.next().as_deref().and_then(Kind::parse), row.next()) {
        (Some(name), Some(kind), Some(database)) => Some(Mark { name, kind, database }),
        _ => None,
    };
    mark.ok_or_else(|| SharedSqlError::Answer { does: READS }.into())
}

fn datetime(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let time: Timestamp = "2026-01-02T03:04:05+01:00".parse().unwrap();
        assert_eq!(datetime(time), "2026-01-02 02:04:05");
    }

    #[test]
    fn rows_are_read_or_refused() {
        let row = |kind: &str| ["n", kind, "d"].map(|text| Some(text.to_owned())).to_vec();
        let read = mark(row("definer")).unwrap();
        assert_eq!(read, Mark { name: "n".into(), kind: Kind::Definer, database: "d".into() });
        assert!(mark(row("role")).is_err() && mark(vec![None]).is_err());
    }
}
