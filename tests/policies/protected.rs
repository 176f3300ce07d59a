//! The rule about what bindery writes: each change of a table by each author, through the pure function and a real API server,
//! and creations through `bindery check` as well.

use std::collections::{BTreeMap, BTreeSet};

use bindery::{
    apis::{
        bindery::credential_policy::RuleName,
        servicecatalog::{self, ServiceBinding},
    },
    policy::{Author, Change, Namespace, Policies},
};
use k8s_openapi::{
    api::core::v1 as core, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Answer, Place, until},
    engines::by_command_with,
    objects::policy,
};

/// Stands for the uid of a ServiceBinding.
const OWNER: &str = "0b5ac5c8-0c5c-4a0c-8f6c-7a3a5f1a2b3c";
const RULE: RuleName = RuleName::ProtectedObjects;

/// A change and whether a tenant violates the rule by it. `before` or `after` is `null` for a creation or a deletion.
struct Row {
    name: &'static str,
    before: Value,
    after: Value,
    is_violated: bool,
}

fn row(name: &'static str, before: Value, after: Value, is_violated: bool) -> Row {
    Row { name, before, after, is_violated }
}

fn merged(object: &Value, changes: &Value) -> Value {
    let mut object = object.clone();
    json_patch::merge(&mut object, changes);
    object
}

fn secret(changes: &Value) -> Value {
    merged(
        &json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": "db"}, "data": {"a": "eA=="}}),
        changes,
    )
}

pub(crate) fn bindings_secret() -> Value {
    let labels = json!({"app.kubernetes.io/managed-by": "bindery", "bindery.dev/binding": "db"});
    secret(&json!({"metadata": {"labels": labels, "annotations": {"bindery.dev/revision": "1"}}}))
}

fn owned_secret() -> Value {
    let owner = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding", "name": "db",
        "uid": OWNER, "controller": true});
    secret(&json!({"metadata": {"ownerReferences": [owner]}}))
}

fn record() -> Value {
    json!({"apiVersion": "bindery.dev/v1alpha1", "kind": "ExternalResource", "metadata": {"name": "rules-test"}, "spec": {
        "broker": {"name": "bindery", "url": "https://broker.example.com"}, "kind": "ServiceInstance", "namespace": "shop",
        "name": "db", "uid": "u", "instanceID": "i", "serviceID": "s", "planID": "p"}})
}

fn namespace(annotations: &Value, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"annotations": annotations, "labels": labels}})
}

fn rows() -> Vec<Row> {
    let none = Value::Null;
    let (own, plain, owned) = (bindings_secret(), secret(&json!({})), owned_secret());
    let changed = |before: &Value, changes: Value| (before.clone(), merged(before, &changes));
    let mut rows = vec![
        row("a plain Secret is created", none.clone(), plain.clone(), false),
        row("a Secret is created that says it is a binding's", none.clone(), own.clone(), true),
        row("a Secret is created for bindery to fill", none.clone(), owned.clone(), true),
        row("a plain Secret is deleted", plain.clone(), none.clone(), false),
        row("a binding's Secret is deleted", own.clone(), none.clone(), true),
        row("an owned Secret is deleted", owned.clone(), none.clone(), true),
        row("a record is created", none.clone(), record(), true),
        row("a record is deleted", record(), none, true),
    ];
    let updates = [
        ("a plain Secret's data", &plain, json!({"data": {"a": "eQ=="}}), false),
        ("nothing", &own, json!({}), false),
        ("data", &own, json!({"data": {"a": "eQ=="}}), true),
        ("immutability", &own, json!({"immutable": true}), true),
        ("data of an owned Secret", &owned, json!({"data": null}), true),
        ("the owner", &owned, json!({"metadata": {"ownerReferences": null}}), true),
        (
            "another controller's owner",
            &plain,
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}]}}),
            false,
        ),
        ("a finalizer", &own, json!({"metadata": {"finalizers": ["example.com/keep"]}}), true),
        ("the label by which it is known", &own, json!({"metadata": {"labels": null}}), true),
        ("a plain Secret's label", &plain, json!({"metadata": {"labels": {"bindery.dev/binding": "db"}}}), true),
        ("an annotation of bindery", &own, json!({"metadata": {"annotations": {"bindery.dev/revision": "9"}}}), true),
        ("a foreign label", &own, json!({"metadata": {"labels": {"example.com/a": "b"}}}), false),
        ("a foreign annotation", &own, json!({"metadata": {"annotations": {"example.com/a": "b"}}}), false),
        ("a record's spec", &record(), json!({"spec": {"planID": "q"}}), true),
        ("a record's finalizers", &record(), json!({"metadata": {"finalizers": ["example.com/keep"]}}), true),
        ("nothing of a record", &record(), json!({}), false),
    ]
    .map(|(name, object, changes, is_violated)| {
        let (before, after) = changed(object, changes);
        row(name, before, after, is_violated)
    });
    rows.extend(updates);
    rows.extend(namespaces());
    rows
}

fn namespaces() -> Vec<Row> {
    let enabled = || json!({"bindery.dev/inject": "enabled"});
    let by_bindery = || {
        namespace(
            &json!({"bindery.dev/bind": "db", "bindery.dev/bound-by-namespace-bindings": "db"}),
            &enabled(),
        )
    };
    let by_user = || {
        namespace(
            &json!({"bindery.dev/bind": "own", "bindery.dev/bound-by-namespace-bindings": "db"}),
            &enabled(),
        )
    };
    let annotated = |object: Value, name: &str, value: Value| {
        merged(&object, &json!({"metadata": {"annotations": {name: value}}}))
    };
    let plain = || namespace(&json!({}), &json!({}));
    vec![
        row("a user's default", plain(), namespace(&json!({"bindery.dev/bind": "db"}), &enabled()), false),
        row("a user's new default", by_user(), annotated(by_user(), "bindery.dev/bind", json!("x")), false),
        row("bindery's default", by_bindery(), annotated(by_bindery(), "bindery.dev/bind", json!("x")), true),
        row(
            "bindery's default removed",
            by_bindery(),
            annotated(by_bindery(), "bindery.dev/bind", Value::Null),
            true,
        ),
        row(
            "bindery's label",
            by_bindery(),
            merged(&by_bindery(), &json!({"metadata": {"labels": {"bindery.dev/inject": null}}})),
            true,
        ),
        row(
            "what bindery remembers of the default",
            by_bindery(),
            annotated(by_bindery(), "bindery.dev/bound-by-namespace-bindings", Value::Null),
            true,
        ),
        row("when a pod was seen", plain(), annotated(plain(), "bindery.dev/last-pod-at", json!("x")), true),
        row(
            "an extension by a user",
            plain(),
            annotated(plain(), "bindery.dev/extended-until", json!("x")),
            false,
        ),
        row(
            "a foreign annotation of a Namespace",
            by_bindery(),
            annotated(by_bindery(), "a", json!("x")),
            false,
        ),
    ]
}

const ADMINISTRATORS: &str = "platform-administrators";

pub(crate) fn settings() -> Value {
    json!({"protectedObjects": {"allowGroups": [ADMINISTRATORS], "allowUsers": ["system:serviceaccount:velero:*"]}})
}

/// Users and groups, and whether they may change everything.
fn authors() -> Vec<(&'static str, Vec<String>, bool)> {
    vec![
        ("jane", vec!["developers".to_owned()], false),
        ("system:serviceaccount:shop:bindery-catalog", vec![], false),
        ("system:serviceaccount:bindery-evil:x", vec![], false),
        ("system:serviceaccount:bindery:bindery-catalog", vec![], true),
        ("system:serviceaccount:velero:velero", vec![], true),
        ("system:serviceaccount:kube-system:generic-garbage-collector", vec![], true),
        ("system:serviceaccount:kube-system:namespace-controller", vec![], true),
        ("system:serviceaccount:kube-system:default", vec![], false),
        ("joe", vec![ADMINISTRATORS.to_owned()], true),
        ("admin", vec!["system:masters".to_owned()], true),
    ]
}

fn by_function(row: &Row, author: Author<'_>, metadata_of: &str) -> bool {
    let spec = json!({"mode": "Enforce", "rules": settings()});
    let policies = Policies::new(&[policy("p", spec)], Vec::new(), vec!["bindery".to_owned()]).unwrap();
    let shop = Namespace::new(metadata_of, BTreeMap::new(), BTreeMap::new());
    let object = |value: &'_ Value| !value.is_null();
    let is_outside = [&row.before, &row.after].iter().any(|it| it["kind"] == "ExternalResource");
    let change = Change {
        namespace: (!is_outside).then_some(&shop),
        before: Some(&row.before).filter(|it| object(it)),
        after: Some(&row.after).filter(|it| object(it)),
        author,
    };
    !policies.judge_change(&change, Timestamp::now()).is_empty()
}

#[test]
fn the_function_and_the_command_agree_on_every_change() {
    for row in rows() {
        for (name, groups, may) in authors() {
            let found = by_function(&row, Author { name, groups: &groups }, "shop");
            assert_eq!(found, row.is_violated && !may, "{}, by {name}", row.name);
        }
        if row.before.is_null() {
            let expected: BTreeSet<_> = row.is_violated.then_some(RULE).into_iter().collect();
            assert_eq!(by_command_with(&settings(), &row.after), expected, "{}", row.name);
        }
    }
}

/// Groups with all rights, as the administrators of a namespace have them there: only the policy stops their members.
pub(crate) async fn grant_everything(place: &Place, groups: &[&str], users: &[&str]) {
    let subject =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let groups = groups.iter().map(|name| subject("Group", name));
    let subjects: Vec<_> = groups.chain(users.iter().map(|name| subject("User", name))).collect();
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": place.unique("all")}, "subjects": subjects,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    assert_eq!(place.send("POST", path, &binding).await, allowed());
}

fn allowed() -> Answer {
    Answer::Allowed { warned: BTreeSet::new() }
}

async fn install_records(place: &Place) {
    let crds: Api<CustomResourceDefinition> = Api::all(place.client.clone());
    for crd in servicecatalog::crds() {
        let parameters = PatchParams::apply("tests").force();
        crds.patch(&crd.name_any(), &parameters, &Patch::Apply(&crd)).await.unwrap();
    }
    let path = "/apis/bindery.dev/v1alpha1/externalresources";
    until("the kind is served", async || {
        matches!(place.send("POST", &format!("{path}?dryRun=All"), &record()).await, Answer::Allowed { .. })
    })
    .await;
}

/// The table with the uid of a real owner: the garbage collector deletes Secrets of others.
async fn rows_with_owner(place: &Place, namespace: &str) -> Vec<Row> {
    let spec = json!({"metadata": {"name": "db"}, "spec": {"instanceRef": {"name": "db"}}});
    let owner: ServiceBinding = serde_json::from_value(spec).unwrap();
    let bindings: Api<ServiceBinding> = Api::namespaced(place.client.clone(), namespace);
    let uid = bindings.create(&PostParams::default(), &owner).await.unwrap().uid().unwrap();
    let with_owner = |value: &Value| serde_json::from_str(&value.to_string().replace(OWNER, &uid)).unwrap();
    let rows = rows().into_iter();
    rows.map(|row| Row { before: with_owner(&row.before), after: with_owner(&row.after), ..row }).collect()
}

/// The collection of an object's kind.
fn collection(namespace: &str, object: &Value) -> String {
    match object["kind"].as_str().unwrap() {
        "Secret" => format!("/api/v1/namespaces/{namespace}/secrets"),
        "Namespace" => "/api/v1/namespaces".to_owned(),
        _ => "/apis/bindery.dev/v1alpha1/externalresources".to_owned(),
    }
}

#[tokio::test]
async fn the_api_server_agrees_on_every_change() {
    let place = Place::new("protected").await;
    install_records(&place).await;
    let authors = authors();
    let users: Vec<_> = authors.iter().map(|(name, ..)| *name).collect();
    grant_everything(&place, &["developers", ADMINISTRATORS], &users).await;
    let shop = place.namespace("shop").await;
    let name = place.unique("p");
    let labelled = json!({"metadata": {"labels": {"rules-test": name}}});
    place.send("PATCH", &format!("/api/v1/namespaces/{shop}"), &labelled).await;
    let scope = json!({"namespaceSelector": {"matchLabels": {"rules-test": name}}});
    let spec = json!({"mode": "Enforce", "rules": settings(), "scope": scope});
    place.enforce_excluding(&policy(&name, spec), &["bindery".to_owned()]).await;
    let canary = format!("/api/v1/namespaces/{shop}/secrets?dryRun=All");
    let jane = Some(("jane", &["developers".to_owned()][..]));
    until("the policy holds", async || {
        place.send_as(jane, "POST", &canary, &bindings_secret()).await == Answer::Refused { rule: RULE }
    })
    .await;
    for (index, row) in rows_with_owner(&place, &shop).await.into_iter().enumerate() {
        let object = if row.before.is_null() { &row.after } else { &row.before };
        let path = collection(&shop, object);
        let own =
            merged(&labelled, &json!({"metadata": {"name": format!("{}-{index}", place.unique("row"))}}));
        let (one, before) =
            (format!("{path}/{}", own["metadata"]["name"].as_str().unwrap()), merged(&row.before, &own));
        if !row.before.is_null() {
            assert_eq!(place.send("POST", &path, &before).await, allowed(), "{}", row.name);
        }
        for (user, groups, may) in &authors {
            let author = Some((*user, &groups[..]));
            let answer = if row.before.is_null() {
                let after = merged(&row.after, &own);
                place.send_as(author, "POST", &format!("{path}?dryRun=All"), &after).await
            } else if row.after.is_null() {
                // With a body, the API server ignores the options of the query.
                place.send_as(author, "DELETE", &one, &json!({"dryRun": ["All"]})).await
            } else {
                let mut after = merged(&row.after, &own);
                after["metadata"]["resourceVersion"] = place.version(&one).await;
                if row.after["metadata"]["labels"].is_null() && row.after["kind"] == "Secret" {
                    after["metadata"].as_object_mut().unwrap().remove("labels");
                }
                place.send_as(author, "PUT", &format!("{one}?dryRun=All"), &after).await
            };
            let expected = if row.is_violated && !may { Answer::Refused { rule: RULE } } else { allowed() };
            assert_eq!(answer, expected, "{}, by {user}", row.name);
        }
        place.send("DELETE", &one, &json!({})).await;
    }
    // Another mode, by a policy of its own.
    let elsewhere = place.namespace("elsewhere").await;
    let scope = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": elsewhere}}});
    let warns = json!({"mode": "Warn", "rules": settings(), "scope": scope});
    place.enforce_excluding(&policy(&place.unique("warns"), warns), &["bindery".to_owned()]).await;
    let warned = Answer::Allowed { warned: BTreeSet::from([RULE]) };
    let path = format!("/api/v1/namespaces/{elsewhere}/secrets?dryRun=All");
    until("the policy warns", async || {
        place.send_as(jane, "POST", &path, &bindings_secret()).await == warned
    })
    .await;
}

/// Neither an exception's end nor a deletion may wedge a namespace: the controllers of Kubernetes delete what users may not.
#[tokio::test]
async fn a_namespace_with_protected_objects_goes_with_its_deletion() {
    let place = Place::new("wedge").await;
    grant_everything(&place, &["developers"], &[]).await;
    let shop = place.namespace("shop").await;
    let spec = json!({"mode": "Enforce", "rules": settings(),
        "scope": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": shop}}}});
    // ExternalResources belong to the cluster, so the policy holds those of other tests, too.
    place.enforce_excluding(&policy(&shop, spec), &["bindery".to_owned()]).await;
    let path = format!("/api/v1/namespaces/{shop}/secrets");
    let jane = Some(("jane", &["developers".to_owned()][..]));
    until("the policy holds", async || {
        let tried = place.send_as(jane, "POST", &format!("{path}?dryRun=All"), &bindings_secret()).await;
        tried == Answer::Refused { rule: RULE }
    })
    .await;
    let secret = bindings_secret();
    assert_eq!(place.send("POST", &path, &secret).await, allowed());
    // Neither one by one, nor all at once.
    for one in [format!("{path}/db"), path.clone()] {
        assert_eq!(place.send_as(jane, "DELETE", &one, &json!({})).await, Answer::Refused { rule: RULE });
    }
    let namespace_path = format!("/api/v1/namespaces/{shop}");
    assert_eq!(place.send_as(jane, "DELETE", &namespace_path, &json!({})).await, allowed());
    let namespaces: Api<core::Namespace> = Api::all(place.client.clone());
    until("the namespace is gone", async || namespaces.get_opt(&shop).await.unwrap().is_none()).await;
}
