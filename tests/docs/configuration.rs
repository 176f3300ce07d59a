//! Compares the reference of the configuration file with the parser and the chart's schema. The parser lists its
//! fields when it refuses an unknown one.

use std::collections::BTreeSet;

use bindery::broker::{check_services, config::LoadedConfig};
use serde_json::Value;

use crate::pages;

const BACKEND: &str = "backends.NAME";
const SERVICE: &str = "services[]";
const PLAN: &str = "services[].plans[]";
const DATABASE: &str = "services[].plans[].database";

/// A backend whose settings are complete.
const MAIN: &str = "m: {type: postgresql, host: h, port: 1, user: u, sslmode: require}";

/// Each object whose fields the reference lists, and a file with an unknown field `zzz` in it.
fn objects() -> [(&'static str, String); 9] {
    let backend = |more: &str| format!("{{backends: {{m: {{type: postgresql, {more}}}}}, services: []}}");
    let plan = |more: &str| {
        format!(
            "{{backends: {{{MAIN}}}, services: [{{id: s, name: s, type: postgresql, description: d, \
             plans: [{{name: p, description: d, backend: m, {more}}}]}}]}}"
        )
    };
    [
        ("", "zzz: 1".to_owned()),
        (BACKEND, backend("zzz: 1")),
        ("backends.NAME.limits", backend("limits: {zzz: 1}")),
        ("backends.NAME.clientCa", backend("clientCa: {zzz: 1}")),
        (SERVICE, "services: [{zzz: 1}]".to_owned()),
        (PLAN, plan("zzz: 1")),
        (DATABASE, plan("database: {zzz: 1}")),
        ("auth", "auth: {zzz: 1}".to_owned()),
        ("tls", "tls: {zzz: 1}".to_owned()),
    ]
}

/// The fields that the parser accepts.
fn parsed(file: &str) -> BTreeSet<String> {
    let checked = LoadedConfig::from_yaml(file).and_then(|loaded| check_services(&loaded.services));
    let message = checked.unwrap_err().to_string();
    let (_, fields) = message.split_once("expected ").unwrap_or_else(|| panic!("{file}: {message}"));
    let fields = fields.lines().next().unwrap().trim_start_matches("one of ").replace(" or ", ", ");
    let field = |field: &str| {
        field.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
    };
    // The text after the last field says where the mistake is.
    fields.split(", ").map(|text| text.split(' ').next().unwrap()).map(field).collect()
}

/// The fields in the reference, as full paths.
fn listed() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for cell in pages::first_cells("docs/broker.md", None, "field") {
        let mut before = String::new();
        for word in pages::words(&cell) {
            let path = match word.strip_prefix('.') {
                Some(last) => format!("{}.{last}", before.rsplit_once('.').unwrap().0),
                None => word.to_owned(),
            };
            assert!(paths.insert(path.clone()), "{path} is listed twice");
            before = path;
        }
    }
    // The table of ClusterServiceBroker's fields has the same heading.
    let of_brokers = ["url", "authInfo", "caBundle", "insecureSkipTLSVerify", "relist"];
    paths.retain(|path| !of_brokers.iter().any(|other| path.starts_with(other)));
    paths
}

#[test]
fn the_reference_lists_the_fields_of_the_parser() {
    let mut taken = BTreeSet::new();
    for (object, file) in objects() {
        let prefix = if object.is_empty() { String::new() } else { format!("{object}.") };
        taken.extend(parsed(&file).into_iter().map(|field| format!("{prefix}{field}")));
    }
    let listed = listed();
    let missing: Vec<_> = taken.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&taken).collect();
    assert!(missing.is_empty(), "docs/broker.md lists no {missing:?}, which the configuration takes");
    assert!(gone.is_empty(), "docs/broker.md lists {gone:?}, which the configuration does not take");
}

#[test]
fn the_charts_values_accept_the_same_fields_except_files() {
    let schema: Value = serde_json::from_str(&pages::read("charts/bindery/values.schema.json")).unwrap();
    let fields = |pointer: &str| -> BTreeSet<String> {
        let object = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        object.as_object().unwrap().keys().cloned().collect()
    };
    let file = |object: &str| parsed(&objects().into_iter().find(|(name, _)| *name == object).unwrap().1);
    let mut of_backends = file(BACKEND);
    for name in ["passwordFile", "caFile", "certFile", "keyFile", "clientCa"] {
        assert!(of_backends.remove(name), "{name}");
    }
    of_backends.extend(["secretName", "secretKeys"].map(ToOwned::to_owned));
    assert_eq!(fields("/definitions/backendOnServer/properties"), of_backends);
    let mut on_aws = parsed("{backends: {m: {type: aws, zzz: 1}}, services: []}");
    for name in ["accessKeyIdFile", "secretAccessKeyFile", "rdsCaFile", "mqCaFile"] {
        assert!(on_aws.remove(name), "{name}");
    }
    on_aws.extend(["type", "limits", "secretName", "secretKeys"].map(ToOwned::to_owned));
    assert_eq!(fields("/definitions/backendOnAws/properties"), on_aws);
    let of_service = parsed("{backends: {m: {type: aws, services: {s3: {zzz: 1}}}}, services: []}");
    let in_chart = "/definitions/backendOnAws/properties/services/additionalProperties/properties";
    assert_eq!(fields(in_chart), of_service);
    let mut on_alibaba = parsed("{backends: {m: {type: alibaba, zzz: 1}}, services: []}");
    for name in ["accessKeyIdFile", "accessKeySecretFile", "catalogFile", "rdsCaFile"] {
        assert!(on_alibaba.remove(name), "{name}");
    }
    on_alibaba.extend(["type", "limits", "secretName", "secretKeys"].map(ToOwned::to_owned));
    assert_eq!(fields("/definitions/backendOnAlibaba/properties"), on_alibaba);
    let services = "/properties/services/items/properties";
    let plans = format!("{services}/plans/items/properties");
    assert_eq!(fields(services), file(SERVICE));
    assert_eq!(fields(&plans), file(PLAN));
    assert_eq!(fields(&format!("{plans}/database/properties")), file(DATABASE));
}
