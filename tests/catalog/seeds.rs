//! The manifests of the documents that bindery follows, applied as they stand under `examples/`, with brokers that
//! serve the catalogs of the documents. Only the address of a broker is replaced. `examples/cockroachdb` is applied by
//! `tests/e2e/story.rs`, with bindery's own broker.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

use bindery::apis::servicecatalog::{ServiceBinding, ServiceBroker};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    admission::catalog_objects::Completion,
    broker::{Authority, Broker, Verb},
    commands::{kubectl, svcat_says},
    go_clients,
    harness::{Place, is, text, until},
};

/// The path of a file of the examples.
fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).display().to_string()
}

/// A manifest of the examples in which one address is replaced.
fn at_address(name: &str, address: &str, with: &str) -> String {
    let manifest = std::fs::read_to_string(example(name)).unwrap();
    assert_eq!(manifest.matches(address).count(), 1, "{name}");
    manifest.replace(address, with)
}

/// A service with these plans, as a catalog has it.
fn service(id: &str, name: &str, plans: &[(&str, &str)]) -> Value {
    let plans: Vec<_> =
        plans.iter().map(|(id, name)| json!({"id": id, "name": name, "description": name})).collect();
    json!({"id": id, "name": name, "description": name, "bindable": true, "plans": plans})
}

fn keys(secret: &Secret) -> Vec<&str> {
    secret.data.as_ref().unwrap().keys().map(String::as_str).collect()
}

/// The AWS Service Broker of the AWS Open Source Blog (2018).
#[tokio::test]
async fn the_queue_of_the_aws_blog_becomes_a_secret_with_the_keys_that_the_pod_names() {
    let place = Place::new().await;
    {
        let mut held = place.broker.held();
        held.catalog = json!({"services": [service("dh-sqs", "dh-sqs", &[("dh-sqs-standard", "standard"), ("dh-sqs-fifo", "fifo")])]});
        held.credentials = json!({"QueueURL": "https://sqs.us-west-2.amazonaws.com/000000000000/AWSServiceBroker-q",
            "QueueARN": "arn:aws:sqs:us-west-2:000000000000:AWSServiceBroker-q"});
    }
    place.register(json!({})).await;
    place.broker_is("FetchedCatalog").await;
    svcat_says(&place, &["get", "brokers"], &[&place.broker.name(), "Ready"]).await;
    svcat_says(&place, &["get", "classes"], &["dh-sqs"]).await;

    kubectl(&place, &["apply", "-f", &example("aws/provision-sqs.yaml")], "").await;
    place.instance_is("opensource-blog-sqs-demo", "ProvisionedSuccessfully").await;
    svcat_says(&place, &["get", "instances"], &["opensource-blog-sqs-demo", "dh-sqs", "standard", "Ready"])
        .await;
    kubectl(&place, &["apply", "-f", &example("aws/sqs-demo-binding.yaml")], "").await;
    place.binding_is("os-blog-sqs-binding", "InjectedBindResult").await;
    svcat_says(&place, &["get", "bindings"], &["os-blog-sqs-binding", "opensource-blog-sqs-demo", "Ready"])
        .await;
    svcat_says(&place, &["describe", "binding", "os-blog-sqs-binding"], &["QueueURL", "QueueARN"]).await;
    let secret = place.secret("os-blog-sqs-binding").await.unwrap();
    assert_eq!((keys(&secret), secret.type_.as_deref()), (vec!["QueueARN", "QueueURL"], Some("Opaque")));

    until("pods are admitted", async || {
        place.api::<ServiceAccount>().get_opt("default").await.unwrap().is_some()
    })
    .await;
    let arguments = ["apply", "--dry-run=server", "-o", "json", "-f", &example("aws/sqs-demo-app-pod.yaml")];
    let pod: Value = serde_json::from_str(&kubectl(&place, &arguments, "").await).unwrap();
    for (index, name) in ["SQS_QUEUE_URL", "SQS_QUEUE_ARN"].into_iter().enumerate() {
        let variable = &pod["spec"]["containers"][0]["env"][index];
        let reference = &variable["valueFrom"]["secretKeyRef"];
        assert_eq!((&variable["name"], &reference["name"]), (&json!(name), &json!("os-blog-sqs-binding")));
        assert!(text(&secret, reference["key"].as_str().unwrap()).contains("AWSServiceBroker"));
    }
    kubectl(&place, &["delete", "-f", &example("aws/sqs-demo-binding.yaml")], "").await;
    kubectl(&place, &["delete", "-f", &example("aws/provision-sqs.yaml")], "").await;
    assert!(place.broker.is_empty());
    place.brokers().delete(&place.broker.name(), &DeleteParams::default()).await.unwrap();
}

/// The catalog of the Alibaba Cloud service broker.
fn alibaba() -> Value {
    let rds = [
        ("rds-427559f1-bf2a-45d3-8844-32374a3e58aa", "rds-mysql-t1-small"),
        ("rds-edc2badc-d93b-4d9c-9d8e-da2f1c8c3e1c", "rds-mysql-s1-small"),
        ("rds-edc2badc-d93b-4d9c-9d8e-da2f1c8c3e1d", "rds-mysql-s2-large"),
        ("rds-edc2badc-d93b-4d9c-9d8e-da2f1c8c3e1e", "rds-self-define"),
    ];
    let oss = [
        ("oss-edc2badc-d93b-4d9c-9d8e-da2f1c8c2221", "default"),
        ("oss-edc2badc-d93b-4d9c-9d8e-da2f1c8c2222", "oss-self-define"),
    ];
    json!({"services": [
        service("rds-997b8372-8dac-40ac-ae65-758b4a5075a5", "alibaba-cloud-rds-mysqldb", &rds),
        service("oss-997b8372-8dac-40ac-ae65-758b4a502222", "alibaba-cloud-oss", &oss),
    ]})
}

/// The README of the Alibaba Cloud service broker. Its Secret has the keys `username` and `password`; the broker's
/// source adds the others.
#[tokio::test]
async fn the_database_and_the_bucket_of_alibaba_become_secrets() {
    let place = Place::new().await;
    place.broker.held().catalog = alibaba();
    place.broker.held().credentials = json!({"uri": "mysql://orders:replace-Me-1@db:3306/", "username": "orders",
        "password": "replace-Me-1", "host": "db", "port": "3306"});
    let address = "http://alibroker-alibabacloud-servicebroker.catalog.svc.cluster.local";
    let broker = at_address("alibaba/broker.yaml", address, &place.broker.url());
    kubectl(&place, &["create", "-f", "-"], &broker).await;
    is(&place.brokers(), "alibabacloud-servicebroker", "FetchedCatalog").await;
    let classes = kubectl(&place, &["get", "clusterserviceclass", "-o", "name"], "").await;
    let plans = kubectl(&place, &["get", "clusterserviceplan", "-o", "name"], "").await;
    let is_listed = |names: &str, id: &Value| {
        let end = format!("/{}", id.as_str().unwrap());
        assert!(names.lines().any(|name| name.ends_with(&end)), "{id} is not in {names}");
    };
    for service in alibaba()["services"].as_array().unwrap() {
        is_listed(&classes, &service["id"]);
        service["plans"].as_array().unwrap().iter().for_each(|plan| is_listed(&plans, &plan["id"]));
    }

    kubectl(&place, &["create", "-f", &example("alibaba/rds-mysql-instance.yaml")], "").await;
    place.instance_is("rds-mysql-1", "ProvisionedSuccessfully").await;
    kubectl(&place, &["create", "-f", &example("alibaba/rds-binding.yaml")], "").await;
    place.binding_is("rds-binding", "InjectedBindResult").await;
    let secret = place.secret("rds-instance-credentials").await.unwrap();
    assert_eq!(keys(&secret), ["host", "password", "port", "uri", "username"]);
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let asked = place.broker.received(Verb::Bind).remove(0).body;
    assert_eq!(asked["parameters"], json!({"Username": "orders", "Password": "replace-Me-1"}));

    place.broker.held().credentials = json!({"bucket": "b", "username": "u", "access_key_id": "id",
        "secret_access_key": "key", "host": "h", "uri": "oss://b.h"});
    for file in ["alibaba/oss-instance.yaml", "alibaba/oss-binding.yaml"] {
        kubectl(&place, &["create", "-f", &example(file)], "").await;
    }
    place.binding_is("oss-binding", "InjectedBindResult").await;
    let secret = place.secret("oss-instance-credentials").await.unwrap();
    assert_eq!(keys(&secret), ["access_key_id", "bucket", "host", "secret_access_key", "uri", "username"]);

    for file in ["rds-binding", "oss-binding", "rds-mysql-instance", "oss-instance"] {
        kubectl(&place, &["delete", "-f", &example(&format!("alibaba/{file}.yaml"))], "").await;
    }
    assert!(place.broker.is_empty());
    kubectl(&place, &["delete", "-f", "-"], &broker).await;
}

/// The broker outside the cluster of Kf's documentation: TLS that is verified, and a bearer token.
#[tokio::test]
async fn the_broker_of_kf_outside_the_cluster_is_asked_with_its_token() {
    let mut place = Place::new().await;
    let webhooks = Completion::of(&place).await;
    let authority = Authority::new("authority");
    place.broker = Broker::start_with(authority.issue("localhost"));
    place.broker.held().token = Some("t0ken".to_owned());
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "some-namespace"}})).unwrap();
    let secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "some-secret-name"}, "stringData": {"token": "t0ken"}}),
    )
    .unwrap();
    let parameters = PostParams::default();
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    namespaces.create(&parameters, &namespace).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(place.client.clone(), "some-namespace");
    secrets.create(&parameters, &secret).await.unwrap();

    // The test's authority is no public one.
    let address = format!("{}\n  caBundle: {}", place.broker.url(), authority.bundle);
    let manifest = at_address("kf/aws-sb.yaml", "https://replace.with.url.to.service.broker", &address);
    kubectl(&place, &["apply", "-f", "-"], &manifest).await;
    // The webhook of this test sees only objects with its label, so the approval is asked for afterwards.
    let said = is(&place.brokers(), "aws-sb", "SecretNotApproved").await;
    assert!(said.contains("some-namespace/some-secret-name"), "{said}");
    let label = format!("checked={}", place.namespace);
    kubectl(&place, &["label", "clusterservicebroker", "aws-sb", &label], "").await;
    let approval = "bindery.dev/secret-approval=check";
    kubectl(&place, &["annotate", "clusterservicebroker", "aws-sb", approval, "--overwrite"], "").await;
    is(&place.brokers(), "aws-sb", "FetchedCatalog").await;

    let shown = kubectl(&place, &["get", "ClusterServiceBroker", "aws-sb"], "").await;
    let lines: Vec<Vec<_>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "URL", "STATUS", "AGE"]);
    assert_eq!(lines[1][..3], ["aws-sb", &place.broker.url(), "Ready"]);
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    kubectl(&place, &["delete", "servicebinding/b", "serviceinstance/db"], "").await;
    kubectl(&place, &["delete", "-f", "-"], &manifest).await;
    namespaces.delete("some-namespace", &DeleteParams::default()).await.unwrap();
    webhooks.finish().await;
}

/// What Kf's chart registers with `deployNamespacedServiceBroker=true`, and what `kf create-service` and Kf's controller
/// write: bodies of the Go types, as `tests/catalog/programs/bodies` prints them. kf lists classes and plans with the
/// library of svcat, whose commands `svcat.rs` runs.
#[tokio::test]
async fn the_objects_that_kf_writes_become_a_secret_and_are_kept() {
    let place = Place::new().await;
    let webhooks = Completion::of(&place).await;
    let broker = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBroker",
        "metadata": {"name": "aws-servicebroker"}, "spec": {"url": place.broker.url()}});
    kubectl(&place, &["create", "-f", "-"], &broker.to_string()).await;
    is(&place.api::<ServiceBroker>(), "aws-servicebroker", "FetchedCatalog").await;

    let [instance, binding] = go_clients::bodies_of_kf(&place.broker.name());
    let instances = go_clients::path(&place, "ServiceInstance");
    go_clients::send(&place, "POST", &instances, &instance).await.unwrap();
    place.instance_is("mydb", "ProvisionedSuccessfully").await;
    let bindings = go_clients::path(&place, "ServiceBinding");
    go_clients::send(&place, "POST", &bindings, &binding).await.unwrap();
    let name = binding["metadata"]["name"].as_str().unwrap();
    place.binding_is(name, "InjectedBindResult").await;
    let stored: ServiceBinding = place.api().get(name).await.unwrap();
    assert_eq!(stored.spec.secret_name.as_deref(), Some(name), "kf reads the Secret that the binding names");
    assert_eq!(stored.labels()["kf-binding-name"], "mydb");
    assert!(place.secret(name).await.is_some());

    // Kf's controller writes its own spec and labels at every look.
    let path = format!("{bindings}/{name}");
    let written = go_clients::replace(&place, &path, "", |object| {
        object["spec"] = binding["spec"].clone();
        object["metadata"]["labels"] = binding["metadata"]["labels"].clone();
    })
    .await;
    assert_eq!(written["spec"]["secretName"], name);
    assert_eq!(written["metadata"]["generation"], json!(stored.metadata.generation));
    place.binding_is(name, "InjectedBindResult").await;
    kubectl(&place, &["delete", &format!("servicebinding/{name}"), "serviceinstance/mydb"], "").await;
    assert!(place.broker.is_empty());
    webhooks.finish().await;
}
