//! svcat, the command line of the old Service Catalog, on bindery's objects. `tests/preflight svcat` builds it in the
//! version of `tests/catalog/programs/go.mod`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};

use bindery::apis::servicecatalog::{ServiceBinding, ServiceInstance};
use serde_json::json;
use tokio::process::Command;

use crate::{
    admission::catalog_objects::Completion,
    harness::{Place, until},
};

/// A program of `tests/preflight svcat`.
pub(crate) fn program(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    target.join("svcat").join(name)
}

/// Runs svcat in the namespace of the place. Returns its output, or its error.
async fn svcat(place: &Place, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program("svcat"));
    command.args(arguments).args(["--namespace", &place.namespace]).kill_on_drop(true);
    let output = command.output().await.expect("run tests/preflight svcat");
    let [out, beside] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    if output.status.success() { Ok(out) } else { Err(format!("svcat {arguments:?}: {out}{beside}")) }
}

/// The same for a command that must succeed and print these words.
async fn says(place: &Place, arguments: &[&str], words: &[&str]) {
    let output = svcat(place, arguments).await.unwrap();
    for word in words {
        assert!(output.contains(word), "svcat {arguments:?} does not print {word:?}: {output}");
    }
}

/// The commands from a broker to credentials and back, for a broker of this scope.
async fn play(place: &Place, scope: &[&str]) {
    let (name, url) = (place.broker.name(), place.broker.url());
    let scoped = |arguments: &[&'static str]| -> Vec<String> {
        arguments
            .iter()
            .chain(scope)
            .map(|argument| argument.replace("NAME", &name).replace("URL", &url))
            .collect()
    };
    let run = async |arguments: &[&'static str], words: &[&str]| {
        let arguments = scoped(arguments);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        says(place, &arguments, words).await;
    };
    let classes = ["get", "classes", &name];
    run(&["register", "NAME", "--url", "URL", "--wait"], &[&name, &url]).await;
    until("svcat finds the class", async || svcat(place, &classes).await.is_ok()).await;
    run(&["get", "brokers"], &[&name, "Ready"]).await;
    run(&["describe", "broker", "NAME"], &["Successfully fetched catalog entries"]).await;
    run(&["sync", "broker", "NAME"], &["Synchronization requested"]).await;
    says(place, &["marketplace"], &[&name, "default"]).await;
    says(place, &["describe", "class", &name], &[&name, "default"]).await;
    says(place, &["get", "plans", "--class", &name], &["default"]).await;
    run(&["describe", "plan", "NAME/default"], &["default"]).await;

    let provision = ["provision", "db", "--class", &name, "--plan", "default", "-p", "role=writer", "--wait"];
    says(place, &provision, &["db", "Ready"]).await;
    says(place, &["get", "instances"], &["db", "Ready"]).await;
    says(place, &["describe", "instance", "db"], &["db", "Ready", "role: writer"]).await;
    says(place, &["touch", "instance", "db"], &[]).await;
    let touched: ServiceInstance = place.api().get("db").await.unwrap();
    assert_eq!(touched.spec.update_requests, Some(1));

    says(place, &["bind", "db", "--name", "b", "--secret-name", "s", "--wait"], &["b", "Ready"]).await;
    says(place, &["get", "bindings"], &["b", "db", "Ready"]).await;
    says(place, &["describe", "binding", "b", "--show-secrets"], &["postgres://u1:p%2F1@db:26257/cf_x"])
        .await;
    says(place, &["describe", "instance", "db"], &["b"]).await;
    says(place, &["bind", "db", "--wait"], &["Ready"]).await;
    says(place, &["unbind", "--name", "b", "--wait"], &["deleted b"]).await;
    says(place, &["unbind", "db", "--wait"], &["deleted db"]).await;
    says(place, &["deprovision", "db", "--wait"], &["deleted db"]).await;
    assert!(place.broker.is_empty());
    run(&["deregister", "NAME", "--wait"], &[]).await;
}

#[tokio::test]
async fn svcat_plays_from_a_cluster_broker_to_credentials_and_back() {
    let place = Place::new().await;
    let webhooks = Completion::of(&place).await;
    play(&place, &["--scope", "cluster"]).await;
    webhooks.finish().await;
}

/// Without the webhook the controller completes the objects.
#[tokio::test]
async fn svcat_works_without_the_webhook() {
    let place = Place::with_broker().await;
    let name = place.broker.name();
    until("svcat finds the class", async || svcat(&place, &["get", "classes", &name]).await.is_ok()).await;
    let provision = ["provision", "db", "--class", &name, "--plan", "default", "--wait"];
    says(&place, &provision, &["db", "Ready"]).await;
    says(&place, &["bind", "db", "--wait"], &["Ready"]).await;
    says(&place, &["unbind", "db", "--wait"], &["deleted db"]).await;
    says(&place, &["deprovision", "db", "--wait"], &["deleted db"]).await;
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
    says(&place, &["unbind", "db", "--abandon", "--yes"], &["deleted b"]).await;
    says(&place, &["deprovision", "db", "--abandon", "--yes"], &["deleted db"]).await;
    place.gone::<ServiceBinding>("b").await;
    place.gone::<ServiceInstance>("db").await;
    let mut broker = place.broker.clone();
    broker.serve();
    until("the broker holds nothing", async || place.broker.is_empty()).await;
    webhooks.finish().await;
}
