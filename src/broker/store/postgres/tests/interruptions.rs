//! Commits whose answer is lost, and freezes that meet leases.

use super::*;

/// Blocks commits at their end until the table `gate` is unlocked.
const SLOW_COMMITS: &str = "
    CREATE TABLE gate ();
    CREATE FUNCTION pass() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS
        'BEGIN LOCK TABLE gate IN ACCESS SHARE MODE; RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER pass AFTER INSERT ON bindery_records DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION pass();";

/// Blocks lease acquisitions in the same way.
const SLOW_LEASES: &str = "
    CREATE TABLE gate ();
    CREATE FUNCTION pass() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS
        'BEGIN LOCK TABLE gate IN ACCESS SHARE MODE; RETURN NEW; END';
    CREATE TRIGGER pass BEFORE INSERT ON bindery_leases FOR EACH ROW EXECUTE FUNCTION pass();";

/// How long a test waits to see that something does not happen.
const A_WHILE: Duration = Duration::from_secs(1);

/// Cuts the connection while the server commits, so that the answer is lost. Runs `meanwhile` before the retry.
async fn lose_the_answer(then: Then, meanwhile: &str) -> (Database, Postgres, Result<(), StoreError>) {
    let bed = Database::shared();
    let proxy = Proxy::to(bed.server.port()).await;
    let address = Address::of(&bed.url(proxy.port(), ""), None).unwrap();
    let store = Postgres::open_with(address, LONG_LEASE).await.unwrap();
    bed.psql(SLOW_COMMITS);
    let lease = take(&store, &"i".into()).await;
    let gate = bed.lock("gate").await;
    let committing = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&lease, vec![put(&instance("i"), "1")], then).await }
    });
    bed.until_waiting("WITH lease%").await;
    proxy.pause();
    proxy.cut();
    gate.release();
    bed.server.until_in(&bed.name, "SELECT EXISTS (SELECT 1 FROM bindery_records)").await;
    bed.psql(meanwhile);
    proxy.go_on();
    let committed = committing.await.unwrap();
    (bed, store, committed)
}

#[rstest::rstest]
#[case(Then::Keep, "1")]
#[case(Then::Release, "0")]
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_made_once(#[case] then: Then, #[case] holds: &str) {
    let (bed, store, committed) = lose_the_answer(then, "SELECT").await;
    committed.unwrap();
    assert_eq!(store.row(&instance("i")).await.unwrap().unwrap().sealed.bytes, b"1");
    assert_eq!(bed.psql("SELECT count(*) FROM bindery_leases"), [holds]);
}

#[tokio::test]
async fn a_commit_in_doubt_is_not_reported_as_a_lost_lease() {
    let meanwhile = "DELETE FROM bindery_leases; DELETE FROM bindery_records";
    let (_bed, _store, committed) = lose_the_answer(Then::Release, meanwhile).await;
    assert!(!is_lost(&committed));
    let error = refused(committed);
    assert!(error.contains("may or may not") && error.contains("repeat the request"), "{error}");
}

#[tokio::test]
async fn a_freeze_waits_for_a_lease_that_is_being_granted() {
    let bed = Database::shared();
    let store = bed.open(LONG_LEASE).await;
    bed.psql(SLOW_LEASES);
    let gate = bed.lock("gate").await;
    let giving = tokio::spawn({
        let store = store.clone();
        async move { take(&store, &"i".into()).await }
    });
    bed.until_waiting("INSERT INTO bindery_leases%").await;
    let mut freezing = Box::pin(store.freeze());
    assert!(timeout(A_WHILE, &mut freezing).await.is_err(), "the lease cannot be seen yet");
    gate.release();
    let lease = giving.await.unwrap();
    assert!(timeout(A_WHILE, &mut freezing).await.is_err(), "it is held");
    store.commit(&lease, vec![put(&instance("i"), "1")], Then::Release).await.unwrap();
    let frozen = freezing.await.unwrap();
    assert!(store.row(&instance("i")).await.unwrap().is_some());
    drop(frozen);
}

#[tokio::test]
async fn a_freeze_waits_for_the_commit_of_an_expired_lease() {
    let bed = Database::shared();
    let store = bed.open(SHORT_LEASE).await;
    bed.psql(SLOW_COMMITS);
    let gate = bed.lock("gate").await;
    let lease = take(&store, &"i".into()).await;
    let committing = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&lease, vec![put(&instance("i"), "1")], Then::Keep).await }
    });
    bed.until_waiting("WITH lease%").await;
    let ran_out = "SELECT EXISTS (SELECT 1 FROM bindery_leases WHERE expires_at < now())";
    bed.server.until_in(&bed.name, ran_out).await;
    let mut freezing = Box::pin(store.freeze());
    assert!(timeout(A_WHILE, &mut freezing).await.is_err(), "the row cannot be seen yet");
    gate.release();
    committing.await.unwrap().unwrap();
    let frozen = freezing.await.unwrap();
    assert!(store.row(&instance("i")).await.unwrap().is_some());
    drop(frozen);
}

#[tokio::test]
async fn the_freeze_of_a_crashed_sweep_expires() {
    let bed = Database::shared();
    let store = bed.open(LONG_LEASE).await;
    bed.psql(
        "UPDATE bindery_meta SET freezer = gen_random_uuid(), frozen_until = clock_timestamp() + interval '2 s'",
    );
    assert_eq!(store.acquire(&"i".into()).await.unwrap(), None);
    take_when_free(&store, &"i".into()).await;
    bed.psql("UPDATE bindery_meta SET frozen_until = clock_timestamp() + interval '1 s'; DELETE FROM bindery_leases");
    let frozen = store.freeze().await.unwrap();
    assert_eq!(store.acquire(&"i".into()).await.unwrap(), None);
    drop(frozen);
}
