//! The broker: its store, its configuration, and the replacement of its replicas.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::{
    rendered::{EXAMPLE, documents, example, example_with, find, kind, name, refusal, rendered, strings},
    rights::cluster_rights,
};

#[test]
fn without_services_there_is_no_broker() {
    let documents = documents(&rendered(&[]));
    assert!(documents.iter().all(|document| !name(document).contains("broker")));
}

/// Values for a broker with a database as its store.
const SHARED_STORE: [&str; 10] = [
    "--set",
    "broker.store=postgres://bindery@db.example:5432/bindery?sslrootcert=/etc/bindery/store-tls/ca.crt",
    "--set",
    "broker.storePassword.secretName=store",
    "--set",
    "broker.storeTls.secretName=store",
    "--set",
    "broker.formerStoreKeys.secretName=former",
    "--set",
    "broker.formerStoreKeys.keys={first,second}",
];

/// The broker's configuration file as its pods get it.
pub(crate) fn broker_config(documents: &[Value]) -> Value {
    let file = &find(documents, "ConfigMap", "bindery-broker").unwrap()["data"]["bindery.yaml"];
    serde_saphyr::from_str(file.as_str().unwrap()).unwrap()
}

/// The files of the broker's pods, below /etc/bindery.
pub(crate) fn broker_files(workload: &Value) -> BTreeSet<String> {
    let volumes = workload["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let sources =
        volumes.iter().find(|volume| volume["name"] == "config").unwrap()["projected"]["sources"].as_array();
    let items =
        sources.unwrap().iter().flat_map(|source| source["secret"]["items"].as_array().into_iter().flatten());
    items.map(|item| format!("/etc/bindery/{}", item["path"].as_str().unwrap())).collect()
}

#[test]
fn by_default_one_broker_keeps_a_file_on_a_volume() {
    let documents = example();
    let broker = find(&documents, "StatefulSet", "bindery-broker").unwrap();
    assert_eq!(broker["spec"]["replicas"], 1);
    assert_eq!(broker["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "store");
    assert_eq!(broker_config(&documents)["store"], "sqlite:/var/lib/bindery/broker.db");
    assert!(find(&documents, "Deployment", "bindery-broker").is_none());
    assert!(find(&documents, "PodDisruptionBudget", "bindery-broker").is_none());
}

#[test]
fn brokers_that_share_a_store_are_replaced_one_by_one() {
    let documents = example_with(&SHARED_STORE);
    assert!(find(&documents, "StatefulSet", "bindery-broker").is_none());
    let broker = find(&documents, "Deployment", "bindery-broker").unwrap();
    assert_eq!(broker["spec"]["replicas"], 2);
    assert_eq!(broker["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let budget = find(&documents, "PodDisruptionBudget", "bindery-broker").unwrap();
    assert_eq!(budget["spec"]["selector"], broker["spec"]["selector"]);
    let pod = &broker["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 1, "no volume: {mounts:?}");
    let count = example_with(&[&SHARED_STORE[..], &["--set", "broker.replicas=5"]].concat());
    assert_eq!(find(&count, "Deployment", "bindery-broker").unwrap()["spec"]["replicas"], 5);
}

/// The binary accepts the configuration that the chart writes, and every file in it is mounted.
#[test]
fn the_brokers_configuration_names_the_files_of_its_secrets() {
    let documents = example_with(&SHARED_STORE);
    let config = broker_config(&documents);
    let loaded = bindery::broker::config::LoadedConfig::from_yaml(&config.to_string()).unwrap();
    assert_eq!(loaded.stated.store.unwrap().to_string(), "postgres://bindery@db.example:5432/bindery");
    let files = broker_files(find(&documents, "Deployment", "bindery-broker").unwrap());
    let password = config["storePasswordFile"].as_str().unwrap().to_owned();
    let former = strings(&config["formerStoreKeyFiles"]);
    assert_eq!(former.len(), 2);
    let named = former
        .into_iter()
        .map(ToOwned::to_owned)
        .chain([password, "/etc/bindery/store-tls/ca.crt".to_owned()]);
    for file in named {
        assert!(files.contains(&file), "{file} is not among {files:?}");
    }
}

/// A MySQL server, a PostgreSQL server with a client CA, and a plan with all settings.
#[test]
fn servers_and_plans_of_every_kind_are_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.yaml");
    fs::write(
        &values,
        r"
backends:
  my: {type: mysql, limits: {concurrency: 4, requestsPerSecond: 10}, host: m, port: 3306, user: bindery, secretName: my, secretKeys: [password, ca.crt]}
  pg: {type: postgresql, host: p, port: 5432, user: bindery, maxConnections: 8, secretName: pg, secretKeys: [password, ca.crt, client-ca.crt, client-ca.key]}
services:
- {id: m, name: mysql, type: mysql, description: d, plans: [{name: default, description: d, backend: my}]}
- id: p
  name: postgresql
  type: postgresql
  description: d
  plans:
  - name: all
    description: d
    backend: pg
    database: {access: {default: readonly, allowed: [readonly, owner]}, validFor: {default: 30d, maximum: 90d}, encodings: [UTF8],
      extensions: [hstore], templates: {demo: demo_data}, reclaimPolicy: {default: retain}, sslmode: verify-full, credentials: certificate}
broker: {rotateAdmin: true}
",
    )
    .unwrap();
    let documents = documents(&rendered(&["--values", values.to_str().unwrap()]));
    let config = broker_config(&documents);
    let loaded = bindery::broker::config::LoadedConfig::from_yaml(&config.to_string()).unwrap();
    bindery::broker::check_services(&loaded.services).unwrap();
    let backend = |name: &str| {
        let found = loaded.services.backends.iter().find(|backend| backend.name.as_str() == name);
        (found.unwrap(), found.unwrap().settings.parse::<Value>().unwrap())
    };
    assert_eq!((backend("my").0.kind.as_str(), backend("pg").0.kind.as_str()), ("mysql", "postgresql"));
    assert_eq!(backend("my").0.limits.concurrency.map(usize::from), Some(4));
    let ca = backend("pg").1["clientCa"].clone();
    let files = broker_files(find(&documents, "StatefulSet", "bindery-broker").unwrap());
    for file in [&ca["certFile"], &ca["keyFile"]] {
        assert!(files.contains(file.as_str().unwrap()), "{file} is not among {files:?}");
    }
    assert!(files.contains("/etc/bindery/backends/my/password.next"), "{files:?}");
    let plan = loaded.services.offerings[1].plans.values().next().unwrap();
    assert_eq!(plan.plan.parse::<Value>().unwrap()["database"]["templates"]["demo"], "demo_data");
    let role = find(&documents, "Role", "bindery-broker").unwrap();
    let patched: BTreeSet<_> = role["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| strings(&rule["verbs"]) == BTreeSet::from(["get", "patch"]))
        .flat_map(|rule| strings(&rule["resourceNames"]))
        .collect();
    assert_eq!(patched, BTreeSet::from(["my", "pg"]));
}

#[test]
fn annotations_assign_a_cloud_role_to_the_broker() {
    let annotation =
        r"broker.serviceAccountAnnotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::1:role/bindery";
    let documents =
        example_with(&["--set", "broker.store=dynamodb:bindery?region=eu-central-1", "--set", annotation]);
    let account = find(&documents, "ServiceAccount", "bindery-broker").unwrap();
    assert_eq!(
        account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
        "arn:aws:iam::1:role/bindery"
    );
    assert_eq!(broker_config(&documents)["storePasswordFile"], Value::Null);
}

#[test]
fn a_restore_runs_before_the_broker_with_only_the_rights_that_it_needs() {
    for store in [&[][..], &SHARED_STORE[..]] {
        let arguments = [store, &["--set", "broker.restore=true"]].concat();
        let (without, with) = (example_with(store), example_with(&arguments));
        let more: Vec<_> = cluster_rights(&with).difference(&cluster_rights(&without)).cloned().collect();
        let wanted = [
            r#"{""} {"namespaces"} {} {"get"}"#,
            r#"{"servicecatalog.k8s.io"} {"servicebindings", "serviceinstances"} {} {"get"}"#,
        ];
        assert_eq!(more, wanted);
        let workload = with.iter().find(|document| {
            name(document) == "bindery-broker" && matches!(kind(document), "Deployment" | "StatefulSet")
        });
        let pod = &workload.unwrap()["spec"]["template"]["spec"];
        let (restore, broker) = (&pod["initContainers"][0], &pod["containers"][0]);
        assert_eq!(restore["args"][0], "restore");
        for field in ["image", "env", "securityContext", "volumeMounts"] {
            assert_eq!(restore[field], broker[field], "{field}");
        }
        assert!(
            !example_with(store).iter().any(|it| it["spec"]["template"]["spec"]["initContainers"].is_array())
        );
        assert_eq!(
            rendered(&[&["--values", EXAMPLE], &arguments[..]].concat()),
            rendered(&[&["--values", EXAMPLE], &arguments[..]].concat())
        );
    }
}

#[test]
fn an_invalid_store_is_refused() {
    let refused = |set: &str| refusal(&["--values", EXAMPLE, "--set", set]);
    for password in ["postgres://bindery:s3cret@db/bindery", "postgres://bindery@db/bindery?password=s3cret"]
    {
        let message = refused(&format!("broker.store={password}"));
        assert!(message.contains("broker.storePassword") && !message.contains("s3cret"), "{message}");
    }
    assert!(refused("broker.store=mysql://db/bindery").contains("store"));
    assert!(refused("broker.storePassword.secretName=s").contains("only a store in PostgreSQL"));
    assert!(refused("broker.formerStoreKeys.secretName=s").contains("keys"));
    let message = refusal(&["--values", EXAMPLE, "--set", "broker.restore=true,apis.serviceCatalog=false"]);
    assert!(message.contains("apis.serviceCatalog=true"), "{message}");
}
