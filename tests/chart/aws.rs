//! Backends of type `aws`: their settings, and the access key from a Secret.

use std::fs;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    broker::{broker_config, broker_files},
    rendered::{documents, find, refusal, rendered, strings},
};

const VALUES: &str = r"
backends:
  cloud:
    type: aws
    limits: {concurrency: 4}
    region: eu-west-1
    endpoint: https://vpce-1.example.com
    secretName: aws-key
    secretKeys: [accessKeyId, secretAccessKey, rds-ca.crt, mq-ca.crt]
    role: {arn: 'arn:aws:iam::210987654321:role/bindery', externalId: contract-7}
    cloudformationRoleArn: arn:aws:iam::123456789012:role/deploy
    permissionsBoundaryArn: arn:aws:iam::123456789012:policy/boundary
    apiCallsPerSecond: 10
    tags: {team: shop}
    userTags: [cost]
    brokerId: mine
    prescribeOverrides: true
    templates: {configMap: aws-templates}
    eks:
      clusterName: prod
      oidcProviderArn: arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/A1
    services:
      dh-sqs:
        defaults: {VisibilityTimeout: 30}
        values: {MessageRetentionPeriod: 86400}
        access: {default: readwrite, allowed: [read, readwrite]}
        credentials: {default: session, allowed: [session, irsa, pod-identity]}
        validFor: {default: 1h, maximum: 2h}
      sqs-eu: {type: sqs}
broker:
  store: dynamodb:awssb?region=eu-west-1
  extraEnv: [{name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: aws-key, key: secretAccessKey}}}]
";

fn with_values(values: &str) -> Vec<Value> {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), values).unwrap();
    documents(&rendered(&["--values", file.path().to_str().unwrap()]))
}

/// The binary accepts the configuration, which names the files of the Secret and none of its contents.
#[test]
fn a_backend_on_aws_gets_all_its_settings_and_its_key_from_a_secret() {
    let documents = with_values(VALUES);
    let config = broker_config(&documents);
    let mut file = config.clone();
    // The folder exists only in the pod.
    file["backends"]["cloud"].as_object_mut().unwrap().remove("templates");
    let loaded = bindery::broker::config::LoadedConfig::from_yaml(&file.to_string()).unwrap();
    bindery::broker::check_services(&loaded.services).unwrap();
    let wanted: Value = serde_saphyr::from_str(VALUES).unwrap();
    let (mut wanted, found) = (wanted["backends"]["cloud"].clone(), &config["backends"]["cloud"]);
    let settings = wanted.as_object_mut().unwrap();
    settings.retain(|name, _| !name.starts_with("secret"));
    let folder = "/etc/bindery-templates/cloud";
    settings.insert("templates".to_owned(), json!({"directory": folder}));
    let files = [
        ("accessKeyId", "accessKeyIdFile"),
        ("secretAccessKey", "secretAccessKeyFile"),
        ("rds-ca.crt", "rdsCaFile"),
        ("mq-ca.crt", "mqCaFile"),
    ];
    for (key, setting) in files {
        let file = format!("/etc/bindery/backends/cloud/{key}");
        let mounted = broker_files(find(&documents, "Deployment", "bindery-broker").unwrap());
        assert!(mounted.contains(&file), "{file} is not among {mounted:?}");
        settings.insert(setting.to_owned(), file.into());
    }
    assert_eq!(*found, wanted);
    let pod = &find(&documents, "Deployment", "bindery-broker").unwrap()["spec"]["template"]["spec"];
    let named = |list: &Value| {
        list.as_array().unwrap().iter().find(|it| it["name"] == "templates-cloud").cloned().unwrap()
    };
    assert_eq!(named(&pod["containers"][0]["volumeMounts"])["mountPath"], folder);
    assert_eq!(named(&pod["volumes"])["configMap"]["name"], "aws-templates");
}

#[test]
fn a_backend_on_aws_alone_installs_a_broker_with_the_chain_of_the_sdk() {
    let documents = with_values("{backends: {cloud: {type: aws}}, broker: {register: aws}}");
    let broker = find(&documents, "StatefulSet", "bindery-broker").unwrap();
    assert!(broker_files(broker).is_empty(), "{:?}", broker_files(broker));
    assert!(
        strings(&broker["spec"]["template"]["spec"]["containers"][0]["args"])
            .contains("--register-broker=aws")
    );
    for (kind, name) in [
        ("ServiceAccount", "bindery-broker"),
        ("ClusterRole", "bindery-broker"),
        ("ValidatingAdmissionPolicy", "bindery-broker-registration"),
    ] {
        assert!(find(&documents, kind, name).is_some(), "{kind} {name}");
    }
}

#[test]
fn the_secret_may_have_the_certificates_of_amazon_rds_alone() {
    let documents =
        with_values("{backends: {cloud: {type: aws, secretName: aws-rds, secretKeys: [rds-ca.crt]}}}");
    let broker = find(&documents, "StatefulSet", "bindery-broker").unwrap();
    let file = "/etc/bindery/backends/cloud/rds-ca.crt";
    let files = broker_files(broker);
    assert!(files.iter().any(|mounted| mounted == file), "{files:?}");
    assert_eq!(broker_config(&documents)["backends"]["cloud"], json!({"type": "aws", "rdsCaFile": file}));
}

#[test]
fn more_variables_reach_the_broker_and_a_restore() {
    let values = VALUES.replace("extraEnv", "restore: true\n  extraEnv");
    let documents = with_values(&values);
    let pod = &find(&documents, "Deployment", "bindery-broker").unwrap()["spec"]["template"]["spec"];
    let wanted = json!({"name": "AWS_SECRET_ACCESS_KEY",
        "valueFrom": {"secretKeyRef": {"name": "aws-key", "key": "secretAccessKey"}}});
    for container in [&pod["containers"][0], &pod["initContainers"][0]] {
        assert!(container["env"].as_array().unwrap().contains(&wanted), "{container}");
    }
}

#[test]
fn settings_that_would_be_ignored_or_show_a_secret_are_refused() {
    for (set, named) in [
        ("backends.c.host=h", "'host' not allowed"),
        ("backends.c.cloudformationRoleArn=deploy", "/backends/c/cloudformationRoleArn"),
        ("backends.c.accessKeyId=AKIA", "secretName"),
        ("backends.c.secretName=s", "secretKeys"),
        ("backends.c.secretName=s,backends.c.secretKeys={accessKeyId}", "secretKeys"),
        ("backends.c.secretName=s,backends.c.secretKeys={accessKeyId,rds-ca.crt}", "secretKeys"),
        ("backends.c.eks.oidcProviderArn=oidc", "/backends/c/eks/oidcProviderArn"),
        ("backends.c.templates.prefix=p", "/backends/c/templates"),
        ("backends.c.templates.configMap=m,backends.c.templates.bucket=b", "/backends/c/templates"),
        ("backends.c.services.s3.color=red", "'color' not allowed"),
        ("broker.extraEnv[0].name=AWS_SECRET_ACCESS_KEY,broker.extraEnv[0].value=s", "valueFrom"),
        ("broker.extraEnv[0].name=BINDERY_STORE,broker.extraEnv[0].value=s", "extraEnv"),
    ] {
        let message = refusal(&["--set", "backends.c.type=aws", "--set", set]);
        assert!(message.contains(named), "{set}: {message}");
    }
}
