//! The embedded store: SQLite in a file, one connection. Every write is on disk before it returns
//! (<https://www.sqlite.org/pragma.html#pragma_synchronous>, FULL, with a write-ahead log).

use std::{
    cmp::Ordering,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Row, ToSql, params,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use super::{BegunDelete, Binding, Instance, State, Store, StoreError, cipher::Sealed};
use crate::osb::{BindingId, InstanceId, Object};

/// Steps from nothing to the newest schema; `user_version` counts those that were taken. Never change one, add another.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE installation (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), id TEXT NOT NULL) STRICT;
    CREATE TABLE instances (
        id TEXT PRIMARY KEY,
        service_id TEXT NOT NULL,
        plan_id TEXT NOT NULL,
        organization_guid TEXT NOT NULL,
        space_guid TEXT NOT NULL,
        parameters TEXT NOT NULL,
        server TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting'))
    ) STRICT;
    CREATE TABLE bindings (
        instance TEXT NOT NULL REFERENCES instances (id) ON DELETE RESTRICT,
        id TEXT NOT NULL,
        service_id TEXT NOT NULL,
        plan_id TEXT NOT NULL,
        parameters TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting')),
        key_id TEXT,
        sealed BLOB,
        PRIMARY KEY (instance, id)
    ) STRICT;
"];

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module. Cloning shares the connection.
#[derive(Clone)]
pub(crate) struct Sqlite {
    name: Arc<str>,
    connection: Arc<Mutex<Connection>>,
}

impl Sqlite {
    /// Opens the file, makes it if need be, and brings its schema up to date.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let name: Arc<str> = format!("sqlite:{}", path.display()).into();
        let connection = prepare(path).map_err(|error| failed(&name, &error))?;
        let store = Self { name, connection: Arc::new(Mutex::new(connection)) };
        store.migrate()?;
        Ok(store)
    }

    /// Opens a broker's store as it is: nothing is made or migrated, and unless `writable` nothing can be written.
    pub(crate) fn open_existing(path: &Path, writable: bool) -> Result<Self, StoreError> {
        let name: Arc<str> = format!("sqlite:{}", path.display()).into();
        let access =
            if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
        let open = || -> rusqlite::Result<(Connection, i64)> {
            let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            Ok((connection, version))
        };
        let (connection, found) = open().map_err(|error| failed(&name, &error))?;
        match found.cmp(&KNOWN) {
            Ordering::Equal => Ok(Self { name, connection: Arc::new(Mutex::new(connection)) }),
            Ordering::Greater => Err(StoreError::TooNew { store: name.to_string(), found, known: KNOWN }),
            Ordering::Less => {
                let problem = format!(
                    "has schema version {found}, not {KNOWN}; start this bindery's broker on it first"
                );
                Err(StoreError::Failed { store: name.to_string(), problem })
            }
        }
    }

    /// The installation whose records these are, if a broker has opened the store before.
    pub(crate) async fn recorded_installation(&self) -> Result<Option<String>, StoreError> {
        self.with(|connection| {
            connection.query_row("SELECT id FROM installation", [], |row| row.get(0)).optional()
        })
        .await
    }

    fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut step = || -> rusqlite::Result<Result<(), i64>> {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            let Some(missing) = usize::try_from(version).ok().and_then(|taken| MIGRATIONS.get(taken..))
            else {
                return Ok(Err(version));
            };
            for migration in missing {
                transaction.execute_batch(migration)?;
            }
            transaction.pragma_update(None, "user_version", KNOWN)?;
            transaction.commit().map(Ok)
        };
        let taken = step().map_err(|error| failed(&self.name, &error))?;
        taken.map_err(|found| StoreError::TooNew { store: self.name.to_string(), found, known: KNOWN })
    }

    /// Keeps all other connections from writing until the answer is dropped, or the process ends. Their writes wait, and
    /// fail after [`BUSY_TIMEOUT`]; this connection goes on reading.
    pub(crate) async fn exclusive(&self) -> Result<Exclusive, StoreError> {
        self.with(|connection| connection.execute_batch("BEGIN IMMEDIATE")).await?;
        Ok(Exclusive { connection: self.connection.clone() })
    }

    /// Works on the connection off the async threads.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (name, connection) = (self.name.clone(), self.connection.clone());
        let worked = tokio::task::spawn_blocking(move || {
            // A transaction that panicked was rolled back when it was dropped.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match worked.await {
            Ok(done) => done.map_err(|error| failed(&name, &error)),
            Err(error) => Err(StoreError::Failed { store: name.to_string(), problem: error.to_string() }),
        }
    }
}

/// See [`Sqlite::exclusive`].
pub(crate) struct Exclusive {
    connection: Arc<Mutex<Connection>>,
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing was written; what fails here has ended the transaction already.
        let _ = connection.execute_batch("ROLLBACK");
    }
}

#[expect(clippy::cast_possible_wrap, reason = "a handful")]
const KNOWN: i64 = MIGRATIONS.len() as i64;

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    Ok(connection)
}

fn failed(name: &str, error: &rusqlite::Error) -> StoreError {
    // rusqlite's message for a statement that fails to compile would quote it; ours are constant and compile.
    StoreError::Failed {
        store: name.to_owned(),
        problem: format!("{error}; check the file, its folder and the free space"),
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn installation(&self, proposed: &str) -> Result<String, StoreError> {
        let proposed = proposed.to_owned();
        self.with(move |connection| {
            connection
                .execute("INSERT OR IGNORE INTO installation (only_row, id) VALUES (1, ?1)", [&proposed])?;
            connection.query_row("SELECT id FROM installation", [], |row| row.get(0))
        })
        .await
    }

    async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, StoreError> {
        let id = id.clone();
        self.with(move |connection| {
            let sql = format!("SELECT {INSTANCE_COLUMNS} FROM instances WHERE id = ?1");
            connection.query_row(&sql, [id.as_str()], instance).optional()
        })
        .await
    }

    async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        self.with(|connection| {
            let sql = format!("SELECT {INSTANCE_COLUMNS} FROM instances ORDER BY id");
            connection.prepare(&sql)?.query_map([], instance)?.collect()
        })
        .await
    }

    async fn put_instance(&self, record: &Instance) -> Result<(), StoreError> {
        let record = record.clone();
        self.with(move |connection| {
            let Instance { id, service_id, plan_id, organization_guid, space_guid, parameters, server, state } = record;
            connection.execute(
                &format!(
                    "INSERT INTO instances ({INSTANCE_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                     ON CONFLICT (id) DO UPDATE SET service_id = ?2, plan_id = ?3, organization_guid = ?4, space_guid = ?5, \
                     parameters = ?6, server = ?7, state = ?8"
                ),
                params![
                    id.as_str(),
                    service_id.as_str(),
                    plan_id.as_str(),
                    organization_guid,
                    space_guid,
                    Json(parameters),
                    server.as_str(),
                    state
                ],
            )?;
            Ok(())
        })
        .await
    }

    async fn remove_instance(&self, id: &InstanceId) -> Result<(), StoreError> {
        let id = id.clone();
        self.with(move |connection| {
            connection
                .execute("DELETE FROM instances WHERE id = ?1 AND state = 'deleting'", [id.as_str()])
                .map(drop)
        })
        .await
    }

    async fn binding(&self, instance: &InstanceId, id: &BindingId) -> Result<Option<Binding>, StoreError> {
        let (instance, id) = (instance.clone(), id.clone());
        self.with(move |connection| {
            let sql = format!("SELECT {BINDING_COLUMNS} FROM bindings WHERE instance = ?1 AND id = ?2");
            connection.query_row(&sql, [instance.as_str(), id.as_str()], binding).optional()
        })
        .await
    }

    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Binding>, StoreError> {
        let instance = instance.clone();
        self.with(move |connection| {
            let sql = format!("SELECT {BINDING_COLUMNS} FROM bindings WHERE instance = ?1 ORDER BY id");
            connection.prepare(&sql)?.query_map([instance.as_str()], binding)?.collect()
        })
        .await
    }

    async fn put_binding(&self, record: &Binding) -> Result<(), StoreError> {
        let record = record.clone();
        self.with(move |connection| {
            let Binding { instance, id, service_id, plan_id, parameters, state, credentials } = record;
            let (key_id, sealed) = credentials.map(|sealed| (sealed.key_id, sealed.bytes)).unzip();
            connection.execute(
                &format!(
                    "INSERT INTO bindings ({BINDING_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                     ON CONFLICT (instance, id) DO UPDATE SET service_id = ?3, plan_id = ?4, parameters = ?5, state = ?6, \
                     key_id = ?7, sealed = ?8"
                ),
                params![
                    instance.as_str(),
                    id.as_str(),
                    service_id.as_str(),
                    plan_id.as_str(),
                    Json(parameters),
                    state,
                    key_id,
                    sealed
                ],
            )?;
            Ok(())
        })
        .await
    }

    async fn remove_binding(&self, instance: &InstanceId, id: &BindingId) -> Result<(), StoreError> {
        let (instance, id) = (instance.clone(), id.clone());
        self.with(move |connection| {
            let ids = [instance.as_str(), id.as_str()];
            let sql = "DELETE FROM bindings WHERE instance = ?1 AND id = ?2 AND state = 'deleting'";
            connection.execute(sql, ids).map(drop)
        })
        .await
    }

    async fn begun_deletes(&self) -> Result<Vec<BegunDelete>, StoreError> {
        self.with(|connection| {
            let sql = "SELECT id, NULL FROM instances WHERE state = 'deleting' UNION ALL \
                SELECT instance, b.id FROM bindings b JOIN instances i ON i.id = instance \
                WHERE b.state = 'deleting' AND i.state <> 'deleting'";
            let begun = |row: &Row<'_>| {
                let binding: Option<String> = row.get(1)?;
                Ok(BegunDelete {
                    instance: row.get::<_, String>(0)?.into(),
                    binding: binding.map(Into::into),
                })
            };
            connection.prepare(sql)?.query_map([], begun)?.collect()
        })
        .await
    }
}

const INSTANCE_COLUMNS: &str =
    "id, service_id, plan_id, organization_guid, space_guid, parameters, server, state";
const BINDING_COLUMNS: &str = "instance, id, service_id, plan_id, parameters, state, key_id, sealed";

fn instance(row: &Row<'_>) -> rusqlite::Result<Instance> {
    Ok(Instance {
        id: row.get::<_, String>(0)?.into(),
        service_id: row.get::<_, String>(1)?.into(),
        plan_id: row.get::<_, String>(2)?.into(),
        organization_guid: row.get(3)?,
        space_guid: row.get(4)?,
        parameters: row.get::<_, Json>(5)?.0,
        server: row.get::<_, String>(6)?.into(),
        state: row.get(7)?,
    })
}

fn binding(row: &Row<'_>) -> rusqlite::Result<Binding> {
    let key_id: Option<String> = row.get(6)?;
    let bytes: Option<Vec<u8>> = row.get(7)?;
    Ok(Binding {
        instance: row.get::<_, String>(0)?.into(),
        id: row.get::<_, String>(1)?.into(),
        service_id: row.get::<_, String>(2)?.into(),
        plan_id: row.get::<_, String>(3)?.into(),
        parameters: row.get::<_, Json>(4)?.0,
        state: row.get(5)?,
        credentials: key_id.zip(bytes).map(|(key_id, bytes)| Sealed { key_id, bytes }),
    })
}

/// A JSON object in a text column.
struct Json(Object);

impl ToSql for Json {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        serde_json::to_string(&self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl FromSql for Json {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(|error| FromSqlError::Other(error.into()))
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Deleting => "deleting",
        }))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "creating" => Ok(Self::Creating),
            "ready" => Ok(Self::Ready),
            "deleting" => Ok(Self::Deleting),
            other => Err(FromSqlError::Other(format!("unknown state {other:?}").into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(state: State) -> Instance {
        Instance {
            id: "i/\u{fc}".into(),
            service_id: "s".into(),
            plan_id: "p".into(),
            organization_guid: "o".to_owned(),
            space_guid: "n".to_owned(),
            parameters: serde_json::from_str(r#"{"a": [1, null]}"#).unwrap(),
            server: "main".into(),
            state,
        }
    }

    fn binding(state: State) -> Binding {
        Binding {
            instance: "i/\u{fc}".into(),
            id: "b".into(),
            service_id: "s".into(),
            plan_id: "p".into(),
            parameters: Object::new(),
            state,
            credentials: Some(Sealed { key_id: "k".to_owned(), bytes: vec![0, 1, 2] }),
        }
    }

    #[tokio::test]
    async fn records_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        let store = Sqlite::open(&path).unwrap();
        assert_eq!(store.installation("one").await.unwrap(), "one");
        store.put_instance(&instance(State::Creating)).await.unwrap();
        store.put_instance(&instance(State::Ready)).await.unwrap();
        store.put_binding(&binding(State::Deleting)).await.unwrap();
        drop(store);

        let store = Sqlite::open(&path).unwrap();
        assert_eq!(store.installation("two").await.unwrap(), "one");
        assert_eq!(store.instances().await.unwrap(), [instance(State::Ready)]);
        let id = instance(State::Ready).id;
        assert_eq!(store.bindings(&id).await.unwrap(), [binding(State::Deleting)]);
        let begun = BegunDelete { instance: id.clone(), binding: Some("b".into()) };
        assert_eq!(store.begun_deletes().await.unwrap(), [begun]);
        store.put_instance(&instance(State::Deleting)).await.unwrap();
        store.remove_instance(&id).await.unwrap_err();
        store.remove_binding(&id, &"b".into()).await.unwrap();
        store.remove_instance(&id).await.unwrap();
        assert_eq!(store.instance(&id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_nobody_deletes_keeps_its_record() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("broker.db")).unwrap();
        let (on, of) = (instance(State::Ready), binding(State::Ready));
        store.put_instance(&on).await.unwrap();
        store.put_binding(&of).await.unwrap();
        store.remove_binding(&on.id, &of.id).await.unwrap();
        assert_eq!(store.bindings(&on.id).await.unwrap(), [binding(State::Ready)]);
        store.put_binding(&binding(State::Deleting)).await.unwrap();
        store.remove_binding(&on.id, &of.id).await.unwrap();
        store.remove_instance(&on.id).await.unwrap();
        assert_eq!(store.instances().await.unwrap(), [on]);
    }

    #[tokio::test]
    async fn looking_at_a_store_leaves_it_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        let Err(error) = Sqlite::open_existing(&path, true) else { panic!("made") };
        assert!(error.to_string().contains("broker.db") && !path.exists(), "{error}");
        drop(Connection::open(&path).unwrap());
        let Err(error) = Sqlite::open_existing(&path, true) else { panic!("migrated") };
        assert!(error.to_string().contains("schema version 0"), "{error}");
        drop(Sqlite::open(&path).unwrap());
        let store = Sqlite::open_existing(&path, false).unwrap();
        assert_eq!(store.recorded_installation().await.unwrap(), None);
        store.installation("one").await.unwrap_err();
    }

    #[test]
    fn a_newer_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        drop(Sqlite::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", KNOWN + 1).unwrap();
        let Err(error) = Sqlite::open(&path) else { panic!("opened") };
        assert!(error.to_string().contains("newer bindery"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let Err(error) = Sqlite::open(Path::new("/nowhere/broker.db")) else { panic!("opened") };
        assert!(error.to_string().contains("/nowhere/broker.db"), "{error}");
    }
}
