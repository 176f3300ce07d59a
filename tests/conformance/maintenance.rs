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
    the_catalogs_version_is_accepted,
    a_plan_without_a_version_takes_none,
    only_the_version_is_read,
    an_update_brings_the_catalogs_new_version,
);

fn versioned(plan: &str, info: &Value) -> Value {
    but(instance(plan), &json!({"maintenance_info": info}))
}

async fn another_version_is_a_conflict_for_a_new_instance(store: Store) {
    let at = Platform::on(store).await;
    for other in ["1.0.1", "1.0.0", "1.0.0+b", ""] {
        at.put(I, versioned("q", &json!({"version": other}))).await.must_be("MaintenanceInfoConflict");
    }
    assert!(at.holds_nothing());
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

async fn the_catalogs_version_is_accepted(store: Store) {
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

async fn an_update_brings_the_catalogs_new_version(store: Store) {
    let at = Platform::on(store).await;
    at.made("q").await;
    let at = at.restarted(|services| services.replace("1.0.0+a", "2.0.0")).await;
    let version = async || at.get(I).await.must(200)["maintenance_info"]["version"].clone();
    assert_eq!(version().await, "1.0.0+a");
    at.patch(I, json!({"service_id": "s", "parameters": {"a": 1}})).await.must(200);
    assert_eq!(version().await, "1.0.0+a", "nobody asked for another one");
    let former = json!({"service_id": "s", "maintenance_info": {"version": "1.0.0+a"}});
    at.patch(I, former).await.must_be("MaintenanceInfoConflict");
    let info = json!({"version": "2.0.0"});
    let previous = json!({"plan_id": "q", "maintenance_info": {"version": "1.0.0+a"}});
    let upgrade = json!({"service_id": "s", "maintenance_info": info, "previous_values": previous});
    at.patch(I, upgrade).await.must(200);
    assert_eq!(version().await, "2.0.0");
    assert_eq!(at.fake.world().databases[&"i".into()].maintenance_version.as_deref(), Some("2.0.0"));
}
