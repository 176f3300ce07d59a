//! The database file: its permissions, its connections, and the remedies of its errors.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::StoreError;

/// How long a write waits for another process that writes: a sweep that deletes, or a backup.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn store_name(path: &Path) -> Arc<str> {
    format!("sqlite:{}", path.display()).into()
}

/// Creates the file with restrictive permissions: SQLite copies them to its log, but would create the file by the
/// umask.
pub(super) fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // Opening an existing file here would release SQLite's locks on it
        // (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

pub(super) fn open_writable(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

pub(super) fn open_existing(path: &Path, writable: bool) -> rusqlite::Result<Connection> {
    let access = if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

pub(super) fn failed(name: &str, error: &rusqlite::Error) -> StoreError {
    let remedy = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "make space on its disk",
        Some(ErrorCode::ReadOnly) => "make the file and its folder writable for this user",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process writes to it, such as a sweep; try again when that has ended"
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "name the right file, or restore it from a backup"
        }
        _ => "check the file, its folder and the free space",
    };
    // rusqlite's error of a statement that does not compile would quote the statement; bindery's are constant and
    // compile.
    StoreError::Failed { store: name.to_owned(), problem: format!("{error}; {remedy}") }
}
