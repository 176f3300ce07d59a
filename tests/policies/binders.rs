//! The rule about who may bind: each pod of a table through the pure function, `bindery check` beside objects of RBAC, and a real
//! API server that has these objects.

use std::collections::{BTreeMap, BTreeSet};

use bindery::{
    apis::bindery::credential_policy::{Mode, RuleName},
    policy::{Access, Namespace, Policies, Subject},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cluster::{Answer, Place, until},
    engines::by_command_beside,
    objects::{policy, policy_of},
    table::{WORKLOADS, workload},
};

const RULE: RuleName = RuleName::WhoMayBind;

fn rules() -> Value {
    json!({"whoMayBind": {"allowSecrets": ["shared-*"]}})
}

/// The account `app` may bind `db`, and the account `all` every binding.
fn rbac(namespace: &str) -> Vec<Value> {
    let role = |name: &str, bindings: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": namespace},
            "rules": [{"apiGroups": ["servicecatalog.k8s.io"], "resources": ["servicebindings"], "resourceNames": bindings,
                "verbs": ["bind"]}]})
    };
    let bound = |name: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]})
    };
    vec![role("app", json!(["db"])), bound("app"), role("all", json!([])), bound("all")]
}

fn pod(account: &str, annotations: &Value, container: &Value, volumes: &Value) -> Value {
    let mut app = json!({"name": "app", "image": "app:1"});
    json_patch::merge(&mut app, container);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "annotations": annotations},
        "spec": {"serviceAccountName": account, "containers": [app], "volumes": volumes}})
}

/// Every way in which a pod of this account can refer to a Secret.
fn pods(account: &str, secret: &str) -> Vec<(&'static str, Value)> {
    let (none, empty) = (json!({}), json!([]));
    let of_container = |fields: &Value| pod(account, &none, fields, &empty);
    let of_volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        json_patch::merge(&mut volume, &source);
        pod(account, &none, &none, &json!([volume]))
    };
    let key =
        json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k", "optional": true}}});
    let env = json!({"env": [key, {"name": "B", "value": "$(A)"}]});
    let mut init = of_container(&none);
    init["spec"]["initContainers"] = json!([{"name": "i", "image": "i", "env": env["env"]}]);
    vec![
        ("a variable", of_container(&env)),
        ("all variables", of_container(&json!({"envFrom": [{"secretRef": {"name": secret}}]}))),
        ("an init container", init),
        ("a volume", of_volume(json!({"secret": {"secretName": secret}}))),
        (
            "a projected volume, the second of its sources",
            of_volume(json!({"projected": {"sources": [
                {"configMap": {"name": "c"}}, {"secret": {"name": secret, "items": [{"key": "k", "path": "p"}]}}]}})),
        ),
        (
            "a CSI volume",
            of_volume(json!({"csi": {"driver": "d", "nodePublishSecretRef": {"name": secret}}})),
        ),
        (
            "a storage driver",
            of_volume(json!({"cephfs": {"monitors": ["m"], "secretRef": {"name": secret}}})),
        ),
        (
            "an annotation for a plain Secret",
            pod(account, &json!({"bindery.dev/bind": format!("secret/{secret}")}), &none, &empty),
        ),
    ]
}

struct Case {
    name: String,
    pod: Value,
    is_violated: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let table = [
        ("app", "db", false),
        ("app", "db-env", false),
        ("app", "cache", true),
        ("app", "cache-env", true),
        ("app", "db-env-env", true),
        ("app", "shared-ca", false),
        ("default", "db", true),
        ("default", "db-env", true),
        ("all", "cache", false),
    ];
    for (account, secret, is_violated) in table {
        for (way, pod) in pods(account, secret) {
            let name = format!("{account} and {secret} by {way}");
            cases.push(Case { name, pod, is_violated });
        }
    }
    let (none, empty) = (json!({}), json!([]));
    let bound = |account: &str, bind: &str| pod(account, &json!({"bindery.dev/bind": bind}), &none, &empty);
    let mut many = pod("all", &none, &none, &empty);
    let keys = |count: usize| -> Value {
        let key = |n: usize| json!({"secretRef": {"name": format!("s{n}")}});
        (0..count).map(key).collect()
    };
    many["spec"]["containers"][0]["envFrom"] = keys(24);
    let mut too_many = many.clone();
    too_many["spec"]["containers"][0]["envFrom"] = keys(25);
    let mut one_often = pod("app", &none, &none, &empty);
    one_often["spec"]["containers"][0]["envFrom"] =
        (0..60).map(|n| json!({"prefix": format!("P{n}_"), "secretRef": {"name": "db-env"}})).collect();
    let mut last = many.clone();
    last["spec"]["serviceAccountName"] = json!("app");
    let rest = [
        ("no Secret", pod("default", &none, &none, &empty), false),
        ("an annotation", bound("app", " db , configmap/c"), false),
        ("an annotation for another binding", bound("app", "db,cache"), true),
        (
            "an annotation of a container",
            pod("app", &json!({"bindery.dev/bind.app": "cache"}), &none, &empty),
            true,
        ),
        ("as many bindings as can be checked", many, false),
        ("more bindings than can be checked", too_many, true),
        ("one binding often", one_often, false),
        ("many bindings of an account without the right", last, true),
    ];
    cases.extend(rest.map(|(name, pod, is_violated)| Case { name: name.to_owned(), pod, is_violated }));
    cases
}

fn by_function(pod: &Value, access: Access) -> BTreeSet<RuleName> {
    let policies = Policies::new(&[policy("p", json!({"rules": rules()}))], Vec::new(), Vec::new()).unwrap();
    let namespace = Namespace::new("shop", BTreeMap::new(), BTreeMap::new());
    let subject = Subject { name: "web", namespace: &namespace, template: pod, only_ephemeral: false };
    let verdicts = policies.with_access(access).judge(&subject, Timestamp::now());
    verdicts.into_iter().map(|verdict| verdict.finding.rule).collect()
}

#[test]
fn the_function_and_the_command_agree_on_every_pod() {
    let rbac = rbac("shop");
    for Case { name, pod, is_violated } in cases() {
        let expected: BTreeSet<_> = is_violated.then_some(RULE).into_iter().collect();
        assert_eq!(by_function(&pod, Access::read(rbac.iter())), expected, "{name}");
        assert_eq!(by_command_beside(&rules(), &rbac, &pod).0, expected, "{name}");
    }
}

/// Without roles the command does not guess.
#[test]
fn the_command_says_what_it_cannot_know() {
    let (_, pod) = &pods("app", "db")[0];
    let (violated, notes) = by_command_beside(&rules(), &[], pod);
    assert_eq!(violated, BTreeSet::new());
    assert!(notes.contains("whether its service account may bind db is unknown"), "{notes}");
    let (_, notes) = by_command_beside(&rules(), &rbac("shop"), pod);
    assert_eq!(notes, "");
}

async fn apply_rbac(place: &Place, namespace: &str) {
    for object in rbac(namespace) {
        let path = place.path(namespace, &object);
        assert!(matches!(place.send("POST", &path, &object).await, Answer::Allowed { .. }));
    }
    for account in ["app", "all"] {
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
        let path = place.path(namespace, &object);
        assert!(matches!(place.send("POST", &path, &object).await, Answer::Allowed { .. }));
    }
}

#[tokio::test]
async fn the_api_server_asks_its_authorizer_in_every_mode() {
    let place = Place::new("binders").await;
    let mut namespaces = Vec::new();
    for mode in [Mode::Enforce, Mode::Warn, Mode::Audit] {
        let name = place.namespace(&mode.name().to_lowercase()).await;
        apply_rbac(&place, &name).await;
        place.enforce(&policy_of(&name, &name, mode, &rules())).await;
        namespaces.push((mode, name));
    }
    place.settled().await;
    for Case { name, pod, is_violated } in cases() {
        for (mode, namespace) in &namespaces {
            let warned = match (*mode, is_violated) {
                (Mode::Warn, true) => BTreeSet::from([RULE]),
                _ => BTreeSet::new(),
            };
            let expected = match (*mode, is_violated) {
                (Mode::Enforce, true) => Answer::Refused { rule: RULE },
                _ => Answer::Allowed { warned },
            };
            // The rights of a new role count a moment later.
            if is_violated {
                assert_eq!(place.create(namespace, &pod).await, expected, "{name}, {mode:?}");
            } else {
                until(&name, async || place.create(namespace, &pod).await == expected).await;
            }
        }
    }
    let (mode, namespace) = &namespaces[0];
    assert_eq!(*mode, Mode::Enforce);
    for kind in WORKLOADS {
        for (way, pod) in pods("default", "db") {
            let answer = place.create(namespace, &workload(kind, &pod)).await;
            assert_eq!(answer, Answer::Refused { rule: RULE }, "{way} in a {kind}");
        }
    }
}

/// A pod that is older than the policy can be debugged, but a new container gets no Secret that the account may not bind.
#[tokio::test]
async fn ephemeral_containers_are_checked_alone() {
    let place = Place::new("binders-debug").await;
    let namespace = place.namespace("shop").await;
    let (_, mut old) = pods("default", "db").swap_remove(1);
    old["spec"]["nodeSelector"] = json!({"none": "none"});
    let path = place.path(&namespace, &old);
    let allowed = Answer::Allowed { warned: BTreeSet::new() };
    assert_eq!(place.send("POST", &path, &old).await, allowed);
    place.enforce(&policy_of(&namespace, &namespace, Mode::Enforce, &rules())).await;
    place.settled().await;
    let debug = |fields: Value| {
        let mut container = json!({"name": "debug", "image": "busybox"});
        json_patch::merge(&mut container, &fields);
        json!({"spec": {"ephemeralContainers": [container]}})
    };
    let ephemeral = format!("{path}/web/ephemeralcontainers");
    assert_eq!(place.send("PATCH", &ephemeral, &debug(json!({}))).await, allowed);
    let sly = debug(json!({"name": "sly", "envFrom": [{"secretRef": {"name": "db"}}]}));
    assert_eq!(place.send("PATCH", &ephemeral, &sly).await, Answer::Refused { rule: RULE });
}
