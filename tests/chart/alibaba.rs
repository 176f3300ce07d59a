//! Backends of type `alibaba`: their settings, and the access key and the catalog from a Secret.

use std::fs;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    broker::{broker_config, broker_files},
    rendered::{documents, find, refusal, rendered},
};

const VALUES: &str = r"
backends:
  cloud:
    type: alibaba
    limits: {concurrency: 4}
    region: cn-hangzhou
    secretName: alibaba-key
    secretKeys: [accessKeyId, accessKeySecret]
    role: {arn: 'acs:ram::1234567890123456:role/bindery', externalId: contract-7}
    endpoints: {rds: 'https://rds-vpc.cn-hangzhou.aliyuncs.com', oss: 'https://oss-cn-hangzhou-internal.aliyuncs.com'}
    network: {vpcId: vpc-1, vswitchId: vsw-1, zoneId: cn-hangzhou-h}
    securityIps: [10.0.0.0/8, 192.168.1.7]
    resourceGroupId: rg-1
    tags: {team: shop}
    apiCallsPerSecond: 10
    release: {reclaimPolicy: {default: delete, allowed: [delete, retain]}, emptyBuckets: true, keepBackups: last}
    services: [alibaba-cloud-oss]
";

fn with_values(values: &str) -> Vec<Value> {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), values).unwrap();
    documents(&rendered(&["--values", file.path().to_str().unwrap()]))
}

/// The binary accepts the configuration, which names the files of the Secret and none of its contents.
#[test]
fn a_backend_on_alibaba_cloud_gets_all_its_settings_and_its_key_from_a_secret() {
    let documents = with_values(VALUES);
    let config = broker_config(&documents);
    let loaded = bindery::broker::config::LoadedConfig::from_yaml(&config.to_string()).unwrap();
    bindery::broker::check_services(&loaded.services).unwrap();
    let wanted: Value = serde_saphyr::from_str(VALUES).unwrap();
    let (mut wanted, found) = (wanted["backends"]["cloud"].clone(), &config["backends"]["cloud"]);
    let settings = wanted.as_object_mut().unwrap();
    settings.retain(|name, _| !name.starts_with("secret"));
    let mounted = broker_files(find(&documents, "StatefulSet", "bindery-broker").unwrap());
    for (key, setting) in [("accessKeyId", "accessKeyIdFile"), ("accessKeySecret", "accessKeySecretFile")] {
        let file = format!("/etc/bindery/backends/cloud/{key}");
        assert!(mounted.contains(&file), "{file} is not among {mounted:?}");
        settings.insert(setting.to_owned(), file.into());
    }
    assert_eq!(*found, wanted);
}

#[test]
fn the_secret_may_have_files_without_an_access_key() {
    for (key, setting) in [("catalog.yaml", "catalogFile"), ("rds-ca.crt", "rdsCaFile")] {
        let values =
            format!("{{backends: {{cloud: {{type: alibaba, secretName: files, secretKeys: [{key}]}}}}}}");
        let documents = with_values(&values);
        let file = format!("/etc/bindery/backends/cloud/{key}");
        let wanted = json!({"type": "alibaba", setting: file});
        assert_eq!(broker_config(&documents)["backends"]["cloud"], wanted);
    }
}

#[test]
fn settings_that_would_be_ignored_or_show_a_secret_are_refused() {
    let file = NamedTempFile::new().unwrap();
    for (from, to) in [
        ("region:", "regoin:"),
        ("secretKeys: [accessKeyId, accessKeySecret]", "secretKeys: [accessKeyId]"),
        ("resourceGroupId: rg-1", "accessKeySecret: s3cret"),
        ("securityIps: [10.0.0.0/8, 192.168.1.7]", "securityIps: [everybody]"),
        ("keepBackups: last", "keepBackups: some"),
    ] {
        let changed = VALUES.replace(from, to);
        assert_ne!(changed, VALUES);
        fs::write(file.path(), changed).unwrap();
        let refused = refusal(&["--values", file.path().to_str().unwrap()]);
        assert!(!refused.is_empty(), "{to}");
    }
}
