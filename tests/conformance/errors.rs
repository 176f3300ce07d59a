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
    only_updates_and_deletes_report_what_still_works,
    a_refused_request_changes_nothing,
    routes_beyond_the_specification_are_refused,
    ids_in_the_path_may_hold_any_characters,
    malformed_encodings_are_400,
    null_counts_as_absent,
    errors_for_users_name_no_server,
    ids_in_the_query_may_hold_any_characters,
    operations_need_no_encoding,
);

over_alibaba!(
    ids_in_the_query_may_hold_any_characters,
    ids_in_the_path_may_hold_any_characters,
    malformed_encodings_are_400,
    routes_beyond_the_specification_are_refused,
    operations_need_no_encoding,
    null_counts_as_absent,
    an_error_tells_what_is_wrong,
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

async fn only_updates_and_deletes_report_what_still_works(store: Store) {
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

async fn routes_beyond_the_specification_are_refused(store: Store) {
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
            assert!(at.has(id), "{id}");
        }
        at.delete(&owned(&binding_path, "p")).await.must(200);
        at.delete(&owned(&path, "p")).await.must(200);
    }
}

/// A decoder would take `%zz` for itself, and `%FF` for a replacement character.
async fn malformed_encodings_are_400(store: Store) {
    let at = Platform::on(store).await;
    let path = |id: &str| format!("/v2/service_instances/{id}");
    for id in ["%", "a%", "%zz", "%4", "%%41", "%FF", "%C3%28"] {
        at.put(&path(id), instance("p")).await.must_say(400, "the path");
        at.patch(&path(id), json!({"service_id": "s"})).await.must_say(400, "the path");
        at.delete(&owned(&path(id), "p")).await.must_say(400, "the path");
        for path in [path(id), format!("{}/last_operation", path(id)), format!("{I}/service_bindings/{id}")] {
            at.get(&path).await.must_say(400, "the path");
        }
        at.put(&format!("{I}/service_bindings/{id}"), binding("p")).await.must_say(400, "the path");
        at.get(&format!("{I}/last_operation?operation={id}")).await.must_say(400, "the query");
        at.delete(&format!("{I}?service_id=s&plan_id={id}")).await.must_say(400, "the query");
    }
    assert!(at.holds_nothing());
}

/// Platforms exist that write every field that they know.
async fn null_counts_as_absent(store: Store) {
    let at = Platform::on(store).await;
    let nulls = |mut body: serde_json::Value, fields: &[&str]| {
        for field in fields {
            body[*field] = serde_json::Value::Null;
        }
        body
    };
    let wanted = nulls(instance("p"), &["context", "parameters", "maintenance_info"]);
    at.put(I, wanted).await.must(201);
    at.put(I, instance("p")).await.must(200);
    let wanted = ["context", "parameters", "app_guid", "bind_resource", "predecessor_binding_id"];
    at.put(B, nulls(binding("p"), &wanted)).await.must(201);
    at.put(B, binding("p")).await.must(200);
    let wanted = ["context", "parameters", "plan_id", "previous_values", "maintenance_info"];
    at.patch(I, nulls(json!({"service_id": "s"}), &wanted)).await.must(200);
    let previous = json!({"service_id": "s", "previous_values": {"plan_id": null, "maintenance_info": null}});
    at.patch(I, previous).await.must(200);
    at.put(I, nulls(instance("p"), &["space_guid"])).await.must_say(400, "space_guid");
    at.patch(I, json!({"service_id": null})).await.must_say(400, "service_id");
}

/// Addresses, accounts and error codes are the operator's; the reference leads to them in the log.
async fn errors_for_users_name_no_server(store: Store) {
    let at = Platform::on(store).await;
    let told = |answer: crate::client::Answer| {
        let text = answer.must(500)["description"].as_str().unwrap().to_owned();
        assert!(text.contains("told to fail") && !text.contains("backend fake"), "{text}");
        assert!(text.contains("(reference ") && !text.contains("CODE42"), "{text}");
    };
    at.fake.fail("provision", Fault::Before);
    told(at.put(I, instance("p")).await);
    at.fake.fail("provision", Fault::Before);
    told(at.put(&polled(I), instance("p")).await);
    let last = at.get(&format!("{I}/last_operation")).await.must(200)["description"].to_string();
    assert!(last.contains("(reference ") && !last.contains("backend fake"), "{last}");
    at.put(I, instance("p")).await.must(201);
    at.fake.fail("update", Fault::Before);
    told(at.patch(I, json!({"service_id": "s", "plan_id": "p2"})).await);
    at.fake.fail("bind", Fault::Before);
    told(at.put(B, binding("p")).await);
    at.put(B, binding("p")).await.must(201);
    at.fake.fail("unbind", Fault::Before);
    told(at.delete(&owned(B, "p")).await);
    at.fake.fail("deprovision", Fault::Before);
    told(at.delete(&owned(I, "p")).await);
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
