//! The webhook and the command must produce the same pod.

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindery::{
    admission::{
        namespace_defaults::PATH as DEFAULTS_PATH,
        namespaces::{NamespaceReadError, Namespaces},
        pods::PATH,
        router::Routes,
    },
    cli::inject::{InjectArgs, Outcome, run},
    injection::NamespaceDefaults,
    telemetry::Metrics,
};
use clap::Parser;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{
    laws::injected,
    pods::{odd_pod, pod},
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: InjectArgs,
}

/// The Namespace of pods without binding annotations of their own.
const SHOP: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {bindery.dev/inject: enabled}, \
                    annotations: {bindery.dev/bind: 'alpha,secret/delta,configmap/zeta', bindery.dev/containers: 'app, worker'}}}";

/// Provides the defaults of [`SHOP`]; no other Namespace is requested.
struct Shop;

#[async_trait]
impl Namespaces for Shop {
    async fn defaults(&self, namespace: &str) -> Result<Option<NamespaceDefaults>, NamespaceReadError> {
        assert_eq!(namespace, "shop");
        let shop: Value = serde_saphyr::from_str(SHOP).unwrap();
        let read = |field: &str| serde_json::from_value(shop["metadata"][field].clone()).unwrap();
        Ok(NamespaceDefaults::read("shop", &read("labels"), &read("annotations")))
    }
}

/// The pod after the webhook's patch, or the reason for its refusal.
fn by_webhook(pod: &Value) -> Result<Value, String> {
    by_webhook_at(PATH, "shop", Arc::new(Shop), pod)
}

/// The same for a pod of this namespace.
pub(crate) fn by_webhook_at(
    path: &str,
    namespace: &str,
    namespaces: Arc<dyn Namespaces>,
    pod: &Value,
) -> Result<Value, String> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": namespace,
            "operation": "CREATE",
            "object": pod
        }
    });
    let request = Request::post(path).body(Body::from(review.to_string())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answer: Value = runtime.block_on(async {
        let router =
            Routes::of_pods(Arc::default(), namespaces, None, Arc::new(Metrics::new())).into_router();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap()
    });
    let response = &answer["response"];
    if response["allowed"] != true {
        return Err(response["status"]["message"].as_str().unwrap().to_owned());
    }
    let mut pod = pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    Ok(pod)
}

/// The output of `bindery inject -f -` for this text, or its error.
pub(crate) fn by_command(text: &str) -> Result<String, String> {
    by_command_with(&[], text).map(|(printed, _)| printed)
}

/// The same with more arguments, and with the outcome.
pub(crate) fn by_command_with(arguments: &[&str], text: &str) -> Result<(String, Outcome), String> {
    let args = Cli::parse_from([&["inject", "-f", "-"], arguments].concat()).args;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    match run(args, text.as_bytes(), &mut stdout, &mut stderr) {
        Ok(outcome) => Ok((String::from_utf8(stdout).unwrap(), outcome)),
        Err(error) => Err(format!("{error:#}")),
    }
}

proptest! {
    #[test]
    fn both_ways_apply_the_same_default_of_the_namespace(mut pod in pod()) {
        if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
            annotations.retain(|name, _| !name.starts_with("bindery.dev/"));
        }
        pod["metadata"]["namespace"] = json!("shop");
        let expected = by_webhook_at(DEFAULTS_PATH, "shop", Arc::new(Shop), &pod).unwrap();
        let printed = by_command(&format!("{SHOP}\n---\n{}", serde_saphyr::to_string(&pod).unwrap())).unwrap();
        let printed = printed.strip_prefix(&format!("{SHOP}\n---\n")).unwrap();
        prop_assert_eq!(serde_saphyr::from_str::<Value>(printed).unwrap(), expected);
    }

    #[test]
    fn both_ways_give_the_same_pod(pod in pod()) {
        let expected = injected(&pod);
        prop_assert_eq!(by_webhook(&pod).unwrap(), expected.clone());
        let json = by_command(&pod.to_string()).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected.clone());
        let yaml = by_command(&serde_saphyr::to_string(&pod).unwrap()).unwrap();
        prop_assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), expected);
    }

    #[test]
    fn both_ways_refuse_the_same_pods(mut pod in odd_pod()) {
        prop_assume!(pod.is_object());
        (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
        match (by_webhook(&pod), by_command(&pod.to_string())) {
            (Ok(expected), Ok(text)) => prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected),
            (Err(message), Err(error)) => prop_assert!(error.contains(&message), "{}\n{}", message, error),
            (webhook, command) => prop_assert!(false, "{webhook:?}\n{command:?}"),
        }
    }
}
