//! svcat, the command line of the old Service Catalog, on bindery's objects. `tests/preflight svcat` builds it in the
//! version of `tests/catalog/programs/go.mod`.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::servicecatalog::{ServiceBinding, ServiceBroker, ServiceInstance};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::json;

use crate::{
    admission::catalog_objects::Completion,
    commands::{kubectl, svcat, svcat_says},
    harness::{Place, is, until},
};

/// The commands from a broker to credentials and back, for a broker of this scope, registered with these flags.
async fn play(place: &Place, scope: &[&str], flags: &[&str]) {
    let (name, url) = (place.broker.name(), place.broker.url());
    let scoped = |arguments: &[&'static str]| -> Vec<String> {
        arguments.iter().chain(scope).map(|argument| argument.replace("NAME", &name)).collect()
    };
    let run = async |arguments: &[&'static str], words: &[&str]| {
        let arguments = scoped(arguments);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        svcat_says(place, &arguments, words).await;
    };
    let classes = ["get", "classes", &name];
    let register = [&["register", &name, "--url", &url], scope, flags].concat();
    svcat_says(place, &register, &[&name, &url]).await;
    if scope.contains(&"namespace") {
        // The webhook of this test sees only objects with its label.
        is(&place.api::<ServiceBroker>(), &name, "SecretNotApproved").await;
        let label = format!("checked={}", place.namespace);
        kubectl(place, &["label", "servicebroker", &name, &label], "").await;
        let approval = "bindery.dev/secret-approval=check";
        kubectl(place, &["annotate", "servicebroker", &name, approval, "--overwrite"], "").await;
        is(&place.api::<ServiceBroker>(), &name, "FetchedCatalog").await;
    }
    until("svcat finds the class", async || svcat(place, &classes).await.is_ok()).await;
    run(&["get", "brokers"], &[&name, "Ready"]).await;
    run(&["get", "classes"], &[&name]).await;
    run(&["get", "plans"], &[&name, "default"]).await;
    run(&["describe", "broker", "NAME"], &["Successfully fetched catalog entries"]).await;
    run(&["sync", "broker", "NAME"], &["Synchronization requested"]).await;
    svcat_says(place, &["marketplace"], &[&name, "default"]).await;
    svcat_says(place, &["describe", "class", &name], &[&name, "default"]).await;
    svcat_says(place, &["get", "plans", "--class", &name], &["default"]).await;
    run(&["describe", "plan", "NAME/default"], &["default"]).await;

    let provision = ["provision", "db", "--class", &name, "--plan", "default", "-p", "role=writer", "--wait"];
    svcat_says(place, &provision, &["db", "Ready"]).await;
    svcat_says(place, &["get", "instances"], &["db", "Ready"]).await;
    svcat_says(place, &["describe", "instance", "db"], &["db", "Ready", "role: writer"]).await;
    svcat_says(place, &["touch", "instance", "db"], &[]).await;
    let touched: ServiceInstance = place.api().get("db").await.unwrap();
    assert_eq!(touched.spec.update_requests, Some(1));

    svcat_says(place, &["bind", "db", "--name", "b", "--secret-name", "s", "--wait"], &["b", "Ready"]).await;
    svcat_says(place, &["get", "bindings"], &["b", "db", "Ready"]).await;
    svcat_says(
        place,
        &["describe", "binding", "b", "--show-secrets"],
        &["postgres://u1:p%2F1@db:26257/cf_x"],
    )
    .await;
    svcat_says(place, &["describe", "instance", "db"], &["b"]).await;
    svcat_says(place, &["bind", "db", "--wait"], &["Ready"]).await;
    svcat_says(place, &["unbind", "--name", "b", "--wait"], &["deleted b"]).await;
    place.gone::<ServiceBinding>("b").await;
    svcat_says(place, &["unbind", "db", "--wait"], &["deleted db"]).await;
    svcat_says(place, &["deprovision", "db", "--wait"], &["deleted db"]).await;
    assert!(place.broker.is_empty());
    run(&["deregister", "NAME", "--wait"], &[]).await;
}

#[tokio::test]
async fn svcat_plays_from_a_cluster_broker_to_credentials_and_back() {
    let place = Place::new().await;
    let webhooks = Completion::of(&place).await;
    play(&place, &["--scope", "cluster"], &["--wait"]).await;
    webhooks.finish().await;
}

/// The broker wants credentials from a Secret of the namespace. `register --wait` ends in a panic of svcat 0.3.1, which
/// takes every broker for one of the cluster.
#[tokio::test]
async fn svcat_plays_from_a_broker_of_a_namespace_to_credentials_and_back() {
    let place = Place::new().await;
    let webhooks = Completion::of(&place).await;
    place.broker.held().password = Some("right".to_owned());
    let secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "auth"}, "stringData": {"username": "user", "password": "right"}}),
    )
    .unwrap();
    place.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    play(&place, &["--scope", "namespace"], &["--basic-secret", "auth"]).await;
    webhooks.finish().await;
}

/// Without the webhook the controller completes the objects.
#[tokio::test]
async fn svcat_works_without_the_webhook() {
    let place = Place::with_broker().await;
    let name = place.broker.name();
    until("svcat finds the class", async || svcat(&place, &["get", "classes", &name]).await.is_ok()).await;
    let provision = ["provision", "db", "--class", &name, "--plan", "default", "--wait"];
    svcat_says(&place, &provision, &["db", "Ready"]).await;
    svcat_says(&place, &["bind", "db", "--wait"], &["Ready"]).await;
    svcat_says(&place, &["unbind", "db", "--wait"], &["deleted db"]).await;
    svcat_says(&place, &["deprovision", "db", "--wait"], &["deleted db"]).await;
}

/// The objects are gone at once, and bindery settles with the broker later.
#[tokio::test]
async fn abandoned_objects_are_gone_and_the_broker_is_settled_later() {
    let place = Place::with_broker().await;
    let webhooks = Completion::of(&place).await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    place.broker.stop().await;
    webhooks.server.stop().await;
    svcat_says(&place, &["unbind", "db", "--abandon", "--yes"], &["deleted b"]).await;
    svcat_says(&place, &["deprovision", "db", "--abandon", "--yes"], &["deleted db"]).await;
    place.gone::<ServiceBinding>("b").await;
    place.gone::<ServiceInstance>("db").await;
    let mut broker = place.broker.clone();
    broker.serve();
    until("the broker holds nothing", async || place.broker.is_empty()).await;
    webhooks.finish().await;
}
