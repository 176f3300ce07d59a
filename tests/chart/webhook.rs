//! Whom the API server asks about what, and how the webhook's servers come and go.

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
fn the_webhook_is_asked_only_about_new_pods_that_want_credentials() {
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
    assert_eq!(own["clientConfig"]["service"]["path"], bindery::admission::webhook::PATH);
    assert_eq!(own["namespaceSelector"]["matchLabels"], Value::Null, "no label takes a namespace out");
}

/// No pod is asked about twice: a pod has the annotation, or it has not.
#[test]
fn pods_that_say_nothing_are_asked_about_where_the_namespace_is_labelled() {
    let documents = example();
    let [_, defaults] = webhooks(&documents);
    let silent = "!has(object.metadata.annotations) || !object.metadata.annotations.exists(name, \
                  name == 'bindery.dev/bind' || name.startsWith('bindery.dev/bind.'))";
    assert_eq!(expressions(defaults), [silent, NO_MIRROR_POD]);
    assert_eq!(defaults["clientConfig"]["service"]["path"], bindery::admission::webhook::DEFAULTS_PATH);
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

/// It only warns, so nobody has to wait for it, or fails without it.
#[test]
fn workloads_that_ask_where_it_does_nothing_are_looked_at_and_never_held_up() {
    let documents = example();
    let [_, _, workloads, ..] = all_webhooks(&documents) else { panic!("no webhook for workloads") };
    assert_eq!((&workloads["failurePolicy"], &workloads["timeoutSeconds"]), (&json!("Ignore"), &json!(1)));
    assert_eq!(
        (&workloads["sideEffects"], &workloads["reinvocationPolicy"]),
        (&json!("None"), &json!("Never"))
    );
    assert_eq!(workloads["clientConfig"]["service"]["path"], bindery::admission::webhook::WORKLOADS_PATH);
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

/// A pod that ends answers until everybody knows, then drains, before it is killed.
#[test]
fn the_grace_period_covers_pause_and_drain() {
    let documents = example();
    let pod = &find(&documents, "Deployment", "bindery-admission").unwrap()["spec"]["template"]["spec"];
    let pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let drains = 2 * bindery::server::LONGEST_DRAIN.as_secs();
    assert!(pause + drains < pod["terminationGracePeriodSeconds"].as_u64().unwrap());
}

/// P12: a pod waits for the answer; P25: pods are asked about in whichever version they come.
#[test]
fn the_api_server_does_not_wait_long_for_the_webhook() {
    for webhook in all_webhooks(&example()) {
        assert!(webhook["timeoutSeconds"].as_u64().unwrap() <= 5);
        assert_eq!(webhook["matchPolicy"], "Equivalent");
        assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
    }
}

/// P14: what takes the place of a webhook's pod is ready before that one goes, and never do both go at once.
#[test]
fn a_webhook_is_always_there() {
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

/// No namespace waits for bindery; the reconciler does what the webhook could not.
#[test]
fn the_webhook_for_namespaces_is_asked_about_new_ones_and_can_be_away() {
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

/// By the name that no editor of a namespace can change.
#[test]
fn namespaces_that_are_left_out_are_left_out_of_all_webhooks() {
    let documents = example_with(&["--set", "admission.excludeNamespaces={monitoring,kube-system}"]);
    // One is about objects that are in no namespace.
    let of_namespaces = |webhook: &&Value| webhook["name"] != "brokers.bindery.dev";
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

/// Who looks after pods has to judge them as the webhook does.
#[test]
fn what_the_webhook_leaves_out_nobody_is_told_of() {
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

/// By these names the API server's messages call them.
#[test]
fn the_webhooks_are_called_as_the_catalog_expects() {
    use bindery::contract::webhook::{DEFAULTS, OWN};
    let documents = example();
    let names = webhooks(&documents).each_ref().map(|webhook| webhook["name"].as_str().unwrap());
    assert_eq!(names, [OWN, DEFAULTS]);
}

#[test]
fn a_certificate_of_ones_own_is_served_from_its_secret() {
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
fn pods_wait_behind_gates_only_with_a_catalog_and_if_wanted() {
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

/// Without it a ClusterServiceBroker that names a Secret is not stored; nothing else of one waits for it.
#[test]
fn the_webhook_for_brokers_is_asked_who_may_have_a_secret_sent_where() {
    use bindery::{admission::service_brokers::PATH, contract::approval::APPROVAL};
    let documents = example();
    let is_it = |webhook: &&Value| webhook["name"] == "brokers.bindery.dev";
    let webhook = all_webhooks(&documents).iter().find(is_it).unwrap();
    assert_eq!(strings(&webhook["rules"][0]["operations"]), ["CREATE", "UPDATE"].into());
    assert_eq!(strings(&webhook["rules"][0]["resources"]), ["clusterservicebrokers"].into());
    assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&json!("Fail"), &json!("None")));
    assert_eq!(webhook["clientConfig"]["service"]["path"], PATH);
    assert_eq!((&webhook["namespaceSelector"], &webhook["objectSelector"]), (&Value::Null, &Value::Null));
    let [uses, changes] = expressions(webhook)[..] else { panic!("two conditions") };
    assert_eq!(uses, "has(object.spec.authInfo)");
    assert!(changes.contains(APPROVAL) && changes.contains("object.spec != oldObject.spec"), "{changes}");
}
