//! CockroachDB 23.2 and later. Written from its documentation (<https://www.cockroachlabs.com/docs/v25.2/>, the page
//! is named at each statement) and source; this project's tests did not run these statements on a CockroachDB cluster.
//! Differences from PostgreSQL: a role cannot be set for a database (55P02), so logins share objects by default
//! privileges; DROP OWNED leaves default privileges; every role may create objects in a new database's public schema;
//! a statement cancels sessions; a role has no connection limit (create-user, "Parameters").

use super::{super::quote::literal, Login};

/// The types of objects in default privileges (alter-default-privileges).
pub(super) const OBJECT_TYPES: [&str; 5] = ["TABLES", "SEQUENCES", "TYPES", "SCHEMAS", "FUNCTIONS"];

/// The dialect of CockroachDB.
pub(in crate::broker::backends::sql::postgresql) struct CockroachDb;

/// create-user: role options; NULL removes one.
pub(super) fn options(login: Login<'_>) -> String {
    let password = login.verifier.map_or_else(|| "NULL".to_owned(), literal);
    let ends_at = login.ends_at.map_or_else(|| "NULL".to_owned(), |time| literal(&time.to_string()));
    format!("PASSWORD {password} VALID UNTIL {ends_at}")
}
