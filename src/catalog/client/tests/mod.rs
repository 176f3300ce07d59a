//! The client against small brokers in this process.

mod bindings;
mod errors;
mod instances;
mod verbs;

use axum::{
    Json, Router,
    extract::Request as HttpRequest,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{Html, IntoResponse},
    routing::{any, get},
};
use k8s_openapi::ByteString;
use serde_json::json;

use super::*;
use crate::osb::{BindRequest, ProvisionRequest, UpdateRequest};

/// Serves the routes on a free port until the test's runtime ends.
fn serve(router: Router) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum_server::from_tcp(listener).unwrap().serve(router.into_make_service()));
    format!("http://{address}")
}

fn client(url: &str) -> BrokerClient {
    let _ = rustls::crypto::ring::default_provider().install_default();
    BrokerClient::new(&endpoint(url)).unwrap()
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint { url: url.into(), insecure_skip_tls_verify: false, ca_bundle: None, credentials: None }
}

fn key(instance: &str) -> InstanceKey {
    InstanceKey { instance: instance.into(), service: "s&1".into(), plan: "p 1".into() }
}

fn provision_request() -> ProvisionRequest {
    serde_json::from_value(
        json!({"service_id": "s", "plan_id": "p", "organization_guid": "o", "space_guid": "n"}),
    )
    .unwrap()
}

fn update_request() -> UpdateRequest {
    serde_json::from_value(json!({"service_id": "s", "plan_id": "q", "previous_values": {"plan_id": "p"}}))
        .unwrap()
}

fn bind_request() -> BindRequest {
    serde_json::from_value(json!({"service_id": "s", "plan_id": "p"})).unwrap()
}

/// Sends every request, and returns the error of each by its name.
async fn errors(client: &BrokerClient, identity: Option<&Identity>) -> Vec<(&'static str, ClientError)> {
    let (instance, binding, key) = ("i".into(), "b".into(), key("i"));
    vec![
        ("catalog", client.catalog().await.unwrap_err()),
        ("provision", client.provision(&instance, &provision_request(), identity).await.unwrap_err()),
        ("update", client.update(&instance, &update_request(), identity).await.unwrap_err()),
        ("deprovision", client.deprovision(&key, identity).await.unwrap_err()),
        ("last_operation", client.last_operation(&key, None, identity).await.unwrap_err()),
        ("bind", client.bind(&instance, &binding, &bind_request(), identity).await.unwrap_err()),
        ("binding", client.binding(&key, &binding, identity).await.unwrap_err()),
        ("unbind", client.unbind(&key, &binding, identity).await.unwrap_err()),
        (
            "binding_last_operation",
            client.binding_last_operation(&key, &binding, None, identity).await.unwrap_err(),
        ),
    ]
}

#[tokio::test]
async fn html_is_named_and_never_shown() {
    let url = serve(Router::new().fallback(any(async || Html("<html>hunter2</html>"))));
    let message = client(&url).catalog().await.unwrap_err().to_string();
    assert_eq!(
        message,
        "answered HTML, status 200: the URL is probably not an Open Service Broker; check spec.url"
    );
    // A page that answers a DELETE with 200 has deleted nothing.
    errors(&client(&url), None).await;
}

#[tokio::test]
async fn a_refused_password_names_its_source() {
    let url = serve(Router::new().fallback(any(async || StatusCode::UNAUTHORIZED)));
    let error = client(&url).catalog().await.unwrap_err();
    assert!(matches!(error, ClientError::Unauthorized { status: 401 }));
    assert!(error.to_string().contains("authInfo"), "{error}");
}

#[tokio::test]
async fn a_refused_connection_is_reported() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:hunter2@{}", listener.local_addr().unwrap());
    drop(listener);
    let message = client(&url).catalog().await.unwrap_err().to_string();
    assert!(message.contains("refused") && !message.contains("hunter2"), "{message}");
}

#[test]
fn unusable_endpoints_are_refused_before_any_call() {
    for (url, word) in [
        ("http://169.254.169.254/", "link-local"),
        ("ftp://broker/", "scheme"),
        ("not a url", "not a usable URL"),
    ] {
        let message = BrokerClient::new(&endpoint(url)).unwrap_err().to_string();
        assert!(message.contains(word), "{url}: {message}");
    }
    let mut bad = endpoint("https://broker/");
    bad.ca_bundle = Some(ByteString(b"nothing".to_vec()));
    assert!(matches!(BrokerClient::new(&bad), Err(ClientError::BadCaBundle)));
}

#[tokio::test]
async fn ids_are_escaped_or_refused() {
    let echo = async |request: HttpRequest| {
        (StatusCode::BAD_REQUEST, Json(json!({"description": request.uri().to_string()})))
    };
    let url = serve(Router::new().fallback(any(echo)));
    let message =
        client(&format!("{url}/base/")).deprovision(&key("a/../b?c%"), None).await.unwrap_err().to_string();
    let path =
        "/base/v2/service_instances/a%2F..%2Fb%3Fc%25?service_id=s%261&plan_id=p+1&accepts_incomplete=true";
    assert!(message.contains(path), "{message}");
    for id in ["", ".", ".."] {
        assert!(
            matches!(client(&url).deprovision(&key(id), None).await, Err(ClientError::BadId(_))),
            "{id:?}"
        );
    }
}

#[tokio::test]
async fn headers_and_credentials_are_sent() {
    let echo = async |headers: HeaderMap| {
        let value =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
        let text = format!(
            "{} {} {}",
            value("x-broker-api-version"),
            value("authorization"),
            uuid::Uuid::parse_str(&value("x-broker-api-request-identity")).is_ok()
        );
        (StatusCode::IM_A_TEAPOT, Json(json!({"description": text})))
    };
    let url = serve(Router::new().fallback(any(echo)));
    let with_password = url.replace("http://", "http://user:p%40ss@");
    let message = client(&with_password).catalog().await.unwrap_err().to_string();
    assert!(message.ends_with("2.17 Basic dXNlcjpwQHNz true"), "{message}");
    let mut bearer = endpoint(&with_password);
    bearer.credentials = Some(Credentials::Bearer("t".into()));
    let message = BrokerClient::new(&bearer).unwrap().catalog().await.unwrap_err().to_string();
    assert!(message.ends_with("2.17 Bearer t true"), "{message}");
}

#[tokio::test]
async fn a_hanging_broker_does_not_delay_others() {
    let url = serve(Router::new().fallback(any(async || std::future::pending::<StatusCode>().await)));
    let client = std::sync::Arc::new(client(&url));
    for _ in 0..queue::CONCURRENCY {
        let client = client.clone();
        tokio::spawn(async move { client.catalog().await });
    }
    while !client.queue.is_full() {
        tokio::task::yield_now().await;
    }
    let asked = tokio::time::timeout(Duration::from_secs(10), client.catalog()).await;
    assert!(matches!(asked, Ok(Err(ClientError::Busy))), "{asked:?}");
}

#[test]
fn no_proxy_is_used() {
    // All tests share this process's environment, so this test runs again in another process.
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "catalog::client::tests::html_is_named_and_never_shown"])
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("http_proxy", "http://127.0.0.1:1")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && output.contains("1 passed"), "{output}");
}
