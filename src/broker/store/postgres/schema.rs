//! The tables and their migrations: forward only, and safe when several brokers migrate at once. CockroachDB changes
//! schemas atomically only one statement at a time, outside of transactions
//! (<https://www.cockroachlabs.com/docs/stable/online-schema-changes#schema-changes-within-transactions>). So each
//! step is one idempotent statement, and the version is written after all steps.

use backon::Retryable;
use tokio_postgres::{error::SqlState, types::Type};

use super::connection::{Pool, Problem, retries};

/// Holds the version and other data that all brokers share.
const META: &str = "
    CREATE TABLE IF NOT EXISTS bindery_meta (
        only_row INT PRIMARY KEY CHECK (only_row = 1),
        schema_version INT8 NOT NULL,
        installation TEXT,
        freezer UUID,
        frozen_until TIMESTAMPTZ
    )";

/// The statements that create or upgrade to the newest schema. All are idempotent, even when another broker runs them
/// at the same time. Renames come first, because creating a table under its new name would prevent its rename. A new
/// version appends statements and increments [`KNOWN`].
///
/// Ids are bytes: they are arbitrary text, and PostgreSQL's TEXT cannot hold NUL and may have a collation.
const STATEMENTS: [&str; 8] = [
    "ALTER TABLE IF EXISTS bindery_buried RENAME TO bindery_tombstones",
    "ALTER TABLE IF EXISTS bindery_holds RENAME TO bindery_leases",
    "ALTER INDEX IF EXISTS bindery_buried_ended_at RENAME TO bindery_tombstones_ended_at",
    "CREATE TABLE IF NOT EXISTS bindery_records (
        instance BYTEA NOT NULL,
        is_binding BOOL NOT NULL,
        binding BYTEA NOT NULL,
        state TEXT NOT NULL,
        server TEXT NOT NULL,
        key_id TEXT NOT NULL,
        sealed BYTEA NOT NULL,
        PRIMARY KEY (instance, is_binding, binding)
    )",
    "CREATE TABLE IF NOT EXISTS bindery_tombstones (
        instance BYTEA NOT NULL,
        is_binding BOOL NOT NULL,
        binding BYTEA NOT NULL,
        operation TEXT NOT NULL,
        ended_at TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (instance, is_binding, binding)
    )",
    "CREATE TABLE IF NOT EXISTS bindery_leases (
        instance BYTEA PRIMARY KEY,
        token UUID NOT NULL,
        expires_at TIMESTAMPTZ NOT NULL,
        interrupted BOOL NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS bindery_records_state ON bindery_records (state)",
    "CREATE INDEX IF NOT EXISTS bindery_tombstones_ended_at ON bindery_tombstones (ended_at)",
];

/// The newest schema. Versions 1 to 5 led to the first release.
pub(super) const KNOWN: i64 = 6;

/// The database's schema version; 0 if it has no tables of bindery.
pub(super) async fn version(pool: &Pool) -> Result<i64, Problem> {
    match pool.rows("SELECT schema_version FROM bindery_meta", &[]).await {
        Ok(rows) => Ok(rows.first().map_or(0, |row| row.get(0))),
        Err(problem) if problem.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        Err(problem) => Err(problem),
    }
}

/// Upgrades the schema. Does nothing if the schema is current or its version is unknown; returns the version.
pub(super) async fn migrate(pool: &Pool) -> Result<i64, Problem> {
    let found = version(pool).await?;
    if !(0..KNOWN).contains(&found) {
        return Ok(found);
    }
    change(pool, META).await?;
    let first =
        "INSERT INTO bindery_meta (only_row, schema_version) VALUES (1, 0) ON CONFLICT (only_row) DO NOTHING";
    pool.rows(first, &[]).await?;
    for statement in STATEMENTS {
        change(pool, statement).await?;
    }
    // Another broker may have written a newer version.
    let known = "UPDATE bindery_meta SET schema_version = $1 WHERE schema_version < $1";
    pool.rows(known, &[(&KNOWN, Type::INT8)]).await?;
    version(pool).await
}

/// Runs a change that another broker may be running: PostgreSQL then reports a duplicate name despite IF NOT EXISTS.
async fn change(pool: &Pool, statement: &str) -> Result<(), Problem> {
    let is_taken = |problem: &Problem| {
        let taken = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT];
        problem.code().is_some_and(|code| taken.contains(code))
    };
    (async || pool.rows(statement, &[]).await).retry(retries()).when(is_taken).await.map(drop)
}
