//! The embedded store: an SQLite file, for one broker (`lock`), which keeps its leases in memory. Every commit is on
//! disk before it returns (<https://www.sqlite.org/pragma.html#pragma_synchronous>, FULL, with a write-ahead log).

mod file;
mod leases;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writes;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params};

use self::{
    file::{create, failed, open_existing, open_writable, store_name},
    leases::{Frost, Leases},
    rows::{IS_KEY, KEY, ROW, key, make_change, parts, row},
    writes::Writer,
};
use super::{Change, Frozen, Key, Lease, Renewal, Row, State, Store, StoreError, Then};
use crate::osb::InstanceId;

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
        let name = store_name(path);
        create(path).map_err(|error| StoreError::Failed {
            store: name.to_string(),
            problem: format!("cannot be made: {error}; check its folder"),
        })?;
        let mut connection = open_writable(path).map_err(|error| failed(&name, &error))?;
        let migrated = schema::migrate(&mut connection).map_err(|error| failed(&name, &error))?;
        migrated.map_err(|version| version.refused(&name))?;
        let reader = open_existing(path, false).map_err(|error| failed(&name, &error))?;
        Ok(Self::of(path, reader, connection))
    }

    /// Opens an existing store; creates and migrates nothing, and is read-only unless `writable`.
    pub(crate) fn open_existing(path: &Path, writable: bool) -> Result<Self, StoreError> {
        let name = store_name(path);
        let open = || {
            let reader = open_existing(path, false)?;
            let checked = schema::check(&reader)?;
            Ok((reader, open_existing(path, writable)?, checked))
        };
        let (reader, writer, checked) = open().map_err(|error| failed(&name, &error))?;
        checked.map_err(|version| version.refused(&name))?;
        Ok(Self::of(path, reader, writer))
    }

    fn of(path: &Path, reader: Connection, writer: Connection) -> Self {
        Self {
            path: path.into(),
            name: store_name(path),
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

    /// Writes of other processes wait until the freeze is dropped, and fail after `BUSY_TIMEOUT`. Reads continue.
    async fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        let frost = self.leases.freeze().await.ok_or_else(|| StoreError::Failed {
            store: self.name.to_string(),
            problem: "instances are being worked on all the time; try again later".to_owned(),
        })?;
        // Use a separate connection: writes on the shared one would be rolled back with this transaction.
        let path = self.path.clone();
        let connection = self.off_thread(move || {
            let connection = open_existing(&path, true)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            Ok(connection)
        });
        Ok(Box::new(Freeze { connection: connection.await?, frost }))
    }
}
