//! The types of database services, and the default environment variables of their bindings.

use std::fmt;

use crate::contract::{Variables, well_known_variables};

/// The type of a service that gives each instance a database and each binding a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceKind {
    /// On a CockroachDB cluster, or on a PostgreSQL server instead.
    CockroachDb,
    /// On a PostgreSQL server.
    PostgreSql,
    /// On a MySQL or MariaDB server.
    MySql,
}

impl ServiceKind {
    /// The type's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CockroachDb => "cockroachdb",
            Self::PostgreSql => "postgresql",
            Self::MySql => "mysql",
        }
    }

    /// The environment variables of bindings without configured ones.
    pub(crate) fn variables(self) -> Variables {
        well_known_variables(self.as_str())
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
