//! The tables and their migrations. `user_version` holds the schema's version.

use rusqlite::{Connection, TransactionBehavior};

use crate::broker::store::StoreError;

/// Each entry upgrades the schema by one version. Never change an entry; append another.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE installation (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), id TEXT NOT NULL) STRICT;
    CREATE TABLE records (
        is_binding INTEGER NOT NULL CHECK (is_binding IN (0, 1)),
        instance TEXT NOT NULL,
        binding TEXT NOT NULL CHECK (is_binding = 1 OR binding = ''),
        state TEXT NOT NULL,
        server TEXT NOT NULL,
        key_id TEXT NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (is_binding, instance, binding)
    ) STRICT;
    CREATE TABLE buried (
        is_binding INTEGER NOT NULL CHECK (is_binding IN (0, 1)),
        instance TEXT NOT NULL,
        binding TEXT NOT NULL CHECK (is_binding = 1 OR binding = ''),
        operation TEXT NOT NULL,
        ended_at INTEGER NOT NULL,
        PRIMARY KEY (is_binding, instance, binding)
    ) STRICT;
    CREATE INDEX records_state ON records (state);
    CREATE INDEX buried_ended_at ON buried (ended_at);
",
    "
    ALTER TABLE buried RENAME TO tombstones;
    DROP INDEX buried_ended_at;
    CREATE INDEX tombstones_ended_at ON tombstones (ended_at);
",
];

/// The version of a new file.
const NOTHING: i64 = 0;
/// The schema before the first release. It stored in the clear what is sealed now; no later version reads it.
const BEFORE_RELEASE: i64 = 1;

/// The newest schema version.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
pub(super) const KNOWN: i64 = BEFORE_RELEASE + MIGRATIONS.len() as i64;

/// An unsupported schema version.
#[derive(Debug)]
pub(super) struct OtherVersion(i64);

impl OtherVersion {
    pub(super) fn refused(self, store: &str) -> StoreError {
        let remedy = match self.0 {
            BEFORE_RELEASE => {
                "it cannot be taken over: delete its instances with the bindery that wrote it, or sweep with that one, and \
                 then remove the file"
            }
            0..KNOWN => "start this bindery's broker on it first",
            _ => "run the newer bindery that wrote it, or restore the store from a backup",
        };
        StoreError::OtherVersion { store: store.to_owned(), found: self.0, known: KNOWN, remedy }
    }
}

/// Applies the missing migrations, all or none.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<Result<(), OtherVersion>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = version(&transaction)?;
    let taken = if version == NOTHING { BEFORE_RELEASE } else { version };
    let missing = match usize::try_from(taken - BEFORE_RELEASE).ok().and_then(|taken| MIGRATIONS.get(taken..))
    {
        Some(missing) if version != BEFORE_RELEASE => missing,
        _ => return Ok(Err(OtherVersion(version))),
    };
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", KNOWN)?;
    transaction.commit().map(Ok)
}

/// Checks that the schema has the newest version.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<Result<(), OtherVersion>> {
    let version = version(connection)?;
    Ok(if version == KNOWN { Ok(()) } else { Err(OtherVersion(version)) })
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}
