//! The client against small brokers in this process.

use axum::{
    Json, Router,
    extract::Request as HttpRequest,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{Html, IntoResponse},
    routing::{any, get, put},
};
use serde_json::json;

use super::*;
use crate::osb::OperationState;

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

#[tokio::test]
async fn html_is_named_and_never_shown() {
    let url = serve(Router::new().fallback(any(async || Html("<html>hunter2</html>"))));
    let message = client(&url).catalog().await.unwrap_err().to_string();
    assert_eq!(
        message,
        "answered HTML, status 200: the URL is probably not an Open Service Broker; check spec.url"
    );
    // A page that answers a DELETE with 200 has deleted nothing.
    assert!(client(&url).deprovision(&key("i")).await.is_err());
    assert!(client(&url).unbind(&key("i"), &"b".into()).await.is_err());
}

#[tokio::test]
async fn a_refused_password_names_its_source() {
    let url = serve(Router::new().fallback(any(async || StatusCode::UNAUTHORIZED)));
    let error = client(&url).catalog().await.unwrap_err();
    assert!(matches!(error, ClientError::Unauthorized { status: 401 }));
    assert!(error.to_string().contains("authInfo"), "{error}");
}

#[tokio::test]
async fn deleting_a_missing_instance_succeeds() {
    let url = serve(Router::new().fallback(any(async || (StatusCode::GONE, Json(json!({}))))));
    assert_eq!(client(&url).deprovision(&key("i")).await.unwrap(), Progress::Done);
    client(&url).unbind(&key("i"), &"b".into()).await.unwrap();
    assert_eq!(client(&url).last_operation(&key("i"), None).await.unwrap().operation, None);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let url = serve(
        Router::new()
            .route("/elsewhere", get(async || Json(json!({"services": []}))))
            .fallback(any(async || (StatusCode::FOUND, [(LOCATION, "/elsewhere")]))),
    );
    let message = client(&url).catalog().await.unwrap_err().to_string();
    assert!(message.contains("redirect"), "{message}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let url = serve(Router::new().fallback(any(async || vec![b' '; 5 << 20])));
    let message = client(&url).catalog().await.unwrap_err().to_string();
    assert!(message.contains("more than 4 MiB"), "{message}");
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
        client(&format!("{url}/base/")).deprovision(&key("a/../b?c%")).await.unwrap_err().to_string();
    let path =
        "/base/v2/service_instances/a%2F..%2Fb%3Fc%25?service_id=s%261&plan_id=p+1&accepts_incomplete=true";
    assert!(message.contains(path), "{message}");
    for id in ["", ".", ".."] {
        assert!(matches!(client(&url).deprovision(&key(id)).await, Err(ClientError::BadId(_))), "{id:?}");
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
async fn an_asynchronous_provision_is_polled() {
    let router = Router::new()
        .route(
            "/v2/service_instances/i",
            put(async || {
                (StatusCode::ACCEPTED, Json(json!({"operation": "op", "dashboard_url": "http://d"})))
            }),
        )
        .route(
            "/v2/service_instances/i/last_operation",
            get(async || ([("retry-after", "7")], Json(json!({"state": "in progress"}))).into_response()),
        );
    let client = client(&serve(router));
    let request: ProvisionRequest = serde_json::from_value(
        json!({"service_id": "s", "plan_id": "p", "organization_guid": "o", "space_guid": "n"}),
    )
    .unwrap();
    let answer = client.provision(&"i".into(), &request).await.unwrap();
    assert_eq!(answer.progress, Progress::InProgress(Some("op".into())));
    assert_eq!(answer.dashboard_url.as_deref(), Some("http://d"));
    let polled = client.last_operation(&key("i"), Some(&"op".into())).await.unwrap();
    assert_eq!(polled.operation.unwrap().state, OperationState::InProgress);
    assert_eq!(polled.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_malformed_answer_is_not_quoted() {
    let url = serve(Router::new().fallback(any(async || Json(json!({"credentials": "hunter2"})))));
    let request = BindRequest {
        service_id: "s".into(),
        plan_id: "p".into(),
        context: None,
        bind_resource: None,
        parameters: None,
    };
    let error = client(&url).bind(&"i".into(), &"b".into(), &request).await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { status: 200, .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
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
