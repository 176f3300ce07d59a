//! The chart `alibabacloud-servicebroker`: the values of Alibaba Cloud's chart, each of which is acted on or refused.

use std::{collections::BTreeSet, fs, path::Path};

use bindery::broker::{check_services, config::LoadedConfig};
use serde_json::{Value, json};

use crate::rendered::{documents, find, folder, helm_release, kind, name, strings};

const NAME: &str = "alibabacloud-servicebroker";

fn helm(arguments: &[&str]) -> std::process::Output {
    helm_release(NAME, "catalog", Path::new("charts/alibabacloud-servicebroker"), arguments)
}

fn rendered(arguments: &[&str]) -> Vec<Value> {
    let output = helm(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    documents(&String::from_utf8(output.stdout).unwrap())
}

fn refusal(arguments: &[&str]) -> String {
    let output = helm(arguments);
    assert!(!output.status.success(), "rendered with {arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The configuration of the broker, which the binary accepts.
fn config(documents: &[Value]) -> Value {
    let file =
        &find(documents, "ConfigMap", "alibabacloud-servicebroker-broker").unwrap()["data"]["bindery.yaml"];
    let loaded = LoadedConfig::from_yaml(file.as_str().unwrap()).unwrap();
    check_services(&loaded.services).unwrap();
    serde_saphyr::from_str(file.as_str().unwrap()).unwrap()
}

fn broker<'a>(documents: &'a [Value], of: &str) -> &'a Value {
    &find(documents, of, "alibabacloud-servicebroker-broker").unwrap()["spec"]
}

fn arguments<'a>(documents: &'a [Value], of: &str) -> BTreeSet<&'a str> {
    strings(&broker(documents, of)["template"]["spec"]["containers"][0]["args"])
}

#[test]
fn the_seeds_command_registers_the_broker_under_the_seeds_name() {
    let documents = rendered(&[]);
    let found = arguments(&documents, "StatefulSet");
    for wanted in [
        "--register-broker=alibabacloud-servicebroker",
        "--broker-host=alibabacloud-servicebroker-alibabacloud-servicebroker.catalog.svc.cluster.local",
    ] {
        assert!(found.contains(wanted), "{found:?}");
    }
    let service =
        find(&documents, "Service", "alibabacloud-servicebroker-alibabacloud-servicebroker").unwrap();
    let labels = broker(&documents, "StatefulSet")["template"]["metadata"]["labels"].as_object().unwrap();
    for (label, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(labels.get(label), Some(value), "{label}");
    }
    assert_eq!(service["spec"]["ports"], json!([{"name": "https", "port": 443, "targetPort": "broker"}]));
    let config = config(&documents);
    assert_eq!(config["backends"]["alibaba"], json!({"type": "alibaba"}));
    assert_eq!(config["store"], "sqlite:/var/lib/bindery/broker.db");
}

/// The address in examples/alibaba/broker.yaml.
#[test]
fn the_release_alibroker_has_the_seeds_address() {
    let output = helm_release("alibroker", "catalog", Path::new("charts/alibabacloud-servicebroker"), &[]);
    let documents = documents(&String::from_utf8(output.stdout).unwrap());
    assert!(find(&documents, "Service", "alibroker-alibabacloud-servicebroker").is_some());
}

#[test]
fn every_template_of_bindery_is_part_of_the_chart() {
    let wrapped = rendered(&[]);
    let values = ["--set", "backends.alibaba.type=alibaba"];
    let output = helm_release(NAME, "catalog", Path::new("charts/bindery"), &values);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bindery = documents(&String::from_utf8(output.stdout).unwrap());
    let names = |documents: &[Value]| {
        documents.iter().map(|it| format!("{} {}", kind(it), name(it))).collect::<BTreeSet<_>>()
    };
    let (more, less) = (names(&wrapped), names(&bindery));
    let added: Vec<_> = more.difference(&less).collect();
    assert_eq!(added, ["Service alibabacloud-servicebroker-alibabacloud-servicebroker"]);
    assert!(less.is_subset(&more), "{:?}", less.difference(&more).collect::<Vec<_>>());
    assert_eq!(folder("charts/alibabacloud-servicebroker/crds"), folder("charts/bindery/crds"));
}

/// Helm reads no definition of another chart's schema, so that the chart has a copy.
#[test]
fn the_backend_has_the_fields_of_binderys_chart() {
    let read = |chart: &str| -> Value {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(chart).join("values.schema.json");
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    };
    let mut wanted = read("bindery")["definitions"]["backendOnAlibaba"].clone();
    wanted["properties"].as_object_mut().unwrap().remove("type");
    wanted.as_object_mut().unwrap().remove("required");
    assert_eq!(read(NAME)["properties"]["alibaba"], wanted);
}

#[test]
fn each_value_is_acted_on() {
    let documents = rendered(&[
        "--set",
        "registerBroker=false,replicaCount=3,store=postgres://bindery@db/bindery,storePassword.secretName=db",
        "--set",
        "image.repository=registry.example.com/bindery,image.tag=1.2,image.pullPolicy=Always",
        "--set",
        "service.name=other,service.type=NodePort,service.externalPort=80,resources.limits.memory=1Gi",
        "--set",
        "alibaba.region=cn-beijing,alibaba.secretName=key,alibaba.secretKeys={accessKeyId,accessKeySecret}",
        "--set",
        "alibaba.securityIps={10.0.0.0/8},serviceAccountAnnotations.role=bindery",
    ]);
    let found = arguments(&documents, "Deployment");
    for wanted in
        ["--register-broker=", "--broker-host=alibabacloud-servicebroker-other.catalog.svc.cluster.local"]
    {
        assert!(found.contains(wanted), "{found:?}");
    }
    let broker = broker(&documents, "Deployment");
    assert_eq!(broker["replicas"], 3);
    let container = &broker["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example.com/bindery:1.2");
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
    let service = &find(&documents, "Service", "alibabacloud-servicebroker-other").unwrap()["spec"];
    assert_eq!(service["type"], "NodePort");
    assert_eq!(service["ports"][1], json!({"name": "external", "port": 80, "targetPort": "broker"}));
    let config = config(&documents);
    let folder = "/etc/bindery/backends/alibaba";
    assert_eq!(
        config["backends"]["alibaba"],
        json!({"type": "alibaba", "region": "cn-beijing", "securityIps": ["10.0.0.0/8"],
            "accessKeyIdFile": format!("{folder}/accessKeyId"), "accessKeySecretFile": format!("{folder}/accessKeySecret")})
    );
    let account = find(&documents, "ServiceAccount", "alibabacloud-servicebroker-broker").unwrap();
    assert_eq!(account["metadata"]["annotations"]["role"], "bindery");
    assert_eq!(config["store"], "postgres://bindery@db/bindery");
    assert_eq!(config["storePasswordFile"], "/etc/bindery/store-password");
}

#[test]
fn the_volume_of_the_records_has_the_former_values() {
    let documents = rendered(&["--set", "etcd.persistence.size=5Gi"]);
    let claim = &broker(&documents, "StatefulSet")["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["resources"]["requests"]["storage"], "5Gi");
    let documents = rendered(&["--set", "etcd.persistence.enabled=false"]);
    assert!(broker(&documents, "StatefulSet")["volumeClaimTemplates"].is_null());
}

#[test]
fn what_cannot_be_acted_on_is_refused() {
    for (set, named) in [
        ("service.internalPort=8005", "remove the value"),
        ("etcdImage=quay.io/coreos/etcd", "keeps its records in a file"),
        ("etcd.servers=http://etcd:2379", "keeps its records in a file"),
        ("etcd.useEmbedded=false", "keeps its records in a file"),
        ("etcd.persistence.accessMode=ReadWriteMany", "accessMode"),
        ("replicaCount=2", "set `store`"),
        ("store=sqlite:/tmp/db", "/store"),
        ("alibaba.type=aws", "'type' not allowed"),
        ("alibaba.secretName=key", "secretKeys"),
        ("registerBrokers=true", "'registerBrokers' not allowed"),
        ("services=x", "'services' not allowed"),
    ] {
        let message = refusal(&["--set", set]);
        assert!(message.contains(named), "{set}: {message}");
    }
}
