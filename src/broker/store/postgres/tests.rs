//! Tests of the PostgreSQL store beyond the contract, on a real server: versions, lost connections, other replicas.

mod interruptions;
mod proxy;

use std::time::Instant;

use bindery_test_support::postgres::{ADMIN, ADMIN_PASSWORD, Held, Postgres as Server};
use tokio::time::timeout;

use self::proxy::Proxy;
use super::*;
use crate::broker::{
    config::PasswordSource,
    store::contract_tests::{
        self, LONG_LEASE, SHORT_LEASE, Testbed, binding, change, instance, is_lost, put, take, take_when_free,
    },
};

/// A database of its own on a server that all tests share while any of them runs.
struct Database {
    server: Arc<Server>,
    name: String,
}

impl Database {
    fn on(server: Arc<Server>) -> Self {
        let name = format!("store_{}", Uuid::new_v4().simple());
        server.psql(&format!("CREATE DATABASE {name} OWNER {ADMIN}"));
        Self { server, name }
    }

    fn shared() -> Self {
        Self::on(Server::shared())
    }

    fn url(&self, port: u16, parameters: &str) -> String {
        let (name, ca) = (&self.name, self.server.ca_file());
        let ca = ca.display();
        format!("postgresql://{ADMIN}:{ADMIN_PASSWORD}@127.0.0.1:{port}/{name}?sslrootcert={ca}{parameters}")
    }

    fn address(&self) -> Address {
        Address::of(&self.url(self.server.port(), ""), None).unwrap()
    }

    fn psql(&self, sql: &str) -> Vec<String> {
        self.server.psql_in(&self.name, sql)
    }

    /// Waits until a statement blocks on a lock.
    async fn until_waiting(&self, statement: &str) {
        let is_waiting = format!(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND \
             query LIKE '{statement}' AND wait_event_type = 'Lock')"
        );
        self.server.until_in(&self.name, &is_waiting).await;
    }

    /// Locks a table.
    async fn lock(&self, table: &str) -> Held {
        let held = self.server.hold_in(&self.name, &format!("BEGIN; LOCK TABLE {table};"));
        let is_locked = format!(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = '{table}'::regclass AND granted AND \
             mode = 'AccessExclusiveLock')"
        );
        self.server.until_in(&self.name, &is_locked).await;
        held
    }
}

impl Testbed for Database {
    type Store = Postgres;

    async fn new() -> Self {
        Self::shared()
    }

    async fn open(&self, lease: Duration) -> Postgres {
        Postgres::open_with(self.address(), lease).await.unwrap()
    }
}

contract_tests::contract!(Database);

/// A database at serializable isolation, which rejects conflicting transactions as CockroachDB does.
mod serializable {
    use super::*;

    struct Serializable(Database);

    impl Testbed for Serializable {
        type Store = Postgres;

        async fn new() -> Self {
            let bed = Database::shared();
            let name = &bed.name;
            bed.psql(&format!("ALTER DATABASE {name} SET default_transaction_isolation = serializable"));
            Self(bed)
        }

        async fn open(&self, lease: Duration) -> Postgres {
            self.0.open(lease).await
        }
    }

    contract_tests::contract!(Serializable);
}

fn refused<T>(opened: Result<T, StoreError>) -> String {
    let error = opened.err().expect("it is refused").to_string();
    assert!(error.contains("postgresql://bindery@") && !error.contains(ADMIN_PASSWORD), "{error}");
    error
}

#[tokio::test]
async fn a_commit_is_atomic() {
    let bed = Database::shared();
    let store = bed.open(LONG_LEASE).await;
    let (i, b) = (instance("i"), binding("i", "b"));
    change(&store, "i", vec![put(&i, "before")]).await;
    // Longer than PostgreSQL's indexes allow.
    let long: String = (0..1000).map(|_| Uuid::new_v4().to_string()).collect();
    let lease = take(&store, &i.instance).await;
    let changes = vec![put(&i, "after"), put(&b, ""), put(&binding("i", &long), "")];
    for then in [Then::Keep, Then::Release] {
        let error = refused(store.commit(&lease, changes.clone(), then).await);
        assert!(error.contains("SQLSTATE 54000"), "{error}");
    }
    assert_eq!(store.row(&i).await.unwrap().unwrap().sealed.bytes, b"before");
    assert_eq!(store.bindings(&i.instance).await.unwrap(), []);
    store.commit(&lease, vec![put(&b, "")], Then::Release).await.unwrap();
}

#[tokio::test]
async fn opening_an_existing_store_changes_nothing() {
    let bed = Database::shared();
    let error = refused(Postgres::open_existing(bed.address(), true).await);
    assert!(error.contains("schema version 0") && error.contains("start this bindery's broker"), "{error}");
    assert!(bed.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").is_empty());
    let broker = bed.open(LONG_LEASE).await;
    change(&broker, "i", vec![put(&instance("i"), "")]).await;
    let store = Postgres::open_existing(bed.address(), false).await.unwrap();
    assert_eq!(store.instances().await.unwrap().len(), 1);
    let error = refused(store.installation("one").await);
    assert!(error.contains("read-only"), "{error}");
    Postgres::open_existing(bed.address(), true).await.unwrap().freeze().await.unwrap();
}

#[rstest::rstest]
#[case(KNOWN + 1)]
#[case(-1)]
#[tokio::test]
async fn stores_of_other_versions_are_refused_and_not_changed(#[case] version: i64) {
    let bed = Database::shared();
    drop(bed.open(LONG_LEASE).await);
    bed.psql(&format!("DROP TABLE bindery_leases; UPDATE bindery_meta SET schema_version = {version}"));
    for opened in [Postgres::open(bed.address()).await, Postgres::open_existing(bed.address(), true).await] {
        let error = refused(opened);
        assert!(error.contains(&format!("schema version {version}")), "{error}");
        assert!(error.contains("newer bindery"), "{error}");
    }
    assert_eq!(bed.psql("SELECT count(*) FROM pg_tables WHERE tablename = 'bindery_leases'"), ["0"]);
}

#[tokio::test]
async fn an_interrupted_migration_is_resumed() {
    let bed = Database::shared();
    let store = bed.open(LONG_LEASE).await;
    change(&store, "i", vec![put(&instance("i"), "")]).await;
    // Simulates a migration that was interrupted before the last tables.
    bed.psql("DROP TABLE bindery_leases; UPDATE bindery_meta SET schema_version = 1");
    let store = bed.open(LONG_LEASE).await;
    assert_eq!(store.instances().await.unwrap().len(), 1);
    take(&store, &"i".into()).await;
    assert_eq!(bed.psql("SELECT schema_version FROM bindery_meta"), [KNOWN.to_string()]);
}

/// Creates the schema of version 5 with a tombstone.
async fn version_five(bed: &Database) -> Key {
    let store = bed.open(LONG_LEASE).await;
    let gone = instance("gone");
    change(&store, "gone", vec![Change::Tombstone(gone.clone(), "delete".to_owned())]).await;
    bed.psql(
        "ALTER TABLE bindery_tombstones RENAME TO bindery_buried; ALTER TABLE bindery_leases RENAME TO bindery_holds;
         ALTER INDEX bindery_tombstones_ended_at RENAME TO bindery_buried_ended_at; UPDATE bindery_meta SET schema_version = 5",
    );
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_start_concurrently_migrate_an_earlier_schema() {
    let bed = Database::shared();
    let gone = version_five(&bed).await;
    let error = refused(Postgres::open_existing(bed.address(), true).await);
    assert!(error.contains("schema version 5") && error.contains("start this bindery's broker"), "{error}");
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        starts.spawn(Postgres::open(bed.address()));
    }
    for store in starts.join_all().await {
        assert_eq!(store.unwrap().tombstone(&gone).await.unwrap().as_deref(), Some("delete"));
    }
    take(&bed.open(LONG_LEASE).await, &"i".into()).await;
    let former = "SELECT count(*) FROM pg_class WHERE relname IN ('bindery_buried', 'bindery_holds', 'bindery_buried_ended_at')";
    assert_eq!(bed.psql(former), ["0"]);
    assert_eq!(bed.psql("SELECT schema_version FROM bindery_meta"), [KNOWN.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_start_concurrently_create_the_tables() {
    let bed = Database::shared();
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        starts.spawn(Postgres::open(bed.address()));
    }
    for store in starts.join_all().await {
        store.unwrap();
    }
    assert_eq!(bed.psql("SELECT schema_version FROM bindery_meta"), [KNOWN.to_string()]);
}

#[tokio::test]
async fn the_store_reconnects_after_its_sessions_end() {
    let bed = Database::shared();
    let store = bed.open(LONG_LEASE).await;
    let end = || {
        let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
                   AND pid <> pg_backend_pid()";
        assert_ne!(bed.psql(all), ["0"], "there was a session");
    };
    let i = instance("i");
    end();
    let lease = take(&store, &i.instance).await;
    end();
    store.commit(&lease, vec![put(&i, "1")], Then::Keep).await.unwrap();
    end();
    assert_eq!(store.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: false });
    end();
    store.commit(&lease, vec![put(&i, "2")], Then::Release).await.unwrap();
    end();
    assert_eq!(store.row(&i).await.unwrap().unwrap().sealed.bytes, b"2");
}

#[tokio::test]
async fn the_store_waits_for_a_restarting_server_and_reports_a_stopped_one() {
    let server = Arc::new(Server::start("127.0.0.1", &["127.0.0.1"]));
    let bed = Database::on(server.clone());
    let store = bed.open(LONG_LEASE).await;
    let i = instance("i");
    // A server crash may lose a lease, but not one under which something was recorded.
    let lease = take(&store, &i.instance).await;
    store.commit(&lease, vec![put(&i, "0")], Then::Keep).await.unwrap();
    server.stop();
    let error = refused(store.row(&i).await);
    assert!(error.contains("check that it runs"), "{error}");
    let error = refused(store.commit(&lease, vec![put(&i, "1")], Then::Release).await);
    assert!(error.contains("check that it runs"), "{error}");
    let refused_at_start = refused(Postgres::open(bed.address()).await);
    assert!(refused_at_start.contains("check that it runs"), "{refused_at_start}");

    let commit = tokio::spawn(async move {
        // On a busy machine the server may take longer to start than the store retries.
        while let Err(error) = store.commit(&lease, vec![put(&i, "2")], Then::Release).await {
            assert!(error.to_string().contains("57P03"), "{error}");
        }
        store.row(&i).await.unwrap().unwrap().sealed.bytes
    });
    tokio::task::spawn_blocking(move || server.start_again()).await.unwrap();
    assert_eq!(commit.await.unwrap(), b"2");
}

/// Four round trips: the lease, the record, the intent, and the outcome with the release. Two of them wait for the
/// disk.
#[tokio::test]
async fn an_operation_takes_four_round_trips() {
    let bed = Database::shared();
    let proxy = Proxy::to(bed.server.port()).await;
    let address = Address::of(&bed.url(proxy.port(), ""), None).unwrap();
    let store = Postgres::open_with(address, LONG_LEASE).await.unwrap();
    let i = instance("i");
    let before = proxy.sent();
    let lease = take(&store, &i.instance).await;
    assert_eq!(store.row(&i).await.unwrap(), None);
    store.commit(&lease, vec![put(&i, "intent")], Then::Keep).await.unwrap();
    store.commit(&lease, vec![put(&i, "outcome")], Then::Release).await.unwrap();
    assert_eq!(proxy.sent() - before, 4);
    assert_eq!(store.row(&i).await.unwrap().unwrap().sealed.bytes, b"outcome");
    assert_eq!(bed.psql("SELECT count(*) FROM bindery_leases"), ["0"]);
    assert!(is_lost(&store.commit(&lease, vec![put(&i, "late")], Then::Keep).await));
}

#[tokio::test]
async fn a_statement_that_waits_too_long_is_cancelled() {
    let bed = Database::shared();
    let store = bed.open(LONG_LEASE).await;
    let locked = bed.lock("bindery_records").await;
    let begun = Instant::now();
    let error = refused(store.instances().await);
    assert!(error.contains("SQLSTATE 57014"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    locked.release();
    store.instances().await.unwrap();
}

#[tokio::test]
async fn the_password_is_read_again_and_a_wrong_one_reported() {
    let bed = Database::shared();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    let url = bed.url(bed.server.port(), "").replace(&format!(":{ADMIN_PASSWORD}"), "");
    let address = || Address::of(&url, Some(PasswordSource::File(file.clone()))).unwrap();
    let error = refused(Postgres::open(address()).await);
    assert!(error.contains("SQLSTATE 28P01") && error.contains("check user, password"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = refused(Postgres::open(address()).await);
    assert!(error.contains(&file.display().to_string()), "{error}");
    std::fs::write(&file, format!("{ADMIN_PASSWORD}\n")).unwrap();
    let store = Postgres::open(address()).await.unwrap();
    assert_eq!(store.name(), url.split_once('?').unwrap().0);
}

#[rstest::rstest]
#[case::its_name("127.0.0.1", "", None)]
#[case::another_name("localhost", "", Some("certificate"))]
#[case::whatever_name("localhost", "&sslmode=verify-ca", None)]
#[case::in_clear("127.0.0.1", "&sslmode=disable", Some("no encryption"))]
#[tokio::test]
async fn the_server_is_verified_as_the_url_says(
    #[case] host: &str,
    #[case] parameters: &str,
    #[case] told: Option<&str>,
) {
    let bed = Database::shared();
    let url = bed.url(bed.server.port(), parameters).replace("@127.0.0.1", &format!("@{host}"));
    let opened = Postgres::open(Address::of(&url, None).unwrap()).await;
    match told {
        None => drop(opened.unwrap()),
        Some(told) => {
            let error = refused(opened);
            assert!(error.contains(told), "{error}");
        }
    }
}
