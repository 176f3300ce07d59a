//! The rotation of a binding: new credentials under a new id, the same Secrets, and the former credentials deleted.

use bindery::apis::servicecatalog::{ClusterServicePlan, ServiceBinding};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{bind, status};
use crate::{
    broker::{Answer, Course, Verb},
    harness::{Place, restart_catalog, text, until},
};

pub(super) const ROTATE: &str = "bindery.dev/rotate";
pub(super) const OVERLAP: &str = "bindery.dev/rotation-overlap";

/// A binding `b` of a plan whose credentials can be replaced. The former credentials are deleted at once.
pub(super) async fn rotatable() -> Place {
    let place = Place::new().await;
    place.broker.held().catalog["services"][0]["plans"][0]["binding_rotatable"] = json!(true);
    place.register(json!({})).await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    bind(&place, "b", json!({OVERLAP: "0s"}), json!({"parameters": {"role": "read"}})).await;
    place.binding_is("b", "InjectedBindResult").await;
    place
}

pub(super) async fn annotate(place: &Place, name: &str, value: impl Into<Value>) {
    let annotations = json!({"metadata": {"annotations": {name: value.into()}}});
    place.merge::<ServiceBinding>("b", annotations).await.unwrap();
}

/// The user in the Secret that pods mount.
pub(super) async fn user(place: &Place) -> String {
    place.secret("b").await.map(|secret| text(&secret, "username")).unwrap_or_default()
}

/// Waits until the Secret holds other credentials than these and nothing of the rotation is left to do.
pub(super) async fn rotated(place: &Place, former: &str) {
    until("the end of the rotation", async || {
        let status = status(place, "b").await;
        user(place).await != former && status["rotation"].is_null() && status["externalID"].is_string()
    })
    .await;
    place.binding_is("b", "InjectedBindResult").await;
}

/// The ids that the broker holds, and those that the ledger holds.
pub(super) async fn ids(place: &Place) -> (Vec<String>, Vec<String>) {
    let at_broker = place.broker.held().bindings.keys().cloned().collect();
    let mut recorded: Vec<String> =
        place.external_resources().await.into_iter().filter_map(|held| held.spec.binding_id).collect();
    recorded.sort();
    (at_broker, recorded)
}

#[tokio::test]
async fn a_new_value_of_the_annotation_replaces_the_credentials() {
    let place = rotatable().await;
    let plans: Api<ClusterServicePlan> = Api::all(place.client.clone());
    let plan = plans.get(&format!("plan-{}", place.broker.suffix)).await.unwrap();
    assert_eq!(plan.spec.common.binding_rotatable, Some(true));
    let before: ServiceBinding = place.api().get("b").await.unwrap();
    let former = before.spec.external_id.clone().unwrap();
    annotate(&place, ROTATE, "1").await;
    rotated(&place, "u1").await;
    assert_eq!(user(&place).await, "u2");
    let asked = place.broker.received(Verb::Bind);
    assert_eq!(asked[1].body, json!({"predecessor_binding_id": former}), "and nothing else");
    let after: ServiceBinding = place.api().get("b").await.unwrap();
    assert_eq!(after.spec, before.spec, "the spec keeps the first id");
    let status = after.status.unwrap();
    assert_eq!(status.external_id.as_deref(), Some(asked[1].binding.as_str()));
    assert_eq!(status.revisions.iter().map(|revision| revision.n).collect::<Vec<_>>(), [1, 2]);
    let unbound: Vec<String> =
        place.broker.received(Verb::Unbind).into_iter().map(|record| record.binding).collect();
    assert_eq!(unbound, [former]);
    let present = vec![asked[1].binding.clone()];
    assert_eq!(ids(&place).await, (present.clone(), present));

    // A lost Secret gets the same credentials again, although the predecessor is gone.
    place.delete::<Secret>("b").await;
    annotate(&place, "bindery.dev/reconcile", "1").await;
    until("the Secret", async || user(&place).await == "u2").await;
    annotate(&place, ROTATE, "2").await;
    rotated(&place, "u2").await;
    assert_eq!(user(&place).await, "u3");
    annotate(&place, ROTATE, Value::Null).await;
    until("the request is forgotten", async || super::status(&place, "b").await["rotationRequest"].is_null())
        .await;
    assert_eq!(place.broker.held().successors.len(), 2, "without the annotation nothing is replaced");
    place.remove::<ServiceBinding>("b").await;
    assert_eq!(ids(&place).await, (vec![], vec![]));
}

#[tokio::test]
async fn the_former_credentials_work_for_a_while_and_go_with_the_binding() {
    let place = rotatable().await;
    annotate(&place, OVERLAP, "1h").await;
    annotate(&place, ROTATE, "1").await;
    until("new credentials", async || user(&place).await == "u2").await;
    place.binding_is("b", "InjectedBindResult").await;
    until("the time of the deletion", async || status(&place, "b").await["rotation"]["revokeAt"].is_string())
        .await;
    let (at_broker, recorded) = ids(&place).await;
    assert_eq!((at_broker.len(), &recorded), (2, &at_broker));
    // Another request ends the wait.
    annotate(&place, ROTATE, "2").await;
    until("newer credentials", async || user(&place).await == "u3").await;
    until("two sets of credentials", async || ids(&place).await.0.len() == 2).await;
    assert!(!ids(&place).await.0.contains(&at_broker[0]) || !ids(&place).await.0.contains(&at_broker[1]));
    place.remove::<ServiceBinding>("b").await;
    assert_eq!(ids(&place).await, (vec![], vec![]), "every id of the ledger is deleted");
}

#[tokio::test]
async fn an_abandoned_binding_leaves_no_credentials() {
    let place = rotatable().await;
    annotate(&place, OVERLAP, "1h").await;
    annotate(&place, ROTATE, "1").await;
    until("two sets of credentials", async || status(&place, "b").await["rotation"]["revokeAt"].is_string())
        .await;
    place.abandon::<ServiceBinding>("b").await;
    until("nothing is left", async || ids(&place).await == (vec![], vec![])).await;
}

#[tokio::test]
async fn an_asynchronous_rotation_is_polled_and_fetched() {
    let place = rotatable().await;
    place.broker.asynchronous(Verb::Bind, Course::never());
    place.broker.asynchronous(Verb::Unbind, Course::polls(1));
    annotate(&place, ROTATE, "1").await;
    until("an operation", async || status(&place, "b").await["rotation"]["lastOperation"].is_string()).await;
    place.binding_is("b", "RotatingBinding").await;
    let during: ServiceBinding = place.api().get("b").await.unwrap();
    let conditions = during.status.unwrap().conditions;
    assert!(conditions.is_true(bindery::apis::servicecatalog::ConditionType::Ready), "the former ones work");
    restart_catalog().await;
    place.broker.finish();
    rotated(&place, "u1").await;
    assert_eq!(user(&place).await, "u2");
    assert_eq!(ids(&place).await.0.len(), 1);
}

/// Each call is interrupted once before its effect is known.
#[tokio::test]
async fn a_rotation_that_is_interrupted_anywhere_leaves_one_set_of_credentials() {
    for (verb, acts) in [(Verb::Bind, false), (Verb::Bind, true), (Verb::Unbind, false), (Verb::Unbind, true)]
    {
        let place = rotatable().await;
        let waiting = Answer::dropped().until_released();
        place.broker.always(verb, if acts { waiting.after_acting() } else { waiting });
        annotate(&place, ROTATE, "1").await;
        let calls = if verb == Verb::Bind { 2 } else { 1 };
        until("the call", async || place.broker.received(verb).len() >= calls).await;
        restart_catalog().await;
        place.broker.normal(verb);
        rotated(&place, "u1").await;
        let (at_broker, recorded) = ids(&place).await;
        assert_eq!((at_broker.len(), &recorded), (1, &at_broker), "{verb:?} {acts}");
        let status = status(&place, "b").await;
        assert_eq!(status["externalID"], json!(at_broker[0]), "{verb:?} {acts}");
        let number = place.broker.held().successors.iter().position(|(id, _)| *id == at_broker[0]).unwrap();
        assert_eq!(user(&place).await, format!("u{}", number + 2), "the Secret has what the broker holds");
    }
}

#[tokio::test]
async fn credentials_are_replaced_when_the_broker_advises_it() {
    let place = Place::new().await;
    {
        let mut held = place.broker.held();
        held.catalog["services"][0]["plans"][0]["binding_rotatable"] = json!(true);
        held.renew_before = Some("2020-01-01T00:00:00.0Z".to_owned());
        held.expires_at = Some("2999-01-01T00:00:00.0Z".to_owned());
    }
    place.register(json!({})).await;
    place.instance("db", json!({})).await;
    bind(&place, "b", json!({}), json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    let shown = status(&place, "b").await;
    assert_eq!(shown["renewBefore"], "2020-01-01T00:00:00Z");
    place.broker.held().renew_before = None;
    // Nothing is replaced soon after it was written, so it was written long ago.
    let mut revisions = shown["revisions"].clone();
    revisions[0]["writtenAt"] = json!("2026-01-01T00:00:00Z");
    let patch = Patch::Merge(json!({"status": {"revisions": revisions}}));
    place.api::<ServiceBinding>().patch_status("b", &PatchParams::default(), &patch).await.unwrap();
    annotate(&place, "bindery.dev/reconcile", "1").await;
    until("new credentials", async || user(&place).await == "u2").await;
    until("the time of the deletion", async || {
        status(&place, "b").await["rotation"]["revokeAt"] == "2999-01-01T00:00:00Z"
    })
    .await;
    assert_eq!(ids(&place).await.0.len(), 2, "pods may use the former ones until they expire");
    let binding: ServiceBinding = place.api().get("b").await.unwrap();
    assert!(binding.annotations().get(ROTATE).is_none());
    place.remove::<ServiceBinding>("b").await;
}
