//! Creating bindings.

use serde_json::{Value, json};

use crate::{
    client::{B, I, binding, instance, owned, polled},
    fake::Fault,
    platform::{Platform, but},
    stores::Store,
};

on_each_store!(
    a_new_binding_is_201_with_credentials,
    the_same_binding_again_is_200_with_its_credentials,
    an_asynchronous_bind_is_202_without_credentials,
    required_fields_of_a_binding_may_not_be_missing,
    a_binding_of_another_plan_is_400,
    another_binding_of_the_same_id_is_409,
    a_binding_that_needs_an_app_says_so,
    a_plan_may_be_unbindable,
    a_missing_instance_cannot_be_bound,
    additional_fields_of_a_platform_are_accepted,
    each_binding_has_its_own_credentials,
    a_binding_reports_its_lifetime,
    endpoints_are_complete,
    fields_of_required_permissions_are_returned,
    fields_of_other_permissions_are_not_returned,
    parameters_that_break_the_bindings_schema_are_400,
);

over_alibaba!(
    required_fields_of_a_binding_may_not_be_missing,
    a_binding_of_another_plan_is_400,
    additional_fields_of_a_platform_are_accepted,
    each_binding_has_its_own_credentials,
);

const B2: &str = "/v2/service_instances/i/service_bindings/b2";

async fn a_new_binding_is_201_with_credentials(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let made = at.put(B, binding("p")).await.must(201);
    assert_eq!(made["credentials"], json!({"username": "b", "password": "password-1"}));
}

async fn the_same_binding_again_is_200_with_its_credentials(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let wanted =
        but(binding("p"), &json!({"parameters": {"expires_in": 100}, "bind_resource": {"app_guid": "a"}}));
    let made = at.put(B, wanted.clone()).await.must(201);
    assert_eq!(at.put(B, wanted.clone()).await.must(200), made);
    assert_eq!(at.put(&polled(B), wanted).await.must(200), made);
    assert_eq!(at.calls("bind"), 1);
}

async fn an_asynchronous_bind_is_202_without_credentials(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let body = at.put(&polled(B), binding("lasting")).await.must(202);
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["operation"]);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    at.put(&polled(B), binding("lasting")).await.must(200);
}

async fn required_fields_of_a_binding_may_not_be_missing(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    for field in ["service_id", "plan_id"] {
        at.put(B, but(binding("p"), &json!({field: null}))).await.must_say(400, field);
        at.put(B, but(binding("p"), &json!({field: ""}))).await.must_say(400, field);
        at.put(B, but(binding("p"), &json!({field: "x"}))).await.must_say(400, field);
    }
    at.put(B, but(binding("p"), &json!({"bind_resource": "app"}))).await.must(400);
    at.put(B, but(binding("p"), &json!({"parameters": [1]}))).await.must(400);
    assert_eq!(at.bindings(), 0);
}

async fn a_binding_of_another_plan_is_400(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.put(B, binding("p2")).await.must_say(400, "plan_id");
    at.put(B, binding("t1")).await.must(400);
    assert_eq!(at.bindings(), 0);
}

async fn another_binding_of_the_same_id_is_409(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let wanted = but(binding("p"), &json!({"parameters": {"a": 1}}));
    at.put(B, wanted.clone()).await.must(201);
    for changes in [
        json!({"parameters": {"a": 2}}),
        json!({"parameters": null}),
        json!({"bind_resource": {"app_guid": "x"}}),
        json!({"plan_id": "p2"}),
        json!({"service_id": "t", "plan_id": "t1"}),
    ] {
        at.put(B, but(wanted.clone(), &changes)).await.must(409);
    }
    assert_eq!(at.calls("bind"), 1);
}

async fn a_binding_that_needs_an_app_says_so(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let wanted = but(binding("p"), &json!({"parameters": {"for_app": true}}));
    at.put(B, wanted.clone()).await.must_be("RequiresApp");
    at.put(B, but(wanted, &json!({"bind_resource": {"app_guid": "a"}}))).await.must(201);
}

async fn a_plan_may_be_unbindable(store: Store) {
    let at = Platform::on(store).await;
    at.made("unbindable").await;
    at.put(B, binding("unbindable")).await.must_say(400, "not bindable");
}

async fn a_missing_instance_cannot_be_bound(store: Store) {
    let at = Platform::on(store).await;
    at.put(B, binding("p")).await.must(404);
    at.fake.fail("provision", Fault::Half);
    at.put(I, instance("p")).await.must(500);
    at.put(B, binding("p")).await.must_say(422, "not provisioned");
    assert_eq!(at.calls("bind"), 0);
}

async fn additional_fields_of_a_platform_are_accepted(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let more = json!({"context": {"platform": "kubernetes", "namespace": "n", "clusterid": "c"}, "app_guid": "a",
        "bind_resource": {"app_guid": "a", "route": "r.example"}});
    at.put(B, but(binding("p"), &more)).await.must(201);
}

async fn each_binding_has_its_own_credentials(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let first = at.put(B, binding("p")).await.must(201);
    let second = at.put(B2, binding("p")).await.must(201);
    assert_ne!(first["credentials"], second["credentials"]);
    at.delete(&owned(B, "p")).await.must(200);
    assert_eq!(at.get(B2).await.must(200), second);
    assert_eq!(at.bindings(), 1);
}

/// `strict` examines the times' form and order.
async fn a_binding_reports_its_lifetime(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let wanted = but(binding("p"), &json!({"parameters": {"expires_in": 3600}}));
    let made = at.put(B, wanted).await.must(201);
    assert!(made["metadata"]["expires_at"].is_string() && made["metadata"]["renew_before"].is_string());
    assert_eq!(at.get(B).await.must(200)["metadata"], made["metadata"]);
    assert_eq!(at.put(B2, binding("p")).await.must(201)["metadata"], Value::Null);
}

async fn endpoints_are_complete(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let endpoints = json!([{"host": "fake.example", "ports": ["1"], "protocol": "tcp"}]);
    assert_eq!(at.put(B, binding("p")).await.must(201)["endpoints"], endpoints);
    assert_eq!(at.get(B).await.must(200)["endpoints"], endpoints);
}

fn gifts() -> [(&'static str, Value); 3] {
    let mount = json!({"driver": "nfs", "container_dir": "/data", "mode": "rw", "device_type": "shared",
        "device": {"volume_id": "v", "mount_config": {"k": 1}}});
    [
        ("syslog_drain_url", json!("syslog://drain.example")),
        ("route_service_url", json!("https://route.example")),
        ("volume_mounts", json!([mount])),
    ]
}

async fn fields_of_required_permissions_are_returned(store: Store) {
    let at = Platform::on(store).await;
    at.made("t1").await;
    for (field, value) in gifts() {
        let path = format!("{I}/service_bindings/{field}");
        let wanted = but(binding("t1"), &json!({"parameters": {field: value}}));
        assert_eq!(at.put(&path, wanted).await.must(201)[field], value);
        assert_eq!(at.get(&path).await.must(200)[field], value);
    }
}

/// A platform may hold such an answer for invalid, so the mistake is told to whoever offers the service.
async fn fields_of_other_permissions_are_not_returned(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    for (field, value) in gifts() {
        let path = format!("{I}/service_bindings/{field}");
        let wanted = but(binding("p"), &json!({"parameters": {field: value}}));
        at.put(&path, wanted).await.must_say(500, "requires");
        at.get(&path).await.must(404);
        at.delete(&owned(&path, "p")).await.must(200);
    }
    assert_eq!(at.bindings(), 0);
}

async fn parameters_that_break_the_bindings_schema_are_400(store: Store) {
    let at = Platform::on(store).await;
    at.made("strict").await;
    at.put(B, but(binding("strict"), &json!({"parameters": {"role": 1}}))).await.must_say(400, "role");
    at.put(B, but(binding("strict"), &json!({"parameters": {"role": "r"}}))).await.must(201);
}
