//! The types of database services, and what their bindings call the environment variables.

use std::fmt;

/// What provides a service: a database per instance and a user per binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceKind {
    /// On a CockroachDB cluster, or on a PostgreSQL server that stands in for one.
    CockroachDb,
    /// On a PostgreSQL server.
    PostgreSql,
    /// On a MySQL or MariaDB server.
    MySql,
}

impl ServiceKind {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CockroachDb => "cockroachdb",
            Self::PostgreSql => "postgresql",
            Self::MySql => "mysql",
        }
    }

    /// The environment variables of a binding whose configuration names none: the name of each, and the key of its value.
    pub(crate) fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::CockroachDb => &[("COCKROACH_URL", "uri")],
            Self::PostgreSql | Self::MySql => &[("DATABASE_URL", "uri")],
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
