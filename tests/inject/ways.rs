//! The webhook and the command line come to the same pod.

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindery::{
    admission::{
        inject::NamespaceDefaults,
        namespaces::{NamespaceUnread, Namespaces},
        webhook::{PATH, router},
    },
    cli::inject::{InjectArgs, run},
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

/// For pods that say themselves what they are bound to.
struct Unasked;

#[async_trait]
impl Namespaces for Unasked {
    async fn defaults(&self, namespace: &str) -> Result<Option<NamespaceDefaults>, NamespaceUnread> {
        panic!("asked for the Namespace {namespace}");
    }
}

/// What the API server makes of the webhook's answer, or why the pod is refused.
fn by_webhook(pod: &Value) -> Result<Value, String> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "object": pod
        }
    });
    let request = Request::post(PATH).body(Body::from(review.to_string())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answer: Value = runtime.block_on(async {
        let router = router(Arc::default(), Arc::new(Unasked), Arc::new(Metrics::new()));
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

/// What `bindery inject -f -` prints for this text, or its error.
fn by_command(text: &str) -> Result<String, String> {
    let args = Cli::parse_from(["inject", "-f", "-"]).args;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    match run(args, text.as_bytes(), &mut stdout, &mut stderr) {
        Ok(()) => Ok(String::from_utf8(stdout).unwrap()),
        Err(error) => Err(format!("{error:#}")),
    }
}

proptest! {
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
