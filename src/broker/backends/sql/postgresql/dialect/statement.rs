//! A statement as data, and the arguments of statements.

use jiff::Timestamp;
use tokio_postgres::error::SqlState;

/// A statement, and the errors that mean that nothing is left to do.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::broker::backends::sql::postgresql) struct Statement {
    pub(in crate::broker::backends::sql::postgresql) sql: String,
    /// What the statement does, for error messages.
    pub(in crate::broker::backends::sql::postgresql) does: &'static str,
    pub(in crate::broker::backends::sql::postgresql) done_already: &'static [SqlState],
}

impl Statement {
    pub(super) fn new(does: &'static str, sql: String) -> Self {
        Self { sql, does, done_already: &[] }
    }

    /// Replaces the description.
    pub(super) fn called(mut self, does: &'static str) -> Self {
        self.does = does;
        self
    }

    pub(super) fn unless(mut self, done_already: &'static [SqlState]) -> Self {
        self.done_already = done_already;
        self
    }
}

/// The names of an instance on the server.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::backends::sql::postgresql) struct InstanceNames<'a> {
    pub(in crate::broker::backends::sql::postgresql) database: &'a str,
    pub(in crate::broker::backends::sql::postgresql) owner: &'a str,
    /// The installation's marker role.
    pub(in crate::broker::backends::sql::postgresql) marker: &'a str,
}

/// The source of a new database.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker::backends::sql::postgresql) struct Origin<'a> {
    pub(in crate::broker::backends::sql::postgresql) encoding: Option<&'a str>,
    /// The database to copy.
    pub(in crate::broker::backends::sql::postgresql) template: Option<&'a str>,
}

/// The desired state of a login.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::backends::sql::postgresql) struct Login<'a> {
    pub(in crate::broker::backends::sql::postgresql) name: &'a str,
    /// The group that gives the login its rights.
    pub(in crate::broker::backends::sql::postgresql) group: &'a str,
    /// The SCRAM verifier of the password; `None` for a login with a certificate.
    pub(in crate::broker::backends::sql::postgresql) verifier: Option<&'a str>,
    pub(in crate::broker::backends::sql::postgresql) ends_at: Option<Timestamp>,
    /// The connection limit; `None` is the server's limit.
    pub(in crate::broker::backends::sql::postgresql) connections: Option<u32>,
}

/// What a prepared transaction may block.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::backends::sql::postgresql) enum InWay<'a> {
    /// The removal of a login: includes every transaction that the login prepared.
    Login(&'a str),
    /// A change of a role, or of its objects in the session's database.
    Role(&'a str),
    /// Dropping a database: includes every transaction in the database and every one of its owner.
    Database { database: &'a str, owner: &'a str },
}

/// ALTER's keyword for a kind of object, where it differs from the name in `pg_identify_object`.
pub(super) fn altered_as(kind: &str) -> &str {
    match kind {
        "COMPOSITE TYPE" => "TYPE",
        "STATISTICS OBJECT" => "STATISTICS",
        kind => kind,
    }
}

/// An object of the session's database, as ALTER names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker::backends::sql::postgresql) struct Object {
    /// A keyword, such as TABLE.
    pub(in crate::broker::backends::sql::postgresql) kind: String,
    /// The object's full name, quoted.
    pub(in crate::broker::backends::sql::postgresql) identity: String,
}
