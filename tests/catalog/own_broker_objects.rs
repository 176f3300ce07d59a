//! Objects of the Service Catalog API at bindery's own broker, whose service in memory takes its time: every operation is
//! asynchronous, from the instance to the last credentials.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::servicecatalog::{ServiceBinding, ServiceInstance};
use bindery_test_support::fake::LASTING;
use serde_json::{Value, json};

use crate::{
    harness::{Place, text, until},
    own_broker::Bench,
};

/// So many steps that an operation does not end while a test looks at it.
const LONG: usize = 100_000;

async fn status(place: &Place, name: &str) -> Value {
    let binding: ServiceBinding = place.api().get(name).await.unwrap();
    json!(binding)["status"].clone()
}

async fn password(place: &Place) -> Option<String> {
    place.secret("b").await.map(|secret| text(&secret, "password"))
}

#[tokio::test]
async fn bindings_are_made_replaced_and_deleted_asynchronously() {
    let place = Place::new().await;
    let (name, plan) = (place.broker.name(), format!("{LASTING}-{}", place.broker.suffix));
    let bench = Bench::serving((&format!("own-{}", place.broker.suffix), &name), &plan).await;
    place.register(json!({"url": bench.url})).await;
    place.instance("db", json!({"clusterServicePlanExternalName": plan})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;

    bench.fake.be_at_it(LONG);
    place.binding("b", "db", json!({"bindery.dev/rotation-overlap": "0s"})).await;
    place.binding_is("b", "Binding").await;
    let during = status(&place, "b").await;
    assert_eq!((&during["asyncOpInProgress"], &during["currentOperation"]), (&json!(true), &json!("Bind")));
    assert!(during["lastOperation"].is_string() && during["pollingStartTime"].is_string(), "{during}");
    assert!(password(&place).await.is_none());
    bench.fake.be_at_it(0);
    place.binding_is("b", "InjectedBindResult").await;
    let first = password(&place).await.unwrap();
    assert_eq!(bench.fake.world().logins.values().collect::<Vec<_>>(), [&first]);

    bench.fake.be_at_it(LONG);
    let rotate = json!({"metadata": {"annotations": {"bindery.dev/rotate": "1"}}});
    place.merge::<ServiceBinding>("b", rotate).await.unwrap();
    place.binding_is("b", "RotatingBinding").await;
    until("an operation", async || status(&place, "b").await["rotation"]["lastOperation"].is_string()).await;
    assert_eq!(password(&place).await.as_ref(), Some(&first), "the former credentials stay meanwhile");
    bench.fake.be_at_it(0);
    until("other credentials", async || password(&place).await.is_some_and(|password| password != first))
        .await;
    until("the end of the rotation", async || status(&place, "b").await["rotation"].is_null()).await;
    let second = password(&place).await.unwrap();
    assert_eq!(bench.fake.world().logins.values().collect::<Vec<_>>(), [&second]);

    bench.fake.be_at_it(LONG);
    place.delete::<ServiceBinding>("b").await;
    place.binding_is("b", "Unbinding").await;
    assert!(status(&place, "b").await["lastOperation"].is_string());
    bench.fake.be_at_it(0);
    place.gone::<ServiceBinding>("b").await;
    assert!(bench.fake.world().logins.is_empty());
    place.remove::<ServiceInstance>("db").await;
    assert!(bench.fake.world().is_empty());
}
