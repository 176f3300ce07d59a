//! The Secrets of a binding: their content, their ownership, and their restoration.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::servicecatalog::{ClusterServicePlan, ServiceBinding};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::Secret,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::harness::{Place, text, until, while_catalog_is_stopped};

async fn bound(annotations: serde_json::Value) -> Place {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.binding("b", "db", annotations).await;
    place.binding_is("b", "InjectedBindResult").await;
    place
}

#[tokio::test]
async fn both_secrets_have_the_documented_content() {
    let place = bound(json!({})).await;
    let secret = place.secret("b").await.unwrap();
    let keys: Vec<_> = secret.data.as_ref().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["database", "host", "jdbcURL", "password", "port", "uri", "username"]);
    assert_eq!((text(&secret, "password"), text(&secret, "port")), ("p/1".to_owned(), "26257".to_owned()));
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let variables = place.secret("b-env").await.unwrap();
    assert_eq!(text(&variables, "COCKROACH_URL"), "postgres://u1:p%2F1@db:26257/cf_x");
    let binding: ServiceBinding = place.api().get("b").await.unwrap();
    assert_eq!(binding.spec.secret_name.as_deref(), Some("b"));
    for secret in [&secret, &variables] {
        assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "bindery");
        assert_eq!(secret.labels()["bindery.dev/binding"], "b");
        assert_eq!(secret.annotations()["bindery.dev/revision"], "1");
        assert_eq!(secret.annotations()["bindery.dev/type"], place.broker.name());
        let owner = &secret.owner_references()[0];
        assert_eq!(
            (&*owner.kind, &owner.uid, owner.controller),
            ("ServiceBinding", &binding.uid().unwrap(), Some(true))
        );
    }
    let status = binding.status.unwrap();
    assert_eq!((status.revisions.len(), status.revisions[0].n), (1, 1));
    assert_eq!(status.revisions[0].username.as_deref(), Some("u1"));
    assert!(!serde_json::to_string(&status).unwrap().contains("p/1"));
}

#[tokio::test]
async fn another_name_gets_the_same_data() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    let spec = json!({"instanceRef": {"name": "db"}, "secretName": "other"});
    place.create::<ServiceBinding>("ServiceBinding", "b", json!({}), spec).await.unwrap();
    place.binding_is("b", "InjectedBindResult").await;
    assert_eq!(place.secret("other").await.unwrap().data, place.secret("b").await.unwrap().data);
}

#[tokio::test]
async fn a_secret_of_another_owner_is_never_touched() {
    let place = Place::with_broker().await;
    let foreign: Secret = serde_json::from_value(json!({
        "metadata": {"name": "b"}, "stringData": {"mine": "yes"},
    }))
    .unwrap();
    place.api::<Secret>().create(&PostParams::default(), &foreign).await.unwrap();
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    let message = place.binding_is("b", "SecretNameTaken").await;
    assert!(message.contains("Secret \"b\" exists"), "{message}");
    assert_eq!(text(&place.secret("b").await.unwrap(), "mine"), "yes");
    assert!(place.secret("b-env").await.is_none());
    assert!(place.broker.held().bindings.is_empty(), "nothing was asked of the broker");
    place.delete::<Secret>("b").await;
    place.binding_is("b", "InjectedBindResult").await;
}

#[tokio::test]
async fn variables_follow_the_annotation() {
    let place = bound(json!({"bindery.dev/env": "DSN=pg://{username}:{password}@{host}\nP=password"})).await;
    let variables = place.secret("b-env").await.unwrap();
    assert_eq!(variables.data.as_ref().unwrap().len(), 2);
    assert_eq!(text(&variables, "DSN"), "pg://u1:p%2F1@db");
    assert_eq!(text(&variables, "P"), "p/1");
    let annotate = |text: &str| json!({"metadata": {"annotations": {"bindery.dev/env": text}}});
    place.merge::<ServiceBinding>("b", annotate("X=nokey")).await.unwrap();
    let message = place.binding_is("b", "ErrorInjectingBindResult").await;
    assert!(message.contains("entry \"X\"") && message.contains("no key \"nokey\""), "{message}");
    assert!(!message.contains("p/1"), "{message}");
    place.merge::<ServiceBinding>("b", annotate("X=host")).await.unwrap();
    place.binding_is("b", "InjectedBindResult").await;
    let variables = place.secret("b-env").await.unwrap();
    assert_eq!(variables.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["X"]);
    assert_eq!(variables.annotations()["bindery.dev/revision"], "1", "the credentials are the same");
}

/// Without an annotation the plan's metadata names them.
#[tokio::test]
async fn variables_follow_the_plan() {
    let place = bound(json!({})).await;
    let plans: Api<ClusterServicePlan> = Api::all(place.client.clone());
    let all = plans.list(&ListParams::default()).await.unwrap();
    for plan in all.iter().filter(|plan| plan.spec.cluster_service_broker_name == place.broker.name()) {
        let changes = json!({"spec": {"externalMetadata": {"bindery": {"env": "DB_HOST=host"}}}});
        plans.patch(&plan.name_any(), &PatchParams::default(), &Patch::Merge(changes)).await.unwrap();
    }
    until("the variables of the plan", async || {
        let data = place.secret("b-env").await.unwrap().data.unwrap_or_default();
        data.keys().eq(["DB_HOST"])
    })
    .await;
    let variables = place.secret("b-env").await.unwrap();
    assert_eq!(variables.annotations()["bindery.dev/revision"], "1", "the credentials are the same");
}

#[tokio::test]
async fn lost_and_changed_secrets_come_back_when_asked() {
    let place = bound(json!({})).await;
    let before = place.secret("b").await.unwrap().data;
    place.delete::<Secret>("b-env").await;
    place.merge::<Secret>("b", json!({"stringData": {"password": "mine", "extra": "x"}})).await.unwrap();
    place
        .merge::<ServiceBinding>("b", json!({"metadata": {"annotations": {"bindery.dev/reconcile": "1"}}}))
        .await
        .unwrap();
    until("the Secrets as they were", async || {
        place.secret("b-env").await.is_some()
            && place.secret("b").await.is_some_and(|secret| secret.data == before)
    })
    .await;
    assert_eq!(place.secret("b").await.unwrap().annotations()["bindery.dev/revision"], "1");
}

#[tokio::test]
async fn a_check_that_is_asked_for_while_no_catalog_runs_is_made_at_the_start() {
    let place = bound(json!({})).await;
    while_catalog_is_stopped(async {
        place.delete::<Secret>("b-env").await;
        let look = json!({"metadata": {"annotations": {"bindery.dev/reconcile": "1"}}});
        place.merge::<ServiceBinding>("b", look).await.unwrap();
    })
    .await;
    until("the Secret", async || place.secret("b-env").await.is_some()).await;
    until("the request is noted", async || {
        let binding = place.api::<ServiceBinding>().get("b").await.unwrap();
        binding.status.unwrap().check_request.as_deref() == Some("1")
    })
    .await;
}

/// The spec determines a binding's Secrets, and the owner reference determines whose they are.
#[tokio::test]
async fn a_forged_status_deletes_no_secret_of_others() {
    let place = bound(json!({})).await;
    let mine: Secret =
        serde_json::from_value(json!({"metadata": {"name": "mine"}, "stringData": {"a": "b"}})).unwrap();
    let mine = place.api::<Secret>().create(&PostParams::default(), &mine).await.unwrap();
    let forge = async |name: &str| {
        let secret = json!({"name": name, "uid": mine.uid(), "resourceVersion": mine.resource_version()});
        let patch = Patch::Merge(json!({"status": {"secrets": [secret]}}));
        place.api::<ServiceBinding>().patch_status("b", &PatchParams::default(), &patch).await
    };
    let error = forge("../../default/secrets/mine").await.unwrap_err().to_string();
    assert!(error.contains("status.secrets"), "{error}");
    forge("mine").await.unwrap();
    place.delete::<ServiceBinding>("b").await;
    place.gone::<ServiceBinding>("b").await;
    assert_eq!(place.secret("mine").await.unwrap().uid(), mine.uid());
    assert!(place.secret("b").await.is_none() && place.secret("b-env").await.is_none());
}

/// A Secret without its owner reference does not belong to bindery any more; nothing waits for it.
#[tokio::test]
async fn a_secret_that_a_user_took_over_stays() {
    let place = bound(json!({})).await;
    place.merge::<Secret>("b", json!({"metadata": {"ownerReferences": null}})).await.unwrap();
    place.delete::<ServiceBinding>("b").await;
    place.gone::<ServiceBinding>("b").await;
    assert!(place.secret("b").await.is_some() && place.secret("b-env").await.is_none());
}

/// A policy for the Secrets of one namespace.
async fn forbid_deletions(place: &Place) {
    let of_namespace = json!({"matchLabels": {"kubernetes.io/metadata.name": place.namespace}});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": place.namespace},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [
                {"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"]}]},
            "validations": [{"expression": "false", "message": "Secrets stay"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": place.namespace},
        "spec": {"policyName": place.namespace, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": of_namespace}},
    });
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(place.client.clone());
    let policy = serde_json::from_value(policy).unwrap();
    policies.create(&PostParams::default(), &policy).await.unwrap();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(place.client.clone());
    let binding = serde_json::from_value(binding).unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    let secrets = place.api::<Secret>();
    until("the policy", async || secrets.delete("b", &dry).await.is_err()).await;
}

#[tokio::test]
async fn secrets_that_cannot_be_deleted_keep_the_binding_and_say_why() {
    let place = Place::with_binding().await;
    forbid_deletions(&place).await;
    place.delete::<ServiceBinding>("b").await;
    let message = place.binding_is("b", "ErrorEjectingServiceBinding").await;
    assert!(message.contains("the broker has deleted the credentials"), "{message}");
    assert!(message.contains("Secrets stay") && message.contains("bindery retries"), "{message}");
    assert!(place.broker.held().bindings.is_empty());
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(place.client.clone());
    policies.delete(&place.namespace, &DeleteParams::default()).await.unwrap();
    place.gone::<ServiceBinding>("b").await;
}
