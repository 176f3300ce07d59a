//! The webhook's effect on pods of every kind. The numbers are those of `docs/pitfalls.md`.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use serde_json::{Value, json};

use super::webhook::{Webhook, pod};
use crate::harness::until;

fn asking() -> Value {
    json!({"bindery.dev/bind": "db"})
}

fn env_from(pod: &Value, container: &str) -> Value {
    pod.pointer(container).unwrap()["envFrom"].clone()
}

fn of_db() -> Value {
    json!([{"secretRef": {"name": "db-env"}}])
}

/// P9 and P11: a pod without any annotations causes no error in the match condition.
#[tokio::test]
async fn pods_without_annotation_never_leave_the_api_server() {
    let webhook = Webhook::start().await;
    webhook.stop().await;
    let mirror = json!({"bindery.dev/bind": "db", "kubernetes.io/config.mirror": "hash"});
    for quiet in [
        pod(json!(null), json!({})),
        pod(json!({"bindery.dev/bind": ""}), json!({})),
        pod(json!({"bindery.dev/bind": "", "bindery.dev/bind.app": ""}), json!({})),
        pod(json!({"bindery.dev/as": "env", "example.com/bindery.dev": "x"}), json!({})),
        pod(mirror, json!({"nodeName": "nobody"})),
    ] {
        let tried = webhook.tried(&quiet).await.unwrap();
        assert_eq!(tried["spec"].get("volumes"), None, "{tried}");
    }
    let refused = webhook.tried(&pod(asking(), json!({}))).await.unwrap_err().to_string();
    assert!(refused.contains("inject.bindery.dev"), "{refused}");
    assert_eq!(webhook.asked().len(), 0);
    webhook.finish().await;
}

/// P10 and P28: users who may edit a namespace or a pod cannot exclude either by a label.
#[tokio::test]
async fn no_label_excludes_a_pod_or_a_namespace() {
    let labels = json!({
        "bindery.dev/inject": "disabled", "bindery.dev/exclude": "true", "admission.bindery.dev/ignore": "true",
        "app.kubernetes.io/name": "bindery", "app.kubernetes.io/managed-by": "bindery", "control-plane": "true"
    });
    let webhook = Webhook::start_in(json!({"labels": labels})).await;
    let mut asking = pod(asking(), json!({}));
    asking["metadata"]["labels"] = labels;
    let tried = webhook.tried(&asking).await.unwrap();
    assert_eq!(env_from(&tried, "/spec/containers/0"), of_db());
    webhook.finish().await;
}

/// P4.
#[tokio::test]
async fn a_dry_run_shows_the_result_and_leaves_nothing() {
    let webhook = Webhook::start().await;
    let tried = webhook.tried(&pod(asking(), json!({}))).await.unwrap();
    assert_eq!(env_from(&tried, "/spec/containers/0"), of_db());
    assert_eq!(webhook.asked()[0].request["dryRun"], true);
    for kind in ["pods", "secrets", "events"] {
        let all = webhook.send("GET", &format!("{}/{kind}", webhook.core()), &Value::Null).await.unwrap();
        assert_eq!(all["items"], json!([]), "a dry run made {kind}");
    }
    webhook.finish().await;
}

/// P3 and P27: the pod of a Job is bound, and gets no container that would never end.
#[tokio::test]
async fn pods_of_controllers_are_bound_before_they_have_a_name() {
    let webhook = Webhook::start().await;
    let mut template = pod(asking(), json!({"restartPolicy": "Never"}));
    template["metadata"]["labels"] = json!({"app": "a"});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": template}});
    template["spec"]["restartPolicy"] = json!("Always");
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "set"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}});
    let namespace = webhook.namespace.clone();
    for (object, path) in [(job, "batch/v1", "jobs"), (set, "apps/v1", "replicasets")]
        .map(|(object, group, kind)| (object, format!("/apis/{group}/namespaces/{namespace}/{kind}")))
    {
        webhook.send("POST", &path, &object).await.unwrap();
    }
    let pods = format!("{}/pods", webhook.core());
    let list = async || webhook.send("GET", &pods, &Value::Null).await.unwrap()["items"].take();
    until("both pods", async || list().await.as_array().unwrap().len() == 2).await;
    for made in list().await.as_array().unwrap() {
        assert_eq!(env_from(made, "/spec/containers/0"), of_db());
        assert_eq!(made["spec"]["containers"].as_array().unwrap().len(), 1);
        assert_eq!(made["spec"].get("initContainers"), None);
    }
    for asked in webhook.asked().iter() {
        let metadata = &asked.request["object"]["metadata"];
        assert_eq!(metadata["name"], Value::Null, "the name is made later");
        assert!(metadata["generateName"].is_string() && metadata["ownerReferences"].is_array());
        assert_eq!(asked.request["namespace"], namespace);
    }
    webhook.finish().await;
}

/// The creator of a Deployment does not see the refusal of its pods, but sees this event.
#[tokio::test]
async fn an_owner_gets_an_event_with_the_refusal_of_its_pods() {
    let webhook = Webhook::start().await;
    let mut template = pod(json!({"bindery.dev/bind": "Not_A_Name"}), json!({}));
    template["metadata"]["labels"] = json!({"app": "a"});
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "set"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}});
    let path = format!("/apis/apps/v1/namespaces/{}/replicasets", webhook.namespace);
    webhook.send("POST", &path, &set).await.unwrap();
    let events =
        format!("{}/events?fieldSelector=involvedObject.name=set,reason=FailedCreate", webhook.core());
    until("an event on the ReplicaSet", async || {
        let events = webhook.send("GET", &events, &Value::Null).await.unwrap();
        let said = events["items"][0]["message"].as_str().unwrap_or_default().to_owned();
        said.contains("metadata.annotations[bindery.dev/bind]: `Not_A_Name` is not the name of a binding")
    })
    .await;
    webhook.finish().await;
}

/// P5: an existing pod does not depend on bindery, not even for its deletion.
#[tokio::test]
async fn a_bound_pod_can_be_changed_and_deleted_while_bindery_is_away() {
    let webhook = Webhook::start().await;
    let mut held = pod(asking(), json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let created = webhook.created(&held).await;
    webhook.stop().await;
    let path = format!("{}/pods/{}", webhook.core(), created["metadata"]["name"].as_str().unwrap());
    let other = json!({"metadata": {"annotations": {"bindery.dev/bind": "other"}, "labels": {"a": "b"}}});
    let changed = webhook.send("PATCH", &path, &other).await.unwrap();
    assert_eq!(changed["spec"], created["spec"], "what it is bound to was said at its creation");
    let now = json!({"gracePeriodSeconds": 0});
    let deleted = webhook.send("DELETE", &path, &now).await.unwrap();
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    let released = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/hold"]}});
    webhook.send("PATCH", &path, &released).await.unwrap();
    until("no pod", async || webhook.send("GET", &path, &Value::Null).await.is_err()).await;
    webhook.finish().await;
}

/// P6: debugging a pod gives no credentials and does not need bindery.
#[tokio::test]
async fn an_ephemeral_container_is_not_bound() {
    let webhook = Webhook::start().await;
    let created = webhook.created(&pod(asking(), json!({}))).await;
    webhook.stop().await;
    let name = created["metadata"]["name"].as_str().unwrap();
    let path = format!("{}/pods/{name}/ephemeralcontainers", webhook.core());
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debugger", "image": "busybox:1.35"}]}});
    let debugged = webhook.send("PATCH", &path, &debugger).await.unwrap();
    let debugger = &debugged["spec"]["ephemeralContainers"][0];
    assert_eq!((debugger.get("envFrom"), debugger.get("volumeMounts")), (None, None));
    webhook.finish().await;
}

/// P1: Velero recreates pods from stored objects, possibly of an older version of bindery.
#[tokio::test]
async fn a_restored_pod_is_not_changed() {
    let webhook = Webhook::start().await;
    let bound = json!({"bindery.dev/bind": "db,secret/s", "bindery.dev/env": "HOST=db/host"});
    let two = json!({"containers": [{"name": "app", "image": "app"}, {"name": "web", "image": "web"}]});
    let stored = webhook.created(&pod(bound, two)).await;
    let mut restored = stored.clone();
    let metadata = restored["metadata"].as_object_mut().unwrap();
    metadata.retain(|name, _| matches!(name.as_str(), "annotations" | "labels"));
    metadata.insert("name".to_owned(), json!("restored"));
    let older = restored.to_string().replace("\"name\":\"bindery-", "\"name\":\"binder-v0-");
    assert_ne!(older, restored.to_string());
    webhook.asked().clear();
    for pod in [restored, serde_json::from_str(&older).unwrap()] {
        assert_eq!(webhook.tried(&pod).await.unwrap()["spec"], pod["spec"]);
    }
    for asked in webhook.asked().iter() {
        assert_eq!(asked.response, json!({"uid": asked.request["uid"], "allowed": true}));
    }
    assert_eq!(webhook.asked().len(), 2);
    webhook.finish().await;
}

#[tokio::test]
async fn the_api_server_accepts_paths_of_windows() {
    let webhook = Webhook::start().await;
    for root in [r"C:\secrets", "D:/secrets", "/var/secrets"] {
        let annotations = json!({"bindery.dev/bind": "db", "bindery.dev/mount-root": root});
        let tried = webhook.tried(&pod(annotations, json!({"os": {"name": "windows"}}))).await.unwrap();
        let path = tried["spec"]["containers"][0]["volumeMounts"][0]["mountPath"].as_str().unwrap();
        assert!(path.starts_with(root) && path.ends_with("db"), "{path}");
    }
    webhook.finish().await;
}

/// P18.
#[tokio::test]
async fn the_strictest_pod_security_standard_accepts_bound_pods() {
    let enforce = json!({"labels": {"pod-security.kubernetes.io/enforce": "restricted"}});
    let locked = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}
    });
    let container = |name: &str| json!({"name": name, "image": "app", "securityContext": locked});
    let annotations =
        json!({"bindery.dev/bind": "db", "bindery.dev/files": "k=db/k:0400", "bindery.dev/env": "K_*=db/*"});
    let strict = pod(
        annotations.clone(),
        json!({"containers": [container("app")], "initContainers": [container("init")]}),
    );
    // The pod that waits for the webhook does not meet the standard, so the standard is enforced afterwards.
    let webhook = Webhook::start().await;
    let path = format!("/api/v1/namespaces/{}", webhook.namespace);
    webhook.send("PATCH", &path, &json!({"metadata": enforce})).await.unwrap();
    until("the standard is enforced", async || webhook.tried(&pod(json!({}), json!({}))).await.is_err())
        .await;
    let tried = webhook.tried(&strict).await.unwrap();
    for container in ["/spec/containers/0", "/spec/initContainers/0"] {
        assert!(env_from(&tried, container).is_array());
        assert!(tried.pointer(container).unwrap()["volumeMounts"].is_array());
    }
    webhook.finish().await;
}

/// P25.
#[tokio::test]
async fn forty_containers_of_a_megabyte_are_bound() {
    let webhook = Webhook::start().await;
    let env: Vec<Value> =
        (0..250).map(|number| json!({"name": format!("V{number}"), "value": "x".repeat(64)})).collect();
    let containers: Vec<Value> =
        (0..40).map(|number| json!({"name": format!("c{number}"), "image": "app", "env": env})).collect();
    let huge = pod(asking(), json!({"containers": containers}));
    assert!(huge.to_string().len() > 900_000);
    let tried = webhook.tried(&huge).await.unwrap();
    for container in tried["spec"]["containers"].as_array().unwrap() {
        assert_eq!(container["envFrom"], of_db());
        assert_eq!(container["env"].as_array().unwrap().len(), 250);
    }
    webhook.finish().await;
}

/// P7: fields that the API server does not know do not even reach the webhook; fields that only the API server knows
/// are kept.
#[tokio::test]
async fn fields_that_bindery_does_not_read_are_kept() {
    let webhook = Webhook::start().await;
    let spec = json!({
        "overhead": null, "hostname": "h", "setHostnameAsFQDN": true,
        "resources": {"limits": {"cpu": "2"}},
        "containers": [{
            "name": "app", "image": "app", "restartPolicy": "Always",
            "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
            "lifecycle": {"stopSignal": "SIGUSR1"}
        }],
        "os": {"name": "linux"}
    });
    let mut quiet = pod(json!({"a/b": "~1/~0"}), spec);
    let plain = webhook.tried(&quiet).await.unwrap();
    quiet["metadata"]["annotations"]["bindery.dev/bind"] = json!("db");
    let mut bound = webhook.tried(&quiet).await.unwrap();
    assert_eq!(bound["metadata"]["annotations"]["a/b"], "~1/~0");
    assert_eq!(
        bound["spec"].as_object_mut().unwrap().remove("volumes").unwrap().as_array().unwrap().len(),
        1
    );
    for field in ["envFrom", "volumeMounts"] {
        bound["spec"]["containers"][0].as_object_mut().unwrap().remove(field).unwrap();
    }
    assert_eq!(bound["spec"], plain["spec"]);
    webhook.finish().await;
}
