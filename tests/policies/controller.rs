//! The controller: what it keeps in the API server, and that it goes with the policy.

use std::sync::Arc;

use bindery::{
    apis::bindery::{
        credential_policy::{CredentialPolicy, Mode},
        credential_policy_exception::CredentialPolicyException,
    },
    enforcement::{self, EnforcementSettings},
    policy,
    telemetry::Metrics,
};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Answer, OnlyController, Place, until},
    exceptions::bad,
    objects::{ending_soon, exception, policy_of},
};

/// The names of the objects of a policy.
async fn objects(place: &Place, name: &str) -> Vec<String> {
    let selected = ListParams::default().labels(&format!("bindery.dev/credential-policy={name}"));
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(place.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(place.client.clone());
    let policies = policies.list(&selected).await.unwrap();
    let bindings = bindings.list(&selected).await.unwrap();
    let names =
        |all: Vec<String>| all.into_iter().map(|it| it.replace(&format!("bindery-policy-{name}-"), ""));
    let policies = names(policies.iter().map(ResourceExt::name_any).collect());
    let mut all: Vec<_> =
        policies.chain(names(bindings.iter().map(ResourceExt::name_any).collect())).collect();
    all.sort();
    all
}

#[tokio::test]
async fn the_api_server_holds_a_policy_from_its_creation_to_its_deletion() {
    let _only = OnlyController::wait().await;
    let place = Place::new("controller").await;
    let make = PostParams::default();
    place.define(policy::crds()).await;
    let stop = CancellationToken::new();
    let controller = enforcement::run(
        place.client.clone(),
        EnforcementSettings::default(),
        Arc::new(Metrics::new()),
        stop.clone(),
    );
    let controller = tokio::spawn(controller);
    let namespace = place.namespace("shop").await;
    let name = namespace.as_str();
    let policies: Api<CredentialPolicy> = Api::all(place.client.clone());
    until("the kind is served", async || policies.list(&ListParams::default()).await.is_ok()).await;
    let wanted = policy_of(name, name, Mode::Enforce, &json!({"filesOnly": {}}));
    policies.create(&make, &wanted).await.unwrap();
    let refused = async || matches!(place.create(name, &bad()).await, Answer::Refused { .. });
    until("the policy holds", refused).await;
    let reason = async || {
        let status = policies.get(name).await.unwrap().status?;
        let condition = status.conditions.first()?.clone();
        (condition.observed_generation == policies.get(name).await.unwrap().metadata.generation)
            .then_some(condition.reason)
    };
    until("the status says so", async || reason().await.as_deref() == Some("Enforced")).await;
    assert_eq!(objects(&place, name).await, ["enforce", "enforce"]);

    // Somebody deletes what holds the policy.
    let admission: Api<ValidatingAdmissionPolicyBinding> = Api::all(place.client.clone());
    admission.delete(&format!("bindery-policy-{name}-enforce"), &DeleteParams::default()).await.unwrap();
    until("it is put back", async || objects(&place, name).await == ["enforce", "enforce"]).await;

    let exceptions: Api<CredentialPolicyException> = Api::all(place.client.clone());
    let spec = json!({"policy": name, "namespaces": [name], "expiresAt": "2999-01-01T00:00:00Z"});
    exceptions.create(&make, &exception(name, spec)).await.unwrap();
    until("the exception counts", async || !refused().await).await;
    exceptions.patch(name, &PatchParams::default(), &ending_soon()).await.unwrap();
    until("the exception has ended", refused).await;
    until("its status says so", async || {
        let status = exceptions.get(name).await.unwrap().status;
        status.is_some_and(|status| status.conditions[0].reason == "ExceptionExpired")
    })
    .await;

    // An invalid spec does not switch the policy off.
    let selector = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
    let invalid =
        Patch::Merge(json!({"spec": {"overrides": [{"namespaceSelector": selector, "mode": "Audit"}]}}));
    policies.patch(name, &PatchParams::default(), &invalid).await.unwrap();
    until("the status says so", async || reason().await.as_deref() == Some("InvalidPolicy")).await;
    assert!(refused().await);
    let valid = Patch::Merge(json!({"spec": {"overrides": null, "mode": "Audit"}}));
    policies.patch(name, &PatchParams::default(), &valid).await.unwrap();
    until("the former mode is gone", async || objects(&place, name).await == ["audit", "audit"]).await;

    stop.cancel();
    controller.await.unwrap().unwrap();
    policies.delete(name, &DeleteParams::default()).await.unwrap();
    until("nothing is left, without bindery", async || objects(&place, name).await.is_empty()).await;
}

/// The schema refuses what would be invalid later, and a tenant's exception without an end.
#[tokio::test]
async fn the_schema_refuses_incomplete_objects() {
    let place = Place::new("schema").await;
    place.define(policy::crds()).await;
    let policies: Api<CredentialPolicy> = Api::all(place.client.clone());
    until("the kind is served", async || policies.list(&ListParams::default()).await.is_ok()).await;
    for (kind, spec, expected) in [
        ("CredentialPolicy", json!({"rules": {}}), "name at least one rule"),
        (
            "CredentialPolicy",
            json!({"rules": {"filesOnly": {}}, "overrides": [{"mode": "Warn"}]}),
            "select namespaces",
        ),
        ("CredentialPolicy", json!({"rules": {"filesOnly": {"mode": "Deny"}}}), "Unsupported value"),
        (
            "CredentialPolicyException",
            json!({"policy": "p", "namespaces": ["a"], "reason": "r", "owner": "o"}),
            "expiresAt",
        ),
        (
            "CredentialPolicyException",
            json!({"policy": "p", "namespaces": [], "reason": "r", "owner": "o",
            "expiresAt": "2030-01-01T00:00:00Z"}),
            "namespaces",
        ),
    ] {
        let object = json!({"apiVersion": "bindery.dev/v1alpha1", "kind": kind, "metadata": {"name": "schema"}, "spec": spec});
        let plural =
            if kind == "CredentialPolicy" { "credentialpolicies" } else { "credentialpolicyexceptions" };
        let path = format!("/apis/bindery.dev/v1alpha1/{plural}?dryRun=All");
        let answer = place.send("POST", &path, &object).await;
        assert!(
            matches!(&answer, Answer::Other(message) if message.contains(expected)),
            "{spec}: {answer:?}"
        );
    }
}
