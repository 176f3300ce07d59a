//! What the broker received: the verb and all parts of the request.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;

use axum::http::Method;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// The requests of the Open Service Broker API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Catalog,
    Provision,
    FetchInstance,
    Update,
    Deprovision,
    LastOperation,
    Bind,
    FetchBinding,
    Unbind,
    BindingLastOperation,
}

impl Verb {
    pub(super) const ALL: [Self; 10] = [
        Self::Catalog,
        Self::Provision,
        Self::FetchInstance,
        Self::Update,
        Self::Deprovision,
        Self::LastOperation,
        Self::Bind,
        Self::FetchBinding,
        Self::Unbind,
        Self::BindingLastOperation,
    ];
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// `None` for a request that the API does not have.
    pub(crate) verb: Option<Verb>,
    pub(crate) method: Method,
    /// As it was sent, still escaped.
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// `null` without a body.
    pub(crate) body: Value,
    /// The ids of the path, or empty.
    pub(crate) instance: String,
    pub(crate) binding: String,
}

impl Record {
    /// The originating identity, decoded.
    pub(crate) fn identity(&self) -> Option<Value> {
        let value = self.headers.get("x-broker-api-originating-identity")?;
        let encoded =
            value.strip_prefix("kubernetes ").unwrap_or_else(|| panic!("the platform in {value:?}"));
        Some(serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap())
    }

    /// Whether the platform allows an asynchronous operation.
    pub(crate) fn accepts_incomplete(&self) -> bool {
        self.query.get("accepts_incomplete").is_some_and(|value| value == "true")
    }
}

/// The verb and the ids of a request.
pub(super) fn parse(method: &Method, path: &str) -> (Option<Verb>, String, String) {
    let parts: Vec<String> = path
        .trim_start_matches('/')
        .split('/')
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8().unwrap().into_owned())
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (verb, instance, binding) = match (method.as_str(), parts.as_slice()) {
        ("GET", ["v2", "catalog"]) => (Some(Verb::Catalog), "", ""),
        ("PUT", ["v2", "service_instances", id]) => (Some(Verb::Provision), *id, ""),
        ("GET", ["v2", "service_instances", id]) => (Some(Verb::FetchInstance), *id, ""),
        ("PATCH", ["v2", "service_instances", id]) => (Some(Verb::Update), *id, ""),
        ("DELETE", ["v2", "service_instances", id]) => (Some(Verb::Deprovision), *id, ""),
        ("GET", ["v2", "service_instances", id, "last_operation"]) => (Some(Verb::LastOperation), *id, ""),
        (method, ["v2", "service_instances", id, "service_bindings", binding]) => {
            let verb = match method {
                "PUT" => Some(Verb::Bind),
                "GET" => Some(Verb::FetchBinding),
                "DELETE" => Some(Verb::Unbind),
                _ => None,
            };
            (verb, *id, *binding)
        }
        ("GET", ["v2", "service_instances", id, "service_bindings", binding, "last_operation"]) => {
            (Some(Verb::BindingLastOperation), *id, *binding)
        }
        _ => (None, "", ""),
    };
    (verb, instance.to_owned(), binding.to_owned())
}
