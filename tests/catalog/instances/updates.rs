//! Changes of plan and parameters.

use bindery::apis::servicecatalog::ServiceInstance;
use serde_json::json;

use super::{change, is_ready, status, with_updatable_instance};
use crate::{
    broker::{Answer, Course, Verb},
    harness::{Place, restart_catalog, until},
};

#[tokio::test]
async fn a_changed_plan_and_changed_parameters_are_sent_and_then_in_force() {
    let place = with_updatable_instance().await;
    let (old, new) = (format!("plan-{}", place.broker.suffix), format!("unbindable-{}", place.broker.suffix));
    let user = json!({"username": "jane", "uid": "7"});
    let spec =
        json!({"clusterServicePlanExternalName": "unbindable", "parameters": {"size": 2}, "userInfo": user});
    change(&place, spec).await;
    assert_eq!(
        place.instance_is("db", "InstanceUpdatedSuccessfully").await,
        "The instance was updated successfully"
    );
    let updates = place.broker.received(Verb::Update);
    assert_eq!(updates.len(), 1);
    let body = &updates[0].body;
    assert_eq!((&body["plan_id"], &body["parameters"]), (&json!(new), &json!({"size": 2})));
    assert_eq!(body["previous_values"]["plan_id"], json!(old));
    assert_eq!(updates[0].identity().unwrap()["username"], "jane");
    let status = status(&place).await;
    assert_eq!(status.in_progress_properties, None);
    let in_force = status.external_properties.unwrap();
    assert_eq!(in_force.cluster_service_plan_external_id, new);
    assert_eq!(json!(in_force.parameters), json!({"size": 2}));
    assert_eq!(place.external_resources().await[0].spec.plan_id, new);
    place.remove::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty(), "the deletion names the new plan");
}

#[tokio::test]
async fn a_plan_stays_where_the_class_does_not_allow_changes() {
    let place = Place::with_instance().await;
    change(&place, json!({"clusterServicePlanExternalName": "unbindable"})).await;
    let message = place.instance_is("db", "UpdateInstanceCallFailed").await;
    assert!(message.contains("does not allow plan changes"), "{message}");
    assert!(is_ready(&status(&place).await), "the instance is as usable as before");
    change(&place, json!({"clusterServicePlanExternalName": "default"})).await;
    place.instance_is("db", "InstanceUpdatedSuccessfully").await;
    assert!(place.broker.received(Verb::Update).is_empty());
}

#[tokio::test]
async fn all_parameters_are_sent_without_those_that_were_removed() {
    let place = with_updatable_instance().await;
    change(&place, json!({"parameters": {"size": null, "role": "read"}})).await;
    place.instance_is("db", "InstanceUpdatedSuccessfully").await;
    change(&place, json!({"parameters": null})).await;
    until("an update", async || place.broker.received(Verb::Update).len() == 2).await;
    let sent: Vec<_> =
        place.broker.received(Verb::Update).iter().map(|update| update.body["parameters"].clone()).collect();
    assert_eq!(sent, [json!({"role": "read"}), json!({})], "as the old Service Catalog did");
}

#[tokio::test]
async fn an_update_is_polled_as_long_as_the_plan_allows() {
    let place = Place::new().await;
    place.broker.held().catalog["services"][0]["plans"][0]["maximum_polling_duration"] = json!(1);
    place.register(json!({})).await;
    place.instance("db", json!({"parameters": {"size": 1}})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.broker.asynchronous(Verb::Update, Course::never());
    change(&place, json!({"parameters": {"size": 2}})).await;
    let message = place.instance_is("db", "ErrorReconciliationRetryTimeout").await;
    assert!(message.contains("Stopped after 1 seconds"), "{message}");
    let status = status(&place).await;
    assert!(is_ready(&status), "the instance is as usable as before");
    assert_eq!(json!(status.external_properties.unwrap().parameters), json!({"size": 1}));
}

#[tokio::test]
async fn an_asynchronous_update_is_in_force_only_when_it_has_succeeded() {
    let place = with_updatable_instance().await;
    place.broker.asynchronous(Verb::Update, Course::never());
    change(&place, json!({"parameters": {"size": 2}})).await;
    let message = place.instance_is("db", "UpdatingInstance").await;
    assert!(message.starts_with("The instance is being updated asynchronously"), "{message}");
    let during = status(&place).await;
    assert_eq!(json!(during.in_progress_properties.unwrap().parameters), json!({"size": 2}));
    assert_eq!(json!(during.external_properties.unwrap().parameters), json!({"size": 1}));
    restart_catalog().await;
    place.broker.finish();
    place.instance_is("db", "InstanceUpdatedSuccessfully").await;
    assert_eq!(json!(status(&place).await.external_properties.unwrap().parameters), json!({"size": 2}));
    assert_eq!(place.broker.received(Verb::Update).len(), 1);
}

#[tokio::test]
async fn a_failed_update_leaves_the_instance_as_it_was_unless_the_broker_says_otherwise() {
    for is_usable in [true, false] {
        let place = with_updatable_instance().await;
        let failure = json!({"description": "no disk", "instance_usable": is_usable});
        place.broker.asynchronous(Verb::Update, Course::polls(0).failing_with(failure));
        change(&place, json!({"parameters": {"size": 2}})).await;
        let message = place.instance_is("db", "UpdateInstanceCallFailed").await;
        assert!(message.contains("no disk"), "{message}");
        let failed = status(&place).await;
        assert_eq!(is_ready(&failed), is_usable);
        assert_eq!(json!(failed.external_properties.unwrap().parameters), json!({"size": 1}));
        assert_eq!(place.broker.received(Verb::Update).len(), 1);
        place.broker.normal(Verb::Update);
        change(&place, json!({"parameters": {"size": 3}})).await;
        place.instance_is("db", "InstanceUpdatedSuccessfully").await;
        assert!(is_ready(&status(&place).await));
    }
}

#[tokio::test]
async fn an_update_is_retried_until_the_broker_accepts_it() {
    let place = with_updatable_instance().await;
    place.broker.once(Verb::Update, Answer::error(503, "later"));
    place.broker.once(Verb::Update, Answer::dropped().after_acting());
    change(&place, json!({"parameters": {"size": 2}})).await;
    place.instance_is("db", "InstanceUpdatedSuccessfully").await;
    assert_eq!(place.broker.received(Verb::Update).len(), 3);
    place.broker.always(Verb::Update, Answer::error(400, "too large"));
    change(&place, json!({"parameters": {"size": 9}})).await;
    let message = place.instance_is("db", "UpdateInstanceCallFailed").await;
    assert!(message.contains("too large") && is_ready(&status(&place).await), "{message}");
}

#[tokio::test]
async fn a_broker_that_is_away_leaves_the_instance_usable() {
    let mut place = with_updatable_instance().await;
    place.broker.stop().await;
    change(&place, json!({"parameters": {"size": 2}})).await;
    place.instance_is("db", "ErrorCallingUpdateInstance").await;
    assert!(is_ready(&status(&place).await));
    place.broker.serve();
    place.instance_is("db", "InstanceUpdatedSuccessfully").await;
}

/// `svcat touch` raises the number.
#[tokio::test]
async fn a_higher_number_of_update_requests_sends_an_update() {
    let place = with_updatable_instance().await;
    change(&place, json!({"updateRequests": 1})).await;
    place.instance_is("db", "InstanceUpdatedSuccessfully").await;
    let updates = place.broker.received(Verb::Update);
    assert_eq!(updates.len(), 1);
    assert!(updates[0].body["plan_id"].is_null() && updates[0].body["parameters"].is_null());
    change(&place, json!({"userInfo": {"username": "jane"}})).await;
    until("the spec is known", async || {
        let instance: ServiceInstance = place.api().get("db").await.unwrap();
        instance.status.unwrap().reconciled_generation == instance.metadata.generation.unwrap()
    })
    .await;
    assert_eq!(place.broker.received(Verb::Update).len(), 1, "nothing that the broker must know has changed");
}

/// The request has changed the plan, and the catalog is killed before it learns so.
#[tokio::test]
async fn an_update_that_was_interrupted_is_repeated() {
    let place = with_updatable_instance().await;
    place.broker.once(Verb::Update, Answer::normal().until_released().after_acting());
    change(&place, json!({"clusterServicePlanExternalName": "unbindable"})).await;
    place.instance_is("db", "UpdateInstanceRequestInFlight").await;
    until("the request has arrived", async || !place.broker.received(Verb::Update).is_empty()).await;
    restart_catalog().await;
    place.broker.release();
    place.instance_is("db", "InstanceUpdatedSuccessfully").await;
    let external_resource = &place.external_resources().await[0];
    assert_eq!(external_resource.spec.plan_id, format!("unbindable-{}", place.broker.suffix));
    assert_eq!(external_resource.spec.new_plan_id, None);
    place.remove::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}
