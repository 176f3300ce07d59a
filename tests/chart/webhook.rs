//! What the API server sends to the webhook, and how the webhook's servers start and stop.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    rendered::{
        arguments, documents, documents_of, example, example_with, find, kind, name, rendered, rules, strings,
    },
    rights::{rights, set},
};

/// The two webhooks for pods of the chart's configuration.
pub(crate) fn webhooks(documents: &[Value]) -> &[Value; 2] {
    all_webhooks(documents).first_chunk().unwrap()
}

fn all_webhooks(documents: &[Value]) -> &[Value] {
    let configuration = find(documents, "MutatingWebhookConfiguration", "bindery").unwrap();
    configuration["webhooks"].as_array().unwrap()
}

fn expressions(webhook: &Value) -> Vec<&str> {
    let conditions = webhook["matchConditions"].as_array().unwrap();
    conditions.iter().map(|condition| condition["expression"].as_str().unwrap()).collect()
}

const NO_MIRROR_POD: &str =
    "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)";

#[test]
fn only_new_annotated_pods_are_sent_to_the_webhook() {
    let documents = example();
    let [own, defaults] = webhooks(&documents);
    for webhook in [own, defaults] {
        assert_eq!(strings(&webhook["rules"][0]["operations"]), ["CREATE"].into());
        assert_eq!(strings(&webhook["rules"][0]["resources"]), ["pods"].into());
        assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&json!("Fail"), &json!("None")));
        assert_eq!(webhook["reinvocationPolicy"], "IfNeeded");
    }
    let asking = "has(object.metadata.annotations) && object.metadata.annotations.exists(name, \
                  (name == 'bindery.dev/bind' || name.startsWith('bindery.dev/bind.')) \
                  && object.metadata.annotations[name] != '')";
    assert_eq!(expressions(own), [asking, NO_MIRROR_POD]);
    assert_eq!(own["clientConfig"]["service"]["path"], bindery::admission::pods::PATH);
    assert_eq!(own["namespaceSelector"]["matchLabels"], Value::Null, "no label takes a namespace out");
}

/// Each pod is reviewed by only one of the two webhooks: a pod has the annotation or it has not.
#[test]
fn pods_without_annotation_are_sent_from_labelled_namespaces() {
    let documents = example();
    let [_, defaults] = webhooks(&documents);
    let silent = "!has(object.metadata.annotations) || !object.metadata.annotations.exists(name, \
                  name == 'bindery.dev/bind' || name.startsWith('bindery.dev/bind.'))";
    assert_eq!(expressions(defaults), [silent, NO_MIRROR_POD]);
    assert_eq!(defaults["clientConfig"]["service"]["path"], bindery::admission::namespace_defaults::PATH);
    let (label, enabled) = bindery::contract::namespace::INJECT;
    assert_eq!(defaults["namespaceSelector"]["matchLabels"], json!({label: enabled}));
    let namespaces: Vec<_> = rules(&documents)
        .filter(|(role, rule)| {
            *role == "bindery-admission" && strings(&rule["resources"]).contains("namespaces")
        })
        .map(|(_, rule)| strings(&rule["verbs"]))
        .collect();
    assert_eq!(namespaces, [["get", "list", "watch"].into()]);
}

/// This webhook only warns, so no request waits for it or fails without it.
#[test]
fn workloads_with_misplaced_annotations_are_reviewed_but_never_delayed() {
    let documents = example();
    let [_, _, workloads, ..] = all_webhooks(&documents) else { panic!("no webhook for workloads") };
    assert_eq!((&workloads["failurePolicy"], &workloads["timeoutSeconds"]), (&json!("Ignore"), &json!(1)));
    assert_eq!(
        (&workloads["sideEffects"], &workloads["reinvocationPolicy"]),
        (&json!("None"), &json!("Never"))
    );
    assert_eq!(workloads["clientConfig"]["service"]["path"], bindery::admission::workloads::PATH);
    let rules = workloads["rules"].as_array().unwrap();
    let resources: BTreeSet<_> = rules.iter().flat_map(|rule| strings(&rule["resources"])).collect();
    let wanted = [
        "cronjobs",
        "daemonsets",
        "deployments",
        "jobs",
        "podtemplates",
        "replicasets",
        "replicationcontrollers",
        "statefulsets",
    ];
    assert_eq!(resources, wanted.into(), "no subresources");
    let conditions = workloads["matchConditions"].as_array().unwrap();
    let names: Vec<_> = conditions.iter().map(|condition| &condition["name"]).collect();
    assert_eq!(names, ["asks-for-credentials", "has-no-owner", "pods-do-not-ask"]);
}

/// A terminating pod serves until all clients know, then drains, before it is killed.
#[test]
fn the_grace_period_covers_pause_and_drain() {
    let documents = example();
    let pod = &find(&documents, "Deployment", "bindery-admission").unwrap()["spec"]["template"]["spec"];
    let pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let drains = 2 * bindery::server::LONGEST_DRAIN.as_secs();
    assert!(pause + drains < pod["terminationGracePeriodSeconds"].as_u64().unwrap());
}

/// P12: a pod waits for the answer. P25: pods are reviewed in every API version.
#[test]
fn the_api_server_does_not_wait_long_for_the_webhook() {
    for webhook in all_webhooks(&example()) {
        assert!(webhook["timeoutSeconds"].as_u64().unwrap() <= 5);
        assert_eq!(webhook["matchPolicy"], "Equivalent");
        assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
    }
}

/// P14: a replacement is ready before a webhook's pod stops, and never do both pods stop at once.
#[test]
fn a_webhook_is_always_available() {
    let documents = example();
    let admission = find(&documents, "Deployment", "bindery-admission").unwrap();
    assert!(admission["spec"]["replicas"].as_u64().unwrap() >= 2);
    assert_eq!(admission["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let pod = &admission["spec"]["template"]["spec"];
    assert!(pod["topologySpreadConstraints"].is_array() || pod["affinity"]["podAntiAffinity"].is_object());
    assert!(pod["containers"][0]["readinessProbe"].is_object());
    let budget = find(&documents, "PodDisruptionBudget", "bindery-admission").unwrap();
    assert_eq!(budget["spec"], json!({"maxUnavailable": 1, "selector": admission["spec"]["selector"]}));
}

/// No namespace waits for bindery; the reconciler adds what the webhook could not.
#[test]
fn the_webhook_for_namespaces_reviews_new_ones_and_may_be_away() {
    let documents = example();
    let [.., webhook] = all_webhooks(&documents) else { panic!("no webhooks") };
    assert_eq!(strings(&webhook["rules"][0]["operations"]), ["CREATE"].into());
    assert_eq!(strings(&webhook["rules"][0]["resources"]), ["namespaces"].into());
    assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&json!("Ignore"), &json!("None")));
    assert_eq!(webhook["clientConfig"]["service"]["path"], bindery::namespace_bindings::webhook::PATH);
    let without = documents_of(&["--set", "apis.serviceCatalog=false"]);
    assert_eq!(all_webhooks(&without).len(), 3);
    assert!(rules(&without).all(|(_, rule)| !strings(&rule["resources"]).contains("namespacebindings")));
}

/// By the namespace's name, which no editor of a namespace can change.
#[test]
fn excluded_namespaces_are_excluded_from_all_webhooks() {
    let documents = example_with(&["--set", "admission.excludeNamespaces={monitoring,kube-system}"]);
    // Objects of the Service Catalog API have an author in every namespace.
    let of_namespaces =
        |webhook: &&Value| webhook["rules"][0]["apiGroups"] != json!(["servicecatalog.k8s.io"]);
    for webhook in all_webhooks(&documents).iter().filter(of_namespaces) {
        let expression = &webhook["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(
            (&expression["key"], &expression["operator"]),
            (&json!("kubernetes.io/metadata.name"), &json!("NotIn"))
        );
        let left_out = strings(&expression["values"]);
        assert_eq!(left_out, ["bindery", "kube-node-lease", "kube-system", "monitoring"].into());
    }
}

/// The catalog must evaluate pods as the webhook does.
#[test]
fn no_events_are_written_about_excluded_pods() {
    let settings = ["admission.excludeNamespaces={monitoring,vpn}", "admission.excludeContainers={proxy}"];
    let documents = example_with(&["--set", settings[0], "--set", settings[1]]);
    let arguments = |role: &str| {
        let deployment = find(&documents, "Deployment", role).unwrap();
        strings(&deployment["spec"]["template"]["spec"]["containers"][0]["args"])
    };
    assert!(arguments("bindery-catalog").contains("--exclude-namespaces=monitoring,vpn"));
    for role in ["bindery-admission", "bindery-catalog"] {
        assert!(arguments(role).contains("--exclude-containers=proxy"), "{role}");
    }
}

/// The API server's messages use these names.
#[test]
fn the_webhooks_are_called_as_the_catalog_expects() {
    use bindery::contract::webhook::{DEFAULTS, OWN};
    let documents = example();
    let names = webhooks(&documents).each_ref().map(|webhook| webhook["name"].as_str().unwrap());
    assert_eq!(names, [OWN, DEFAULTS]);
}

#[test]
fn a_certificate_of_the_user_is_served_from_its_secret() {
    let documents = documents(&rendered(&["--set", "admission.tlsSecretName=mine"]));
    let pod = documents
        .iter()
        .find(|document| kind(document) == "Deployment" && name(document) == "bindery-admission")
        .map(|deployment| &deployment["spec"]["template"]["spec"])
        .unwrap();
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "mine");
    assert!(strings(&pod["containers"][0]["args"]).contains("--admission-tls-dir=/etc/bindery/tls"));
}

#[test]
fn pods_are_gated_only_with_a_catalog_and_if_enabled() {
    let known = ["servicebindings", "leases"];
    let on = example();
    assert!(arguments(&on, "bindery-admission").contains("--gate-waiting-pods=true"));
    let expected = set(&["get leases", "list servicebindings", "watch servicebindings"]);
    assert_eq!(rights(&on, "bindery-admission", &known), expected);
    for off in ["admission.gateWaitingPods=false", "apis.serviceCatalog=false"] {
        let off = documents(&rendered(&["--set", off]));
        assert!(arguments(&off, "bindery-admission").contains("--gate-waiting-pods=false"));
        assert_eq!(rights(&off, "bindery-admission", &known), set(&[]));
    }
}

/// Without the webhook a ClusterServiceBroker that names a Secret is not stored; no other change waits for it.
#[test]
fn the_webhook_for_brokers_reviews_references_to_secrets() {
    use bindery::{admission::service_brokers::PATH, contract::approval::APPROVAL};
    let documents = example();
    let is_it = |webhook: &&Value| webhook["name"] == "brokers.bindery.dev";
    let webhook = all_webhooks(&documents).iter().find(is_it).unwrap();
    assert_eq!(strings(&webhook["rules"][0]["operations"]), ["CREATE", "UPDATE"].into());
    assert_eq!(
        strings(&webhook["rules"][0]["resources"]),
        ["clusterservicebrokers", "servicebrokers"].into()
    );
    assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&json!("Fail"), &json!("None")));
    assert_eq!(webhook["clientConfig"]["service"]["path"], PATH);
    assert_eq!((&webhook["namespaceSelector"], &webhook["objectSelector"]), (&Value::Null, &Value::Null));
    let [uses, changes] = expressions(webhook)[..] else { panic!("two conditions") };
    assert!(uses.starts_with("has(object.spec.authInfo) || ") && uses.contains("relistRequests"), "{uses}");
    assert!(changes.contains(APPROVAL) && changes.contains("object.spec != oldObject.spec"), "{changes}");
}

/// bindery's catalog never waits for its own webhook, and neither do finalizers, labels and statuses of users' objects.
#[test]
fn the_webhooks_for_instances_and_bindings_review_only_specs_of_users() {
    use bindery::admission::{service_bindings, service_instances};
    let documents = example();
    let configuration = documents.iter().find(|document| kind(document) == "MutatingWebhookConfiguration");
    let webhooks = configuration.unwrap()["webhooks"].as_array().unwrap();
    let accounts = documents.iter().filter(|document| kind(document) == "ServiceAccount");
    let catalog = accounts.map(name).find(|name| name.ends_with("-catalog")).unwrap();
    for (resource, path) in [("instances", service_instances::PATH), ("bindings", service_bindings::PATH)] {
        let is_it = |webhook: &&Value| webhook["name"] == format!("{resource}.bindery.dev");
        let webhook = webhooks.iter().find(is_it).unwrap();
        assert_eq!(strings(&webhook["rules"][0]["operations"]), ["CREATE", "UPDATE"].into());
        assert_eq!(strings(&webhook["rules"][0]["resources"]), [&*format!("service{resource}")].into());
        assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&json!("Fail"), &json!("None")));
        assert_eq!(webhook["clientConfig"]["service"]["path"], path);
        assert_eq!((&webhook["namespaceSelector"], &webhook["objectSelector"]), (&Value::Null, &Value::Null));
        let [own, changes] = expressions(webhook)[..] else { panic!("two conditions") };
        assert_eq!(own, format!("request.userInfo.username != 'system:serviceaccount:bindery:{catalog}'"));
        assert!(changes.contains("object.?spec != oldObject.?spec"), "{changes}");
    }
}
