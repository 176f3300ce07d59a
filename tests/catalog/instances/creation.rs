//! Creations that fail, and orphan mitigation.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::servicecatalog::{ConditionType, ServiceInstance};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{change, status};
use crate::{
    broker::{Answer, Course, Fault, Verb},
    harness::{Place, restart_catalog, until},
};

#[tokio::test]
async fn an_instance_of_unknown_state_is_deleted_before_the_next_attempt() {
    for answer in [
        Answer::error(500, "it is done, or not").after_acting(),
        Answer::dropped().after_acting(),
        Answer::malformed(201).after_acting(),
        Answer::json(204, &json!({})).after_acting(),
    ] {
        let place = Place::with_broker().await;
        place.broker.once(Verb::Provision, answer);
        place.instance("db", json!({})).await;
        place.instance_is("db", "ProvisionedSuccessfully").await;
        let verbs: Vec<_> = place.broker.held().records.iter().filter_map(|record| record.verb).collect();
        assert_eq!(
            verbs.into_iter().filter(|verb| *verb != Verb::Catalog).collect::<Vec<_>>(),
            [Verb::Provision, Verb::Deprovision, Verb::Provision]
        );
    }
}

#[tokio::test]
async fn a_refusal_that_leaves_nothing_needs_no_deletion() {
    let place = Place::with_broker().await;
    place.broker.once(Verb::Provision, Answer::error(422, "no quota"));
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    assert!(place.broker.received(Verb::Deprovision).is_empty());
}

#[tokio::test]
async fn orphan_mitigation_is_shown_and_retried_and_survives_a_restart() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::Broken);
    place.instance("db", json!({})).await;
    let mitigation = async || status(&place).await.conditions.get(ConditionType::OrphanMitigation).cloned();
    until("a failed mitigation", async || {
        mitigation().await.is_some_and(|condition| condition.reason == "OrphanMitigationFailed")
    })
    .await;
    let shown = status(&place).await;
    assert!(shown.orphan_mitigation_in_progress);
    assert_eq!(shown.last_condition_state, "OrphanMitigation");
    restart_catalog().await;
    place.broker.set(Fault::None);
    place.broker.asynchronous(Verb::Provision, Course::never());
    place.instance_is("db", "Provisioning").await;
    assert_eq!(mitigation().await, None);
    let expected = [
        ("ProvisionRequestInFlight", "Normal"),
        ("ProvisionCallFailed", "Warning"),
        ("StartingInstanceOrphanMitigation", "Warning"),
        ("OrphanMitigationSuccessful", "Normal"),
        ("Provisioning", "Normal"),
    ];
    // An event is written after the status.
    until("the events", async || {
        let events = event_types(&place).await;
        expected.iter().all(|(reason, type_)| events.contains(&((*reason).to_owned(), (*type_).to_owned())))
    })
    .await;
}

/// The events of the namespace as reason and type.
async fn event_types(place: &Place) -> Vec<(String, String)> {
    let events: kube::Api<k8s_openapi::api::events::v1::Event> = place.api();
    let list = events.list(&kube::api::ListParams::default()).await.unwrap();
    list.items
        .into_iter()
        .map(|event| (event.reason.unwrap_or_default(), event.type_.unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn parameters_that_change_while_the_outcome_is_unknown_start_a_new_creation() {
    let place = Place::with_broker().await;
    place.broker.always(Verb::Provision, Answer::error(429, "later").after_acting());
    place.instance("db", json!({"parameters": {"size": 1}})).await;
    place.instance_is("db", "ProvisionCallFailed").await;
    // Only after the change, or a retry may still create the instance with the former size.
    change(&place, json!({"parameters": {"size": 2}})).await;
    until("the former creation is deleted", async || !place.broker.received(Verb::Deprovision).is_empty())
        .await;
    place.broker.normal(Verb::Provision);
    place.instance_is("db", "ProvisionedSuccessfully").await;
    assert_eq!(place.broker.held().instances.values().next().unwrap()["parameters"], json!({"size": 2}));
}

#[tokio::test]
async fn a_poll_that_is_answered_with_400_ends_the_creation() {
    let place = Place::with_broker().await;
    place.broker.asynchronous(Verb::Provision, Course::polls(1).answering(400));
    place.instance("db", json!({})).await;
    until("a failure for good", async || status(&place).await.last_condition_state == "Failed").await;
    place.instance_is("db", "ProvisionCallFailed").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn a_plan_limits_how_long_a_creation_is_polled() {
    let place = Place::new().await;
    place.broker.held().catalog["services"][0]["plans"][0]["maximum_polling_duration"] = json!(1);
    place.broker.asynchronous(Verb::Provision, Course::never());
    place.register(json!({})).await;
    place.instance("db", json!({})).await;
    let message = place.instance_is("db", "ErrorReconciliationRetryTimeout").await;
    assert!(message.contains("Stopped after 1 seconds"), "{message}");
    until("a failure for good", async || status(&place).await.last_condition_state == "Failed").await;
    assert!(place.broker.is_empty(), "nothing is left");
    assert_eq!(place.broker.received(Verb::Provision).len(), 1);
}

#[tokio::test]
async fn a_poll_without_an_answer_is_repeated() {
    let place = Place::with_broker().await;
    place.broker.asynchronous(Verb::Provision, Course::polls(1));
    place.broker.always(Verb::LastOperation, Answer::error(500, "no"));
    place.instance("db", json!({})).await;
    place.instance_is("db", "ErrorPollingLastOperation").await;
    place.broker.normal(Verb::LastOperation);
    place.instance_is("db", "ProvisionedSuccessfully").await;
}

#[tokio::test]
async fn a_creation_that_is_retried_for_a_week_fails() {
    let place = Place::with_broker().await;
    place.broker.always(Verb::Provision, Answer::error(422, "no quota"));
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionCallFailed").await;
    let long_ago = json!({"status": {"operationStartTime": "2020-01-01T00:00:00Z"}});
    place
        .api::<ServiceInstance>()
        .patch_status("db", &PatchParams::default(), &Patch::Merge(long_ago))
        .await
        .unwrap();
    let message = place.instance_is("db", "ErrorReconciliationRetryTimeout").await;
    assert!(message.contains("168 hours") && message.contains("no quota"), "{message}");
    assert_eq!(status(&place).await.last_condition_state, "Failed");
    place.broker.normal(Verb::Provision);
    change(&place, json!({"parameters": {"size": 2}})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
}

#[tokio::test]
async fn the_only_plan_is_written_to_the_spec() {
    let place = Place::new().await;
    place.broker.held().catalog["services"][0]["plans"].as_array_mut().unwrap().truncate(1);
    place.register(json!({})).await;
    let spec = json!({"clusterServicePlanExternalName": null});
    place.instance("db", spec).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let instance: ServiceInstance = place.api().get("db").await.unwrap();
    assert_eq!(instance.spec.cluster_service_plan_external_name.as_deref(), Some("default"));
}
