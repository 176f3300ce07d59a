//! Other webhooks, before bindery's and after it (P1, P2, P17).

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use serde_json::{Value, json};

use super::webhook::{Webhook, pod};

fn push(list: &mut Value, entry: Value) {
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().unwrap().push(entry);
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

/// P1 and P2: a mesh adds its sidecar before or after bindery.
#[tokio::test]
async fn containers_of_webhooks_before_and_after_are_bound_without_duplicates() {
    let webhook = Webhook::start().await;
    webhook
        .beside("a-before", |pod| {
            push(&mut pod["spec"]["containers"], json!({"name": "early", "image": "x"}));
            push(&mut pod["spec"]["volumes"], json!({"name": "early", "emptyDir": {}}));
            pod["metadata"]["annotations"]["example.com/early"] = json!("a/b~c");
        })
        .await;
    webhook
        .beside("z-after", |pod| {
            pod["spec"]["containers"]
                .as_array_mut()
                .unwrap()
                .insert(0, json!({"name": "late", "image": "x"}));
            push(
                &mut pod["spec"]["initContainers"],
                json!({"name": "init", "image": "x", "restartPolicy": "Always"}),
            );
            push(&mut pod["spec"]["volumes"], json!({"name": "late", "emptyDir": {}}));
            pod["metadata"]["annotations"]["example.com/late"] = json!("~1");
        })
        .await;
    let asking = json!({"bindery.dev/bind": "db", "bindery.dev/env": "HOST=db/host"});
    let tried = webhook.tried(&pod(asking, json!({}))).await.unwrap();
    assert_eq!(names(&tried["spec"]["containers"]), ["late", "app", "early"]);
    let all = tried["spec"]["containers"].as_array().unwrap().iter();
    for container in all.chain(tried["spec"]["initContainers"].as_array().unwrap()) {
        assert_eq!(container["envFrom"], json!([{"secretRef": {"name": "db-env"}}]), "{}", container["name"]);
        assert_eq!(container["volumeMounts"].as_array().unwrap().len(), 1);
        assert_eq!(names(&container["env"]), ["HOST"]);
    }
    let volumes = names(&tried["spec"]["volumes"]);
    assert_eq!(volumes.iter().filter(|name| name.starts_with("bindery-")).count(), 1, "{volumes:?}");
    assert_eq!(tried["metadata"]["annotations"]["example.com/early"], "a/b~c");
    assert_eq!(tried["metadata"]["annotations"]["example.com/late"], "~1");
    assert_eq!(webhook.asked().len(), 2, "once, and again since another one has changed the pod");
    webhook.finish().await;
}

/// P1: the second call has nothing to add.
#[tokio::test]
async fn changes_of_another_webhook_elsewhere_cause_no_second_patch() {
    let webhook = Webhook::start().await;
    webhook.beside("z-after", |_| {}).await;
    webhook.tried(&pod(json!({"bindery.dev/bind": "db"}), json!({}))).await.unwrap();
    let asked = webhook.asked().clone();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].response["patch"].is_string());
    assert_eq!(asked[1].response, json!({"uid": asked[1].request["uid"], "allowed": true}));
    webhook.finish().await;
}

/// P17: injectors of tracing agents do this. Both keep their place before the container's own variables.
#[tokio::test]
async fn variables_that_another_webhook_puts_first_do_not_break_references_to_bindery_s() {
    let webhook = Webhook::start().await;
    webhook
        .beside("z-after", |pod| {
            let env = &mut pod["spec"]["containers"][0]["env"];
            let mut first = json!([{"name": "AGENT", "value": "agent"}]);
            first.as_array_mut().unwrap().extend(env.as_array().cloned().unwrap_or_default());
            *env = first;
        })
        .await;
    let annotations = json!({"bindery.dev/bind": "db", "bindery.dev/env": "HOST=db/host,PORT=db/port"});
    let own = json!([{"name": "app", "image": "app", "env": [{"name": "URL", "value": "$(HOST):$(PORT)"}]}]);
    let tried = webhook.tried(&pod(annotations, json!({"containers": own}))).await.unwrap();
    assert_eq!(names(&tried["spec"]["containers"][0]["env"]), ["AGENT", "HOST", "PORT", "URL"]);
    webhook.finish().await;
}

/// P2: an annotation from another webhook has an effect only if that webhook runs before bindery's. Otherwise the API
/// server does not call bindery, because it reinvokes only webhooks that it has called before. The pod is then a
/// missed pod.
#[tokio::test]
async fn an_annotation_of_another_webhook_counts_only_if_it_runs_first() {
    for (name, is_bound) in [("a-before", true), ("z-after", false)] {
        let webhook = Webhook::start().await;
        webhook.beside(name, |pod| pod["metadata"]["annotations"]["bindery.dev/bind"] = json!("db")).await;
        let tried = webhook.tried(&pod(json!({"own": "x"}), json!({}))).await.unwrap();
        assert_eq!(tried["metadata"]["annotations"]["bindery.dev/bind"], "db");
        assert_eq!(tried["spec"]["volumes"].is_array(), is_bound, "{name}");
        webhook.finish().await;
    }
}
