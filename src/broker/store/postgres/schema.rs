//! The tables, and how a database comes to have the newest ones: forward only, and by several brokers at once.
//!
//! CockroachDB changes schemas atomically one statement at a time, outside of transactions
//! (<https://www.cockroachlabs.com/docs/stable/online-schema-changes#schema-changes-within-transactions>). So each step is
//! one statement that may be made twice, and the version is written when all are done.

use backon::Retryable;
use tokio_postgres::{error::SqlState, types::Type};

use super::connection::{Pool, Problem, retries};

/// Where the version is kept, and what all brokers must agree on.
const META: &str = "
    CREATE TABLE IF NOT EXISTS bindery_meta (
        only_row INT PRIMARY KEY CHECK (only_row = 1),
        schema_version INT8 NOT NULL,
        installation TEXT,
        freezer UUID,
        frozen_until TIMESTAMPTZ
    )";

/// What makes the newest schema, of a new database and of each earlier version: statements that may be repeated, also by
/// another broker at the same time. Tables that have other names now are renamed first, for a statement that makes a table
/// under the new name must not come before. A new version adds statements and counts [`KNOWN`] up.
///
/// Ids are bytes: they are arbitrary text, and PostgreSQL's TEXT holds no NUL and may have an order of its own.
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

/// The newest schema. Versions 1 to 5 were the steps to the first one.
pub(super) const KNOWN: i64 = 6;

/// The version that the database has; 0 when it has nothing of bindery.
pub(super) async fn version(pool: &Pool) -> Result<i64, Problem> {
    match pool.rows("SELECT schema_version FROM bindery_meta", &[]).await {
        Ok(rows) => Ok(rows.first().map_or(0, |row| row.get(0))),
        Err(problem) if problem.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        Err(problem) => Err(problem),
    }
}

/// Brings the schema up to date. Nothing is done when it is, or when the version is not known here.
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
    // Another broker may be further.
    let known = "UPDATE bindery_meta SET schema_version = $1 WHERE schema_version < $1";
    pool.rows(known, &[(&KNOWN, Type::INT8)]).await?;
    version(pool).await
}

/// Makes a change that another broker may be making: PostgreSQL then finds the name taken, for all of IF NOT EXISTS.
async fn change(pool: &Pool, statement: &str) -> Result<(), Problem> {
    let is_taken = |problem: &Problem| {
        let taken = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT];
        problem.code().is_some_and(|code| taken.contains(code))
    };
    (async || pool.rows(statement, &[]).await).retry(retries()).when(is_taken).await.map(drop)
}
