//! Logs never contain data that others sent, at any level. The test runs itself in a separate process, calls services
//! that answer with a canary in unexpected places, logs at the highest level, and searches stderr for the canary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bindery::{
    apis::servicecatalog::{ServiceInstance, ServiceInstanceSpec},
    catalog::client::{BrokerClient, Endpoint},
    k8s::{self, explain},
    osb::BindRequest,
    telemetry::logs::{self, LogFormat},
};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams},
};
use serde_json::{Value, json};

/// A text that is in everything that is sent.
const CANARY: &str = "canary-hunter2";
/// Marks the logging process, and names its API server.
const CHILD: &str = "BINDERY_TEST_LOGS";

/// Answers that cannot be parsed: JSON of another form, an object with one wrong field, no JSON at all, an error that
/// is no `Status`, and an event of a watch.
async fn answer(request: axum::extract::Request) -> Response {
    let json = |text: String| ([(CONTENT_TYPE, "application/json")], text).into_response();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let metadata = json!({"name": "a", "namespace": "shop", "annotations": {"a": CANARY}});
    if query.contains("watch=true") {
        let object = json!({"metadata": metadata, "spec": CANARY, "data": CANARY});
        let event = format!(r#"{{"type":"ADDED","object":{object}}}"#);
        return json(format!("{event}\n{{\"type\": \"{CANARY}\"\n"));
    }
    if path.ends_with("/broken") {
        return (StatusCode::BAD_GATEWAY, format!("<html>{CANARY}</html>")).into_response();
    }
    if path.ends_with("/text") {
        return json(format!("{{\"metadata\": \"{CANARY}\", {CANARY}"));
    }
    if path.contains("/v2/") {
        return (StatusCode::CREATED, json(format!("{{\"credentials\": \"{CANARY}\"}}"))).into_response();
    }
    if request.headers().contains_key("x-amz-target") {
        let item = json!({"Item": {"secret": {"S": CANARY}, "broken": CANARY, CANARY: {"N": [CANARY]}}});
        return ([(CONTENT_TYPE, "application/x-amz-json-1.0")], item.to_string()).into_response();
    }
    let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": CANARY, "data": CANARY,
        "items": [{"metadata": metadata, "spec": {"parameters": CANARY, "containers": CANARY}, "data": {"password": [CANARY]}}]});
    json(object.to_string())
}

async fn serve() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

/// Sends every kind of request for a kind, and returns the parse errors.
async fn ask<K>(api: Api<K>, object: &K) -> Vec<String>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"a": CANARY}}}));
    let (posting, patching) = (PostParams::default(), PatchParams::default());
    let watched = async { api.watch(&WatchParams::default(), "0").await?.try_collect::<Vec<_>>().await };
    let failures = [
        api.list(&ListParams::default()).await.err(),
        api.list(&ListParams::default().limit(5)).await.err(),
        api.get("a").await.err(),
        api.get("text").await.err(),
        api.get("broken").await.err(),
        api.create(&posting, object).await.err(),
        api.replace("a", &posting, object).await.err(),
        api.patch("a", &patching, &patch).await.err(),
        api.delete("a", &DeleteParams::default()).await.err(),
        watched.await.err(),
    ];
    failures.iter().flatten().map(explain).collect()
}

/// Logs at the levels and targets of libraries that no filter may admit.
fn speak_as_libraries() {
    macro_rules! speak {
        ($($target:literal),*) => {$(
            tracing::error!(target: $target, body = CANARY, "{CANARY}");
            let span = tracing::error_span!(target: $target, "request", body = CANARY);
            span.in_scope(|| tracing::warn!(target: "bindery::test", "in a library's span"));
        )*};
    }
    speak!(
        "kube_client::client",
        "kube_runtime",
        "hyper::proto",
        "hyper_util",
        "h2::codec",
        "reqwest::connect",
        "tower",
        "tower_http",
        "rustls::client",
        "tokio_postgres::query",
        "mysql_async",
        "rusqlite",
        "aws_smithy_runtime",
        "aws_sdk_dynamodb",
        "opentelemetry_http",
        "log",
        "binderyx"
    );
}

async fn log_everything(format: LogFormat, kubernetes: SocketAddr) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = format!("trace,kube_client=trace,hyper=trace,h2=trace,{}=trace", "aws_smithy_runtime");
    logs::start(format, &filter, None).unwrap();
    speak_as_libraries();
    let config = kube::Config::new(format!("http://{kubernetes}").parse().unwrap());
    // kube's own client logs whole bodies; bindery's client returns errors that are logged.
    let bare = Client::try_from(config).unwrap();
    for (client, is_own) in [(k8s::client().await.unwrap(), true), (bare, false)] {
        let mut failures = ask(Api::<Pod>::namespaced(client.clone(), "shop"), &Pod::default()).await;
        failures.extend(ask(Api::<Secret>::namespaced(client.clone(), "shop"), &Secret::default()).await);
        let instance = ServiceInstance::new("a", ServiceInstanceSpec::default());
        failures.extend(ask(Api::<ServiceInstance>::namespaced(client, "shop"), &instance).await);
        assert!(failures.len() >= 25, "{}", failures.len());
        for error in failures.iter().filter(|_| is_own) {
            tracing::error!(target: "bindery::test", error, "cannot be read");
        }
    }
    let broker = BrokerClient::new(&Endpoint {
        url: format!("http://{kubernetes}").as_str().into(),
        insecure_skip_tls_verify: false,
        ca_bundle: None,
        credentials: None,
    })
    .unwrap();
    let request: BindRequest = serde_json::from_value(json!({"service_id": "s", "plan_id": "p"})).unwrap();
    let error = broker.bind(&"i".into(), &"b".into(), &request, None).await.unwrap_err();
    tracing::error!(target: "bindery::test", %error, "cannot be read");
    let dynamodb = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(format!("http://{kubernetes}"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .build();
    let dynamodb = aws_sdk_dynamodb::Client::from_conf(dynamodb);
    assert!(dynamodb.get_item().table_name("t").send().await.is_err());
    tracing::error!(target: "bindery::test", "all was asked");
}

#[tokio::test]
async fn no_filter_lets_a_body_through() {
    if let Ok(child) = std::env::var(CHILD) {
        let (format, address) = child.split_once(' ').unwrap();
        let format = if format == "json" { LogFormat::Json } else { LogFormat::Text };
        return log_everything(format, address.parse().unwrap()).await;
    }
    let address = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let config: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    for format in ["text", "json"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "no_filter_lets_a_body_through", "--nocapture"])
            .env(CHILD, format!("{format} {address}"))
            .env("KUBECONFIG", &kubeconfig)
            .env("RUST_LOG", "trace")
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("all was asked") && stderr.contains("in a library's span"), "{stderr}");
        assert!(stderr.contains("the log filter names a library that is never logged"), "{stderr}");
        let line = stderr.lines().find(|line| line.contains(CANARY));
        assert!(line.is_none(), "{format}: {line:?}");
    }
}
