//! `maintenance_info` in requests.

use serde_json::{Value, json};

use crate::{
    client::{I, instance},
    platform::{Platform, but},
    stores::Store,
};

on_each_store!(
    another_version_is_a_conflict_for_a_new_instance,
    another_version_is_a_conflict_for_an_update,
    the_catalogs_version_is_welcome,
    a_plan_without_a_version_takes_none,
    only_the_version_is_read,
);

fn versioned(plan: &str, info: &Value) -> Value {
    but(instance(plan), &json!({"maintenance_info": info}))
}

async fn another_version_is_a_conflict_for_a_new_instance(store: Store) {
    let at = Platform::on(store).await;
    for other in ["1.0.1", "1.0.0", "1.0.0+b", ""] {
        at.put(I, versioned("q", &json!({"version": other}))).await.must_be("MaintenanceInfoConflict");
    }
    assert!(at.fake.world().is_empty());
}

async fn another_version_is_a_conflict_for_an_update(store: Store) {
    let at = Platform::on(store).await;
    at.made("q").await;
    let info = json!({"version": "2.0.0"});
    for body in [
        json!({"service_id": "s", "maintenance_info": info}),
        json!({"service_id": "s", "plan_id": "q", "maintenance_info": info}),
        json!({"service_id": "s", "plan_id": "p", "maintenance_info": info}),
    ] {
        at.patch(I, body).await.must_be("MaintenanceInfoConflict");
    }
    assert_eq!(at.calls("update"), 0);
}

async fn the_catalogs_version_is_welcome(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, versioned("q", &json!({"version": "1.0.0+a"}))).await.must(201);
    let body = json!({"service_id": "s", "maintenance_info": {"version": "1.0.0+a"}});
    at.patch(I, body).await.must(200);
}

async fn a_plan_without_a_version_takes_none(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, versioned("p", &json!({"version": "1.0.0"}))).await.must_be("MaintenanceInfoConflict");
    at.made("p").await;
    let body = json!({"service_id": "s", "maintenance_info": {"version": "1.0.0"}});
    at.patch(I, body).await.must_be("MaintenanceInfoConflict");
}

async fn only_the_version_is_read(store: Store) {
    let at = Platform::on(store).await;
    let info = json!({"version": "1.0.0+a", "description": "as it was years ago", "more": [1]});
    at.put(I, versioned("q", &info)).await.must(201);
}
