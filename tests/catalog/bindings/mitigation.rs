//! Orphan mitigation: a bind whose outcome is unknown is deleted before it is repeated.

use bindery::apis::servicecatalog::ServiceBinding;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::{bind, status};
use crate::{
    broker::{Answer, Course, Verb},
    harness::{Place, restart_catalog, until, without_restarts},
};

/// The requests about bindings, as their methods.
fn methods(place: &Place) -> Vec<String> {
    let held = place.broker.held();
    let of_bindings = held.requests.iter().filter(|request| request.contains("service_bindings"));
    of_bindings.filter_map(|request| request.split(' ').next()).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_bind_of_unknown_outcome_is_deleted_and_repeated() {
    for answer in [
        Answer::error(500, "it is done, or not").after_acting(),
        Answer::dropped().after_acting(),
        Answer::malformed(201).after_acting(),
    ] {
        // A restart before the outcome is written repeats the request instead.
        let _catalog = without_restarts().await;
        let place = Place::with_instance().await;
        place.broker.once(Verb::Bind, answer);
        bind(&place, "b", json!({}), json!({})).await;
        place.binding_is("b", "InjectedBindResult").await;
        assert_eq!(methods(&place), ["PUT", "DELETE", "PUT"]);
    }
}

#[tokio::test]
async fn other_failures_are_repeated_without_a_deletion() {
    for answer in [
        Answer::error(408, "late"),
        Answer::coded(422, "ConcurrencyError", "busy"),
        Answer::malformed(200).after_acting(),
    ] {
        // A restart before the outcome is written repeats the request instead.
        let _catalog = without_restarts().await;
        let place = Place::with_instance().await;
        place.broker.once(Verb::Bind, answer);
        bind(&place, "b", json!({}), json!({})).await;
        place.binding_is("b", "InjectedBindResult").await;
        assert_eq!(methods(&place), ["PUT", "PUT"]);
    }
}

#[tokio::test]
async fn a_mitigation_goes_on_after_a_restart_and_asynchronously() {
    let place = Place::with_instance().await;
    place.broker.once(Verb::Bind, Answer::error(500, "no disk").after_acting());
    place.broker.always(Verb::Unbind, Answer::error(500, "not now"));
    bind(&place, "b", json!({}), json!({})).await;
    until("a failed deletion", async || !place.broker.received(Verb::Unbind).is_empty()).await;
    place.binding_is("b", "ServiceBindingNeedsOrphanMitigation").await;
    assert_eq!(status(&place, "b").await["orphanMitigationInProgress"], true);
    restart_catalog().await;
    place.broker.normal(Verb::Unbind);
    place.broker.asynchronous(Verb::Unbind, Course::polls(1));
    place.binding_is("b", "InjectedBindResult").await;
    assert_eq!(status(&place, "b").await["orphanMitigationInProgress"], false);
    assert_eq!(place.broker.received(Verb::Bind).len(), 2);
}

#[tokio::test]
async fn credentials_in_use_are_not_deleted_when_they_cannot_be_repeated() {
    let place = Place::with_binding().await;
    place.broker.always(Verb::Bind, Answer::error(500, "no disk"));
    place.delete::<Secret>("b-env").await;
    let look = json!({"metadata": {"annotations": {"bindery.dev/reconcile": "1"}}});
    place.merge::<ServiceBinding>("b", look).await.unwrap();
    let message = place.binding_is("b", "BindCallFailed").await;
    assert!(message.contains("no disk"), "{message}");
    assert!(place.broker.received(Verb::Unbind).is_empty());
    place.broker.normal(Verb::Bind);
    place.binding_is("b", "InjectedBindResult").await;
}

#[tokio::test]
async fn a_deletion_stops_a_mitigation() {
    let place = Place::with_instance().await;
    place.broker.always(Verb::Bind, Answer::error(500, "no disk"));
    bind(&place, "b", json!({}), json!({})).await;
    until("a mitigation", async || !place.broker.received(Verb::Unbind).is_empty()).await;
    place.remove::<ServiceBinding>("b").await;
    assert_eq!(place.external_resources().await.len(), 1, "that of the instance");
}
