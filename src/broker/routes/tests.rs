//! Tests of the metrics of answers; `tests/conformance` tests the answers over HTTP.

use std::sync::Arc;

use axum::{body::Body, http::Request, response::Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::broker::{
    backends::{Limits, Provider, fake::Fake},
    config::{LoadedConfig, Login, PasswordSource, StoreKey},
    engine::{Offer, Timing},
    store::{cipher::Cipher, records::Records, sqlite::Sqlite},
};

const CONFIG: &str = "
backends: {main: {type: postgresql, host: h, port: 1, user: u, sslmode: require}}
services: [{id: s, name: one, type: cockroachdb, description: d, plans: [{id: p, name: p, description: d, backend: main},
  {id: lasting, name: lasting, description: d, backend: main}]}]
";

struct Bench {
    _folder: tempfile::TempDir,
    router: Router,
    metrics: Arc<Metrics>,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider: Arc<dyn Provider> = Arc::new(Fake::default());
        let offerings = LoadedConfig::from_yaml(CONFIG).unwrap().services.offerings;
        let cipher = Cipher::load(&StoreKey::FileOrNew(folder.path().join("key")), &[], false).unwrap();
        let store = Arc::new(Sqlite::open(&folder.path().join("db")).unwrap());
        let engine = Engine::new(
            Offer::new(offerings).unwrap(),
            [("main".into(), provider)].into(),
            &Limits::new(),
            Records::new(store, cipher),
            Timing::default(),
        );
        let password = PasswordSource::Given("pass".into());
        let logins = Logins::read(&[Login::Basic { username: "user".to_owned(), password }]).await.unwrap();
        let metrics = Arc::new(Metrics::new());
        let gate = Gate { logins: Arc::new(logins), metrics: metrics.clone() };
        Self { _folder: folder, router: router(engine, gate), metrics }
    }

    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }
}

fn request(method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Basic {}", BASE64_STANDARD.encode("user:pass")))
        .header("x-broker-api-version", "2.17")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
        .unwrap()
}

#[tokio::test]
async fn every_answer_is_counted() {
    let bench = Bench::new().await;
    let instance = "/v2/service_instances/i";
    let wanted = json!({"service_id": "s", "plan_id": "p", "organization_guid": "o", "space_guid": "n"});
    let mut lasting = wanted.clone();
    lasting["plan_id"] = json!("lasting");
    let catalog = bench.send(request("GET", "/v2/catalog", None)).await;
    let mut known = request("GET", "/v2/catalog", None);
    known.headers_mut().insert("if-none-match", catalog.headers()["etag"].clone());
    let mut stranger = request("DELETE", instance, None);
    stranger.headers_mut().remove("authorization");
    for request in [
        known,
        request("PUT", instance, Some(wanted.clone())),
        request("PUT", instance, Some(wanted)),
        request("PUT", "/v2/service_instances/j?accepts_incomplete=true", Some(lasting)),
        request("GET", &format!("{instance}/last_operation"), None),
        request("DELETE", &format!("{instance}/service_bindings/b"), None),
        stranger,
        request("GET", "/", None),
    ] {
        bench.send(request).await;
    }
    let text = bench.metrics.encode().unwrap();
    for labels in [
        r#"verb="catalog",result="ok""#,
        r#"verb="catalog",result="not_modified""#,
        r#"verb="provision",result="created""#,
        r#"verb="provision",result="ok""#,
        r#"verb="provision",result="accepted""#,
        r#"verb="last_operation",result="ok""#,
        r#"verb="unbind",result="gone""#,
        r#"verb="deprovision",result="unauthorized""#,
        r#"verb="other",result="not_found""#,
    ] {
        assert!(
            text.contains(&format!("bindery_osb_requests_total{{{labels}}} 1")),
            "{labels} is not in\n{text}"
        );
    }
}
