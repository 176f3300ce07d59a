//! The whole router in front of a backend in memory: which answer which request gets, in the specification's order.

use std::sync::Arc;

use axum::{body::Body, http::Request, response::Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    broker::{
        engine::{Offer, Timing},
        services::{
            Provider,
            fake::{Fake, Fuse, World},
        },
        store::{cipher::Cipher, records::Records, sqlite::Sqlite},
    },
    config::{LoadedConfig, Login, PasswordSource, StoreKey},
};

const CONFIG: &str = "
servers: {main: {host: h, port: 1, user: u, sslmode: require}}
services:
  - {id: s, name: one, type: cockroachdb, description: d, plans: [
      {id: p, name: p, description: d, server: main},
      {id: q, name: q, description: d, server: main, maintenance_info: {version: 1.0.0}},
      {id: unbindable, name: unbindable, description: d, server: main, bindable: false}]}
";

struct Bench {
    _folder: tempfile::TempDir,
    router: Router,
    metrics: Arc<Metrics>,
    fake: Fake,
}

impl Bench {
    fn new() -> Self {
        Self::with(Fuse::never())
    }

    fn with(fuse: Fuse) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new(Arc::<std::sync::Mutex<World>>::default(), fuse);
        let provider: Arc<dyn Provider> = Arc::new(fake.clone());
        let offerings = LoadedConfig::from_yaml(CONFIG).unwrap().services.offerings;
        let cipher = Cipher::load(&StoreKey::FileOrNew(folder.path().join("key")), &[], false).unwrap();
        let store = Arc::new(Sqlite::open(&folder.path().join("db")).unwrap());
        let engine = Engine::new(
            Offer::new(offerings).unwrap(),
            [("main".into(), provider)].into(),
            Records::new(store, cipher),
            Timing::default(),
        );
        let login =
            Login::Basic { username: "user".to_owned(), password: PasswordSource::Given("pass".into()) };
        let metrics = Arc::new(Metrics::new());
        let gate = Gate {
            logins: Arc::new(futures::executor::block_on(Logins::read(&[login])).unwrap()),
            metrics: metrics.clone(),
        };
        Self { _folder: folder, router: router(engine, gate), metrics, fake }
    }

    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        read(self.send(request(method, path, body)).await).await
    }

    async fn status(&self, method: &str, path: &str, body: Option<Value>) -> u16 {
        self.call(method, path, body).await.0
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

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn instance() -> Value {
    json!({"service_id": "s", "plan_id": "p", "organization_guid": "o", "space_guid": "n", "unknown": [1]})
}

fn binding() -> Value {
    json!({"service_id": "s", "plan_id": "p"})
}

/// `of` with some members changed; `null` takes one away.
fn but(mut of: Value, changes: &Value) -> Value {
    let members = of.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => members.remove(key),
            value => members.insert(key.clone(), value.clone()),
        };
    }
    of
}

const I: &str = "/v2/service_instances/i";
const B: &str = "/v2/service_instances/i/service_bindings/b";
const OWNER: &str = "?service_id=s&plan_id=p";

#[tokio::test]
async fn authentication_comes_before_everything() {
    let bench = Bench::new();
    for (method, path) in
        [("GET", "/v2/catalog"), ("PUT", I), ("DELETE", B), ("GET", "/v2/nowhere"), ("PATCH", I)]
    {
        let mut request = request(method, path, None);
        request.headers_mut().remove("authorization");
        request.headers_mut().remove("x-broker-api-version");
        let response = bench.send(request).await;
        assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"bindery\"");
        let (status, body) = read(response).await;
        assert_eq!(status, 401, "{method} {path}");
        assert!(body["description"].is_string());
    }
}

/// spec.md, "Updating a Service Instance": what cannot be changed is told with 422.
#[rstest::rstest]
#[case::nothing(json!({"service_id": "s"}), 200, "")]
#[case::the_same(json!({"service_id": "s", "plan_id": "p", "parameters": {"size": 1}, "previous_values": {}}), 200, "")]
#[case::other_plan(json!({"service_id": "s", "plan_id": "q"}), 422, "the plan of")]
#[case::other_parameter(json!({"service_id": "s", "parameters": {"size": 2}}), 422, "the parameters of")]
#[case::maintenance(json!({"service_id": "s", "maintenance_info": {"version": "1.0.0"}}), 422, "maintenance_info")]
#[case::unknown_service(json!({"service_id": "x"}), 400, "service_id")]
#[case::unknown_plan(json!({"service_id": "s", "plan_id": "x"}), 400, "plan_id")]
#[case::no_service(json!({"plan_id": "p"}), 400, "service_id")]
#[tokio::test]
async fn an_instance_stays_as_it_was_made(#[case] body: Value, #[case] expected: u16, #[case] names: &str) {
    let bench = Bench::new();
    assert_eq!(bench.status("PATCH", I, Some(json!({"service_id": "s"}))).await, 404);
    assert_eq!(bench.status("PATCH", I, Some(json!({"service_id": "x"}))).await, 400);
    let made = but(instance(), &json!({"parameters": {"size": 1, "name": "n"}}));
    assert_eq!(bench.status("PUT", I, Some(made)).await, 201);
    let (status, answer) = bench.call("PATCH", I, Some(body)).await;
    assert_eq!(status, expected, "{answer}");
    if expected == 200 {
        assert_eq!(answer, json!({}));
    } else {
        assert!(answer["description"].as_str().unwrap().contains(names), "{answer}");
    }
}

#[tokio::test]
async fn the_version_comes_before_the_body() {
    let bench = Bench::new();
    for version in [None, Some(""), Some("2"), Some("2.12"), Some("3.0"), Some("x")] {
        let mut request = request("PUT", I, None);
        *request.body_mut() = Body::from("{not json");
        request.headers_mut().remove("x-broker-api-version");
        if let Some(version) = version {
            request.headers_mut().insert("x-broker-api-version", version.parse().unwrap());
        }
        let (status, body) = read(bench.send(request).await).await;
        assert_eq!(status, 412, "{version:?}");
        assert!(body["description"].as_str().unwrap().contains("2.17"), "{body}");
    }
}

#[tokio::test]
async fn the_requests_identity_is_echoed() {
    let bench = Bench::new();
    for authorized in [true, false] {
        let mut request = request("GET", "/v2/catalog", None);
        request.headers_mut().insert("x-broker-api-request-identity", "e26cee84".parse().unwrap());
        if !authorized {
            request.headers_mut().remove("authorization");
        }
        assert_eq!(bench.send(request).await.headers()["x-broker-api-request-identity"], "e26cee84");
    }
}

#[tokio::test]
async fn a_bad_originating_identity_changes_nothing() {
    let bench = Bench::new();
    let mut request = request("PUT", I, Some(instance()));
    request.headers_mut().insert("x-broker-api-originating-identity", "kubernetes nonsense".parse().unwrap());
    assert_eq!(bench.send(request).await.status(), 400);
    assert!(bench.fake.world().is_empty());
}

#[tokio::test]
async fn the_catalog_holds_what_is_configured() {
    let (status, body) = Bench::new().call("GET", "/v2/catalog", None).await;
    assert_eq!(
        (status, &body["services"][0]["plans"][1]["maintenance_info"]["version"]),
        (200, &json!("1.0.0"))
    );
}

fn catalog_of(version: &str, known: Option<&str>) -> Request<Body> {
    let mut request = request("GET", "/v2/catalog", None);
    request.headers_mut().insert("x-broker-api-version", version.parse().unwrap());
    if let Some(known) = known {
        request.headers_mut().insert("if-none-match", known.parse().unwrap());
    }
    request
}

/// spec.md, "Catalog Management": `ETag` and 304, for each version its own.
#[tokio::test]
async fn a_platform_that_has_the_catalog_is_told_so() {
    let bench = Bench::new();
    let tag = async |version: &str| {
        let response = bench.send(catalog_of(version, None)).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        response.headers()["etag"].to_str().unwrap().to_owned()
    };
    let current = tag("2.17").await;
    assert!(current.starts_with('"') && current.ends_with('"'), "a strong tag: {current}");
    assert_eq!(tag("2.17").await, current);
    assert_ne!(tag("2.14").await, current, "the body differs");

    for known in [current.clone(), format!("\"x\", W/{current}"), "*".to_owned()] {
        let response = bench.send(catalog_of("2.17", Some(&known))).await;
        assert_eq!(response.status(), 304, "{known}");
        assert_eq!(response.headers()["etag"], current.as_str());
        assert!(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().is_empty());
    }
    for (version, known) in [("2.17", "\"x\""), ("2.14", current.as_str())] {
        let (status, body) = read(bench.send(catalog_of(version, Some(known))).await).await;
        assert_eq!(status, 200, "{version} {known}");
        assert!(body["services"].is_array());
    }
    let text = bench.metrics.encode().unwrap();
    assert!(text.contains(r#"verb="catalog",result="not_modified"} 3"#), "{text}");
}

#[tokio::test]
async fn a_known_catalog_is_no_secret_to_strangers() {
    let mut request = catalog_of("2.17", Some("*"));
    request.headers_mut().remove("authorization");
    assert_eq!(Bench::new().send(request).await.status(), 401);
}

#[tokio::test]
async fn an_instance_lives_from_201_to_410() {
    let bench = Bench::new();
    assert_eq!(bench.call("GET", I, None).await.0, 404);
    assert_eq!(bench.call("PUT", I, Some(instance())).await, (201, json!({})));
    assert_eq!(bench.call("PUT", I, Some(instance())).await, (200, json!({})));
    assert_eq!(bench.call("GET", I, None).await, (200, json!({"service_id": "s", "plan_id": "p"})));
    let operation = format!("{I}/last_operation");
    assert_eq!(bench.call("GET", &operation, None).await, (200, json!({"state": "succeeded"})));
    assert_eq!(bench.call("DELETE", &format!("{I}{OWNER}"), None).await, (200, json!({})));
    assert_eq!(bench.status("DELETE", &format!("{I}{OWNER}"), None).await, 410);
    assert_eq!(bench.status("GET", &operation, None).await, 410);
}

#[tokio::test]
async fn a_binding_lives_from_201_to_410() {
    let bench = Bench::new();
    assert_eq!(bench.status("PUT", B, Some(binding())).await, 404, "there is no instance");
    bench.status("PUT", I, Some(instance())).await;
    let (status, made) = bench.call("PUT", B, Some(binding())).await;
    assert_eq!(
        (status, &made),
        (
            201,
            &json!({"credentials": {"username": "b", "password": "password-1"},
        "endpoints": [{"host": "fake.example", "ports": ["1"], "protocol": "tcp"}]})
        )
    );
    assert_eq!(bench.call("PUT", B, Some(binding())).await, (200, made.clone()));
    assert_eq!(bench.call("GET", B, None).await, (200, made));
    assert_eq!(bench.status("GET", &format!("{B}/last_operation"), None).await, 200);
    assert_eq!(bench.call("DELETE", &format!("{B}{OWNER}"), None).await, (200, json!({})));
    assert_eq!(bench.status("DELETE", &format!("{B}{OWNER}"), None).await, 410);
    assert_eq!(bench.status("GET", B, None).await, 404);
}

#[rstest::rstest]
#[case::service(json!({"service_id": null}), 400)]
#[case::empty_service(json!({"service_id": ""}), 400)]
#[case::unknown_service(json!({"service_id": "x"}), 400)]
#[case::plan(json!({"plan_id": null}), 400)]
#[case::unknown_plan(json!({"plan_id": "x"}), 400)]
#[case::organization(json!({"organization_guid": null}), 400)]
#[case::empty_organization(json!({"organization_guid": ""}), 400)]
#[case::empty_space(json!({"space_guid": ""}), 400)]
#[case::wrong_type(json!({"parameters": "text"}), 400)]
#[case::bad_parameter(json!({"parameters": {"bad": 1}}), 400)]
#[case::maintenance_of_a_plan_without(json!({"maintenance_info": {"version": "1.0.0"}}), 422)]
#[case::other_maintenance(json!({"plan_id": "q", "maintenance_info": {"version": "2.0.0"}}), 422)]
#[case::right_maintenance(json!({"plan_id": "q", "maintenance_info": {"version": "1.0.0"}}), 201)]
#[tokio::test]
async fn a_provision_is_checked(#[case] changes: Value, #[case] expected: u16) {
    let bench = Bench::new();
    let (status, body) = bench.call("PUT", I, Some(but(instance(), &changes))).await;
    assert_eq!(status, expected, "{body}");
    assert_eq!(body["error"] == "MaintenanceInfoConflict", status == 422, "{body}");
    assert_eq!(bench.fake.world().is_empty(), expected != 201);
}

#[rstest::rstest]
#[case(json!({"plan_id": "q"}))]
#[case(json!({"organization_guid": "x"}))]
#[case(json!({"space_guid": "x"}))]
#[case(json!({"parameters": {"a": 1}}))]
#[tokio::test]
async fn another_instance_of_the_same_id_is_a_conflict(#[case] changes: Value) {
    let bench = Bench::new();
    bench.status("PUT", I, Some(instance())).await;
    assert_eq!(bench.status("PUT", I, Some(but(instance(), &changes))).await, 409);
    let same = but(instance(), &json!({"parameters": {}, "context": {"platform": "kubernetes"}}));
    assert_eq!(bench.status("PUT", I, Some(same)).await, 200);
}

#[tokio::test]
async fn a_bind_is_checked() {
    let bench = Bench::new();
    bench.status("PUT", I, Some(instance())).await;
    for changes in [
        json!({"service_id": null}),
        json!({"plan_id": ""}),
        json!({"service_id": "x"}),
        json!({"plan_id": "x"}),
        json!({"plan_id": "q"}),
        json!({"plan_id": "unbindable"}),
        json!({"parameters": {"bad": 1}}),
    ] {
        assert_eq!(bench.status("PUT", B, Some(but(binding(), &changes))).await, 400, "{changes}");
    }
    assert!(bench.fake.world().logins.is_empty());
    bench.status("PUT", B, Some(binding())).await;
    for changes in [json!({"plan_id": "q"}), json!({"parameters": {"a": 1}})] {
        assert_eq!(bench.status("PUT", B, Some(but(binding(), &changes))).await, 409, "{changes}");
    }
}

#[tokio::test]
async fn a_delete_of_an_instance_wants_its_ids_first() {
    let bench = Bench::new();
    for query in ["", "?service_id=s", "?service_id=s&plan_id="] {
        assert_eq!(bench.status("DELETE", &format!("{I}{query}"), None).await, 400, "{query}");
    }
    assert_eq!(bench.status("DELETE", &format!("{I}{OWNER}"), None).await, 410);
    bench.status("PUT", I, Some(instance())).await;
    assert_eq!(
        bench.status("DELETE", &format!("{I}?service_id=s&plan_id=q"), None).await,
        400,
        "another plan's"
    );
    assert_eq!(bench.status("GET", I, None).await, 200);
}

#[tokio::test]
async fn a_delete_of_a_binding_says_410_before_400() {
    let bench = Bench::new();
    assert_eq!(bench.status("DELETE", B, None).await, 410);
    bench.status("PUT", I, Some(instance())).await;
    bench.status("PUT", B, Some(binding())).await;
    assert_eq!(bench.status("DELETE", B, None).await, 400);
}

#[tokio::test]
async fn a_failed_create_is_said_so_and_can_be_deleted() {
    // The intent is not counted: the store of these tests is whole. The backend stops in the middle.
    let bench = Bench::with(Fuse::after(1));
    let (status, body) = bench.call("PUT", I, Some(instance())).await;
    assert_eq!((status, &body["description"]), (500, &json!("server fake: killed")));
    assert_eq!(bench.status("GET", I, None).await, 404);
    let (status, body) = bench.call("GET", &format!("{I}/last_operation"), None).await;
    assert_eq!((status, &body["state"]), (200, &json!("failed")));
    let (status, body) = bench.call("PUT", B, Some(binding())).await;
    assert_eq!(status, 422);
    assert!(
        body["error"].is_null() && body["description"].as_str().unwrap().contains("not provisioned in full"),
        "{body}"
    );
    assert_eq!(
        bench.status("DELETE", &format!("{I}{OWNER}"), None).await,
        500,
        "what is left is not forgotten"
    );
}

#[tokio::test]
async fn ids_may_hold_any_characters() {
    let bench = Bench::new();
    let path = "/v2/service_instances/a%2Fb%20%C3%BC";
    assert_eq!(bench.status("PUT", path, Some(instance())).await, 201);
    assert!(bench.fake.world().databases.contains_key(&"a/b \u{fc}".into()));
    assert_eq!(bench.status("DELETE", &format!("{path}{OWNER}"), None).await, 200);
    assert_eq!(bench.status("GET", "/v2/service_instances/%FF", None).await, 400);
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_400() {
    let bench = Bench::new();
    for text in ["", "[]", "{", "null", "\"text\""] {
        let mut request = request("PUT", I, None);
        *request.body_mut() = Body::from(text);
        let (status, body) = read(bench.send(request).await).await;
        assert_eq!(status, 400, "{text:?}");
        assert!(body["description"].is_string(), "{body}");
    }
    let mut other_type = request("PUT", I, Some(instance()));
    other_type.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(bench.send(other_type).await.status(), 400);
    let large = but(instance(), &json!({"unknown": "x".repeat(BODY_LIMIT)}));
    assert_eq!(bench.status("PUT", I, Some(large)).await, 413);
    let mut json_type = request("PUT", I, Some(instance()));
    json_type.headers_mut().insert("content-type", "application/json; charset=utf-8".parse().unwrap());
    assert_eq!(bench.send(json_type).await.status(), 201);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_in_the_apis_form() {
    let bench = Bench::new();
    for (method, path, expected) in [("GET", "/", 404), ("GET", "/v2/nowhere", 404), ("PATCH", B, 405)] {
        let (status, body) = bench.call(method, path, None).await;
        assert_eq!(status, expected, "{method} {path}");
        assert!(body["description"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn every_answer_is_counted() {
    let bench = Bench::new();
    bench.status("PUT", I, Some(instance())).await;
    bench.status("DELETE", B, None).await;
    bench.status("GET", "/", None).await;
    let text = bench.metrics.encode().unwrap();
    for labels in [
        r#"verb="provision",result="created""#,
        r#"verb="unbind",result="gone""#,
        r#"verb="other",result="not_found""#,
    ] {
        assert!(
            text.contains(&format!("bindery_osb_requests_total{{{labels}}} 1")),
            "{labels} is not in\n{text}"
        );
    }
}
