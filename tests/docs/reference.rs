//! The tables of reasons, events, annotations and metrics.

use std::collections::{BTreeMap, BTreeSet};

use bindery::telemetry::Metrics;

use crate::{pages, sources};

/// The modules that write conditions and events.
const PARTS: [&str; 11] = [
    "src/contract.rs",
    "src/apis/bindery",
    "src/apis/servicecatalog",
    "src/bindings",
    "src/catalog",
    "src/enforcement",
    "src/install",
    "src/k8s",
    "src/namespace_bindings",
    "src/operators/aws/reasons.rs",
    "src/pods",
];

/// Words of the same form that are no reasons: kinds, fields and values of Kubernetes, verbs of events, columns.
const NO_REASONS: &[&str] = &[
    "Approvals",
    "Always",
    "Active",
    "Audit",
    "Audited",
    "Bind",
    "ConfigMap",
    "BrokerClient",
    "CatalogStatus",
    "ExternalResource",
    "ExternalResourceStatus",
    "ClusterServiceBroker",
    "ClusterServiceBrokerStatus",
    "ClusterServiceClass",
    "ClusterServicePlan",
    "CreateContainerConfigError",
    "CredentialPolicy",
    "CredentialPolicyException",
    "CredentialPolicyExceptionStatus",
    "CredentialPolicyStatus",
    "CronJob",
    "Credentials",
    "DaemonSet",
    "Delete",
    "Deployment",
    "Duration",
    "Enforce",
    "OrphanMitigation",
    "Deprovision",
    "Failed",
    "FailedCreate",
    "Failure",
    "False",
    "List",
    "Manual",
    "NamespaceBinding",
    "NamespaceBindingStatus",
    "NamespaceTerminating",
    "Namespace",
    "Node",
    "Normal",
    "NoStatus",
    "NotIn",
    "NotProvisioned",
    "NotRequired",
    "Opaque",
    "Parameters",
    "PodTemplate",
    "PolicyReport",
    "PartialEq",
    "Pending",
    "Provisioned",
    "QueueARN",
    "QueueURL",
    "Read",
    "Ready",
    "Reconcile",
    "ReplicaSet",
    "Report",
    "Required",
    "Secret",
    "ReplicationController",
    "Running",
    "ServiceBinding",
    "ServiceBindingStatus",
    "ServiceBroker",
    "ServiceBrokerStatus",
    "ServiceClass",
    "ServiceInstance",
    "ServiceInstanceStatus",
    "ServicePlan",
    "Stack",
    "StackRecord",
    "StatefulSet",
    "Status",
    "Succeeded",
    "True",
    "TypesChecked",
    "TrustedClients",
    "Unbind",
    "Unknown",
    "Warn",
    "Warning",
];

const PAGE: &str = "docs/reference.md";

fn rows(heading: &str, head: &str) -> BTreeSet<String> {
    let cells = pages::first_cells(PAGE, Some(heading), head);
    let names: Vec<_> = cells.iter().flat_map(|cell| pages::words(cell)).map(ToOwned::to_owned).collect();
    let set: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(set.len(), names.len(), "a row comes twice below {heading}");
    set
}

#[test]
fn the_tables_of_reasons_and_events_match_the_code() {
    let mut written = sources::camel_case(&PARTS);
    for word in NO_REASONS {
        written.remove(*word);
    }
    let (conditions, events) = (rows("Reasons of conditions", "reason"), rows("Events", "reason"));
    let both: Vec<_> = conditions.intersection(&events).collect();
    assert!(both.is_empty(), "these are conditions, and so events by themselves: {both:?}");
    let listed: BTreeSet<_> = conditions.union(&events).cloned().collect();
    let missing: BTreeMap<_, _> = written.iter().filter(|(word, _)| !listed.contains(*word)).collect();
    assert!(
        missing.is_empty(),
        "{missing:#?}\nhave no row in {PAGE}. Add one to \"Reasons of conditions\" or \"Events\"; if it is neither, add it \
         to NO_REASONS here"
    );
    let gone: Vec<_> = listed.iter().filter(|word| !written.contains_key(*word)).collect();
    assert!(gone.is_empty(), "{PAGE} has rows for {gone:?}, which the code does not write");
}

#[test]
fn the_reasons_of_the_catalog_are_written_in_one_file() {
    let conditions = rows("Reasons of conditions", "reason");
    let mut elsewhere = sources::camel_case(&["src/catalog"]);
    elsewhere.retain(|word, _| conditions.contains(word));
    assert!(elsewhere.is_empty(), "{elsewhere:?} belong into src/apis/servicecatalog/reasons.rs");
}

#[test]
fn every_annotation_and_label_has_a_row_and_one_definition() {
    let named = |code: &str| -> BTreeSet<String> {
        let literals = code.split('"').skip(1).step_by(2);
        let ours = literals.filter(|text| {
            text.strip_prefix("bindery.dev/")
                .is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace))
                || *text == "app.kubernetes.io/managed-by"
        });
        ours.map(ToOwned::to_owned).collect()
    };
    let contract = sources::code(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/contract.rs"));
    let mut written = named(&contract);
    // A prefix of names that end with a container's name.
    assert!(written.remove("bindery.dev/bind."));
    written.insert("bindery.dev/bind.CONTAINER".to_owned());
    // The type of a condition.
    written.remove("bindery.dev/Nudged");
    assert_eq!(rows("Annotations and labels", "name"), written, "{PAGE} (left) and src/contract.rs");
    for file in sources::files(&["src"]).iter().filter(|file| !file.ends_with("src/contract.rs")) {
        let elsewhere = named(&sources::code(file));
        let elsewhere: Vec<_> = elsewhere.iter().filter(|name| !name.starts_with("bindery.dev/v1")).collect();
        assert!(elsewhere.is_empty(), "{}: {elsewhere:?} belongs into src/contract.rs", file.display());
    }
}

/// The names of the registered metrics as they are exported. Without counts, most metrics are not exported yet.
fn registered() -> BTreeSet<String> {
    let code =
        sources::code(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/metrics.rs"));
    let name_of = |call: &str| {
        let mut texts = call.split('"');
        let (name, rest) = (texts.nth(1).unwrap(), texts.nth(2).unwrap());
        // `, metrics.osb_requests.clone()`: the field's type says whether it is a counter.
        let field = rest.split('.').nth(1).unwrap();
        let (_, declared) =
            code.split_once(&format!("\n    {field}: ")).unwrap_or_else(|| panic!("{name}: {field}"));
        let is_counter = declared.lines().next().unwrap().contains("Counter");
        format!("bindery_{name}{}", if is_counter { "_total" } else { "" })
    };
    code.split("registry.register(").skip(1).map(name_of).collect()
}

#[test]
fn every_metric_has_a_row() {
    let written = registered();
    let shown = Metrics::new().encode().unwrap();
    assert!(
        shown.contains("bindery_admissions_shed_total 0")
            && written.contains("bindery_admissions_shed_total")
    );
    let cells = pages::first_cells("docs/operate.md", None, "metric");
    let listed: BTreeSet<_> =
        cells.iter().flat_map(|cell| pages::words(cell)).map(ToOwned::to_owned).collect();
    assert_eq!(listed, written, "docs/operate.md (left) and the code");
}
