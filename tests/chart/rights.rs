//! The rights of bindery's accounts: they have what they need and no more.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::rendered::{arguments, example, example_with, find, folder, kind, name, rules, strings};

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

/// P22: anyone who creates pods triggers the webhook. Across the cluster it only reads, except for its own
/// configuration.
#[test]
fn the_webhook_cannot_be_used_for_what_its_user_may_not_do() {
    let documents = example();
    let role = find(&documents, "ClusterRole", "bindery-admission").unwrap();
    for rule in role["rules"].as_array().unwrap() {
        let reads = strings(&rule["verbs"]).is_subset(&["get", "list", "watch"].into());
        let (its_own, named) = (strings(&rule["resourceNames"]), BTreeSet::from(["bindery"]));
        // A SubjectAccessReview is a question and changes nothing.
        let asks = strings(&rule["resources"]) == ["subjectaccessreviews"].into();
        assert!(reads || its_own == named || asks, "{rule}");
        assert!(!strings(&rule["resources"]).contains("secrets"), "{rule}");
    }
}

/// Namespaces are labelled but never created or deleted; NamespaceBindings are read but never changed.
#[test]
fn rights_to_namespaces_and_namespacebindings_are_minimal() {
    let documents = example();
    let verbs = |resource: &str| -> BTreeSet<(&str, &str)> {
        rules(&documents)
            .filter(|(role, rule)| *role != "bindery-view" && strings(&rule["resources"]).contains(resource))
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

/// The catalog finds pods, writes events for their owners and evicts; a policy limits what it may patch.
#[test]
fn the_catalog_may_read_pods_and_their_owners_and_evict() {
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
    for owner in ["replicasets", "jobs", "configmaps"] {
        assert_eq!(may(owner), ["get"].into(), "{owner}");
    }
    assert_eq!(may("events"), ["create", "list", "patch", "watch"].into());
}

/// Every right of a role on a resource, as `verb resource`, from its Role and its `ClusterRole`.
pub(crate) fn rights<'a>(documents: &'a [Value], role: &str, resources: &[&str]) -> BTreeSet<String> {
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

pub(crate) fn set(rights: &[&str]) -> BTreeSet<String> {
    rights.iter().map(|&right| right.to_owned()).collect()
}

/// The right to patch pods includes the images that they run.
#[test]
fn the_catalog_may_patch_pods_only_under_the_policy_for_gates() {
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

/// A status does not decide what runs; only the workload's spec does.
#[test]
fn owners_are_nudged_only_by_their_status_and_only_if_enabled() {
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
    assert_eq!(rights(&off, "bindery-catalog", &statuses), set(&[]));
    assert_eq!(rights(&off, "bindery-catalog", &["endpointslices"]), seen, "evictions depend on it");
    assert_eq!(rights(&off, "bindery-catalog", &["events"]), set(&["create events", "patch events"]));
    for documents in [&on, &off] {
        for right in rights(documents, "bindery-catalog", &workloads) {
            assert!(right.starts_with("get "), "{right}");
        }
    }
}

/// The broker's rights in the whole cluster, as group/resource with the verbs.
pub(crate) fn cluster_rights(documents: &[Value]) -> BTreeSet<String> {
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
fn the_upgrade_hook_may_change_exactly_the_charts_definitions() {
    let documents = example();
    let allowed: BTreeSet<_> = rules(&documents)
        .filter(|(_, rule)| strings(&rule["resources"]).contains("customresourcedefinitions"))
        .flat_map(|(_, rule)| strings(&rule["resourceNames"]))
        .collect();
    let definitions = folder("charts/bindery/crds");
    assert_eq!(allowed, definitions.iter().map(name).collect());
}

/// Kubernetes aggregates these rights into its own roles view, edit and admin.
#[test]
fn users_of_a_namespace_may_change_only_its_own_objects() {
    let label = |role: &Value, of: &str| {
        role["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{of}")] == "true"
    };
    for documents in [example(), folder("webhook-config")] {
        let role = |name: &str| find(&documents, "ClusterRole", name).unwrap();
        let (view, edit, admin) = (role("bindery-view"), role("bindery-edit"), role("bindery-admin"));
        assert!(label(view, "view") && !label(view, "edit"), "{view}");
        assert!(label(edit, "edit") && label(edit, "admin") && !label(edit, "view"), "{edit}");
        assert!(label(admin, "admin") && !label(admin, "edit") && !label(admin, "view"), "{admin}");
        for rule in view["rules"].as_array().unwrap() {
            assert_eq!(strings(&rule["verbs"]), ["get", "list", "watch"].into());
            let brokers = ["clusterservicebrokers", "servicebrokers"].into();
            assert!(strings(&rule["resources"]).is_disjoint(&brokers), "a URL may hold a password");
        }
        let changed = |role: &Value| -> BTreeSet<String> {
            let rules = role["rules"].as_array().unwrap().iter();
            let writes = rules.filter(|rule| strings(&rule["verbs"]).contains("create"));
            writes.flat_map(|rule| strings(&rule["resources"])).map(str::to_owned).collect()
        };
        assert_eq!(changed(edit), set(&["servicebindings", "serviceinstances"]));
        assert_eq!(changed(admin), set(&["servicebrokers", "serviceclasses", "serviceplans"]));
    }
}

#[test]
fn every_user_may_read_the_offers_by_default() {
    let on = example();
    let subject = &find(&on, "ClusterRoleBinding", "bindery-offers").unwrap()["subjects"][0];
    assert_eq!((&subject["kind"], &subject["name"]), (&json!("Group"), &json!("system:authenticated")));
    let off = example_with(&["--set", "rbac.offersForEveryone=false"]);
    assert!(off.iter().all(|document| name(document) != "bindery-offers"));
}

/// Whoever writes ValidatingAdmissionPolicies can delete those that limit the others.
#[test]
fn only_the_enforcement_writes_admission_policies_and_it_is_off_by_default() {
    let written = |documents: &[Value]| -> BTreeSet<String> {
        rules(documents)
            .filter(|(_, rule)| strings(&rule["resources"]).contains("validatingadmissionpolicies"))
            .map(|(role, _)| role.to_owned())
            .collect()
    };
    assert_eq!(written(&example()), BTreeSet::new());
    let on = example_with(&["--set", "enforcement.enabled=true"]);
    assert_eq!(written(&on), set(&["bindery-enforcement"]));
    let admission = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
    for kind in admission {
        let verbs = ["create", "delete", "list", "patch", "watch"].map(|verb| format!("{verb} {kind}"));
        assert_eq!(rights(&on, "bindery-enforcement", &[kind]), verbs.into());
    }
    // The audit reads pods and workloads, and nothing that contains credentials by design.
    for read in
        ["pods", "deployments", "replicasets", "cronjobs", "configmaps", "namespaces", "credentialpolicies"]
    {
        let verbs = ["list", "watch"].map(|verb| format!("{verb} {read}"));
        assert_eq!(rights(&on, "bindery-enforcement", &[read]), verbs.into());
    }
    for never in ["secrets", "serviceaccounts"] {
        assert_eq!(rights(&on, "bindery-enforcement", &[never]), BTreeSet::new());
    }
    // The API server demands get for the parameters of policies.
    let verbs = ["get", "list", "watch"].map(|verb| format!("{verb} servicebindings"));
    assert_eq!(rights(&on, "bindery-enforcement", &["servicebindings"]), verbs.into());
    for report in ["policyreports", "reports"] {
        let verbs = ["create", "delete", "list", "patch"].map(|verb| format!("{verb} {report}"));
        assert_eq!(rights(&on, "bindery-enforcement", &[report]), verbs.into());
    }
    let deployment = find(&on, "Deployment", "bindery-enforcement").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "bindery-enforcement");
    assert!(strings(&pod["containers"][0]["args"]).contains("--roles=enforcement"));
}

/// A namespace's users may neither read nor write policies and exceptions: the kinds are cluster-scoped, and no role for
/// users names them.
#[test]
fn no_role_of_users_contains_policies_or_exceptions() {
    let on = example_with(&["--set", "enforcement.enabled=true"]);
    let own = ["bindery-admission", "bindery-enforcement", "bindery-crds"];
    for (role, rule) in rules(&on).filter(|(role, _)| !own.contains(role)) {
        for kind in ["credentialpolicies", "credentialpolicyexceptions"] {
            assert!(!strings(&rule["resources"]).contains(kind), "{role}: {rule}");
        }
    }
}
