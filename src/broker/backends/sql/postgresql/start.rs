//! The start of a session on PostgreSQL. The owner of a database can set almost every parameter for sessions in it,
//! and a pooler may hand over a connection in any state. So before any other statement, everything that matters is set
//! by SQL and read back, with names that do not depend on the search path.

use std::{fmt, time::Duration};

use tokio_postgres::Client;

use super::error::ConnectError;

/// CockroachDB may take five minutes to change a role (docs: "Considerations for schema changes on roles"), and what is
/// dropped or handed over may be large.
pub(super) const CHANGE_TIMEOUT: Duration = Duration::from_mins(6);
const SEARCH_PATH: &str = "pg_catalog, pg_temp";
/// A session that keeps a lock must not block the administrator for long; it is ended, or the work is retried.
const LOCK_TIMEOUT: &str = "3s";

/// view-pg-settings: resets the database owner's other settings to the built-in values.
const BUILT_IN: &str = "; SELECT pg_catalog.set_config(s.name, s.boot_val, false) \
    FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=) 'database' \
    AND s.context OPERATOR(pg_catalog.=) 'user' AND s.name OPERATOR(pg_catalog.!~~) 'transaction%'";

/// Identifies a direct connection: a start-up option with a random number, which only a server process started for
/// this connection has.
pub(super) struct Signature(u32);

impl Signature {
    pub(super) fn new() -> Self {
        // Odd, so that the server shows it in milliseconds; at least some days, so that the timeout never takes
        // effect.
        Self((rand::random::<u32>() >> 2) | (1 << 29) | 1)
    }

    /// The value as the server shows it.
    fn shown(&self) -> String {
        format!("{}ms", self.0)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "idle_in_transaction_session_timeout={}", self.0)
    }
}

/// The kind of the session's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A database whose parameters only administrators of the server set.
    Maintenance,
    /// A database whose owner is a tenant.
    Instance,
}

/// Sets all parameters; returns whether the connection is direct.
///
/// # Errors
/// When the server is read-only, or a parameter does not have the value that was set.
pub(super) async fn start(
    client: &Client,
    major: u32,
    place: Place,
    signature: &Signature,
) -> Result<bool, ConnectError> {
    let found = client
        .query_typed(
            "SELECT pg_catalog.current_setting('idle_in_transaction_session_timeout'), \
             pg_catalog.current_setting('default_transaction_read_only'), pg_catalog.pg_is_in_recovery()",
            &[],
        )
        .await?;
    let Some(found) = found.first() else { return Err(ConnectError::Unsettled { what: "settings" }) };
    let (signed, read_only, is_standby): (String, String, bool) = (found.get(0), found.get(1), found.get(2));
    if is_standby {
        return Err(ConnectError::Standby);
    }
    if place == Place::Maintenance && read_only != "off" {
        return Err(ConnectError::ReadOnly);
    }
    client.batch_execute(&settings(major)).await?;
    let is_direct = signed == signature.shown();
    match verify(client).await {
        // Consecutive statements reached different server processes.
        Err(ConnectError::Unsettled { .. }) if !is_direct => Err(ConnectError::Pooler),
        verified => verified.map(|()| is_direct),
    }
}

/// Parameters that a tenant may have changed (runtime-config-client, runtime-config-compatible, runtime-config-wal).
fn settings(major: u32) -> String {
    let mut settings = format!(
        "SET SESSION AUTHORIZATION DEFAULT; SET ROLE NONE; SET search_path = {SEARCH_PATH}; \
         SET statement_timeout = {}; SET lock_timeout = '{LOCK_TIMEOUT}'; SET idle_in_transaction_session_timeout = 0; \
         SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; \
         SET default_transaction_deferrable = off; SET standard_conforming_strings = on; SET row_security = on; \
         SET client_encoding = 'UTF8'; SET client_min_messages = warning; SET synchronous_commit = on; \
         SET default_tablespace = ''; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'",
        CHANGE_TIMEOUT.as_millis()
    );
    for (since, name) in [(14, "idle_session_timeout"), (17, "transaction_timeout")] {
        if major >= since {
            settings.push_str("; SET ");
            settings.push_str(name);
            settings.push_str(" = 0");
        }
    }
    settings.push_str(BUILT_IN);
    settings
}

/// # Errors
/// Names a parameter that does not have the value that was set.
async fn verify(client: &Client) -> Result<(), ConnectError> {
    let rows = client
        .query_typed(
            "SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('role'), \
             pg_catalog.current_setting('lock_timeout'), pg_catalog.current_setting('transaction_read_only'), \
             pg_catalog.current_setting('standard_conforming_strings')",
            &[],
        )
        .await?;
    let expected = [
        ("search_path", SEARCH_PATH),
        ("role", "none"),
        ("lock_timeout", LOCK_TIMEOUT),
        ("transaction_read_only", "off"),
        ("standard_conforming_strings", "on"),
    ];
    for (at, (what, expected)) in expected.into_iter().enumerate() {
        let found: Option<&str> = rows.first().map(|row| row.get(at));
        if found != Some(expected) {
            return Err(ConnectError::Unsettled { what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_shown_as_it_was_sent_and_ends_nothing() {
        for _ in 0..1000 {
            let signature = Signature::new();
            // PostgreSQL shows the largest unit without a remainder.
            assert!(!signature.0.is_multiple_of(1000) && i32::try_from(signature.0).is_ok());
            assert!(signature.0 > 6 * 24 * 60 * 60 * 1000, "{}", signature.0);
            assert_eq!(signature.to_string().split('=').nth(1), signature.shown().strip_suffix("ms"));
        }
    }

    #[test]
    fn only_what_a_version_knows_is_set() {
        assert!(!settings(13).contains("idle_session_timeout"));
        assert!(
            settings(15).contains("idle_session_timeout") && !settings(16).contains("transaction_timeout")
        );
        assert!(settings(17).contains("; SET transaction_timeout = 0;"));
    }
}
