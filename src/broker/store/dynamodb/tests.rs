//! Tests of the DynamoDB store beyond the contract, on moto. moto lacks `ClientRequestToken`, transaction conflicts
//! and permissions; [`Front`] is a proxy that adds them. moto's indexes are never stale, and items in a transaction
//! may exceed 400 KB.

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use aws_sdk_dynamodb::{
    config::Credentials,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use bindery_test_support::moto::Moto;

use super::*;
use crate::broker::store::{
    State,
    contract_tests::{self, LONG_LEASE, Testbed, binding, change, instance, is_lost, put, row, take},
};

use front::{Front, Trick};

mod front;

static MOTO: LazyLock<Moto> = LazyLock::new(Moto::start);

const SECRET: &str = "hunter2hunter2";

/// A table of its own, created by the first broker that opens it.
struct Table(DynamoDbTable);

impl Table {
    fn at(table: &str, endpoint: &str) -> Self {
        Self(DynamoDbTable {
            table: table.to_owned(),
            region: Some("eu-central-1".to_owned()),
            endpoint: Some(endpoint.to_owned()),
        })
    }

    /// The same table at another endpoint.
    fn behind(&self, endpoint: &str) -> Self {
        Self::at(&self.0.table, endpoint)
    }

    async fn connect(&self, times: Times) -> DynamoDb {
        let credentials = Credentials::new("AKIA", SECRET, None, None, "tests");
        let chain = sdk::default_chain().credentials_provider(credentials);
        DynamoDb::connect(&self.0, chain, times).await.unwrap()
    }

    async fn prepare(&self, times: Times) -> Result<DynamoDb, StoreError> {
        let store = self.connect(times).await;
        store.prepare().await.map(|()| store)
    }
}

impl Testbed for Table {
    type Store = DynamoDb;

    async fn new() -> Self {
        static TABLES: AtomicUsize = AtomicUsize::new(0);
        let table = format!("bindery-{}", TABLES.fetch_add(1, Ordering::Relaxed));
        Self::at(&table, &MOTO.endpoint())
    }

    async fn open(&self, lease: Duration) -> DynamoDb {
        self.prepare(Times::of(lease)).await.unwrap()
    }
}

contract_tests::contract!(Table);

fn refusal<T>(result: Result<T, StoreError>) -> String {
    result.err().expect("it is refused").to_string()
}

/// A row of 300 KB: two of them fill a page.
fn large(key: &Key, state: State) -> Change {
    Change::Put(row(key, state, &"x".repeat(300_000)))
}

#[tokio::test]
async fn all_pages_are_read() {
    let store = Table::new().await.open(LONG_LEASE).await;
    let keys = [
        (
            "a",
            vec![instance("a"), binding("a", "1"), binding("a", "2"), binding("a", "3"), binding("a", "4")],
        ),
        ("b", vec![instance("b")]),
        ("c", vec![instance("c")]),
        ("d", vec![instance("d")]),
    ];
    for (id, keys) in &keys {
        change(&store, id, keys.iter().map(|key| large(key, State::Updating)).collect()).await;
    }
    let page = store.scan().send().await.unwrap();
    assert!(page.last_evaluated_key().is_some(), "it was not too much for a page");
    assert_eq!(store.instances().await.unwrap().len(), 4);
    assert_eq!(store.bindings(&"a".into()).await.unwrap().len(), 4);
    assert_eq!(store.sealed_otherwise("other").await.unwrap().len(), 8);
    assert_eq!(store.unfinished().await.unwrap().len(), 8);
    let lease = take(&store, &"z".into()).await;
    let mut freezing = Box::pin(store.freeze());
    let early = tokio::time::timeout(Duration::from_millis(500), &mut freezing).await;
    assert!(early.is_err(), "a lease on the last page was not seen");
    store.release(&lease).await.unwrap();
    freezing.await.unwrap();
}

#[tokio::test]
async fn brokers_that_start_at_once_make_one_table() {
    let table = Table::new().await;
    let starts = (0..4).map(|_| table.prepare(Times::of(LONG_LEASE)));
    for started in futures::future::join_all(starts).await {
        started.unwrap();
    }
}

#[tokio::test]
async fn looking_for_a_table_makes_none() {
    let table = Table::new().await;
    let store = table.connect(Times::of(LONG_LEASE)).await;
    assert!(!store.is_prepared().await.unwrap());
    assert!(store.describe().await.unwrap().is_none());
    table.open(LONG_LEASE).await;
    assert!(store.is_prepared().await.unwrap());
}

#[tokio::test]
async fn a_table_of_somebody_else_is_refused() {
    let table = Table::new().await;
    let store = table.connect(Times::of(LONG_LEASE)).await;
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
    let create =
        store.client.create_table().table_name(&*store.table).billing_mode(BillingMode::PayPerRequest);
    let create = create.attribute_definitions(id.build().unwrap()).key_schema(key.build().unwrap());
    create.send().await.unwrap();
    for refused in [refusal(store.prepare().await), refusal(store.is_prepared().await)] {
        assert!(refused.contains("`outstanding`") && refused.contains("name another table"), "{refused}");
    }
}

#[tokio::test]
async fn other_schemas_are_refused() {
    let table = Table::new().await;
    let store = table.open(LONG_LEASE).await;
    for (version, remedy) in [(1, "cannot be taken over"), (3, "run the newer bindery")] {
        let other = store.client.update_item().table_name(&*store.table).set_key(Some(Place::meta().key()));
        let other = other.update_expression("SET schema_version = :version");
        other.expression_attribute_values(":version", number(version)).send().await.unwrap();
        for refused in [refusal(store.prepare().await), refusal(store.is_prepared().await)] {
            assert!(
                refused.contains(&format!("schema version {version} and this bindery knows 2")),
                "{refused}"
            );
            assert!(refused.contains(remedy), "{refused}");
        }
    }
}

/// The old index projects another attribute, so the table would look like a foreign one.
#[tokio::test]
async fn a_table_from_before_the_first_release_is_refused_as_such() {
    let table = Table::new().await;
    let store = table.connect(Times::of(LONG_LEASE)).await;
    let create = super::table::define(store.client.create_table().table_name(&*store.table), "buried_at");
    create.unwrap().send().await.unwrap();
    for refused in [refusal(store.prepare().await), refusal(store.is_prepared().await)] {
        assert!(
            refused.contains("schema version 1") && refused.contains("cannot be taken over"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_nothing_else_is_changed() {
    let store = Table::new().await.open(LONG_LEASE).await;
    let lease = take(&store, &"i".into()).await;
    let too_large = Change::Put(row(&binding("i", "b"), State::Ready, &"x".repeat(410_000)));
    let refused = store.commit(&lease, vec![put(&instance("i"), ""), too_large], Then::Keep).await;
    let refused = refusal(refused);
    assert!(refused.contains("400 KB"), "{refused}");
    assert_eq!(store.row(&instance("i")).await.unwrap(), None);
}

#[tokio::test]
async fn ids_longer_than_keys_are_refused_and_not_found() {
    let store = Table::new().await.open(LONG_LEASE).await;
    let long = "x".repeat(3000);
    for refused in [
        refusal(store.acquire(&long.as_str().into()).await),
        refusal({
            let lease = take(&store, &"i".into()).await;
            store.commit(&lease, vec![put(&binding("i", &long), "")], Then::Release).await
        }),
    ] {
        assert!(refused.contains("shorter ids"), "{refused}");
    }
    for key in [instance(&long), binding("i", &long), binding(&long, "b")] {
        assert_eq!(store.row(&key).await.unwrap(), None);
        assert_eq!(store.tombstone(&key).await.unwrap(), None);
    }
    assert_eq!(store.bindings(&long.as_str().into()).await.unwrap(), []);
    store.interrupt(&long.as_str().into()).await.unwrap();
}

#[tokio::test]
async fn a_transaction_takes_ninety_nine_changes() {
    let store = Table::new().await.open(LONG_LEASE).await;
    let lease = take(&store, &"i".into()).await;
    let changes = |most: usize| (0..most).map(|number| put(&binding("i", &number.to_string()), "")).collect();
    store.commit(&lease, changes(99), Then::Keep).await.unwrap();
    let refused = refusal(store.commit(&lease, changes(100), Then::Keep).await);
    assert!(refused.contains("DynamoDB takes 100"), "{refused}");
}

#[tokio::test]
async fn the_last_change_of_a_record_counts() {
    let store = Table::new().await.open(LONG_LEASE).await;
    let (i, b) = (instance("i"), binding("i", "b"));
    let removed = vec![put(&i, "1"), put(&b, "2"), Change::Remove(i.clone()), put(&b, "3")];
    change(&store, "i", removed).await;
    assert_eq!(store.row(&i).await.unwrap(), None);
    assert_eq!(store.row(&b).await.unwrap(), Some(row(&b, State::Ready, "3")));
}

#[tokio::test]
async fn a_commit_is_repeated_after_conflicts() {
    let table = Table::new().await;
    let direct = table.open(LONG_LEASE).await;
    let lease = take(&direct, &"i".into()).await;
    let tricks = [Trick::Conflict, Trick::Conflict, Trick::Conflict];
    let front = Front::start(MOTO.endpoint(), "TransactWriteItems", &tricks).await;
    let store = table.behind(front.endpoint()).connect(Times::of(LONG_LEASE)).await;
    store.commit(&lease, vec![put(&instance("i"), "1")], Then::Keep).await.unwrap();
    assert!(direct.row(&instance("i")).await.unwrap().is_some());
    let tokens = front.tokens();
    assert_eq!(tokens, vec![tokens[0].clone(); 4], "another transaction each time");
    store.commit(&lease, vec![put(&instance("i"), "2")], Then::Keep).await.unwrap();
    assert_ne!(front.tokens()[4], tokens[0], "the same transaction for another commit");
    assert_eq!(direct.row(&instance("i")).await.unwrap(), Some(row(&instance("i"), State::Ready, "2")));
}

#[tokio::test]
async fn calls_on_a_lease_are_retried_after_conflicts() {
    let table = Table::new().await;
    let lease = take(&table.open(LONG_LEASE).await, &"i".into()).await;
    let front = Front::start(MOTO.endpoint(), "UpdateItem", &[Trick::Conflict, Trick::Conflict]).await;
    let store = table.behind(front.endpoint()).connect(Times::of(LONG_LEASE)).await;
    assert_eq!(store.renew(&lease).await.unwrap(), Renewal::Renewed { interrupted: false });
    assert!(front.all_tricks_played());
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_made_once() {
    let table = Table::new().await;
    let direct = table.open(LONG_LEASE).await;
    let lease = take(&direct, &"i".into()).await;
    let front = Front::start(MOTO.endpoint(), "TransactWriteItems", &[Trick::LoseAnswer]).await;
    let store = table.behind(front.endpoint()).connect(Times::of(LONG_LEASE)).await;
    // The first attempt released the lease, so a second would not find it.
    store.commit(&lease, vec![put(&instance("i"), "1")], Then::Release).await.unwrap();
    assert_eq!(front.tokens().len(), 2);
    assert_eq!(direct.row(&instance("i")).await.unwrap(), Some(row(&instance("i"), State::Ready, "1")));
}

#[tokio::test]
async fn a_lease_whose_answer_was_lost_is_granted_once() {
    let table = Table::new().await;
    let direct = table.open(LONG_LEASE).await;
    let front = Front::start(MOTO.endpoint(), "PutItem", &[Trick::LoseAnswer]).await;
    let store = table.behind(front.endpoint()).connect(Times::of(LONG_LEASE)).await;
    let lease = take(&store, &"i".into()).await;
    assert!(front.all_tricks_played());
    assert_eq!(direct.acquire(&"i".into()).await.unwrap(), None);
    direct.commit(&lease, vec![put(&instance("i"), "1")], Then::Release).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_cannot_be_checked_is_released() {
    let table = Table::new().await;
    let direct = table.open(LONG_LEASE).await;
    let denied = Trick::Refuse("AccessDeniedException", "not authorized to perform: dynamodb:GetItem");
    let front = Front::start(MOTO.endpoint(), "GetItem", &[denied]).await;
    let store = table.behind(front.endpoint()).connect(Times::of(LONG_LEASE)).await;
    let refused = refusal(store.acquire(&"i".into()).await);
    assert!(refused.contains("dynamodb:GetItem") && refused.contains("docs/stores-dynamodb.md"), "{refused}");
    take(&direct, &"i".into()).await;
}

#[tokio::test]
async fn a_lost_lease_is_not_reported_as_a_conflict() {
    let table = Table::new().await;
    let direct = table.open(LONG_LEASE).await;
    let lease = take(&direct, &"i".into()).await;
    direct.release(&lease).await.unwrap();
    let front = Front::start(MOTO.endpoint(), "TransactWriteItems", &[]).await;
    let store = table.behind(front.endpoint()).connect(Times::of(LONG_LEASE)).await;
    assert!(is_lost(&store.commit(&lease, vec![put(&instance("i"), "1")], Then::Keep).await));
    assert_eq!(front.tokens().len(), 1);
}

#[tokio::test]
async fn a_freeze_gives_up_beside_another_and_beside_long_work() {
    let table = Table::new().await;
    let times = Times { patience: Duration::from_millis(300), ..Times::of(LONG_LEASE) };
    let (hasty, store) = (table.prepare(times).await.unwrap(), table.open(LONG_LEASE).await);
    let lease = take(&store, &"i".into()).await;
    let refused = refusal(hasty.freeze().await);
    assert!(refused.contains("service instance i is still worked on"), "{refused}");
    store.release(&lease).await.unwrap();
    let frozen = store.freeze().await.unwrap();
    let refused = refusal(hasty.freeze().await);
    assert!(refused.contains("as a sweep does"), "{refused}");
    drop(frozen);
    contract_tests::take_when_free(&store, &"i".into()).await;
}

#[tokio::test]
async fn a_freeze_ends_with_its_process() {
    let table = Table::new().await;
    let store = table.open(Duration::from_millis(400)).await;
    assert!(store.mark_frozen(uuid::Uuid::new_v4()).await.unwrap());
    assert_eq!(store.acquire(&"i".into()).await.unwrap(), None);
    contract_tests::take_when_free(&store, &"i".into()).await;
}

#[tokio::test]
async fn a_table_that_is_gone_and_a_server_that_is_away_are_named() {
    let table = Table::new().await;
    let refused = refusal(table.connect(Times::of(LONG_LEASE)).await.row(&instance("i")).await);
    assert!(
        refused.contains("ResourceNotFoundException") && refused.contains("check table, region"),
        "{refused}"
    );
    let away = table.behind("http://127.0.0.1:1").connect(Times::of(LONG_LEASE)).await;
    let refused = refusal(away.row(&instance("i")).await);
    assert!(refused.contains("127.0.0.1:1") && refused.contains("check the network"), "{refused}");
    assert!(!refused.contains(SECRET) && refused.len() < 600, "{refused}");
}

#[tokio::test]
async fn a_damaged_item_is_named() {
    let store = Table::new().await.open(LONG_LEASE).await;
    let put = store.client.put_item().table_name(&*store.table);
    let put = put.set_item(Some(Place::row(&binding("i", "b")).key())).item("state", string("lost"));
    put.send().await.unwrap();
    let refused = refusal(store.row(&binding("i", "b")).await);
    assert!(refused.contains("binding b of service instance i") && refused.contains("`state`"), "{refused}");
}
