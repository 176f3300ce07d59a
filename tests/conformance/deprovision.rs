//! Removing instances.

use serde_json::json;

use crate::{
    client::{B, I, binding, instance, owned, polled},
    fake::Fault,
    platform::Platform,
    stores::Store,
};

on_each_store!(
    a_deprovision_is_200,
    an_asynchronous_deprovision_is_202_with_an_operation,
    a_missing_instance_is_410,
    a_deprovision_names_service_and_plan,
    a_deprovision_with_another_plan_is_400,
    a_failed_deprovision_says_that_the_instance_is_unusable,
    a_failed_asynchronous_deprovision_says_that_the_instance_is_unusable,
    an_instance_that_is_being_deleted_cannot_be_used,
);

over_alibaba!(
    a_deprovision_is_200,
    an_asynchronous_deprovision_is_202_with_an_operation,
    a_missing_instance_is_410,
    a_deprovision_names_service_and_plan,
    a_deprovision_with_another_plan_is_400,
);

async fn a_deprovision_is_200(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    assert_eq!(at.delete(&owned(I, "p")).await.must(200), json!({}));
    assert!(at.holds_nothing());
    at.get(I).await.must(404);
    at.get(B).await.must(404);
}

async fn an_asynchronous_deprovision_is_202_with_an_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.delete(&polled(&owned(I, "lasting"))).await.operation();
    assert_eq!(at.ended(I).await["state"], "succeeded");
    assert!(at.holds_nothing());
}

async fn a_missing_instance_is_410(store: Store) {
    let at = Platform::on(store).await;
    at.delete(&owned(I, "p")).await.must(410);
    at.made("p").await;
    at.delete(&owned(I, "p")).await.must(200);
    at.delete(&owned(I, "p")).await.must(410);
    at.delete(&polled(&owned(I, "p"))).await.must(410);
    // The id is free again.
    at.put(I, instance("p2")).await.must(201);
}

async fn a_deprovision_names_service_and_plan(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    for query in ["", "?service_id=s", "?plan_id=p", "?service_id=&plan_id=p", "?service_id=s&plan_id="] {
        at.delete(&format!("{I}{query}")).await.must(400);
    }
    at.get(I).await.must(200);
}

async fn a_deprovision_with_another_plan_is_400(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.delete(&owned(I, "p2")).await.must(400);
    at.delete(&owned(I, "t1")).await.must(400);
    at.delete(&format!("{I}?service_id=x&plan_id=x")).await.must(400);
    at.get(I).await.must(200);
}

async fn a_failed_deprovision_says_that_the_instance_is_unusable(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.fake.fail("deprovision", Fault::Half);
    assert_eq!(at.delete(&owned(I, "p")).await.must(500)["instance_usable"], false);
    at.get(I).await.must(404);
}

async fn a_failed_asynchronous_deprovision_says_that_the_instance_is_unusable(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    // Of a binding nothing is said: the instance is as it was.
    at.fake.fail("unbind", Fault::Half);
    at.delete(&polled(&owned(B, "lasting"))).await.must(202);
    assert_eq!(at.ended(B).await["state"], "failed");
    at.get(I).await.must(200);
    at.fake.fail("deprovision", Fault::Half);
    at.delete(&polled(&owned(I, "lasting"))).await.must(202);
    let told = at.ended(I).await;
    assert_eq!((&told["state"], &told["instance_usable"]), (&json!("failed"), &json!(false)), "{told}");
    at.get(I).await.must(404);
    at.delete(&polled(&owned(I, "lasting"))).await.must(202);
    assert_eq!(at.ended(I).await["state"], "succeeded");
}

async fn an_instance_that_is_being_deleted_cannot_be_used(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let held = at.hold().await;
    at.delete(&polled(&owned(B, "lasting"))).await.must(202);
    at.get(B).await.must(404);
    at.put(&polled(B), binding("lasting")).await.must_be("ConcurrencyError");
    drop(held);
    at.ended(B).await;
    let _held = at.hold().await;
    at.delete(&polled(&owned(I, "lasting"))).await.must(202);
    at.get(I).await.must(404);
    at.put(&polled(I), instance("lasting")).await.must_be("ConcurrencyError");
    at.put(&polled(B), binding("lasting")).await.must_be("ConcurrencyError");
}
