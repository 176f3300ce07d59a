//! Revoking bindings.

use serde_json::json;

use crate::{
    client::{B, I, binding, owned, polled},
    platform::Platform,
    stores::Store,
};

on_each_store!(
    an_unbind_is_200,
    an_asynchronous_unbind_is_202_with_an_operation,
    a_missing_binding_is_410,
    an_unbind_names_service_and_plan,
    an_unbind_after_a_change_of_plan_may_name_either_plan,
);

over_alibaba!(
    an_unbind_is_200,
    a_missing_binding_is_410,
    an_unbind_names_service_and_plan,
    an_unbind_after_a_change_of_plan_may_name_either_plan,
);

async fn an_unbind_is_200(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    assert_eq!(at.delete(&owned(B, "p")).await.must(200), json!({}));
    assert_eq!(at.bindings(), 0);
    at.get(I).await.must(200);
}

async fn an_asynchronous_unbind_is_202_with_an_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    at.delete(&polled(&owned(B, "lasting"))).await.operation();
    assert_eq!(at.ended(B).await["state"], "succeeded");
    assert_eq!(at.bindings(), 0);
}

async fn a_missing_binding_is_410(store: Store) {
    let at = Platform::on(store).await;
    at.delete(&owned(B, "p")).await.must(410);
    at.made("p").await;
    at.delete(&owned(B, "p")).await.must(410);
    at.bound("p").await;
    at.delete(&owned(B, "p")).await.must(200);
    at.delete(&owned(B, "p")).await.must(410);
    at.put(B, binding("p")).await.must(201);
}

async fn an_unbind_names_service_and_plan(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    for query in ["", "?service_id=s", "?plan_id=p", "?service_id=&plan_id=p", "?service_id=s&plan_id="] {
        at.delete(&format!("{B}{query}")).await.must(400);
    }
    at.delete(&owned(B, "p2")).await.must(400);
    at.get(B).await.must(200);
}

async fn an_unbind_after_a_change_of_plan_may_name_either_plan(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    for named in ["p", "p2"] {
        at.bound("p").await;
        at.patch(I, json!({"service_id": "s", "plan_id": "p2"})).await.must(200);
        at.delete(&owned(B, named)).await.must(200);
        at.patch(I, json!({"service_id": "s", "plan_id": "p"})).await.must(200);
    }
}
