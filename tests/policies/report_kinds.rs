//! The kinds of reports: their definitions for tests, written from the documented fields of `wgpolicyk8s.io/v1alpha2` and
//! `openreports.io/v1alpha1`. Fields that bindery does not write are left out.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// A kind of report: group, version, kind and plural.
pub(crate) type ReportKind = (&'static str, &'static str, &'static str, &'static str);

pub(crate) const REPORTS: [ReportKind; 2] = [
    ("wgpolicyk8s.io", "v1alpha2", "PolicyReport", "policyreports"),
    ("openreports.io", "v1alpha1", "Report", "reports"),
];

pub(crate) fn resource((group, version, kind, _): ReportKind) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

pub(crate) fn definition((group, version, kind, plural): ReportKind) -> CustomResourceDefinition {
    let schema = json!({"type": "object", "properties": {
        "apiVersion": text(), "kind": text(), "metadata": {"type": "object"},
        "summary": {"type": "object", "properties": {
            "pass": number(), "fail": number(), "warn": number(), "error": number(), "skip": number()}},
        "results": {"type": "array", "items": result()}}});
    let names = json!({"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()});
    let version =
        json!({"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    serde_json::from_value(json!({"metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}}))
    .unwrap()
}

fn result() -> Value {
    let one_of = |texts: &[&str]| json!({"type": "string", "enum": texts});
    json!({"type": "object", "required": ["policy"], "properties": {
        "source": text(), "policy": text(), "rule": text(), "category": text(), "message": text(),
        "severity": one_of(&["critical", "high", "low", "medium", "info"]),
        "result": one_of(&["pass", "fail", "warn", "error", "skip"]),
        "scored": {"type": "boolean"},
        "properties": {"type": "object", "additionalProperties": text()},
        "resources": {"type": "array", "items": {"type": "object", "properties": {
            "apiVersion": text(), "kind": text(), "namespace": text(), "name": text(), "uid": text()}}}}})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn number() -> Value {
    json!({"type": "integer"})
}
