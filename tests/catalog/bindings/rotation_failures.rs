//! Rotations that fail: the credentials in use stay, and nothing else stays at the broker.

use bindery::apis::servicecatalog::{ConditionType, ServiceBinding};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{
    bind,
    rotation::{ROTATE, annotate, ids, rotatable, rotated, user},
    status,
};
use crate::{
    broker::{Answer, Course, Verb},
    harness::{Place, until},
};

/// The binding has the credentials that it had.
async fn stays(place: &Place) {
    let binding: ServiceBinding = place.api().get("b").await.unwrap();
    assert!(binding.status.as_ref().unwrap().conditions.is_true(ConditionType::Ready));
    assert_eq!(user(place).await, "u1");
    let id = vec![binding.spec.external_id.unwrap()];
    assert_eq!(ids(place).await, (id.clone(), id));
}

/// The ids that the broker was asked to delete.
fn deleted(place: &Place) -> Vec<String> {
    place.broker.received(Verb::Unbind).into_iter().map(|record| record.binding).collect()
}

#[tokio::test]
async fn a_plan_that_does_not_offer_it_is_not_asked() {
    let place = Place::with_binding().await;
    annotate(&place, ROTATE, "1").await;
    let message = place.binding_is("b", "RotationNotOffered").await;
    assert!(message.contains("delete the binding and create it again"), "{message}");
    stays(&place).await;
    assert_eq!(place.broker.received(Verb::Bind).len(), 1);
    annotate(&place, ROTATE, serde_json::Value::Null).await;
    place.binding_is("b", "InjectedBindResult").await;
}

#[tokio::test]
async fn a_refused_or_failed_rotation_leaves_the_former_credentials() {
    for course in [None, Some(Course::polls(0).failing("no disk")), Some(Course::polls(1).answering(400))] {
        let place = rotatable().await;
        match &course {
            None => place.broker.once(Verb::Bind, Answer::error(400, "no disk")),
            Some(course) => place.broker.asynchronous(Verb::Bind, course.clone()),
        }
        annotate(&place, ROTATE, "1").await;
        until("a failure for good", async || status(&place, "b").await["rotationFailedAt"].is_string()).await;
        let message = place.binding_is("b", "RotationFailed").await;
        assert!(message.starts_with("The credentials stay as they were"), "{message}");
        assert!(!message.contains("create it"), "{message}");
        stays(&place).await;
        let asked = place.broker.received(Verb::Bind);
        assert_eq!((asked.len(), deleted(&place)), (2, vec![asked[1].binding.clone()]));
        place.broker.normal(Verb::Bind);
        annotate(&place, ROTATE, "2").await;
        rotated(&place, "u1").await;
        assert_eq!(ids(&place).await.0.len(), 1);
    }
}

#[tokio::test]
async fn a_rotation_of_unknown_outcome_is_deleted_and_repeated_under_another_id() {
    for answer in [Answer::error(500, "it is done, or not"), Answer::dropped(), Answer::malformed(201)] {
        let place = rotatable().await;
        place.broker.once(Verb::Bind, answer.after_acting());
        annotate(&place, ROTATE, "1").await;
        rotated(&place, "u1").await;
        let asked = place.broker.received(Verb::Bind);
        assert_eq!(asked.len(), 3);
        assert_ne!(asked[1].binding, asked[2].binding);
        assert_eq!(
            deleted(&place),
            [asked[1].binding.clone(), asked[0].binding.clone()],
            "the former ones last"
        );
        assert_eq!(ids(&place).await.0, [asked[2].binding.clone()]);
    }
}

#[tokio::test]
async fn former_credentials_that_cannot_be_deleted_are_named_until_they_are() {
    let place = rotatable().await;
    place.broker.always(Verb::Unbind, Answer::error(500, "no disk"));
    annotate(&place, ROTATE, "1").await;
    let message = place.binding_is("b", "UnbindCallFailed").await;
    assert!(message.contains("no disk") && message.contains("kubectl delete extres binding-"), "{message}");
    assert_eq!(user(&place).await, "u2");
    place.broker.normal(Verb::Unbind);
    rotated(&place, "u1").await;
    assert_eq!(ids(&place).await.0.len(), 1);
}

/// A broker might look for a predecessor by its id alone.
#[tokio::test]
async fn a_status_that_names_another_bindings_id_rotates_nothing() {
    let place = rotatable().await;
    bind(&place, "other", json!({}), json!({})).await;
    place.binding_is("other", "InjectedBindResult").await;
    let other: ServiceBinding = place.api().get("other").await.unwrap();
    let rotation = json!({"externalID": "mine", "predecessorID": other.spec.external_id,
        "startTime": "2026-01-01T00:00:00Z"});
    let patch = Patch::Merge(json!({"status": {"rotation": rotation}}));
    place.api::<ServiceBinding>().patch_status("b", &PatchParams::default(), &patch).await.unwrap();
    annotate(&place, "bindery.dev/reconcile", "1").await;
    let message = place.binding_is("b", "RotationFailed").await;
    assert!(message.contains("no ExternalResource proves"), "{message}");
    assert_eq!((place.broker.received(Verb::Bind).len(), deleted(&place)), (2, vec![]));
}
