//! The messages about instances and bindings that are on record but not on the server, with their remedies.

/// The remedy for a login that is missing, locked or not usable.
pub(super) const BIND_AGAIN: &str = "delete the binding and make it anew";

/// The instance's database is missing. `restore` says how to restore it on this engine.
pub(super) fn missing_database(database: &str, restore: &str) -> String {
    format!(
        "database {database} is on record, and not on the database server; {restore}, or delete the service instance and \
         provision it again"
    )
}

/// The binding's login is missing.
pub(super) fn missing_login(login: &str) -> String {
    format!("login {login} is on record, and not on the database server; {BIND_AGAIN}")
}
