//! Which of several mistakes is reported.

use bindery::osb::header;
use serde_json::json;

use crate::{
    client::{B, I, binding, instance, owned},
    platform::{Platform, but},
    stores::Store,
};

on_each_store!(
    authentication_comes_before_the_version,
    the_version_comes_before_everything_else,
    a_delete_of_an_instance_checks_ids_first,
    a_delete_of_a_binding_says_410_before_400,
    polling_is_required_before_the_lookup,
    an_existing_binding_is_409_rather_than_400,
    an_empty_text_counts_as_missing,
    a_conflict_comes_before_invalid_parameters,
);

over_alibaba!(
    authentication_comes_before_the_version,
    the_version_comes_before_everything_else,
    a_delete_of_an_instance_checks_ids_first,
    an_existing_binding_is_409_rather_than_400,
    an_empty_text_counts_as_missing,
);

async fn authentication_comes_before_the_version(store: Store) {
    let at = Platform::on(store).await;
    for version in ["", "1.0", "x"] {
        at.send(at.bare("PUT", I).header(header::API_VERSION, version).body("{no json")).await.must(401);
    }
}

async fn the_version_comes_before_everything_else(store: Store) {
    let at = Platform::on(store).await;
    let old = at.speaking("2.0");
    old.send(old.request("PUT", I).header(header::ORIGINATING_IDENTITY, "nonsense")).await.must(412);
    old.delete(I).await.must(412);
    old.get("/v2/nowhere").await.must(412);
    old.put(I, json!({})).await.must(412);
}

async fn a_delete_of_an_instance_checks_ids_first(store: Store) {
    let at = Platform::on(store).await;
    at.delete(I).await.must(400);
    at.delete(&format!("{I}?service_id=s")).await.must(400);
    at.delete(&format!("{I}?plan_id=lasting")).await.must(400);
    at.delete(&format!("{I}?service_id=&plan_id=lasting")).await.must(400);
    at.delete(&owned(I, "lasting")).await.must_be("AsyncRequired");
    at.delete(&owned(I, "p")).await.must(410);
}

async fn a_delete_of_a_binding_says_410_before_400(store: Store) {
    let at = Platform::on(store).await;
    at.delete(B).await.must(410);
    at.delete(&owned(B, "lasting")).await.must_be("AsyncRequired");
    at.made("p").await;
    at.delete(B).await.must(410);
    at.bound("p").await;
    at.delete(B).await.must(400);
}

async fn polling_is_required_before_the_lookup(store: Store) {
    let at = Platform::on(store).await;
    at.delete(&owned(I, "lasting")).await.must_be("AsyncRequired");
    at.delete(&owned(B, "lasting")).await.must_be("AsyncRequired");
    at.put(B, binding("lasting")).await.must_be("AsyncRequired");
}

async fn an_existing_binding_is_409_rather_than_400(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    at.put(B, binding("p2")).await.must(409);
    at.put(B, binding("t1")).await.must(409);
    at.put(B, binding("x")).await.must(400);
    at.put(B, but(binding("p"), &json!({"service_id": "x"}))).await.must(400);
    at.put(B, but(binding("p"), &json!({"plan_id": ""}))).await.must(400);
}

async fn an_empty_text_counts_as_missing(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    for field in ["service_id", "plan_id", "organization_guid", "space_guid"] {
        at.put(I, but(instance("p"), &json!({field: ""}))).await.must_say(400, field);
    }
}

async fn a_conflict_comes_before_invalid_parameters(store: Store) {
    let at = Platform::on(store).await;
    at.made("strict").await;
    at.put(I, but(instance("strict"), &json!({"parameters": {"size": "large"}}))).await.must(409);
    at.put(&format!("{I}2"), but(instance("strict"), &json!({"parameters": {"size": "large"}})))
        .await
        .must(400);
}
