//! Tests of the SQLite store beyond the contract: the file, and its faults.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use tempfile::TempDir;

use super::{file::BUSY_TIMEOUT, schema::KNOWN, *};
use crate::broker::store::contract_tests::{self, Testbed, binding, change, instance, put, take};

struct File {
    folder: TempDir,
    store: Sqlite,
}

impl File {
    fn path(&self) -> PathBuf {
        self.folder.path().join("broker.db")
    }
}

impl Testbed for File {
    type Store = Sqlite;

    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("broker.db")).unwrap();
        Self { folder, store }
    }

    async fn open(&self, _: Duration) -> Sqlite {
        self.store.clone()
    }
}

contract_tests::contract!(File);

fn refused<T>(opened: Result<T, StoreError>) -> String {
    opened.err().expect("it is refused").to_string()
}

#[tokio::test]
async fn records_survive_the_process() {
    let bed = File::new().await;
    let i = instance("i");
    bed.store.installation("one").await.unwrap();
    let lease = take(&bed.store, &i.instance).await;
    bed.store.commit(&lease, vec![put(&i, "1")], Then::Keep).await.unwrap();
    let File { folder, store } = bed;
    drop(store);
    let store = Sqlite::open(&folder.path().join("broker.db")).unwrap();
    assert_eq!(store.installation("two").await.unwrap(), "one");
    assert!(store.row(&i).await.unwrap().is_some());
    take(&store, &i.instance).await;
}

#[tokio::test]
async fn only_its_owner_reads_the_files() {
    let bed = File::new().await;
    change(&bed.store, "i", vec![put(&instance("i"), "1")]).await;
    let mut names = Vec::new();
    for file in bed.folder.path().read_dir().unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["broker.db", "broker.db-shm", "broker.db-wal"]);
}

#[tokio::test]
async fn each_commit_is_on_disk_before_it_returns() {
    let bed = File::new().await;
    let existing = Sqlite::open_existing(&bed.path(), true).unwrap();
    for store in [&bed.store, &existing] {
        let pragma = |name: &'static str| {
            store.write(move |connection| {
                connection
                    .query_row(&format!("SELECT * FROM pragma_{name}"), [], |row| row.get::<_, String>(0))
            })
        };
        assert_eq!(pragma("journal_mode").await.unwrap(), "wal");
        let full = store.write(|connection| {
            connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
        });
        assert_eq!(full.await.unwrap(), 2);
    }
}

#[tokio::test]
async fn opening_an_existing_store_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.db");
    let error = refused(Sqlite::open_existing(&path, true));
    assert!(error.contains("broker.db") && !path.exists(), "{error}");
    drop(Connection::open(&path).unwrap());
    let error = refused(Sqlite::open_existing(&path, true));
    assert!(error.contains("schema version 0") && error.contains("start this bindery's broker"), "{error}");
    drop(Sqlite::open(&path).unwrap());
    let store = Sqlite::open_existing(&path, false).unwrap();
    assert_eq!(store.recorded_installation().await.unwrap(), None);
    let error = refused(store.installation("one").await);
    assert!(error.contains("writable"), "{error}");
}

#[tokio::test]
async fn an_earlier_schema_is_brought_up_to_date_with_what_it_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.db");
    let (store, gone) = (Sqlite::open(&path).unwrap(), instance("gone"));
    change(&store, "gone", vec![Change::Tombstone(gone.clone(), "delete".to_owned())]).await;
    drop(store);
    let earlier = Connection::open(&path).unwrap();
    let names = "ALTER TABLE tombstones RENAME TO buried; DROP INDEX tombstones_ended_at;
                 CREATE INDEX buried_ended_at ON buried (ended_at); PRAGMA user_version = 2;";
    earlier.execute_batch(names).unwrap();
    drop(earlier);
    let error = refused(Sqlite::open_existing(&path, true));
    assert!(error.contains("schema version 2") && error.contains("start this bindery's broker"), "{error}");
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.tombstone(&gone).await.unwrap().as_deref(), Some("delete"));
}

#[rstest::rstest]
#[case(1, "remove the file")]
#[case(KNOWN + 1, "newer bindery")]
#[case(-1, "restore")]
fn stores_of_other_versions_are_refused_and_not_changed(#[case] version: i64, #[case] remedy: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE instances (id TEXT PRIMARY KEY)").unwrap();
    other.pragma_update(None, "user_version", version).unwrap();
    for opened in
        [Sqlite::open(&path), Sqlite::open_existing(&path, true), Sqlite::open_existing(&path, false)]
    {
        let error = refused(opened);
        assert!(error.contains(&format!("schema version {version}")) && error.contains(remedy), "{error}");
    }
    let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'";
    assert_eq!(other.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_remedy() {
    let error = refused(Sqlite::open(Path::new("/nowhere/broker.db")));
    assert!(error.contains("sqlite:/nowhere/broker.db") && error.contains("folder"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(
        &path,
        "This is not a database, although it is long enough to be taken for one. ".repeat(20),
    )
    .unwrap();
    let error = refused(Sqlite::open(&path));
    assert!(error.contains("notes.txt") && error.contains("name the right file"), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_reported_and_nothing_is_partly_written() {
    let bed = File::new().await;
    let store = &bed.store;
    let (i, small, large) = (instance("i"), binding("i", "small"), binding("i", "large"));
    change(store, "i", vec![put(&i, "before")]).await;
    let limit = |pages: i64| {
        store.write(move |connection| {
            let used: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            let sql = format!("PRAGMA max_page_count = {}", used + pages);
            connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
        })
    };
    limit(0).await.unwrap();
    let lease = take(store, &i.instance).await;
    let changes = || vec![put(&i, "after"), put(&small, ""), put(&large, &"x".repeat(100_000))];
    for then in [Then::Keep, Then::Release] {
        let error = refused(store.commit(&lease, changes(), then).await);
        assert!(error.contains("sqlite:") && error.contains("make space"), "{error}");
    }
    assert_eq!(store.row(&i).await.unwrap().unwrap().sealed.bytes, b"before");
    assert_eq!(store.bindings(&i.instance).await.unwrap(), []);
    // The lease is still valid; work continues once the disk has space.
    limit(1000).await.unwrap();
    store.commit(&lease, changes(), Then::Release).await.unwrap();
    assert_eq!(store.bindings(&i.instance).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_read_only_store_is_reported_and_can_be_read() {
    let bed = File::new().await;
    let i = instance("i");
    change(&bed.store, "i", vec![put(&i, "before")]).await;
    let store = Sqlite::open_existing(&bed.path(), false).unwrap();
    let lease = take(&store, &i.instance).await;
    let error = refused(store.commit(&lease, vec![Change::Remove(i.clone())], Then::Release).await);
    assert!(error.contains("writable for this user"), "{error}");
    assert_eq!(store.row(&i).await.unwrap().unwrap().sealed.bytes, b"before");
}

/// A broker beside a sweep: its writes wait, and fail after a timeout without being half done.
#[tokio::test]
async fn another_process_cannot_write_to_a_frozen_store() {
    let bed = File::new().await;
    let i = instance("i");
    let sweep = Sqlite::open_existing(&bed.path(), true).unwrap();
    let lease = take(&bed.store, &i.instance).await;
    let frozen = sweep.freeze().await.unwrap();
    bed.store.write(|connection| connection.busy_timeout(Duration::ZERO)).await.unwrap();
    let error = refused(bed.store.commit(&lease, vec![put(&i, "1")], Then::Release).await);
    assert!(error.contains("another process writes to it"), "{error}");
    assert_eq!(sweep.row(&i).await.unwrap(), None);

    bed.store.write(|connection| connection.busy_timeout(BUSY_TIMEOUT)).await.unwrap();
    let mut waiting = Box::pin(bed.store.commit(&lease, vec![put(&i, "2")], Then::Release));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err(), "it waits");
    drop(frozen);
    waiting.await.unwrap();
    assert!(sweep.row(&i).await.unwrap().is_some());
}

/// Commits may share a transaction, but one that fails must not affect the others.
#[tokio::test]
async fn a_commit_that_fails_leaves_those_beside_it_alone() {
    let store = File::new().await.store;
    let refuse = "CREATE TRIGGER refused BEFORE INSERT ON records WHEN NEW.server = 'refused' \
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    store.write(|connection| connection.execute_batch(refuse)).await.unwrap();
    let commits = (0..20).map(async |n| {
        let id = instance(&format!("i{n}"));
        let lease = take(&store, &id.instance).await;
        let server = if n % 2 == 0 { "main" } else { "refused" };
        let bound = contract_tests::row(&binding(id.instance.as_str(), "b"), State::Ready, "1");
        let changes = vec![put(&id, "1"), Change::Put(Row { server: server.into(), ..bound })];
        let is_made = store.commit(&lease, changes, Then::Release).await.is_ok();
        assert_eq!(is_made, n % 2 == 0);
        assert_eq!(store.row(&id).await.unwrap().is_some(), is_made, "{id}");
    });
    futures::future::join_all(commits).await;
}
