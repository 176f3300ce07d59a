//! Asynchronous bindings, and requests that are under way.

use bindery::apis::servicecatalog::ServiceBinding;
use serde_json::json;

use super::{bind, status};
use crate::{
    broker::{Answer, Course, Verb},
    harness::{Place, restart_catalog, until},
};

/// An instance of a service whose bindings are asynchronous and can be fetched.
async fn asynchronous(course: Course) -> Place {
    let place = Place::new().await;
    place.broker.asynchronous(Verb::Bind, course);
    place.register(json!({})).await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place
}

#[tokio::test]
async fn a_binding_is_made_and_deleted_asynchronously_across_restarts() {
    let place = asynchronous(Course::never()).await;
    bind(&place, "b", json!({}), json!({})).await;
    let message = place.binding_is("b", "Binding").await;
    assert!(message.starts_with("The binding is being created asynchronously"), "{message}");
    let seen = status(&place, "b").await;
    assert_eq!((&seen["asyncOpInProgress"], &seen["currentOperation"]), (&json!(true), &json!("Bind")));
    assert!(seen["lastOperation"].is_string() && place.secret("b").await.is_none(), "{seen}");
    restart_catalog().await;
    place.broker.finish();
    place.binding_is("b", "InjectedBindResult").await;
    assert_eq!(place.broker.received(Verb::Bind).len(), 1, "the restart did not bind again");
    assert!(place.broker.received(Verb::Bind)[0].accepts_incomplete());
    assert!(!place.broker.received(Verb::FetchBinding).is_empty());
    assert!(place.secret("b").await.is_some());
    assert_eq!(status(&place, "b").await["asyncOpInProgress"], false);
    place.broker.asynchronous(Verb::Unbind, Course::never());
    place.delete::<ServiceBinding>("b").await;
    let message = place.binding_is("b", "Unbinding").await;
    assert_eq!(message, "The binding is being deleted asynchronously");
    restart_catalog().await;
    place.broker.finish();
    place.broker.normal(Verb::Unbind);
    place.gone::<ServiceBinding>("b").await;
    assert!(place.broker.held().bindings.is_empty());
}

#[tokio::test]
async fn credentials_that_cannot_be_fetched_are_asked_for_again() {
    let place = asynchronous(Course::polls(0)).await;
    place.broker.always(Verb::FetchBinding, Answer::error(500, "not now"));
    bind(&place, "b", json!({}), json!({})).await;
    let message = place.binding_is("b", "FetchingBindingFailed").await;
    assert!(message.contains("not now"), "{message}");
    place.broker.normal(Verb::FetchBinding);
    place.binding_is("b", "InjectedBindResult").await;
}

#[tokio::test]
async fn a_service_whose_bindings_cannot_be_fetched_is_asked_again() {
    let place = Place::with_instance().await;
    place.broker.asynchronous(Verb::Bind, Course::polls(1));
    bind(&place, "b", json!({}), json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    assert!(place.broker.received(Verb::FetchBinding).is_empty());
    assert_eq!(place.broker.received(Verb::Bind).len(), 2);
}

#[tokio::test]
async fn a_failed_bind_is_deleted_and_failed() {
    for course in [Course::polls(0).failing("no disk"), Course::polls(0).answering(400)] {
        let place = asynchronous(course).await;
        bind(&place, "b", json!({}), json!({})).await;
        until("a failure for good", async || {
            let status = status(&place, "b").await;
            status["lastConditionState"] == "Failed" && status["orphanMitigationInProgress"] == false
        })
        .await;
        let message = place.binding_is("b", "BindCallFailed").await;
        assert!(message.contains("delete the binding and create it again"), "{message}");
        assert!(place.broker.held().bindings.is_empty());
        assert_eq!(place.broker.received(Verb::Bind).len(), 1);
        place.remove::<ServiceBinding>("b").await;
    }
}

#[tokio::test]
async fn a_plan_limits_how_long_a_bind_is_polled() {
    let place = Place::new().await;
    place.broker.held().catalog["services"][0]["plans"][0]["maximum_polling_duration"] = json!(1);
    place.broker.asynchronous(Verb::Bind, Course::never());
    place.register(json!({})).await;
    place.instance("db", json!({})).await;
    bind(&place, "b", json!({}), json!({})).await;
    let message = place.binding_is("b", "AsyncOperationTimeout").await;
    assert!(message.contains("Stopped after 1 seconds"), "{message}");
    until("a failure for good", async || status(&place, "b").await["lastConditionState"] == "Failed").await;
    assert!(place.broker.held().bindings.is_empty(), "it was deleted");
    place.remove::<ServiceBinding>("b").await;
}

#[tokio::test]
async fn requests_under_way_are_shown() {
    let place = Place::with_instance().await;
    place.broker.always(Verb::Bind, Answer::normal().until_released());
    place.broker.always(Verb::Unbind, Answer::normal().until_released());
    bind(&place, "b", json!({}), json!({})).await;
    let message = place.binding_is("b", "BindingRequestInFlight").await;
    assert_eq!(message, "Binding request for ServiceBinding in-flight to Broker");
    place.broker.normal(Verb::Bind);
    place.binding_is("b", "InjectedBindResult").await;
    place.delete::<ServiceBinding>("b").await;
    let message = place.binding_is("b", "UnbindingRequestInFlight").await;
    assert_eq!(message, "Unbind request for ServiceBinding in-flight to Broker");
    place.broker.normal(Verb::Unbind);
    place.gone::<ServiceBinding>("b").await;
}
