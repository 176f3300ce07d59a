//! Commits whose answer is lost, and freezes that meet leases.

use super::*;

/// Blocks commits at their end until the table `gate` is unlocked.
const SLOW_COMMITS: &str = "
    CREATE TABLE gate ();
    CREATE FUNCTION pass() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS
        'BEGIN LOCK TABLE gate IN ACCESS SHARE MODE; RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER pass AFTER INSERT OR DELETE ON bindery_records DEFERRABLE INITIALLY DEFERRED
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
    lose_the_answer_of(vec![put(&instance("i"), "1")], &[], then, meanwhile).await
}

/// The same with these changes of these records.
async fn lose_the_answer_of(
    changes: Vec<Change>,
    records: &[Change],
    then: Then,
    meanwhile: &str,
) -> (Database, Postgres, Result<(), StoreError>) {
    let bed = Database::shared();
    let proxy = Proxy::to(bed.server.port()).await;
    let address = Address::of(&bed.url(proxy.port(), ""), None).unwrap();
    let store = Postgres::open_with(address, LONG_LEASE).await.unwrap();
    if !records.is_empty() {
        change(&store, "i", records.to_vec()).await;
    }
    bed.psql(SLOW_COMMITS);
    let lease = take(&store, &"i".into()).await;
    let gate = bed.lock("gate").await;
    let committing = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&lease, changes, then).await }
    });
    bed.until_waiting("WITH lease%").await;
    proxy.pause();
    proxy.cut();
    gate.release();
    let is_made = format!("SELECT count(*) <> {} FROM bindery_records", records.len());
    bed.server.until_in(&bed.name, &is_made).await;
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

#[rstest::rstest]
#[case::without_a_tombstone(false, Then::Release)]
#[case::with_a_tombstone(true, Then::Release)]
#[case::under_a_kept_lease(true, Then::Keep)]
#[tokio::test]
async fn a_removal_whose_answer_was_lost_is_made_once(#[case] is_remembered: bool, #[case] then: Then) {
    let key = instance("i");
    let tombstone = is_remembered.then(|| Change::Tombstone(key.clone(), "operation".to_owned()));
    let changes = [Change::Remove(key.clone())].into_iter().chain(tombstone).collect();
    let (bed, store, committed) = lose_the_answer_of(changes, &[put(&key, "1")], then, "SELECT").await;
    committed.unwrap();
    assert_eq!(store.row(&key).await.unwrap(), None);
    assert_eq!(store.tombstone(&key).await.unwrap().is_some(), is_remembered);
    let leases = if then == Then::Keep { "1" } else { "0" };
    assert_eq!(bed.psql("SELECT count(*) FROM bindery_leases"), [leases]);
}

#[tokio::test]
async fn a_removal_in_doubt_of_what_exists_is_an_error() {
    let key = instance("i");
    let meanwhile = "DELETE FROM bindery_leases; INSERT INTO bindery_records VALUES ('i', FALSE, '', 'ready', 'main', 'k1', '2')";
    let records = [put(&key, "1")];
    let (_bed, _store, committed) =
        lose_the_answer_of(vec![Change::Remove(key)], &records, Then::Release, meanwhile).await;
    let error = refused(committed);
    assert!(error.contains("may or may not") && error.contains("repeat the request"), "{error}");
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
