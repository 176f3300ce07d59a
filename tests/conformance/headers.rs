//! The headers of requests and answers, and authentication.

use base64::{Engine, prelude::BASE64_STANDARD};
use bindery::osb::header;
use serde_json::json;

use crate::{
    client::{B, Client, I, binding, instance, owned},
    platform::Platform,
    stores::Store,
};

on_each_store!(
    a_request_without_a_version_is_412,
    an_unsupported_version_is_told_which_to_use,
    the_version_comes_before_the_body,
    a_newer_minor_version_is_accepted,
    a_kubernetes_identity_is_accepted,
    an_identity_may_be_left_out,
    a_malformed_identity_changes_nothing,
    the_requests_identity_is_echoed,
    every_route_requires_authentication,
    wrong_credentials_are_401,
    a_bearer_token_is_accepted,
    unknown_fields_are_ignored,
    every_answer_is_json,
    another_content_type_is_400,
    an_unparsable_body_is_400,
);

over_alibaba!(
    a_request_without_a_version_is_412,
    an_unsupported_version_is_told_which_to_use,
    the_version_comes_before_the_body,
    a_newer_minor_version_is_accepted,
    a_kubernetes_identity_is_accepted,
    an_identity_may_be_left_out,
    a_malformed_identity_changes_nothing,
    the_requests_identity_is_echoed,
    every_route_requires_authentication,
    wrong_credentials_are_401,
    a_bearer_token_is_accepted,
    every_answer_is_json,
    another_content_type_is_400,
    an_unparsable_body_is_400,
);

/// Every route, and one that is none.
const ROUTES: [(&str, &str); 11] = [
    ("GET", "/v2/catalog"),
    ("PUT", I),
    ("GET", I),
    ("PATCH", I),
    ("DELETE", I),
    ("GET", "/v2/service_instances/i/last_operation"),
    ("PUT", B),
    ("GET", B),
    ("DELETE", B),
    ("GET", "/v2/service_instances/i/service_bindings/b/last_operation"),
    ("GET", "/v2/nowhere"),
];

async fn a_request_without_a_version_is_412(store: Store) {
    let at = Platform::on(store).await;
    for (method, path) in ROUTES {
        at.send(at.bare(method, path).basic_auth("user", Some("pass"))).await.must_say(412, "2.17");
        let empty = at.bare(method, path).basic_auth("user", Some("pass")).header(header::API_VERSION, "");
        at.send(empty).await.must_say(412, "2.17");
    }
}

async fn an_unsupported_version_is_told_which_to_use(store: Store) {
    let at = Platform::on(store).await;
    for version in ["2", "2.", ".17", "v2.17", "2.17.0", "x", "1.17", "3.0", "2.12"] {
        at.speaking(version).get("/v2/catalog").await.must_say(412, "2.17");
    }
}

async fn the_version_comes_before_the_body(store: Store) {
    let at = Platform::on(store).await;
    for (method, path) in [("PUT", I), ("PATCH", I), ("PUT", B)] {
        let request = at.speaking("1.0").request(method, path);
        at.send(request.body("{no json").header("content-type", "text/plain")).await.must(412);
    }
}

async fn a_newer_minor_version_is_accepted(store: Store) {
    let at = Platform::on(store).await;
    at.speaking("2.18").get("/v2/catalog").await.must(200);
}

async fn a_kubernetes_identity_is_accepted(store: Store) {
    let at = Platform::on(store).await;
    let identity = json!({"username": "duke", "uid": "c2dde242", "groups": ["admin"], "extra": {"k": ["v"]}});
    let value = format!("kubernetes {}", BASE64_STANDARD.encode(identity.to_string()));
    let request = at.request("PUT", I).header(header::ORIGINATING_IDENTITY, value);
    at.send(request.json(&instance("p"))).await.must(201);
}

async fn an_identity_may_be_left_out(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, instance("p")).await.must(201);
    at.delete(&owned(I, "p")).await.must(200);
}

async fn a_malformed_identity_changes_nothing(store: Store) {
    let at = Platform::on(store).await;
    for value in ["", "kubernetes", "kubernetes !!", "kubernetes Zm9v", "kubernetes W10="] {
        let request = at.request("PUT", I).header(header::ORIGINATING_IDENTITY, value);
        at.send(request.json(&instance("p"))).await.must(400);
    }
    assert!(at.holds_nothing());
}

async fn the_requests_identity_is_echoed(store: Store) {
    let at = Platform::on(store).await;
    let version = |request: reqwest::RequestBuilder| request.header(header::API_VERSION, "2.17");
    for (request, status) in [
        (at.request("GET", "/v2/catalog"), 200),
        (at.request("PUT", I).json(&instance("p")), 201),
        (at.request("GET", B), 404),
        (at.request("PUT", B).body("{"), 400),
        (at.request("GET", "/v2/nowhere"), 404),
        (at.request("POST", I), 405),
        (version(at.bare("GET", I)), 401),
        (at.bare("GET", I).basic_auth("user", Some("pass")), 412),
    ] {
        let answer = at.send(request.header(header::REQUEST_IDENTITY, "e26cee84")).await;
        assert_eq!(answer.headers[header::REQUEST_IDENTITY], "e26cee84");
        answer.must(status);
    }
}

async fn every_route_requires_authentication(store: Store) {
    let at = Platform::on(store).await;
    for (method, path) in ROUTES {
        // Neither is the version looked at, nor what is asked for.
        let answer = at.send(at.bare(method, path)).await;
        let challenges = answer.headers.get_all("www-authenticate");
        assert!(challenges.iter().any(|challenge| challenge.to_str().unwrap().starts_with("Basic ")));
        answer.must(401);
    }
}

async fn wrong_credentials_are_401(store: Store) {
    let at = Platform::on(store).await;
    let versioned = || at.bare("GET", "/v2/catalog").header(header::API_VERSION, "2.17");
    for (user, password) in [("user", "no"), ("no", "pass"), ("", ""), ("user", "")] {
        at.send(versioned().basic_auth(user, Some(password))).await.must(401);
    }
    for text in ["Basic", "Basic !!", "Bearer", "Bearer no", "Digest x"] {
        at.send(versioned().header("authorization", text)).await.must(401);
    }
}

async fn a_bearer_token_is_accepted(store: Store) {
    let at = Platform::on(store).await;
    for token in ["token-1", "token-2"] {
        let request = at.bare("GET", "/v2/catalog").header(header::API_VERSION, "2.17").bearer_auth(token);
        at.send(request).await.must(200);
    }
}

async fn unknown_fields_are_ignored(store: Store) {
    let at = Platform::on(store).await;
    let with_more = |mut body: serde_json::Value| {
        body["vendor.example/colour"] = json!({"red": [1, null]});
        body["context"] = json!({"platform": "other", "vendor": {"deep": true}});
        body
    };
    at.put(I, with_more(instance("p"))).await.must(201);
    let mut update = with_more(json!({"service_id": "s", "parameters": {"a": 1}}));
    update["previous_values"] = json!({"plan_id": "p", "vendor": 1});
    at.patch(I, update).await.must(200);
    at.put(B, with_more(binding("p"))).await.must(201);
    let successor = "/v2/service_instances/i/service_bindings/b2";
    at.put(successor, with_more(json!({"predecessor_binding_id": "b"}))).await.must(201);
    at.delete(&format!("{}&vendor=1", owned(B, "p"))).await.must(200);
}

/// Each answer is examined by `strict`, also for its type; here one of each kind is made.
async fn every_answer_is_json(store: Store) {
    let at = Platform::on(store).await;
    for (method, path) in ROUTES {
        at.send(at.request(method, path)).await;
        at.send(at.bare(method, path)).await;
    }
    at.put(I, instance("p")).await.must(201);
    at.send(at.request("POST", I)).await.must(405);
    at.get("/").await.must(404);
    at.get("/v2/service_instances/%FF").await.must(400);
    at.delete("/v2/service_instances/i?service_id=s&service_id=t").await.must(400);
    at.put(I, json!({"large": "x".repeat(1 << 20)})).await.must(413);
}

async fn typed(at: &Client, content_type: &str) -> u16 {
    let request = at.request("PUT", I).header("content-type", content_type).body(instance("p").to_string());
    at.send(request).await.status
}

async fn another_content_type_is_400(store: Store) {
    let at = Platform::on(store).await;
    for other in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        assert_eq!(typed(&at, other).await, 400, "{other:?}");
    }
    assert_eq!(typed(&at, "application/json; charset=utf-8").await, 201);
    assert_eq!(typed(&at, "Application/JSON").await, 200);
}

async fn an_unparsable_body_is_400(store: Store) {
    let at = Platform::on(store).await;
    for (method, path) in [("PUT", I), ("PATCH", I), ("PUT", B)] {
        for text in ["", "{", "[]", "null", "\"text\"", "{} {}"] {
            at.send(at.request(method, path).body(text)).await.must(400);
        }
    }
    assert!(at.holds_nothing());
}
