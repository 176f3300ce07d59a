//! Bindings that replace another one.

use serde_json::{Value, json};

use crate::{
    client::{B, I, binding, instance, owned, polled},
    platform::{Platform, but, until},
    stores::Store,
};

on_each_store!(
    a_rotation_needs_only_its_predecessor,
    a_plan_must_allow_rotation,
    a_predecessor_must_exist,
    a_predecessor_must_not_have_expired,
    a_predecessor_and_its_successor_both_work,
    a_successor_has_the_predecessors_parameters,
    the_same_rotation_again_is_200,
    another_rotation_of_the_same_id_is_409,
    an_asynchronous_rotation_is_202,
    a_predecessor_can_be_deleted_alone,
);

over_alibaba!(
    the_same_rotation_again_is_200,
    another_rotation_of_the_same_id_is_409,
    a_predecessor_can_be_deleted_alone,
);

const SUCCESSOR: &str = "/v2/service_instances/i/service_bindings/b2";

fn succeeding(predecessor: &str) -> Value {
    json!({"predecessor_binding_id": predecessor})
}

async fn a_rotation_needs_only_its_predecessor(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let first = at.put(B, binding("p")).await.must(201);
    let second = at.put(SUCCESSOR, succeeding("b")).await.must(201);
    assert!(second["credentials"].is_object() && second["endpoints"].is_array(), "{second}");
    assert_ne!(first["credentials"], second["credentials"]);
}

async fn a_plan_must_allow_rotation(store: Store) {
    let at = Platform::on(store).await;
    at.made("unrotatable").await;
    at.bound("unrotatable").await;
    at.put(SUCCESSOR, succeeding("b")).await.must_say(400, "predecessor_binding_id");
    assert_eq!(at.calls("bind"), 1);
}

async fn a_predecessor_must_exist(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.put(SUCCESSOR, succeeding("b")).await.must_say(400, "predecessor_binding_id");
    at.put(SUCCESSOR, succeeding("")).await.must(400);
    at.put(SUCCESSOR, json!({"predecessor_binding_id": 1})).await.must(400);
    at.bound("p").await;
    at.put("/v2/service_instances/j", instance("p")).await.must(201);
    let elsewhere = "/v2/service_instances/j/service_bindings/b2";
    at.put(elsewhere, succeeding("b")).await.must_say(400, "predecessor_binding_id");
    at.delete(&owned(B, "p")).await.must(200);
    at.put(SUCCESSOR, succeeding("b")).await.must(400);
    assert_eq!(at.calls("bind"), 1);
}

async fn a_predecessor_must_not_have_expired(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.put(B, but(binding("p"), &json!({"parameters": {"expires_in": -1}}))).await.must(201);
    at.put(SUCCESSOR, succeeding("b")).await.must_say(400, "expired");
}

async fn a_predecessor_and_its_successor_both_work(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let first = at.put(B, binding("p")).await.must(201);
    let second = at.put(SUCCESSOR, succeeding("b")).await.must(201);
    for (id, made) in [("b", &first), ("b2", &second)] {
        let password = at.fake.world().logins[&("i".into(), id.into())].clone();
        assert_eq!(made["credentials"]["password"], json!(password));
    }
    assert_eq!(at.get(B).await.must(200), first);
    assert_eq!(at.get(SUCCESSOR).await.must(200), second);
}

async fn a_successor_has_the_predecessors_parameters(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.put(B, but(binding("p"), &json!({"parameters": {"a": 1}}))).await.must(201);
    at.put(SUCCESSOR, succeeding("b")).await.must(201);
    assert_eq!(at.get(SUCCESSOR).await.must(200)["parameters"], json!({"a": 1}));
}

async fn the_same_rotation_again_is_200(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    let made = at.put(SUCCESSOR, succeeding("b")).await.must(201);
    assert_eq!(at.put(SUCCESSOR, succeeding("b")).await.must(200), made);
    // Also when the predecessor is gone meanwhile: it was made.
    at.delete(&owned(B, "p")).await.must(200);
    assert_eq!(at.put(SUCCESSOR, succeeding("b")).await.must(200), made);
}

async fn another_rotation_of_the_same_id_is_409(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    at.put(SUCCESSOR, succeeding("b")).await.must(201);
    at.put(SUCCESSOR, succeeding("b3")).await.must(409);
    at.put(SUCCESSOR, binding("p")).await.must(409);
    at.put(B, succeeding("b2")).await.must(409);
}

async fn an_asynchronous_rotation_is_202(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    at.put(SUCCESSOR, succeeding("b")).await.must_be("AsyncRequired");
    let held = at.hold().await;
    let operation = at.put(&polled(SUCCESSOR), succeeding("b")).await.operation();
    until("the call is made", async || at.fake.permits.available_permits() == 0).await;
    assert_eq!(at.put(&polled(SUCCESSOR), succeeding("b")).await.operation(), operation);
    drop(held);
    assert_eq!(at.ended(SUCCESSOR).await["state"], "succeeded");
    at.put(&polled(SUCCESSOR), succeeding("b")).await.must(200);
}

async fn a_predecessor_can_be_deleted_alone(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    at.put(SUCCESSOR, succeeding("b")).await.must(201);
    at.delete(&owned(B, "p")).await.must(200);
    at.get(SUCCESSOR).await.must(200);
    assert_eq!(at.bindings(), 1);
    at.get(I).await.must(200);
}
