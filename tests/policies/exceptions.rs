//! Exceptions, overrides and updates on the API server.

use std::collections::BTreeSet;

use bindery::apis::bindery::credential_policy::{Mode, RuleName};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    cluster::{Answer, Place, until},
    objects::{exception, policy, policy_of},
};

pub(crate) fn bad() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"automountServiceAccountToken": false,
        "nodeSelector": {"none": "none"},
        "containers": [{"name": "app", "image": "app:1", "envFrom": [{"secretRef": {"name": "s"}}]}]}})
}

fn good() -> Value {
    let mut pod = bad();
    pod["spec"]["containers"][0].as_object_mut().unwrap().remove("envFrom");
    pod
}

const REFUSED: Answer = Answer::Refused { rule: RuleName::FilesOnly };

fn allowed() -> Answer {
    Answer::Allowed { warned: BTreeSet::new() }
}

fn files_only() -> Value {
    json!({"filesOnly": {}})
}

/// The API server ends the exception by itself: nothing is applied after the first moment.
#[tokio::test]
async fn an_exception_ends_while_bindery_is_away() {
    let place = Place::new("expiry").await;
    let namespace = place.namespace("shop").await;
    let policy = policy_of(&namespace, &namespace, Mode::Enforce, &files_only());
    let exempt_until = async |end: Timestamp| {
        let spec = json!({"policy": namespace, "namespaces": [namespace], "names": ["we*"], "expiresAt": end.to_string()});
        place.enforce_with(&policy, &[exception("e", spec)], Timestamp::now()).await;
    };
    exempt_until(Timestamp::now() + SignedDuration::from_mins(30)).await;
    place.settled().await;
    let mut other = bad();
    other["metadata"]["name"] = json!("api");
    assert_eq!(place.create(&namespace, &other).await, REFUSED);
    assert_eq!(place.create(&namespace, &bad()).await, allowed());
    let deployment = crate::table::workload("Deployment", &bad());
    let path = place.path(&namespace, &deployment);
    assert_eq!(place.send("POST", &path, &deployment).await, allowed());
    let update = |value: &str| json!({"spec": {"template": {"metadata": {"labels": {"v": value}}}}});
    let one = format!("{path}/web");
    assert_eq!(place.send("PATCH", &one, &update("1")).await, allowed());
    let end = Timestamp::now() + SignedDuration::from_secs(4);
    exempt_until(end).await;
    until("the exception has ended", async || place.create(&namespace, &bad()).await == REFUSED).await;
    assert!(Timestamp::now() >= end - SignedDuration::from_secs(1));
    until("the exception has ended for updates", async || {
        place.send("PATCH", &one, &update(&Timestamp::now().to_string().replace(':', ""))).await == REFUSED
    })
    .await;
    // An object that is older than the policy can still be scaled.
    assert_eq!(place.send("PATCH", &one, &json!({"spec": {"replicas": 0}})).await, allowed());
}

#[tokio::test]
async fn the_first_override_counts_and_unnamed_pods_are_out_of_scope() {
    let place = Place::new("overrides").await;
    let shop =
        place.namespace_with("shop", &json!({"labels": {"team": "a", "set": place.unique("x")}})).await;
    let lab = place.namespace_with("lab", &json!({"labels": {"team": "b", "set": place.unique("x")}})).await;
    let spec = json!({"mode": "Enforce", "rules": files_only(),
    "scope": {"namespaceSelector": {"matchLabels": {"set": place.unique("x")}}, "serviceAccounts": ["def*"], "images": ["app:*"]},
    "overrides": [
        {"namespaces": ["nowhere*"], "mode": "Audit"},
        {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, "mode": "Warn"},
        {"namespaceSelector": {"matchLabels": {"team": "b"}}, "mode": "Enforce"},
    ]});
    place.enforce(&policy(&place.unique("p"), spec)).await;
    place.settled().await;
    assert_eq!(place.create(&shop, &bad()).await, REFUSED);
    let warned = Answer::Allowed { warned: BTreeSet::from([RuleName::FilesOnly]) };
    assert_eq!(place.create(&lab, &bad()).await, warned);
    let mut other = bad();
    other["spec"]["containers"][0]["image"] = json!("other:1");
    assert_eq!(place.create(&shop, &other).await, allowed());
}

/// A namespace's default names bindings of its pods.
#[tokio::test]
async fn defaults_of_the_namespace_are_bindings() {
    let place = Place::new("defaults").await;
    let metadata =
        json!({"labels": {"bindery.dev/inject": "enabled"}, "annotations": {"bindery.dev/bind": "s, other"}});
    let namespace = place.namespace_with("shop", &metadata).await;
    place.enforce(&policy_of(&namespace, &namespace, Mode::Enforce, &json!({"bindingsOnly": {}}))).await;
    place.settled().await;
    assert_eq!(place.create(&namespace, &bad()).await, allowed());
    let mut opted_out = bad();
    opted_out["metadata"]["annotations"] = json!({"bindery.dev/bind": ""});
    let refused = Answer::Refused { rule: RuleName::BindingsOnly };
    assert_eq!(place.create(&namespace, &opted_out).await, refused);
}

/// `kubectl debug` must not be a way around, and a pod that is older than the policy can still be debugged.
#[tokio::test]
async fn ephemeral_containers_are_judged_alone() {
    let place = Place::new("debug").await;
    let namespace = place.namespace("shop").await;
    for (name, pod) in [("old", bad()), ("new", good())] {
        let mut pod = pod;
        pod["metadata"]["name"] = json!(name);
        assert_eq!(place.send("POST", &place.path(&namespace, &pod), &pod).await, allowed());
    }
    place.enforce(&policy_of(&namespace, &namespace, Mode::Enforce, &files_only())).await;
    place.settled().await;
    for name in ["old", "new"] {
        let path = format!("{}/{name}", place.path(&namespace, &bad()));
        let debug = |container: Value| json!({"spec": {"ephemeralContainers": [container]}});
        let plain = debug(json!({"name": "plain", "image": "busybox"}));
        let with_secret =
            debug(json!({"name": "sly", "image": "busybox", "envFrom": [{"secretRef": {"name": "s"}}]}));
        let ephemeral = format!("{path}/ephemeralcontainers");
        assert_eq!(place.send("PATCH", &ephemeral, &plain).await, allowed(), "{name}");
        assert_eq!(place.send("PATCH", &ephemeral, &with_secret).await, REFUSED, "{name}");
        // Labels and deletions of old objects are nobody's business.
        assert_eq!(place.send("PATCH", &path, &json!({"metadata": {"labels": {"a": "b"}}})).await, allowed());
        assert_eq!(place.send("DELETE", &path, &json!({})).await, allowed());
    }
}

#[tokio::test]
async fn tokens_that_never_expire_are_refused() {
    let place = Place::new("tokens").await;
    let namespace = place.namespace("shop").await;
    let rules = json!({"noServiceAccountTokens": {"allowServiceAccounts": ["operator-*"]}});
    place.enforce(&policy_of(&namespace, &namespace, Mode::Enforce, &rules)).await;
    place.settled().await;
    let secret = |kind: &str, account: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": account}}})
    };
    let token = "kubernetes.io/service-account-token";
    let refused = Answer::Refused { rule: RuleName::NoServiceAccountTokens };
    until("the policy about Secrets holds", async || {
        place.create(&namespace, &secret(token, "default")).await == refused
    })
    .await;
    assert_eq!(place.create(&namespace, &secret("Opaque", "default")).await, allowed());
    assert_eq!(place.create(&namespace, &secret(token, "operator-1")).await, allowed());
}
