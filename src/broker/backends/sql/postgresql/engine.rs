//! The engine and version of a server.

use std::fmt;

use super::dialect::{self, Dialect};

/// The engine and version of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    PostgreSql { major: u32 },
    CockroachDb { major: u32, minor: u32 },
}

impl Engine {
    /// Parses the result of `SELECT version()`. Checks for CockroachDB first, because it also claims to be PostgreSQL.
    pub(super) fn parse(version: &str) -> Option<Self> {
        let numbers = |after: &str| {
            let rest = &version[version.find(after)? + after.len()..];
            let mut parts = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
            Some((parts.next()?.ok()?, parts.next().and_then(Result::ok).unwrap_or(0)))
        };
        if version.contains("CockroachDB") {
            numbers(" v").map(|(major, minor)| Self::CockroachDb { major, minor })
        } else {
            numbers("PostgreSQL ").map(|(major, _)| Self::PostgreSql { major })
        }
    }

    pub(super) fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::PostgreSql { major: ..16 } => &dialect::PostgreSql { before_16: true },
            Self::PostgreSql { .. } => &dialect::PostgreSql { before_16: false },
            Self::CockroachDb { .. } => &dialect::CockroachDb,
        }
    }

    /// The oldest supported version, if this version is older. Before PostgreSQL 15, a superuser owns the schema
    /// `public`, which is open to everybody, and an administrator without superuser rights can neither close nor share
    /// it. Granting roles with only CREATEROLE requires CockroachDB v23.2.
    pub(super) fn too_old(self) -> Option<&'static str> {
        match self {
            Self::PostgreSql { major } if major < 15 => Some("PostgreSQL 15"),
            Self::CockroachDb { major, minor } if (major, minor) < (23, 2) => Some("CockroachDB v23.2"),
            _ => None,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PostgreSql { major } => write!(f, "PostgreSQL {major}"),
            Self::CockroachDb { major, minor } => write!(f, "CockroachDB v{major}.{minor}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("PostgreSQL 15.20 (Debian 15.20-0+deb12u1) on x86_64", "PostgreSQL 15")]
    #[case("CockroachDB CCL v25.2.13 (x86_64-pc-linux-gnu, built 2026/07/10)", "CockroachDB v25.2")]
    #[case("CockroachDB v23.2.0 (PostgreSQL 13.0.0 compatible)", "CockroachDB v23.2")]
    fn engines_are_recognized(#[case] version: &str, #[case] shown: &str) {
        assert_eq!(Engine::parse(version).unwrap().to_string(), shown);
    }

    #[test]
    fn old_and_unknown_engines_are_found_out() {
        assert_eq!(Engine::parse("MariaDB 10.11"), None);
        assert_eq!(Engine::parse("CockroachDB"), None);
        assert!(Engine::parse("PostgreSQL 14.23").unwrap().too_old().is_some());
        assert!(Engine::parse("PostgreSQL 15.0").unwrap().too_old().is_none());
        assert!(Engine::parse("CockroachDB CCL v23.1.9").unwrap().too_old().is_some());
        assert!(Engine::parse("CockroachDB CCL v24.1.0").unwrap().too_old().is_none());
    }
}
