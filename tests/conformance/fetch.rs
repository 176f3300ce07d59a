//! Reading instances and bindings.

use serde_json::json;

use crate::{
    client::{B, I, binding, instance, owned, polled},
    fake::Fault,
    platform::{Platform, but},
    stores::Store,
};

on_each_store!(
    a_fetched_instance_equals_its_request,
    a_missing_instance_is_404,
    an_instance_that_is_being_created_is_404,
    an_instance_whose_creation_failed_is_404,
    an_instance_that_is_being_updated_is_422,
    an_instance_can_be_fetched_once_it_succeeded,
    hints_may_be_given,
    a_fetched_instance_tells_its_maintenance_version,
    a_fetched_binding_equals_the_created_one,
    a_missing_binding_is_404,
    a_binding_that_is_being_created_is_404,
    a_binding_can_be_fetched_once_it_succeeded,
);

over_alibaba!(a_missing_instance_is_404, hints_may_be_given, a_missing_binding_is_404,);

async fn a_fetched_instance_equals_its_request(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, but(instance("p"), &json!({"parameters": {"a": null, "b": [1]}}))).await.must(201);
    assert_eq!(
        at.get(I).await.must(200),
        json!({"service_id": "s", "plan_id": "p", "parameters": {"a": null, "b": [1]},
            "dashboard_url": "https://dashboard.example/n",
            "metadata": {"labels": {"l": "1"}, "attributes": {"a": "2"}}})
    );
}

async fn a_missing_instance_is_404(store: Store) {
    let at = Platform::on(store).await;
    at.get(I).await.must(404);
    at.made("p").await;
    at.delete(&owned(I, "p")).await.must(200);
    at.get(I).await.must(404);
}

async fn an_instance_that_is_being_created_is_404(store: Store) {
    let at = Platform::on(store).await;
    let _held = at.hold().await;
    at.put(&polled(I), instance("lasting")).await.must(202);
    at.get(I).await.must(404);
}

async fn an_instance_whose_creation_failed_is_404(store: Store) {
    let at = Platform::on(store).await;
    at.fake.fail("provision", Fault::Half);
    at.put(I, instance("p")).await.must_say(500, "half-way");
    at.get(I).await.must(404);
}

async fn an_instance_that_is_being_updated_is_422(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let _held = at.hold().await;
    at.patch(&polled(I), json!({"service_id": "s", "parameters": {"a": 1}})).await.must(202);
    at.get(I).await.must_be("ConcurrencyError");
}

async fn an_instance_can_be_fetched_once_it_succeeded(store: Store) {
    let at = Platform::on(store).await;
    at.fake.be_at_it(3);
    at.put(&polled(I), instance("lasting")).await.must(202);
    assert_eq!(at.ended(I).await["state"], "succeeded");
    at.get(I).await.must(200);
}

async fn hints_may_be_given(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    for path in [I.to_owned(), B.to_owned(), format!("{I}/last_operation"), format!("{B}/last_operation")] {
        at.get(&owned(&path, "p")).await.must(200);
        at.get(&path).await.must(200);
    }
}

async fn a_fetched_instance_tells_its_maintenance_version(store: Store) {
    let at = Platform::on(store).await;
    at.made("q").await;
    assert_eq!(at.get(I).await.must(200)["maintenance_info"], json!({"version": "1.0.0+a"}));
}

async fn a_fetched_binding_equals_the_created_one(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    let wanted = but(binding("p"), &json!({"parameters": {"expires_in": 100}}));
    let mut expected = at.put(B, wanted).await.must(201);
    expected["parameters"] = json!({"expires_in": 100});
    assert_eq!(at.get(B).await.must(200), expected);
}

async fn a_missing_binding_is_404(store: Store) {
    let at = Platform::on(store).await;
    at.get(B).await.must(404);
    at.made("p").await;
    at.get(B).await.must(404);
    at.bound("p").await;
    at.get("/v2/service_instances/other/service_bindings/b").await.must(404);
    at.delete(&owned(B, "p")).await.must(200);
    at.get(B).await.must(404);
}

async fn a_binding_that_is_being_created_is_404(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let _held = at.hold().await;
    at.put(&polled(B), binding("lasting")).await.must(202);
    at.get(B).await.must(404);
}

async fn a_binding_can_be_fetched_once_it_succeeded(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.put(&polled(B), binding("lasting")).await.must(202);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    assert_eq!(at.get(B).await.must(200)["credentials"]["password"], "password-1");
}
