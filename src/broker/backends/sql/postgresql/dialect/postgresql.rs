//! PostgreSQL 15 and later. The documentation is at <https://www.postgresql.org/docs/18/>, the page is named at each
//! statement; all statements were run as an administrator with only CREATEROLE and CREATEDB. Since version 16, a role
//! with CREATEROLE can change only roles on which it has ADMIN OPTION, which it gets on the roles that it creates.
//! Before 16 the administrator grants itself this option, so that it still has the option after an upgrade.

pub(super) mod dependencies;

use tokio_postgres::error::SqlState;

use super::{super::quote::literal, InWay, Login};

/// Two sessions that create the same role at once get either of these errors (`pg_authid`'s unique index).
pub(super) const ROLE_EXISTS: &[SqlState] = &[SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION];

/// Patterns of the names of groups and of logins.
pub(super) const GROUPS: &str = "^cf_[a-p]{32}_(owner|readwrite|readonly|revoked)$";
pub(super) const LOGINS: &str = "^[a-p]{32}$";

/// The dialect of PostgreSQL.
pub(in crate::broker::backends::sql::postgresql) struct PostgreSql {
    pub(in crate::broker::backends::sql::postgresql) before_16: bool,
}

impl PostgreSql {
    /// A clause of CREATE ROLE: gives the administrator ADMIN OPTION on the role, which is automatic since 16.
    pub(super) fn administered(&self) -> &'static str {
        if self.before_16 { " ADMIN CURRENT_USER" } else { "" }
    }
}

/// A query for the database roles with a mark, which must be quoted; includes marks of earlier releases, which are
/// reversed.
pub(super) fn groups(marker: &str) -> String {
    format!(
        "SELECT g.oid FROM pg_catalog.pg_roles k JOIN pg_catalog.pg_auth_members m ON k.oid IN (m.member, m.roleid) \
         JOIN pg_catalog.pg_roles g ON g.oid IN (m.member, m.roleid) WHERE k.rolname = {marker} AND g.rolname ~ '{GROUPS}'"
    )
}

pub(super) fn attributes(login: Login<'_>) -> String {
    let password = login.verifier.map_or_else(|| "NULL".to_owned(), literal);
    let ends_at = login.ends_at.map_or_else(|| "infinity".to_owned(), |time| time.to_string());
    let limit = limit(login.connections);
    format!("PASSWORD {password} VALID UNTIL {} CONNECTION LIMIT {limit}", literal(&ends_at))
}

/// sql-createrole: -1 means no limit.
pub(super) fn limit(connections: Option<u32>) -> i64 {
    connections.map_or(-1, i64::from)
}
