//! The chart `aws-servicebroker`: the values of the AWS Service Broker's chart, each of which is acted on or refused.

use std::{collections::BTreeSet, path::Path};

use bindery::broker::{check_services, config::LoadedConfig};
use serde_json::{Value, json};

use crate::rendered::{documents, find, folder, helm_release, kind, name, strings};

const NAME: &str = "aws-servicebroker";
/// The seed's command, as far as Helm 3 takes it.
const KEY: [&str; 4] = ["--set", "aws.secretkey=s3cret", "--set", "aws.accesskeyid=AKIA"];

fn rendered(arguments: &[&str]) -> Vec<Value> {
    let output = helm_release(NAME, "aws-sb", Path::new("charts/aws-servicebroker"), arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    documents(&String::from_utf8(output.stdout).unwrap())
}

fn refusal(arguments: &[&str]) -> String {
    let output = helm_release(NAME, "aws-sb", Path::new("charts/aws-servicebroker"), arguments);
    assert!(!output.status.success(), "rendered with {arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The configuration of the broker, which the binary accepts.
fn config(documents: &[Value]) -> Value {
    let file = &find(documents, "ConfigMap", "aws-servicebroker-broker").unwrap()["data"]["bindery.yaml"];
    let loaded = LoadedConfig::from_yaml(file.as_str().unwrap()).unwrap();
    check_services(&loaded.services).unwrap();
    serde_saphyr::from_str(file.as_str().unwrap()).unwrap()
}

fn broker(documents: &[Value]) -> &Value {
    &find(documents, "Deployment", "aws-servicebroker-broker").unwrap()["spec"]["template"]
}

fn arguments(documents: &[Value]) -> BTreeSet<&str> {
    strings(&broker(documents)["spec"]["containers"][0]["args"])
}

/// The Secret and the key of a variable of the broker.
fn variable(documents: &[Value], name: &str) -> Option<(String, String)> {
    let variables = broker(documents)["spec"]["containers"][0]["env"].as_array().unwrap();
    let reference = &variables.iter().find(|variable| variable["name"] == name)?["valueFrom"]["secretKeyRef"];
    Some((reference["name"].as_str()?.to_owned(), reference["key"].as_str()?.to_owned()))
}

#[test]
fn the_seeds_command_registers_the_broker_under_the_seeds_address() {
    let documents = rendered(&KEY);
    let found = arguments(&documents);
    for wanted in [
        "--register-broker=aws-servicebroker",
        "--broker-host=aws-servicebroker-aws-servicebroker.aws-sb.svc.cluster.local",
    ] {
        assert!(found.contains(wanted), "{found:?}");
    }
    let service = find(&documents, "Service", "aws-servicebroker-aws-servicebroker").unwrap();
    let labels = broker(&documents)["metadata"]["labels"].as_object().unwrap();
    for (label, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(labels.get(label), Some(value), "{label}");
    }
    let config = config(&documents);
    assert_eq!(config["store"], "dynamodb:awssb?region=us-east-1");
    assert_eq!(config["backends"]["aws"]["region"], "us-east-1");
    let secret = find(&documents, "Secret", "aws-servicebroker-credentials").unwrap();
    assert_eq!(secret["data"], json!({"accesskeyid": "QUtJQQ==", "secretkey": "czNjcmV0"}));
    let of_secret = |key: &str| Some(("aws-servicebroker-credentials".to_owned(), key.to_owned()));
    assert_eq!(variable(&documents, "AWS_ACCESS_KEY_ID"), of_secret("accesskeyid"));
    assert_eq!(variable(&documents, "AWS_SECRET_ACCESS_KEY"), of_secret("secretkey"));
    let checksum = &broker(&documents)["metadata"]["annotations"]["checksum/credentials"];
    let another = rendered(&["--set", "aws.secretkey=new,aws.accesskeyid=AKIA"]);
    assert_ne!(*checksum, broker(&another)["metadata"]["annotations"]["checksum/credentials"]);
    let with_key: Vec<_> = documents.iter().filter(|it| it.to_string().contains("s3cret")).collect();
    assert!(with_key.is_empty(), "{with_key:?}");
}

#[test]
fn every_template_of_bindery_is_part_of_the_chart() {
    let wrapped = rendered(&KEY);
    let values = ["--set", "backends.aws.type=aws", "--set", "broker.store=dynamodb:awssb?region=us-east-1"];
    let output = helm_release(NAME, "aws-sb", Path::new("charts/bindery"), &values);
    let bindery = documents(&String::from_utf8(output.stdout).unwrap());
    let names = |documents: &[Value]| {
        documents.iter().map(|it| format!("{} {}", kind(it), name(it))).collect::<BTreeSet<_>>()
    };
    let (more, less) = (names(&wrapped), names(&bindery));
    let added: Vec<_> = more.difference(&less).collect();
    assert_eq!(
        added,
        ["Secret aws-servicebroker-credentials", "Service aws-servicebroker-aws-servicebroker"]
    );
    assert!(less.is_subset(&more), "{:?}", less.difference(&more).collect::<Vec<_>>());
    assert_eq!(folder("charts/aws-servicebroker/crds"), folder("charts/bindery/crds"));
}

#[test]
fn the_broker_is_registered_for_the_cluster_the_namespace_or_nobody() {
    let documents = |cluster: bool, namespace: bool| {
        let set = format!("deployClusterServiceBroker={cluster},deployNamespacedServiceBroker={namespace}");
        rendered(&["--set", &set])
    };
    let registered = |cluster, namespace| {
        let documents = documents(cluster, namespace);
        let found = arguments(&documents);
        let has = |argument: &str| found.contains(argument);
        (has("--register-broker=aws-servicebroker"), has("--register-namespaced-broker=aws-servicebroker"))
    };
    for (cluster, namespace) in [(true, false), (false, true), (true, true), (false, false)] {
        assert_eq!(registered(cluster, namespace), (cluster, namespace));
    }
    let role = find(&documents(false, true), "Role", "aws-servicebroker-broker").cloned().unwrap();
    assert!(role.to_string().contains(r#""resourceNames":["aws-servicebroker"]"#), "{role}");
    let nobody = documents(false, false);
    let policy = "aws-servicebroker-broker-registration";
    assert!(find(&nobody, "ValidatingAdmissionPolicy", policy).is_none());
}

#[test]
fn all_other_values_are_acted_on() {
    let settings = [
        "image=registry.example.com:5000/bindery:1.2,imagePullPolicy=Always,clusterDomain=corp.example",
        "aws.region=eu-west-1,aws.tablename=records,aws.endpoint=https://vpce.example.com",
        "aws.existingSecret=mine,aws.accesskeyidName=id,aws.secretkeyName=secret",
        "aws.targetaccountid=210987654321,aws.targetrolename=teams/bindery",
        "aws.cloudformationrolearn=arn:aws:iam::123456789012:role/deploy",
        "aws.permissionsboundaryarn=arn:aws:iam::123456789012:policy/boundary",
        r"brokerconfig.verbosity=10,annotations.iam\.amazonaws\.com/role=r,nodeSelector.disk=ssd",
        r"serviceAccountAnnotations.eks\.amazonaws\.com/role-arn=r",
        "aws.bucket=mine,aws.key=templates/,aws.s3region=us-west-2",
        "aws.vpcid=vpc-1,brokerconfig.brokerid=mine,brokerconfig.prescribeoverrides=false",
        "aws.rdscasecret=rds,extraEnv[0].name=HTTPS_PROXY,extraEnv[0].value=http://proxy:3128",
    ];
    let set: Vec<_> = settings.iter().flat_map(|values| ["--set", values]).collect();
    let documents = rendered(&[&set[..], &["--set-string", "aws.targetaccountid=210987654321"]].concat());
    let config = config(&documents);
    assert_eq!(
        config["backends"]["aws"],
        json!({"type": "aws", "region": "eu-west-1", "brokerId": "mine", "prescribeOverrides": false, "endpoint": "https://vpce.example.com",
            "rdsCaFile": "/etc/bindery/backends/aws/rds-ca.crt",
            "role": {"arn": "arn:aws:iam::210987654321:role/teams/bindery"},
            "templates": {"bucket": "mine", "prefix": "templates/", "region": "us-west-2"},
            "cloudformationRoleArn": "arn:aws:iam::123456789012:role/deploy",
            "permissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary"})
    );
    assert_eq!(config["store"], "dynamodb:records?region=eu-west-1&endpoint=https://vpce.example.com");
    assert_eq!(variable(&documents, "AWS_ACCESS_KEY_ID"), Some(("mine".to_owned(), "id".to_owned())));
    assert_eq!(variable(&documents, "AWS_SECRET_ACCESS_KEY"), Some(("mine".to_owned(), "secret".to_owned())));
    assert!(find(&documents, "Secret", "aws-servicebroker-credentials").is_none());
    let pod = broker(&documents);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example.com:5000/bindery:1.2");
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(pod["metadata"]["annotations"]["iam.amazonaws.com/role"], "r");
    assert_eq!(pod["spec"]["nodeSelector"], json!({"disk": "ssd"}));
    let proxy = json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"});
    assert!(container["env"].as_array().unwrap().contains(&proxy), "{container}");
    let vpc = json!({"name": "PARAM_OVERRIDE_mine_all_all_all_VpcId", "value": "vpc-1"});
    assert!(container["env"].as_array().unwrap().contains(&vpc), "{container}");
    let found = arguments(&documents);
    for wanted in [
        "--log=bindery=debug,info",
        "--broker-host=aws-servicebroker-aws-servicebroker.aws-sb.svc.corp.example",
    ] {
        assert!(found.contains(wanted), "{found:?}");
    }
    let account = find(&documents, "ServiceAccount", "aws-servicebroker-broker").unwrap();
    assert_eq!(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], "r");
}

#[test]
fn what_cannot_be_acted_on_is_refused() {
    for (set, named) in [
        ("authenticate=false", "takes requests only from those who log in"),
        ("tls.cert=LS0t", "makes and renews the broker's certificate"),
        ("kubeTargetVersionOverride=1.18.0", "helm template --kube-version"),
        ("aws.accesskeyid=AKIA", "belong together"),
        ("aws.accesskeyid=REPLACEME,aws.secretkey=REPLACEME", "still REPLACEME"),
        ("aws.accesskeyid=AKIA,aws.secretkey=s,aws.existingSecret=mine", "set one of them"),
        ("aws.targetrolename=r", "belong together"),
        ("aws.key=templates/latest", "belong to aws.bucket"),
        ("aws.tableName=t", "'tableName' not allowed"),
        ("services=x", "'services' not allowed"),
        ("aws.cloudformationrolearn=deploy", "/aws/cloudformationrolearn"),
    ] {
        let message = refusal(&["--set", set]);
        assert!(message.contains(named), "{set}: {message}");
    }
}
