//! The life of instances at a scripted broker: what changes them, what their parameters are, and how they end.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod creation;
mod deletion;
mod parameters;
mod updates;

use bindery::apis::servicecatalog::{ServiceInstance, ServiceInstanceStatus};
use serde_json::{Value, json};

use crate::harness::Place;

/// A namespace with a broker whose class allows plan changes, and an instance `db`.
async fn with_updatable_instance() -> Place {
    let place = Place::new().await;
    place.broker.held().catalog["services"][0]["plan_updateable"] = json!(true);
    place.register(json!({})).await;
    place.instance("db", json!({"parameters": {"size": 1}})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place
}

async fn status(place: &Place) -> ServiceInstanceStatus {
    let instance: ServiceInstance = place.api().get("db").await.unwrap();
    instance.status.unwrap_or_default()
}

async fn change(place: &Place, spec: Value) {
    place.merge::<ServiceInstance>("db", json!({"spec": spec})).await.unwrap();
}

fn is_ready(status: &ServiceInstanceStatus) -> bool {
    status.conditions.is_true(bindery::apis::servicecatalog::ConditionType::Ready)
}
