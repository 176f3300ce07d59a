//! A statement as data, and what statements are about.

use jiff::Timestamp;
use tokio_postgres::error::SqlState;

/// A statement, and the refusals that mean that there is nothing left to do.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::broker::backends::sql::postgresql) struct Statement {
    pub(in crate::broker::backends::sql::postgresql) sql: String,
    /// What it does, in the words of an error message.
    pub(in crate::broker::backends::sql::postgresql) does: &'static str,
    pub(in crate::broker::backends::sql::postgresql) done_already: &'static [SqlState],
}

impl Statement {
    pub(super) fn new(does: &'static str, sql: String) -> Self {
        Self { sql, does, done_already: &[] }
    }

    /// The same statement, with other words for what it does.
    pub(super) fn called(mut self, does: &'static str) -> Self {
        self.does = does;
        self
    }

    pub(super) fn unless(mut self, done_already: &'static [SqlState]) -> Self {
        self.done_already = done_already;
        self
    }
}

/// The names an instance has in the database.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::backends::sql::postgresql) struct InstanceNames<'a> {
    pub(in crate::broker::backends::sql::postgresql) database: &'a str,
    pub(in crate::broker::backends::sql::postgresql) owner: &'a str,
    /// The installation's mark.
    pub(in crate::broker::backends::sql::postgresql) marker: &'a str,
}

/// What a database is made from.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker::backends::sql::postgresql) struct Origin<'a> {
    pub(in crate::broker::backends::sql::postgresql) encoding: Option<&'a str>,
    /// The database to copy.
    pub(in crate::broker::backends::sql::postgresql) template: Option<&'a str>,
}

/// A login, as it is to be.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::backends::sql::postgresql) struct Login<'a> {
    pub(in crate::broker::backends::sql::postgresql) name: &'a str,
    /// The role that it is a member of, which gives it its rights.
    pub(in crate::broker::backends::sql::postgresql) group: &'a str,
    /// What the server stores of the password; none for a login with a certificate.
    pub(in crate::broker::backends::sql::postgresql) verifier: Option<&'a str>,
    pub(in crate::broker::backends::sql::postgresql) ends_at: Option<Timestamp>,
    /// How many connections it may have open; `None` is as many as the server has.
    pub(in crate::broker::backends::sql::postgresql) connections: Option<u32>,
}

/// What prepared transactions may be in the way of.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::backends::sql::postgresql) enum InWay<'a> {
    /// The end of a login: all that it prepared.
    Login(&'a str),
    /// A change of a role, or of what it owns in the session's database.
    Role(&'a str),
    /// Dropping a database: those in it, and all of its owner.
    Database { database: &'a str, owner: &'a str },
}

/// What ALTER calls a kind of object that `pg_identify_object` calls otherwise.
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
    /// Its name, quoted and complete.
    pub(in crate::broker::backends::sql::postgresql) identity: String,
}
