//! What the chart and the plain manifests promise, checked on what Helm renders. No cluster is needed: Helm comes from
//! `tests/cluster/build`, or from the PATH.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

const EXAMPLE: &str = "examples/cockroachdb/values.yaml";

fn helm(arguments: &[&str]) -> Output {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let built = std::env::var_os("TESTCLUSTER_BIN")
        .map_or_else(|| cache.join("testcluster"), PathBuf::from)
        .join("helm");
    let program = if built.exists() { built } else { PathBuf::from("helm") };
    Command::new(program)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["template", "bindery", "charts/bindery", "--namespace", "bindery", "--kube-version", "1.36.0"])
        .args(arguments)
        .output()
        .expect("helm runs: build it with tests/cluster/build, or install it")
}

fn rendered(arguments: &[&str]) -> String {
    let output = helm(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = helm(arguments);
    assert!(!output.status.success(), "rendered with {arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn documents(yaml: &str) -> Vec<Value> {
    yaml.split("\n---\n")
        .map(|document| serde_saphyr::from_str::<Value>(document.trim_start_matches("---\n")).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

fn example() -> Vec<Value> {
    documents(&rendered(&["--values", EXAMPLE]))
}

fn folder(path: &str) -> Vec<Value> {
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| documents(&fs::read_to_string(file).unwrap())).collect()
}

fn kind(document: &Value) -> &str {
    document["kind"].as_str().unwrap()
}

fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap()
}

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn rules(documents: &[Value]) -> impl Iterator<Item = (&str, &Value)> {
    documents
        .iter()
        .filter(|document| matches!(kind(document), "Role" | "ClusterRole"))
        .flat_map(|role| role["rules"].as_array().unwrap().iter().map(move |rule| (name(role), rule)))
}

#[test]
fn rendering_is_reproducible() {
    assert_eq!(rendered(&["--values", EXAMPLE]), rendered(&["--values", EXAMPLE]));
}

#[test]
fn no_secret_and_no_ca_bundle_is_rendered() {
    for document in example() {
        assert_ne!(kind(&document), "Secret", "{}", name(&document));
        for webhook in document["webhooks"].as_array().into_iter().flatten() {
            assert_eq!(webhook["clientConfig"]["caBundle"], Value::Null);
        }
    }
}

#[test]
fn pods_are_locked_down() {
    let documents = example();
    let pods: Vec<_> = documents
        .iter()
        .map(|document| &document["spec"]["template"]["spec"])
        .filter(|pod| pod.is_object())
        .collect();
    assert_eq!(pods.len(), 5, "three roles and two hooks");
    for pod in pods {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["runAsUser"], 65532);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            let wanted = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            });
            assert_eq!(container["securityContext"], wanted);
            assert!(container["resources"]["limits"]["memory"].is_string());
        }
    }
}

#[test]
fn secrets_are_never_listed_or_watched_and_no_rule_is_a_wildcard() {
    let documents = example();
    for (role, rule) in rules(&documents) {
        for field in ["apiGroups", "resources", "verbs"] {
            assert!(!strings(&rule[field]).contains("*"), "{role}: {rule}");
        }
        if strings(&rule["resources"]).contains("secrets") {
            assert!(
                strings(&rule["verbs"]).is_disjoint(&["list", "watch", "deletecollection"].into()),
                "{role}: {rule}"
            );
        }
    }
}

#[test]
fn only_the_catalog_reaches_secrets_of_other_namespaces() {
    let documents = example();
    let reach: Vec<_> = documents
        .iter()
        .filter(|document| kind(document) == "ClusterRole")
        .filter(|role| {
            role["rules"]
                .as_array()
                .unwrap()
                .iter()
                .any(|rule| strings(&rule["resources"]).contains("secrets"))
        })
        .map(name)
        .collect();
    assert_eq!(reach, ["bindery-catalog"]);
}

/// The two webhooks for pods of the chart's configuration.
fn webhooks(documents: &[Value]) -> &[Value; 2] {
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
    let wanted = ["cronjobs", "daemonsets", "deployments", "jobs", "replicasets", "statefulsets"];
    assert_eq!(resources, wanted.into(), "no subresources");
    let conditions = workloads["matchConditions"].as_array().unwrap();
    let names: Vec<_> = conditions.iter().map(|condition| &condition["name"]).collect();
    assert_eq!(names, ["asks-for-credentials", "has-no-owner", "pods-do-not-ask"]);
}

/// By default nobody is sent anything; what holds a password is refused, since values are no place for one.
#[test]
fn traces_go_where_the_values_say() {
    let endpoint = |documents: &[Value], role: &str| {
        let containers =
            &find(documents, "Deployment", role).unwrap()["spec"]["template"]["spec"]["containers"];
        let variables = containers[0]["env"].as_array().unwrap();
        let found = variables.iter().find(|variable| variable["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT");
        found.map(|variable| variable["value"].clone())
    };
    assert_eq!(endpoint(&example(), "bindery-admission"), None);
    let traced = example_with(&["--set", "telemetry.otlpEndpoint=http://collector:4318"]);
    for role in ["bindery-admission", "bindery-catalog"] {
        assert_eq!(endpoint(&traced, role), Some(json!("http://collector:4318")));
    }
    for wrong in ["collector:4318", "http://user:password@collector:4318"] {
        refusal(&["--set", &format!("telemetry.otlpEndpoint={wrong}")]);
    }
}

/// A pod that ends answers until everybody knows, then drains, before it is killed.
#[test]
fn the_grace_period_covers_pause_and_drain() {
    let documents = example();
    let pod = &find(&documents, "Deployment", "bindery-admission").unwrap()["spec"]["template"]["spec"];
    let pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let drains = 2 * bindery::cluster::server::LONGEST_DRAIN.as_secs();
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

/// P22: whoever makes pods makes the webhook act. All over the cluster it only reads, except for its own configuration.
#[test]
fn the_webhook_cannot_be_made_to_do_what_its_user_may_not() {
    let documents = example();
    let role = find(&documents, "ClusterRole", "bindery-admission").unwrap();
    for rule in role["rules"].as_array().unwrap() {
        let reads = strings(&rule["verbs"]).is_subset(&["get", "list", "watch"].into());
        let (its_own, named) = (strings(&rule["resourceNames"]), BTreeSet::from(["bindery"]));
        assert!(reads || its_own == named, "{rule}");
        assert!(!strings(&rule["resources"]).contains("secrets"), "{rule}");
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
    assert_eq!(webhook["clientConfig"]["service"]["path"], bindery::namespaces::webhook::PATH);
    let without = documents_of(&["--set", "apis.serviceCatalog=false"]);
    assert_eq!(all_webhooks(&without).len(), 3);
    assert!(rules(&without).all(|(_, rule)| !strings(&rule["resources"]).contains("namespacebindings")));
}

/// Namespaces are labelled, never made or deleted; what NamespaceBindings say is read and never changed.
#[test]
fn namespaces_and_namespacebindings_are_touched_no_more_than_needed() {
    let documents = example();
    let verbs = |resource: &str| -> BTreeSet<(&str, &str)> {
        rules(&documents)
            .filter(|(_, rule)| strings(&rule["resources"]).contains(resource))
            .flat_map(|(role, rule)| strings(&rule["verbs"]).into_iter().map(move |verb| (role, verb)))
            .collect()
    };
    let catalog = |verb| ("bindery-catalog", verb);
    let admission = |verb| ("bindery-admission", verb);
    let reading = ["get", "list", "watch"];
    assert_eq!(
        verbs("namespaces"),
        reading.map(admission).into_iter().chain(reading.map(catalog)).chain([catalog("patch")]).collect()
    );
    let reading = ["list", "watch"];
    assert_eq!(
        verbs("namespacebindings"),
        reading.map(admission).into_iter().chain(reading.map(catalog)).collect()
    );
    assert_eq!(verbs("namespacebindings/status"), [catalog("patch")].into());
}

fn documents_of(arguments: &[&str]) -> Vec<Value> {
    documents(&rendered(arguments))
}

/// By the name that no editor of a namespace can change.
#[test]
fn namespaces_that_are_left_out_are_left_out_of_all_webhooks() {
    let documents = example_with(&["--set", "admission.excludeNamespaces={monitoring,kube-system}"]);
    for webhook in all_webhooks(&documents) {
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

/// It finds them, tells their owners and evicts; what it may patch, a policy says.
#[test]
fn the_catalog_looks_at_pods_and_their_owners_and_evicts() {
    let documents = example();
    let may = |resource: &str| -> BTreeSet<&str> {
        rules(&documents)
            .filter(|(role, rule)| {
                *role == "bindery-catalog" && strings(&rule["resources"]).contains(resource)
            })
            .flat_map(|(_, rule)| strings(&rule["verbs"]))
            .collect()
    };
    assert_eq!(may("pods"), ["list", "patch", "watch"].into());
    assert_eq!(may("pods/eviction"), ["create"].into());
    for owner in ["replicasets", "jobs"] {
        assert_eq!(may(owner), ["get"].into(), "{owner}");
    }
    assert_eq!(may("events"), ["create", "list", "patch", "watch"].into());
}

#[test]
fn the_plain_manifests_say_what_the_chart_says() {
    let chart = example();
    for plain in folder("webhook-config") {
        if kind(&plain) == "Namespace" {
            continue;
        }
        let twin = find(&chart, kind(&plain), name(&plain));
        let twin = twin.unwrap_or_else(|| panic!("the chart has no {} {}", kind(&plain), name(&plain)));
        for field in ["spec", "webhooks", "rules", "roleRef", "subjects"] {
            assert_eq!(plain[field], twin[field], "{field} of {} {}", kind(&plain), name(&plain));
        }
    }
}

/// The arguments of a role's server.
fn arguments<'a>(documents: &'a [Value], deployment: &str) -> BTreeSet<&'a str> {
    let workload = find(documents, "Deployment", deployment).unwrap();
    strings(&workload["spec"]["template"]["spec"]["containers"][0]["args"])
}

/// Every right of a role on a resource, as `verb resource`, those of its Role and its `ClusterRole`.
fn rights<'a>(documents: &'a [Value], role: &str, resources: &[&str]) -> BTreeSet<String> {
    let of_role = rules(documents).filter(|(name, _)| *name == role).map(|(_, rule)| rule);
    let said = |rule: &'a Value| {
        let (verbs, named) = (strings(&rule["verbs"]), strings(&rule["resources"]));
        named
            .into_iter()
            .flat_map(move |name| verbs.clone().into_iter().map(move |verb| format!("{verb} {name}")))
    };
    let is_asked = |right: &String| resources.iter().any(|name| right.ends_with(&format!(" {name}")));
    of_role.flat_map(said).filter(is_asked).collect()
}

fn set(rights: &[&str]) -> BTreeSet<String> {
    rights.iter().map(|&right| right.to_owned()).collect()
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

/// Whoever may patch pods may change the images that they run.
#[test]
fn the_catalog_may_patch_pods_only_under_a_policy_that_leaves_the_gate() {
    for documents in [example(), example_with(&["--set", "admission.gateWaitingPods=false"])] {
        assert!(rights(&documents, "bindery-catalog", &["pods"]).contains("patch pods"));
        let policy = find(&documents, "ValidatingAdmissionPolicy", "bindery-catalog-pods").unwrap();
        let constraint = &policy["spec"]["matchConstraints"]["resourceRules"][0];
        assert_eq!(
            (&constraint["resources"], &constraint["operations"]),
            (&json!(["pods"]), &json!(["UPDATE"]))
        );
        assert_eq!(
            policy["spec"]["matchConditions"][0]["expression"],
            "request.userInfo.username == 'system:serviceaccount:bindery:bindery-catalog'"
        );
        let gate = policy["spec"]["validations"][1]["expression"].as_str().unwrap();
        assert!(gate.contains(bindery::contract::pod::GATE), "{gate}");
        let binding = find(&documents, "ValidatingAdmissionPolicyBinding", "bindery-catalog-pods").unwrap();
        assert_eq!(binding["spec"]["policyName"], name(policy));
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    }
}

/// A status does not say what runs; the workload itself does.
#[test]
fn owners_are_nudged_by_their_status_alone_and_only_if_wanted() {
    let workloads = ["replicasets", "statefulsets", "daemonsets", "jobs"];
    let statuses = workloads.map(|kind| format!("{kind}/status"));
    let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
    let on = example();
    assert!(arguments(&on, "bindery-catalog").contains("--nudge-refused-owners=true"));
    let patch: BTreeSet<String> = statuses.iter().map(|status| format!("patch {status}")).collect();
    assert_eq!(rights(&on, "bindery-catalog", &statuses), patch);
    let seen = set(&["list endpointslices", "watch endpointslices"]);
    assert_eq!(rights(&on, "bindery-catalog", &["endpointslices"]), seen);
    let off = example_with(&["--set", "catalog.nudgeRefusedOwners=false"]);
    assert!(arguments(&off, "bindery-catalog").contains("--nudge-refused-owners=false"));
    assert_eq!(rights(&off, "bindery-catalog", &[&statuses[..], &["endpointslices"]].concat()), set(&[]));
    assert_eq!(rights(&off, "bindery-catalog", &["events"]), set(&["create events", "patch events"]));
    for documents in [&on, &off] {
        for right in rights(documents, "bindery-catalog", &workloads) {
            assert!(right.starts_with("get "), "{right}");
        }
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
fn without_services_there_is_no_broker() {
    let documents = documents(&rendered(&[]));
    assert!(documents.iter().all(|document| !name(document).contains("broker")));
}

#[test]
fn without_the_service_catalog_there_is_only_the_webhook() {
    let documents = documents(&rendered(&["--set", "apis.serviceCatalog=false"]));
    assert!(
        documents
            .iter()
            .all(|document| !name(document).contains("catalog") && !name(document).contains("crds"))
    );
    assert!(documents.iter().any(|document| name(document) == "bindery-admission"));
}

/// A broker whose store is a database, and all that belongs to it.
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

fn example_with(arguments: &[&str]) -> Vec<Value> {
    documents(&rendered(&[&["--values", EXAMPLE], arguments].concat()))
}

fn find<'a>(documents: &'a [Value], of: &str, named: &str) -> Option<&'a Value> {
    documents.iter().find(|document| kind(document) == of && name(document) == named)
}

/// The broker's configuration file as its pods get it.
fn broker_config(documents: &[Value]) -> Value {
    let file = &find(documents, "ConfigMap", "bindery-broker").unwrap()["data"]["bindery.yaml"];
    serde_saphyr::from_str(file.as_str().unwrap()).unwrap()
}

/// The files of the broker's pods, below /etc/bindery.
fn broker_files(workload: &Value) -> BTreeSet<String> {
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

/// The binary reads what the chart writes, and every file that it is to read is mounted.
#[test]
fn the_brokers_configuration_names_the_files_of_its_secrets() {
    let documents = example_with(&SHARED_STORE);
    let config = broker_config(&documents);
    let loaded = bindery::config::LoadedConfig::from_yaml(&config.to_string()).unwrap();
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

/// A MySQL server, one of PostgreSQL with a client CA, and a plan that says all that plans can.
#[test]
fn servers_and_plans_of_every_kind_are_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.yaml");
    fs::write(
        &values,
        r"
servers:
  my: {protocol: mysql, host: m, port: 3306, user: bindery, secretName: my, secretKeys: [password, ca.crt]}
  pg: {host: p, port: 5432, user: bindery, maxConnections: 8, secretName: pg, secretKeys: [password, ca.crt, client-ca.crt, client-ca.key]}
services:
- {id: m, name: mysql, type: mysql, description: d, plans: [{name: default, description: d, server: my}]}
- id: p
  name: postgresql
  type: postgresql
  description: d
  plans:
  - name: all
    description: d
    server: pg
    database: {access: {default: readonly, allowed: [readonly, owner]}, validFor: {default: 30d, maximum: 90d}, encodings: [UTF8],
      extensions: [hstore], templates: {demo: demo_data}, reclaimPolicy: {default: retain}, sslmode: verify-full, credentials: certificate}
broker: {rotateAdmin: true}
",
    )
    .unwrap();
    let documents = documents(&rendered(&["--values", values.to_str().unwrap()]));
    let config = broker_config(&documents);
    let loaded = bindery::config::LoadedConfig::from_yaml(&config.to_string()).unwrap();
    let server =
        |name: &str| loaded.services.servers.iter().find(|server| server.name.as_str() == name).unwrap();
    assert_eq!(server("my").protocol, bindery::config::Protocol::MySql);
    let ca = server("pg").client_ca.as_ref().unwrap();
    let files = broker_files(find(&documents, "StatefulSet", "bindery-broker").unwrap());
    for file in [&ca.cert_file, &ca.key_file] {
        assert!(files.contains(file.to_str().unwrap()), "{} is not among {files:?}", file.display());
    }
    assert!(files.contains("/etc/bindery/servers/my/password.next"), "{files:?}");
    let plan = loaded.services.offerings[1].plans.values().next().unwrap();
    assert_eq!(plan.database.templates["demo"], "demo_data");
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
fn a_role_of_the_cloud_is_given_by_annotations() {
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

/// What the broker may do in the whole cluster: group/resource, and the verbs.
fn cluster_rights(documents: &[Value]) -> BTreeSet<String> {
    let rules = find(documents, "ClusterRole", "bindery-broker").unwrap()["rules"].as_array().unwrap();
    let said = |rule: &Value| {
        let (groups, resources) = (strings(&rule["apiGroups"]), strings(&rule["resources"]));
        format!(
            "{groups:?} {resources:?} {:?} {:?}",
            strings(&rule["resourceNames"]),
            strings(&rule["verbs"])
        )
    };
    rules.iter().map(said).collect()
}

#[test]
fn a_restore_runs_before_the_broker_with_the_rights_it_needs_and_no_others() {
    for store in [&[][..], &SHARED_STORE[..]] {
        let arguments = [store, &["--set", "broker.restore=true"]].concat();
        let (without, with) = (example_with(store), example_with(&arguments));
        let more: Vec<_> = cluster_rights(&with).difference(&cluster_rights(&without)).cloned().collect();
        let wanted = [
            r#"{""} {"namespaces"} {} {"get"}"#,
            r#"{"servicecatalog.k8s.io"} {"serviceinstances"} {} {"get"}"#,
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
fn a_store_that_cannot_be_meant_is_refused() {
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
fn values_that_mean_nothing_are_refused() {
    let misspelt = refusal(&["--set", "admission.replica=3"]);
    assert!(misspelt.contains("'replica' not allowed"), "{misspelt}");
    let elsewhere = refusal(&["--values", EXAMPLE, "--set", "services[0].plans[0].server=nowhere"]);
    assert!(
        elsewhere.contains(r#"plan "default" of service "cockroachdb" is on server "nowhere""#),
        "{elsewhere}"
    );
}

#[test]
fn the_charts_definitions_are_those_of_the_binary() {
    let printed = Command::new(env!("CARGO_BIN_EXE_bindery")).arg("crds").output().unwrap();
    let printed = documents(&String::from_utf8(printed.stdout).unwrap());
    assert!(!printed.is_empty(), "`bindery crds` printed nothing");
    assert_eq!(folder("charts/bindery/crds"), printed, "run `make generate`");
}

#[test]
fn the_upgrade_hook_may_change_exactly_the_charts_definitions() {
    let documents = example();
    let allowed: BTreeSet<_> = rules(&documents)
        .filter(|(_, rule)| strings(&rule["resources"]).contains("customresourcedefinitions"))
        .flat_map(|(_, rule)| strings(&rule["resourceNames"]))
        .collect();
    let definitions = folder("charts/bindery/crds");
    assert_eq!(allowed, definitions.iter().map(name).collect());
}
