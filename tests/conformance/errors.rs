//! The body of errors, what they leave behind, and ids.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::{
    client::{B, I, binding, instance, owned, polled},
    fake::Fault,
    platform::{IMPATIENT, Platform, but},
    stores::Store,
};

on_each_store!(
    an_error_tells_what_is_wrong,
    what_still_works_is_told_of_updates_and_deletes_only,
    a_refused_request_changes_nothing,
    there_is_nothing_beyond_the_specification,
    ids_in_the_path_may_hold_any_characters,
    ids_in_the_query_may_hold_any_characters,
    operations_need_no_encoding,
);

/// `strict` examines each error's fields, here one of each kind is made.
async fn an_error_tells_what_is_wrong(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("p").await;
    let _held = at.hold().await;
    let waiting = at.begin("PATCH", I, Some(json!({"service_id": "s", "plan_id": "p2"})));
    let answers = [
        at.put(&format!("{I}2"), json!({})).await,
        at.send(at.bare("GET", I)).await,
        at.get("/v2/service_instances/x").await,
        at.send(at.request("POST", I)).await,
        at.put(I, but(instance("p"), &json!({"space_guid": "x"}))).await,
        at.delete(&owned("/v2/service_instances/x", "p")).await,
        at.send(at.bare("GET", I).basic_auth("user", Some("pass"))).await,
        at.put(&format!("{I}2"), instance("lasting")).await,
        at.put(&format!("{I}2"), but(instance("p"), &json!({"maintenance_info": {"version": "1.0.0"}})))
            .await,
    ];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [400, 401, 404, 405, 409, 410, 412, 422, 422]);
    for answer in answers {
        assert!(answer.body["description"].is_string(), "{answer:?}");
    }
    waiting.abort();
}

async fn what_still_works_is_told_of_updates_and_deletes_only(store: Store) {
    let at = Platform::on(store).await;
    let told = |answer: crate::client::Answer| {
        let body = answer.must(500);
        ["instance_usable", "update_repeatable"].map(|flag| body.get(flag).is_some())
    };
    at.fake.fail("provision", Fault::Half);
    assert_eq!(told(at.put(I, instance("p")).await), [false, false]);
    at.put(I, instance("p")).await.must(201);
    at.fake.fail("update", Fault::Half);
    let update = json!({"service_id": "s", "plan_id": "p2"});
    assert_eq!(told(at.patch(I, update).await), [true, true]);
    at.fake.fail("bind", Fault::Half);
    assert_eq!(told(at.put(B, binding("p")).await), [false, false]);
    at.put(B, binding("p")).await.must(201);
    at.fake.fail("unbind", Fault::Half);
    assert_eq!(told(at.delete(&owned(B, "p")).await), [false, false]);
    at.fake.fail("deprovision", Fault::Half);
    assert_eq!(told(at.delete(&owned(I, "p")).await), [true, false]);
}

async fn a_refused_request_changes_nothing(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    let read = async || (at.get(I).await.must(200), at.get(B).await.must(200));
    let (before, world) = (read().await, at.fake.world().clone());
    let refused = [
        at.put(I, but(instance("p"), &json!({"space_guid": "x"}))).await,
        at.put(I, but(instance("p"), &json!({"plan_id": "x"}))).await,
        at.put(&format!("{I}2"), instance("lasting")).await,
        at.patch(I, json!({"service_id": "s", "plan_id": "elsewhere"})).await,
        at.delete(I).await,
        at.delete(&owned(I, "p2")).await,
        at.put(B, but(binding("p"), &json!({"parameters": {"a": 1}}))).await,
        at.put(&format!("{B}2"), but(binding("p"), &json!({"parameters": {"bad": 1}}))).await,
        at.delete(B).await,
        at.delete(&owned(B, "p2")).await,
    ];
    for answer in refused {
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    assert_eq!((read().await, at.fake.world().clone()), (before, world));
}

async fn there_is_nothing_beyond_the_specification(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    for path in
        ["/", "/v2", "/v2/service_instances", &format!("{I}/backups"), &format!("{I}/service_bindings")]
    {
        at.get(path).await.must(404);
    }
    at.send(at.request("PATCH", B)).await.must(405);
    at.send(at.request("DELETE", "/v2/catalog")).await.must(405);
}

async fn ids_in_the_path_may_hold_any_characters(store: Store) {
    let at = Platform::on(store).await;
    for id in ["a/b \u{fc}\u{1f41f}", "..", "?&=#%", "' OR 1=1; --", "A", "a", "nul\0", &"x".repeat(255)] {
        let encoded = utf8_percent_encode(id, NON_ALPHANUMERIC).to_string().replace("%2E", ".");
        // A path of dots alone would be resolved before it is sent.
        let encoded = if id == ".." { "%2E%2E%2F".to_owned() } else { encoded };
        let path = format!("/v2/service_instances/{encoded}");
        let binding_path = format!("{path}/service_bindings/{encoded}");
        at.put(&path, instance("p")).await.must(201);
        at.put(&binding_path, binding("p")).await.must(201);
        at.get(&path).await.must(200);
        at.get(&format!("{binding_path}/last_operation")).await.must(200);
        if id != ".." {
            assert!(at.fake.world().databases.contains_key(&id.into()), "{id}");
        }
        at.delete(&owned(&binding_path, "p")).await.must(200);
        at.delete(&owned(&path, "p")).await.must(200);
    }
    at.get("/v2/service_instances/%FF").await.must(400);
}

async fn ids_in_the_query_may_hold_any_characters(store: Store) {
    let at = Platform::on(store).await;
    let plan = "odd/\u{fc} &=";
    at.made(plan).await;
    let encoded = utf8_percent_encode(plan, NON_ALPHANUMERIC);
    at.get(&format!("{I}/last_operation?service_id=s&plan_id={encoded}&operation=")).await.must(200);
    // A space is also written as a plus.
    let plus = encoded.to_string().replace("%20", "+");
    at.delete(&format!("{I}?service_id=s&plan_id={plus}")).await.must(200);
    at.put(I, instance(plan)).await.must(201);
    at.delete(&format!("{I}?service_id=s&plan_id={encoded}")).await.must(200);
}

async fn operations_need_no_encoding(store: Store) {
    let at = Platform::on(store).await;
    let operation = at.put(&polled(I), instance("lasting")).await.operation();
    let is_unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    assert!(operation.len() <= 10_000 && operation.chars().all(is_unreserved), "{operation}");
}
