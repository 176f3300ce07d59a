//! The chart's policies and roles for bindery's accounts and for users of a namespace, checked against the API
//! server.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Command;

use bindery::apis::servicecatalog::{ServiceBinding, ServiceBroker, ServiceInstance};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    authorization::v1::SubjectAccessReview,
    core::v1::{Namespace, Secret},
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::harness::{Place, client_of, until};

/// The policy that is applied last.
const LAST: &str = "catalog-secrets";

/// The chart's roles and policies, for accounts of the place's namespace.
async fn install(place: &Place) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/bindery");
    let values = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cockroachdb/values.yaml");
    let arguments =
        ["template", &place.namespace, chart, "--namespace", &place.namespace, "--values", values];
    let rendered = Command::new("helm").args(arguments).output().unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let kinds = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ValidatingAdmissionPolicy"];
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let documents = rendered.split("\n---\n").map(|document| document.trim_start_matches("---\n"));
    let mut objects: Vec<Value> =
        documents.map(|document| serde_saphyr::from_str(document).unwrap()).collect();
    // The API server learns of policies in this order: once the last one is in force, all are.
    objects
        .sort_by_key(|object| object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with(LAST)));
    for object in objects {
        let Some(kind) = object["kind"].as_str() else { continue };
        if kinds.contains(&kind) || kind == "ValidatingAdmissionPolicyBinding" {
            apply(place, &object).await;
        }
    }
}

async fn apply(place: &Place, object: &Value) {
    let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
    let kind = object["kind"].as_str().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = if kind.starts_with("Role") {
        Api::namespaced_with(place.client.clone(), &place.namespace, &resource)
    } else {
        Api::all_with(place.client.clone(), &resource)
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(object)).await.unwrap();
}

/// Access as one of the installation's accounts.
async fn account(place: &Place, role: &str) -> Client {
    let namespace = &place.namespace;
    let (all, of_namespace) = ("system:serviceaccounts", format!("system:serviceaccounts:{namespace}"));
    client_of(&format!("system:serviceaccount:{namespace}:{namespace}-{role}"), &[all, &of_namespace]).await
}

/// Whether this policy refused the request.
fn is_denied<T: std::fmt::Debug>(outcome: kube::Result<T>, policy: &str) -> bool {
    match outcome {
        Ok(_) => false,
        Err(kube::Error::Api(status)) if status.message.contains("ValidatingAdmissionPolicy") => {
            assert!(status.message.contains(policy), "{}", status.message);
            true
        }
        Err(error) => panic!("{error}"),
    }
}

fn secret(fields: &Value) -> Secret {
    let mut secret = json!({"metadata": {"name": "made", "labels": {"app.kubernetes.io/managed-by": "bindery"},
        "ownerReferences": [{"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding", "name": "made",
            "uid": "00000000-0000-4000-8000-000000000000", "controller": true}]}, "type": "Opaque"});
    json_patch::merge(&mut secret, fields);
    serde_json::from_value(secret).unwrap()
}

/// An installation whose policies are in force, which takes the API server a moment.
async fn installed() -> Place {
    let place = Place::with_broker().await;
    install(&place).await;
    let catalog = account(&place, "catalog").await;
    let (secrets, dry) = (secrets(&place, &catalog), PostParams { dry_run: true, ..PostParams::default() });
    let bad = secret(&json!({"type": "example.com/other"}));
    until("the catalog's rights and policies hold", async || {
        secrets.create(&dry, &bad).await.is_err_and(|error| error.to_string().contains(LAST))
    })
    .await;
    place
}

fn secrets(place: &Place, client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), &place.namespace)
}

#[tokio::test]
async fn the_catalog_may_write_only_secrets_of_bindings() {
    let place = installed().await;
    let catalog = account(&place, "catalog").await;
    let (secrets, make, policy) = (secrets(&place, &catalog), PostParams::default(), "catalog-secrets");
    let token = json!({"type": "kubernetes.io/service-account-token",
        "metadata": {"annotations": {"kubernetes.io/service-account.name": "default"}}});
    for bad in [token, json!({"metadata": {"labels": null}}), json!({"metadata": {"ownerReferences": null}})]
    {
        assert!(is_denied(secrets.create(&make, &secret(&bad)).await, policy), "{bad}");
    }
    // An object without an existing owner is garbage-collected at once.
    let spec = json!({"instanceRef": {"name": "none"}});
    let binding: ServiceBinding = place.create("ServiceBinding", "made", json!({}), spec).await.unwrap();
    let mut of_binding = secret(&json!({}));
    of_binding.owner_references_mut()[0].uid = binding.uid().unwrap();
    secrets.create(&make, &of_binding).await.unwrap();
    let users: Secret =
        serde_json::from_value(json!({"metadata": {"name": "users"}, "stringData": {"a": "b"}})).unwrap();
    place.api().create(&make, &users).await.unwrap();
    let change = Patch::Merge(json!({"stringData": {"a": "c"}}));
    let parameters = PatchParams::default();
    assert!(is_denied(secrets.patch("users", &parameters, &change).await, policy));
    let seized = Patch::Merge(json!({"metadata": secret(&json!({})).metadata.owner_references.map(|owners| {
        json!({"ownerReferences": owners, "labels": {"app.kubernetes.io/managed-by": "bindery"}})
    })}));
    assert!(
        is_denied(secrets.patch("users", &parameters, &seized).await, policy),
        "it was not the catalog's"
    );
    assert!(is_denied(secrets.delete("users", &DeleteParams::default()).await, policy));
    secrets.patch("made", &parameters, &change).await.unwrap();
    secrets.delete("made", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn the_catalog_may_write_only_the_default_for_pods_in_namespaces() {
    let place = installed().await;
    let namespaces: Api<Namespace> = Api::all(account(&place, "catalog").await);
    let change = async |metadata: Value| {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        namespaces.patch(&place.namespace, &PatchParams::default(), &patch).await
    };
    for bad in [
        json!({"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}),
        json!({"labels": {"kubernetes.io/metadata.name": null, "bindery.dev/inject": "enabled"}}),
        json!({"annotations": {"bindery.dev/missed-pods": "evict"}}),
        json!({"annotations": {"scheduler.alpha.kubernetes.io/node-selector": "a=b"}}),
        json!({"finalizers": ["example.com/for-ever"]}),
    ] {
        let denied = match change(bad.clone()).await {
            // Kubernetes itself sets the label with the namespace's name.
            Ok(_) => bad["labels"]["kubernetes.io/metadata.name"].is_null() && bad["labels"].is_object(),
            denied => is_denied(denied, "catalog-namespaces"),
        };
        assert!(denied, "{bad}");
    }
    let stamp = json!({"labels": {"bindery.dev/inject": "enabled"}, "annotations": {"bindery.dev/bind": "db",
        "bindery.dev/bound-by-namespace-bindings": "db", "bindery.dev/last-pod-at": "2026-01-01T00:00:00Z"}});
    change(stamp).await.unwrap();
    change(json!({"labels": {"bindery.dev/inject": null}, "annotations": {"bindery.dev/bind": null}}))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_catalog_may_complete_but_not_change_users_objects() {
    let place = installed().await;
    place.instance("db", json!({"parameters": {"size": "small"}})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let catalog = account(&place, "catalog").await;
    let instances: Api<ServiceInstance> = Api::namespaced(catalog.clone(), &place.namespace);
    let (parameters, policy) = (PatchParams::default(), "catalog-objects");
    for bad in [
        json!({"parameters": {"size": "huge"}}),
        json!({"parameters": null}),
        json!({"clusterServicePlanExternalName": "other"}),
    ] {
        let patch = Patch::Merge(json!({"spec": bad}));
        assert!(is_denied(instances.patch("db", &parameters, &patch).await, policy), "{bad}");
    }
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    let bindings: Api<ServiceBinding> = Api::namespaced(catalog.clone(), &place.namespace);
    let another_name = Patch::Merge(json!({"spec": {"secretName": "other"}}));
    assert!(is_denied(bindings.patch("b", &parameters, &another_name).await, policy));
    let fine = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    instances.patch("db", &PatchParams { dry_run: true, ..PatchParams::default() }, &fine).await.unwrap();
    let own =
        ServiceInstance::new("own", serde_json::from_value(json!({"clusterServiceClassName": "a"})).unwrap());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    assert!(is_denied(instances.create(&dry, &own).await, policy));

    let named: ServiceBroker = serde_json::from_value(json!({
        "metadata": {"name": "mine"}, "spec": {"url": place.broker.url()},
    }))
    .unwrap();
    place.api::<ServiceBroker>().create(&PostParams::default(), &named).await.unwrap();
    let of_namespace: Api<ServiceBroker> = Api::namespaced(catalog.clone(), &place.namespace);
    let delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
    assert!(is_denied(of_namespace.delete("mine", &delete).await, "catalog-deletions"));
    let brokers: Api<bindery::apis::servicecatalog::ClusterServiceBroker> = Api::all(catalog);
    let elsewhere = Patch::Merge(json!({"spec": {"url": "http://elsewhere"}}));
    let name = place.broker.name();
    assert!(is_denied(brokers.patch(&name, &parameters, &elsewhere).await, "catalog-registrations"));
    let let_go = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    brokers.patch(&name, &PatchParams { dry_run: true, ..parameters }, &let_go).await.unwrap();
}

#[tokio::test]
async fn the_catalog_may_write_only_the_nudge_of_workloads() {
    let place = installed().await;
    let replicas: ReplicaSet =
        serde_json::from_value(json!({"metadata": {"name": "app"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]}}}}))
        .unwrap();
    place.api().create(&PostParams::default(), &replicas).await.unwrap();
    let sets: Api<ReplicaSet> = Api::namespaced(account(&place, "catalog").await, &place.namespace);
    let change = async |patch: Value| {
        sets.patch_status("app", &PatchParams::default(), &Patch::Strategic(patch)).await
    };
    for bad in [
        json!({"status": {"readyReplicas": 7, "replicas": 7}}),
        json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "False"}]}}),
        json!({"metadata": {"labels": {"a": "c"}}}),
        json!({"metadata": {"annotations": {"a": "c"}}}),
    ] {
        assert!(is_denied(change(bad.clone()).await, "catalog-statuses"), "{bad}");
    }
    change(json!({"status": {"conditions": [{"type": "bindery.dev/Nudged", "status": "True"}]}}))
        .await
        .unwrap();
}

/// Only objects that bindery created count towards a limit.
#[tokio::test]
async fn no_tenant_may_mark_objects_as_created_by_a_namespacebinding() {
    let place = installed().await;
    let user = format!("dev-{}", place.namespace);
    edits(&place, &user).await;
    let instances: Api<ServiceInstance> = Api::namespaced(client_of(&user, &[]).await, &place.namespace);
    let mut own =
        ServiceInstance::new("own", serde_json::from_value(json!({"clusterServiceClassName": "a"})).unwrap());
    until("the user may make instances", async || {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        instances.create(&dry, &own).await.is_ok()
    })
    .await;
    own.labels_mut().insert("bindery.dev/namespace-binding".to_owned(), "rule".to_owned());
    let make = PostParams::default();
    let policy = "namespace-bindings";
    assert!(is_denied(instances.create(&make, &own).await, policy));
    own.labels_mut().clear();
    instances.create(&make, &own).await.unwrap();
    let label = |value: Value| {
        Patch::Merge(json!({"metadata": {"labels": {"bindery.dev/namespace-binding": value}}}))
    };
    let parameters = PatchParams::default();
    assert!(is_denied(instances.patch("own", &parameters, &label(json!("rule"))).await, policy));
    place.api::<ServiceInstance>().patch("own", &parameters, &label(json!("rule"))).await.unwrap();
    assert!(is_denied(instances.patch("own", &parameters, &label(Value::Null)).await, policy), "it counts");
    let other = Patch::Merge(json!({"metadata": {"labels": {"mine": "yes"}}}));
    instances.patch("own", &parameters, &other).await.unwrap();
}

#[tokio::test]
async fn the_broker_may_register_only_itself_and_create_its_own_secrets() {
    let place = installed().await;
    let broker = account(&place, "broker").await;
    let namespace = &place.namespace;
    let brokers: Api<bindery::apis::servicecatalog::ClusterServiceBroker> = Api::all(broker.clone());
    let own = |name: &str, url: &str, secret: &str| {
        let reference = json!({"basic": {"secretRef": {"namespace": namespace, "name": secret}}});
        serde_json::from_value(
            json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ClusterServiceBroker",
            "metadata": {"name": name}, "spec": {"url": url, "authInfo": reference}}),
        )
        .unwrap()
    };
    let (url, secret_name) =
        (format!("https://{namespace}-broker.{namespace}.svc"), format!("{namespace}-broker"));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for bad in [
        own("other", &url, &secret_name),
        own("bindery", "https://elsewhere", &secret_name),
        own("bindery", &url, "other"),
    ] {
        assert!(is_denied(brokers.create(&dry, &bad).await, "broker-registration"));
    }
    brokers.create(&dry, &own("bindery", &url, &secret_name)).await.unwrap();
    for (role, name) in [("broker", "broker"), ("admission", "approvals"), ("admission", "admission-tls")] {
        let client = account(&place, role).await;
        let secrets = secrets(&place, &client);
        let named = |name: &str| secret(&json!({"metadata": {"name": format!("{namespace}-{name}")}}));
        secrets.create(&dry, &named(name)).await.unwrap();
        assert!(is_denied(secrets.create(&dry, &named("catalog")).await, "own-secrets"));
        let token = secret(&json!({"metadata": {"name": format!("{namespace}-{name}"),
            "annotations": {"kubernetes.io/service-account.name": "default"}},
            "type": "kubernetes.io/service-account-token"}));
        assert!(is_denied(secrets.create(&dry, &token).await, "own-secrets"));
    }
}

/// Gives a user Kubernetes' role `edit` in the place's namespace.
async fn edits(place: &Place, user: &str) {
    bind(place, user, "edit").await;
}

async fn bind(place: &Place, user: &str, role: &str) {
    let group = "rbac.authorization.k8s.io";
    let binding: RoleBinding = serde_json::from_value(json!({"metadata": {"name": user},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}]}))
    .unwrap();
    place.api().create(&PostParams::default(), &binding).await.unwrap();
}

/// Whether a user may do something, as `verb resource`, in a namespace or, without one, in the cluster.
async fn may(place: &Place, user: &str, what: &str, namespace: Option<&str>) -> bool {
    let (verb, resource) = what.split_once(' ').unwrap();
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(a, b)| (a, Some(b)));
    let group = match resource {
        "externalresources" | "namespacebindings" => "bindery.dev",
        "secrets" | "namespaces" => "",
        _ => "servicecatalog.k8s.io",
    };
    let review: SubjectAccessReview = serde_json::from_value(json!({"metadata": {}, "spec": {
        "user": user, "groups": ["system:authenticated"], "resourceAttributes": {"verb": verb, "group": group,
            "resource": resource, "subresource": subresource, "namespace": namespace}}}))
    .unwrap();
    let api: Api<SubjectAccessReview> = Api::all(place.client.clone());
    api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

#[tokio::test]
async fn developers_use_the_catalog_in_their_namespace() {
    let place = installed().await;
    let user = |role: &str| format!("{role}-{}", place.namespace);
    for role in ["view", "edit", "admin"] {
        bind(&place, &user(role), role).await;
    }
    let namespace = Some(place.namespace.as_str());
    until("the roles are part of Kubernetes' own", async || {
        may(&place, &user("admin"), "create servicebindings", namespace).await
            && may(&place, &user("view"), "list serviceinstances", namespace).await
    })
    .await;
    let (reads, writes) =
        (["get", "list", "watch"], ["create", "update", "patch", "delete", "deletecollection"]);
    for role in ["view", "edit", "admin"] {
        let user = user(role);
        let allowed = async |what: &str, namespace| may(&place, &user, what, namespace).await;
        for kind in ["serviceinstances", "servicebindings"] {
            for verb in reads {
                assert!(allowed(&format!("{verb} {kind}"), namespace).await, "{role} {verb} {kind}");
            }
            for verb in writes {
                assert_eq!(
                    allowed(&format!("{verb} {kind}"), namespace).await,
                    role != "view",
                    "{role} {verb} {kind}"
                );
                assert!(
                    !allowed(&format!("{verb} {kind}/status"), namespace).await,
                    "{role} {verb} {kind}/status"
                );
                assert!(
                    !allowed(&format!("{verb} {kind}"), Some("default")).await,
                    "{role}: another namespace"
                );
            }
        }
        for kind in ["clusterserviceclasses", "clusterserviceplans"] {
            assert!(
                allowed(&format!("list {kind}"), None).await,
                "{role} {kind}: what there is to choose from"
            );
        }
        for kind in [
            "clusterservicebrokers",
            "clusterserviceclasses",
            "clusterserviceplans",
            "externalresources",
            "namespacebindings",
        ] {
            for verb in writes {
                assert!(!allowed(&format!("{verb} {kind}"), None).await, "{role} {verb} {kind}");
            }
        }
        for kind in ["clusterservicebrokers", "externalresources"] {
            assert!(!allowed(&format!("get {kind}"), None).await, "{role} get {kind}");
        }
        let may_see_brokers = allowed("get servicebrokers", namespace).await;
        assert_eq!(may_see_brokers, role != "view", "{role}: a URL may hold a password");
        for kind in ["servicebrokers", "serviceclasses", "serviceplans"] {
            for verb in writes {
                let is_allowed = allowed(&format!("{verb} {kind}"), namespace).await;
                assert_eq!(is_allowed, role == "admin", "{role} {verb} {kind}");
            }
            assert!(!allowed(&format!("patch {kind}/status"), namespace).await, "{role} {kind}/status");
        }
    }
}
