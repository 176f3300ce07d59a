//! Modes, overrides and exceptions of every rule on the API server: a policy with all rules, and for each of them an object
//! that violates this rule alone.

use std::collections::BTreeSet;

use bindery::{
    apis::bindery::credential_policy::{Engine, RuleName},
    policy::cel::compile,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    ages,
    cluster::{Answer, Place, until},
    config_maps::config_map,
    objects::{exception, policy},
    protected::{bindings_secret, grant_everything, settings},
    services::serve_service_catalog,
};

fn rules() -> Value {
    json!({
        "bindingsOnly": {"allowSecrets": ["allowed"]},
        "noPlainText": {"configMaps": true},
        "filesOnly": {},
        "noServiceAccountTokens": {},
        // Records belong to the cluster, so this policy holds those of other tests, too.
        "protectedObjects": settings()["protectedObjects"],
        "whoMayBind": {"allowSecrets": ["allowed", "plain", "old"]},
        "allowedServices": {"limits": [{"namespaces": ["*"], "allowClasses": ["cockroachdb"]}]},
        "maxAge": {"days": 30},
        "conditions": {"checks": [{"name": "no-latest", "message": "Name a version of the image",
            "expression": "variables.containers.all(c, !c.image.endsWith(':latest'))"}]},
    })
}

fn pod(annotations: &Value, changes: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "annotations": annotations},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "app", "image": "app:1"}]}});
    json_patch::merge(&mut pod["spec"], changes);
    pod
}

/// A pod whose container has these fields as well.
fn pod_of(container: &Value) -> Value {
    let mut app = json!({"name": "app", "image": "app:1"});
    json_patch::merge(&mut app, container);
    pod(&json!({}), &json!({"containers": [app]}))
}

/// A rule, and an object that violates no other rule.
fn offenders() -> Vec<(RuleName, Value)> {
    let bound_to =
        |binding: &str| pod(&json!({"bindery.dev/bind": binding, "bindery.dev/as": "files"}), &json!({}));
    let token = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "default"}}});
    let instance = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
        "metadata": {"name": "cache"}, "spec": {"clusterServiceClassExternalName": "redis"}});
    vec![
        (
            RuleName::BindingsOnly,
            pod(&json!({}), &json!({"volumes": [{"name": "v", "secret": {"secretName": "plain"}}]})),
        ),
        (RuleName::NoPlainText, pod_of(&json!({"env": [{"name": "DB_PASSWORD", "value": "Tr0ub4dor&3"}]}))),
        (RuleName::NoPlainText, config_map(&json!({"DB_PASSWORD": "Tr0ub4dor&3"}))),
        (RuleName::FilesOnly, pod_of(&json!({"envFrom": [{"secretRef": {"name": "allowed"}}]}))),
        (RuleName::NoServiceAccountTokens, pod(&json!({}), &json!({"automountServiceAccountToken": true}))),
        (RuleName::NoServiceAccountTokens, token),
        (RuleName::ProtectedObjects, bindings_secret()),
        (RuleName::WhoMayBind, bound_to("db")),
        (RuleName::AllowedServices, instance),
        (RuleName::MaxAge, bound_to("old")),
        (RuleName::Conditions, pod_of(&json!({"image": "app:latest"}))),
    ]
}

/// An exception from each rule, which names no other rule.
fn exceptions(policy: &str, namespace: &str) -> Vec<Value> {
    let of_rule = |rule: RuleName| json!({"policy": policy, "namespaces": [namespace], "rules": [rule.name()], "expiresAt": "2999-01-01T00:00:00Z"});
    RuleName::ALL.into_iter().map(of_rule).collect()
}

#[tokio::test]
async fn every_rule_has_modes_overrides_and_exceptions() {
    let covered: BTreeSet<_> = offenders().into_iter().map(|(rule, _)| rule).collect();
    let of_the_api_server = RuleName::ALL.into_iter().filter(|rule| rule.engine() == Engine::ApiServer);
    assert_eq!(covered, of_the_api_server.collect());

    let place = Place::new("every").await;
    let groups = ["developers".to_owned()];
    let tenant = Some(("jane", &groups[..]));
    grant_everything(&place, &["developers"], &[]).await;
    let set = json!({"labels": {"set": place.unique("set")}});
    let mut namespaces = Vec::new();
    for name in ["enforced", "warned", "exempt"] {
        namespaces.push(place.namespace_with(name, &set).await);
    }
    let [enforced, warned, exempt] = namespaces.try_into().unwrap();
    serve_service_catalog(&place, &enforced).await;
    for namespace in [&enforced, &warned, &exempt] {
        ages::create(&place, namespace).await;
    }
    let name = place.unique("p");
    let spec = json!({"mode": "Enforce", "rules": rules(), "scope": {"namespaceSelector": {"matchLabels": set["labels"]}},
        "overrides": [{"namespaces": [warned], "mode": "Warn"}]});
    let exceptions: Vec<_> =
        exceptions(&name, &exempt).into_iter().map(|spec| exception("e", spec)).collect();
    let excluded = ["bindery".to_owned()];
    place.apply(compile(&policy(&name, spec), &exceptions, &excluded, Timestamp::now()).unwrap()).await;
    for (rule, object) in offenders() {
        let what = format!("{}, a {}", rule.name(), object["kind"]);
        let create = async |namespace: &str| {
            let path = format!("{}?dryRun=All", place.path(namespace, &object));
            place.send_as(tenant, "POST", &path, &object).await
        };
        until(&format!("{what} is refused"), async || create(&enforced).await == Answer::Refused { rule })
            .await;
        let warning = Answer::Allowed { warned: BTreeSet::from([rule]) };
        until(&format!("{what} causes a warning"), async || create(&warned).await == warning).await;
        assert_eq!(create(&exempt).await, Answer::Allowed { warned: BTreeSet::new() }, "{what}");
    }
}
