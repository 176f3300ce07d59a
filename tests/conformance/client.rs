//! The requests of a platform. `strict` checks every answer before a test sees it.

use std::net::SocketAddr;

use bindery::osb::header;
pub(crate) use bindery_test_support::strict::Answer;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::platform::until;

/// The instance and the binding of most tests.
pub(crate) const I: &str = "/v2/service_instances/i";
pub(crate) const B: &str = "/v2/service_instances/i/service_bindings/b";

/// Speaks one version of the API, as a user who may call.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    version: &'static str,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        // The client wants to know how it would speak TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, base: format!("http://{address}"), version: "2.17" }
    }

    /// The same, speaking another version.
    pub(crate) fn speaking(&self, version: &'static str) -> Self {
        Self { version, ..self.clone() }
    }

    /// A request without any header of the API.
    pub(crate) fn bare(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// A request with the headers it needs.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.bare(method, path).basic_auth("user", Some("pass")).header(header::API_VERSION, self.version)
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let version = request.headers().get(header::API_VERSION).map(|v| v.to_str().unwrap().to_owned());
        let response = self.http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).expect("a body of JSON")
        };
        let answer = Answer { status, headers, body };
        answer.must_be_strict(&method, &path, version.as_deref());
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("PUT", path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("PATCH", path).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    /// Sends a request without waiting for the answer.
    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> tokio::task::JoinHandle<Answer> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let client = self.clone();
        tokio::spawn(async move { client.send(request).await })
    }

    /// Polls the last operation of `path` until it has ended.
    pub(crate) async fn ended(&self, path: &str) -> Value {
        let path = format!("{path}/last_operation");
        until("the operation ends", async || self.get(&path).await.body["state"] != "in progress").await;
        self.get(&path).await.must(200)
    }

    /// Makes the instance, however long its plan takes.
    pub(crate) async fn made(&self, plan: &str) {
        let answer = self.put(&polled(I), instance(plan)).await;
        assert!([201, 202].contains(&answer.status), "{answer:?}");
        assert_eq!(self.ended(I).await["state"], "succeeded");
    }

    /// Makes the binding on the instance, however long its plan takes.
    pub(crate) async fn bound(&self, plan: &str) {
        let answer = self.put(&polled(B), binding(plan)).await;
        assert!([201, 202].contains(&answer.status), "{answer:?}");
        assert_eq!(self.ended(B).await["state"], "succeeded");
    }
}

/// A request for an instance of the plan.
pub(crate) fn instance(plan: &str) -> Value {
    let service = if plan == "t1" { "t" } else { "s" };
    json!({"service_id": service, "plan_id": plan, "organization_guid": "o", "space_guid": "n"})
}

/// A request for a binding on an instance of the plan.
pub(crate) fn binding(plan: &str) -> Value {
    let service = if plan == "t1" { "t" } else { "s" };
    json!({"service_id": service, "plan_id": plan})
}

/// An update that changes a parameter.
pub(crate) fn change() -> Value {
    json!({"service_id": "s", "parameters": {"a": 1}})
}

/// `path`, to be deleted, of the plan.
pub(crate) fn owned(path: &str, plan: &str) -> String {
    let service = if plan == "t1" { "t" } else { "s" };
    format!("{path}?service_id={service}&plan_id={plan}")
}

/// `path` for a platform that polls.
pub(crate) fn polled(path: &str) -> String {
    let parted = if path.contains('?') { '&' } else { '?' };
    format!("{path}{parted}accepts_incomplete=true")
}
