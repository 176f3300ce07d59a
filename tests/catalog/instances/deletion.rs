//! Deletions: what blocks them, and how they end.

use bindery::apis::servicecatalog::{ServiceBinding, ServiceInstance};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::status;
use crate::{
    broker::{Answer, Course, Fault, Verb},
    harness::Place,
};

#[tokio::test]
async fn a_protected_instance_stays_until_its_annotation_is_removed() {
    let place = Place::with_instance().await;
    let protect = |value: Option<&str>| json!({"metadata": {"annotations": {"bindery.dev/deletion-protection": value}}});
    place.merge::<ServiceInstance>("db", protect(Some("true"))).await.unwrap();
    place.delete::<ServiceInstance>("db").await;
    let message = place.instance_is("db", "DeletionProtected").await;
    assert!(message.ends_with("bindery.dev/deletion-protection-"), "{message}");
    assert!(!place.broker.is_empty());
    place.merge::<ServiceInstance>("db", protect(None)).await.unwrap();
    place.gone::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn bindings_block_a_deletion_unless_the_instance_asks_for_theirs() {
    let place = Place::with_binding().await;
    place.delete::<ServiceInstance>("db").await;
    let message = place.instance_is("db", "DeprovisionBlockedByExistingCredentials").await;
    assert!(message.ends_with("still there: b"), "{message}");
    place.broker.always(Verb::Unbind, Answer::error(500, "no"));
    let cascade = json!({"metadata": {"annotations": {"bindery.dev/cascading-deletion": "true"}}});
    place.merge::<ServiceInstance>("db", cascade).await.unwrap();
    place.instance_is("db", "ServiceBindingsDeletion").await;
    place.broker.normal(Verb::Unbind);
    place.gone::<ServiceBinding>("b").await;
    place.gone::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn an_instance_that_the_broker_refused_is_deleted_without_the_broker() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::Refuses);
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionCallFailed").await;
    place.broker.stop().await;
    place.remove::<ServiceInstance>("db").await;
    assert!(place.external_resources().await.is_empty());
}

#[tokio::test]
async fn a_deletion_shows_its_progress_and_who_asked_for_it() {
    let place = Place::with_broker().await;
    place.instance("db", json!({"userInfo": {"username": "jane"}})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.broker.asynchronous(Verb::Deprovision, Course::never());
    place.broker.once(Verb::Deprovision, Answer::normal().until_released());
    place.delete::<ServiceInstance>("db").await;
    place.instance_is("db", "DeprovisionRequestInFlight").await;
    place.broker.release();
    place.instance_is("db", "Deprovisioning").await;
    place.broker.finish();
    place.gone::<ServiceInstance>("db").await;
    assert_eq!(place.broker.received(Verb::Deprovision)[0].identity().unwrap()["username"], "jane");
}

#[tokio::test]
async fn a_deletion_that_fails_for_a_week_counts_as_failed_and_is_still_retried() {
    let place = Place::with_instance().await;
    place.broker.set(Fault::Broken);
    place.delete::<ServiceInstance>("db").await;
    place.instance_is("db", "DeprovisionCallFailed").await;
    let long_ago = json!({"status": {"operationStartTime": "2020-01-01T00:00:00Z"}});
    place
        .api::<ServiceInstance>()
        .patch_status("db", &PatchParams::default(), &Patch::Merge(long_ago))
        .await
        .unwrap();
    let message = place.instance_is("db", "ErrorReconciliationRetryTimeout").await;
    assert!(message.contains("kubectl delete extres"), "{message}");
    assert_eq!(status(&place).await.last_condition_state, "Failed");
    place.broker.set(Fault::None);
    place.gone::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}
