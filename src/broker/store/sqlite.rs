//! The embedded store: an SQLite file, for one broker (`lock`), which keeps its leases in memory. Every commit is on
//! disk before it returns (<https://www.sqlite.org/pragma.html#pragma_synchronous>, FULL, with a write-ahead log).

mod leases;
mod schema;
#[cfg(test)]
mod tests;
mod writes;

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, ToSql, named_params,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use self::{
    leases::{Frost, Leases},
    writes::Writer,
};
use super::{Change, Frozen, Key, Lease, Renewal, Row, State, Store, StoreError, Then, cipher::Sealed};
use crate::osb::InstanceId;

/// How long a write waits for another process that writes: a sweep that deletes, or a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An open store. Clones share the connections and the leases.
#[derive(Clone)]
pub(crate) struct Sqlite {
    path: Arc<Path>,
    name: Arc<str>,
    /// A separate connection, so that reads do not wait for the disk.
    reader: Arc<Mutex<Connection>>,
    writer: Arc<Writer>,
    leases: Arc<Leases>,
}

impl Sqlite {
    /// Opens the file, creates it if needed, readable only by its owner, and upgrades its schema.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let name = named(path);
        make(path).map_err(|error| StoreError::Failed {
            store: name.to_string(),
            problem: format!("cannot be made: {error}; check its folder"),
        })?;
        let mut connection = prepare(path).map_err(|error| failed(&name, &error))?;
        let migrated = schema::migrate(&mut connection).map_err(|error| failed(&name, &error))?;
        migrated.map_err(|version| version.refused(&name))?;
        let reader = open_as_it_is(path, false).map_err(|error| failed(&name, &error))?;
        Ok(Self::of(path, reader, connection))
    }

    /// Opens an existing store; creates and migrates nothing, and is read-only unless `writable`.
    pub(crate) fn open_existing(path: &Path, writable: bool) -> Result<Self, StoreError> {
        let name = named(path);
        let open = || {
            let reader = open_as_it_is(path, false)?;
            let checked = schema::check(&reader)?;
            Ok((reader, open_as_it_is(path, writable)?, checked))
        };
        let (reader, writer, checked) = open().map_err(|error| failed(&name, &error))?;
        checked.map_err(|version| version.refused(&name))?;
        Ok(Self::of(path, reader, writer))
    }

    fn of(path: &Path, reader: Connection, writer: Connection) -> Self {
        Self {
            path: path.into(),
            name: named(path),
            reader: Arc::new(Mutex::new(reader)),
            writer: Arc::new(Writer::new(writer)),
            leases: Arc::default(),
        }
    }

    /// Reads on a blocking thread.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.reader.clone();
        self.off_thread(move || work(&reader.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    /// Writes on a blocking thread what does not belong to an instance's records.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let writer = self.writer.clone();
        self.off_thread(move || work(&writer.connection())).await
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|error| failed(&self.name, &error)),
            Err(error) => {
                Err(StoreError::Failed { store: self.name.to_string(), problem: error.to_string() })
            }
        }
    }

    /// Selects rows, or their keys, by a condition.
    async fn select<T: Send + 'static>(
        &self,
        columns: &str,
        rest: &str,
        parameters: Vec<String>,
        read: fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let sql = format!("SELECT {columns} FROM records {rest}");
        self.read(move |connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(rusqlite::params_from_iter(parameters), read)?
                .collect()
        })
        .await
    }
}

/// The transaction that blocks writes of other processes, and the guard that prevents leases in this one.
struct Freeze {
    #[expect(dead_code, reason = "held, not used; dropped first, which ends its transaction")]
    connection: Connection,
    #[expect(dead_code, reason = "held, not used")]
    frost: Frost,
}

impl Frozen for Freeze {
    /// The file's lock ends only with the process.
    fn is_lost(&self) -> bool {
        false
    }
}

#[async_trait]
impl Store for Sqlite {
    fn name(&self) -> &str {
        &self.name
    }

    async fn installation(&self, proposed: &str) -> Result<String, StoreError> {
        let proposed = proposed.to_owned();
        self.write(move |connection| {
            connection
                .execute("INSERT OR IGNORE INTO installation (only_row, id) VALUES (1, ?1)", [&proposed])?;
            connection.query_row("SELECT id FROM installation", [], |row| row.get(0))
        })
        .await
    }

    async fn recorded_installation(&self) -> Result<Option<String>, StoreError> {
        self.read(|connection| {
            connection.query_row("SELECT id FROM installation", [], |row| row.get(0)).optional()
        })
        .await
    }

    async fn row(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        let key = key.clone();
        self.read(move |connection| {
            let (is_binding, instance, binding) = parts(&key);
            connection
                .prepare_cached(&format!("SELECT {ROW} FROM records WHERE {IS_KEY}"))?
                .query_row(
                    named_params! {":is_binding": is_binding, ":instance": instance, ":binding": binding},
                    row,
                )
                .optional()
        })
        .await
    }

    async fn instances(&self) -> Result<Vec<Row>, StoreError> {
        self.select(ROW, "WHERE NOT is_binding ORDER BY instance", Vec::new(), row).await
    }

    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Row>, StoreError> {
        let instance = instance.as_str().to_owned();
        self.select(ROW, "WHERE is_binding AND instance = ?1 ORDER BY binding", vec![instance], row).await
    }

    async fn unfinished(&self) -> Result<Vec<Key>, StoreError> {
        let unfinished = State::ALL.into_iter().filter(|state| state.is_unfinished());
        let states: Vec<_> = unfinished.map(|state| format!("'{}'", state.as_str())).collect();
        self.select(KEY, &format!("WHERE state IN ({})", states.join(", ")), Vec::new(), key).await
    }

    async fn sealed_otherwise(&self, key_id: &str) -> Result<Vec<Key>, StoreError> {
        self.select(KEY, "WHERE key_id <> ?1", vec![key_id.to_owned()], key).await
    }

    async fn tombstone(&self, key: &Key) -> Result<Option<String>, StoreError> {
        let key = key.clone();
        self.read(move |connection| {
            let (is_binding, instance, binding) = parts(&key);
            connection
                .prepare_cached(&format!("SELECT operation FROM tombstones WHERE {IS_KEY}"))?
                .query_row(
                    named_params! {":is_binding": is_binding, ":instance": instance, ":binding": binding},
                    |row| row.get(0),
                )
                .optional()
        })
        .await
    }

    async fn forget_tombstones(&self, age: Duration) -> Result<(), StoreError> {
        // An age beyond the range of timestamps matches no tombstone.
        let Ok(before) = Timestamp::now().checked_sub(age) else { return Ok(()) };
        self.write(move |connection| {
            connection
                .execute("DELETE FROM tombstones WHERE ended_at < ?1", [before.as_millisecond()])
                .map(drop)
        })
        .await
    }

    fn lease_duration(&self) -> Option<Duration> {
        None
    }

    async fn acquire(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        Ok(self.leases.acquire(instance))
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        Ok(self.leases.look(lease))
    }

    async fn current_lease(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        Ok(self.leases.current_lease(instance))
    }

    async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError> {
        self.leases.interrupt(instance);
        Ok(())
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.leases.release(lease);
        Ok(())
    }

    async fn commit(&self, lease: &Lease, changes: Vec<Change>, then: Then) -> Result<(), StoreError> {
        if self.leases.look(lease) == Renewal::Lost {
            return Err(StoreError::LeaseLost {
                store: self.name.to_string(),
                instance: lease.instance.clone(),
            });
        }
        let (lease, leases) = (lease.clone(), self.leases.clone());
        let released = move || {
            if then == Then::Release {
                leases.release(&lease);
            }
        };
        match self.writer.commit(changes, make_change, released).await {
            Ok(written) => written.map_err(|error| failed(&self.name, &error)),
            Err(_) => Err(StoreError::Failed {
                store: self.name.to_string(),
                problem: "was not written to; see the log".to_owned(),
            }),
        }
    }

    /// Writes of other processes wait until the freeze is dropped, and fail after [`BUSY_TIMEOUT`]. Reads continue.
    async fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        let frost = self.leases.freeze().await.ok_or_else(|| StoreError::Failed {
            store: self.name.to_string(),
            problem: "instances are being worked on all the time; try again later".to_owned(),
        })?;
        // Use a separate connection: writes on the shared one would be rolled back with this transaction.
        let path = self.path.clone();
        let connection = self.off_thread(move || {
            let connection = open_as_it_is(&path, true)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            Ok(connection)
        });
        Ok(Box::new(Freeze { connection: connection.await?, frost }))
    }
}

const ROW: &str = "is_binding, instance, binding, state, server, key_id, sealed";
const KEY: &str = "is_binding, instance, binding";
const IS_KEY: &str = "is_binding = :is_binding AND instance = :instance AND binding = :binding";

fn make_change(transaction: &Connection, change: &Change) -> rusqlite::Result<()> {
    let (Change::Put(Row { key, .. }) | Change::Remove(key) | Change::Tombstone(key, _)) = change;
    let (is_binding, instance, binding) = parts(key);
    let written = match change {
        Change::Put(Row { key: _, state, server, sealed }) => transaction
            .prepare_cached(
                "INSERT INTO records (is_binding, instance, binding, state, server, key_id, sealed) \
                 VALUES (:is_binding, :instance, :binding, :state, :server, :key_id, :sealed) \
                 ON CONFLICT (is_binding, instance, binding) DO UPDATE SET \
                 state = excluded.state, server = excluded.server, key_id = excluded.key_id, sealed = excluded.sealed",
            )?
            .execute(named_params! {
                ":is_binding": is_binding, ":instance": instance, ":binding": binding,
                ":state": state, ":server": server.as_str(), ":key_id": sealed.key_id, ":sealed": sealed.bytes,
            }),
        Change::Remove(_) => transaction.prepare_cached(&format!("DELETE FROM records WHERE {IS_KEY}"))?.execute(
            named_params! {":is_binding": is_binding, ":instance": instance, ":binding": binding},
        ),
        Change::Tombstone(_, operation) => transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO tombstones (is_binding, instance, binding, operation, ended_at) \
                 VALUES (:is_binding, :instance, :binding, :operation, :ended_at)",
            )?
            .execute(named_params! {
                ":is_binding": is_binding, ":instance": instance, ":binding": binding,
                ":operation": operation, ":ended_at": Timestamp::now().as_millisecond(),
            }),
    };
    written.map(drop)
}

/// A key in the columns of the tables: an instance has no binding, while a binding may have an empty id.
fn parts(key: &Key) -> (bool, &str, &str) {
    match &key.binding {
        Some(binding) => (true, key.instance.as_str(), binding.as_str()),
        None => (false, key.instance.as_str(), ""),
    }
}

fn key(row: &rusqlite::Row<'_>) -> rusqlite::Result<Key> {
    let is_binding: bool = row.get(0)?;
    let binding = is_binding.then(|| row.get::<_, String>(2)).transpose()?;
    Ok(Key { instance: row.get::<_, String>(1)?.into(), binding: binding.map(Into::into) })
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        key: key(row)?,
        state: row.get(3)?,
        server: row.get::<_, String>(4)?.into(),
        sealed: Sealed { key_id: row.get(5)?, bytes: row.get(6)? },
    })
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_str()))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        Self::parse(word).ok_or_else(|| FromSqlError::Other(format!("unknown state {word:?}").into()))
    }
}

fn named(path: &Path) -> Arc<str> {
    format!("sqlite:{}", path.display()).into()
}

/// Creates the file with restrictive permissions: SQLite copies them to its log, but would create the file by the
/// umask.
fn make(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        // Opening an existing file here would release SQLite's locks on it
        // (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn open_as_it_is(path: &Path, writable: bool) -> rusqlite::Result<Connection> {
    let access = if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn failed(name: &str, error: &rusqlite::Error) -> StoreError {
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
