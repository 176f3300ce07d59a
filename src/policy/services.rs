//! Which services users of a namespace may ask for: classes and plans of ServiceInstances, and access levels of
//! `ServiceBinding`s.

use serde_json::{Value, json};

use super::{allowed::is_among, namespace::Namespace};
use crate::apis::bindery::credential_policy::ServiceLimit;

/// The fields of a `ServiceInstance` that name its class by an external name.
pub(super) const CLASS_NAMES: [&str; 2] = ["clusterServiceClassExternalName", "serviceClassExternalName"];
/// The fields of a `ServiceInstance` that name its plan by an external name.
pub(super) const PLAN_NAMES: [&str; 2] = ["clusterServicePlanExternalName", "servicePlanExternalName"];
/// The fields that name a class or plan in another way, which must not differ from what the external name says.
pub(super) const OTHER_NAMES: [&str; 8] = [
    "clusterServiceClassExternalID",
    "clusterServiceClassName",
    "serviceClassExternalID",
    "serviceClassName",
    "clusterServicePlanExternalID",
    "clusterServicePlanName",
    "servicePlanExternalID",
    "servicePlanName",
];

/// A part of a limit: which kind it is about, what it reads, and what it allows.
pub(super) struct Part<'a> {
    pub(super) kind: &'static str,
    pub(super) what: &'static str,
    /// The paths below `spec`, of which the first that is set counts.
    pub(super) fields: &'static [&'static str],
    pub(super) allowed: &'a [String],
    pub(super) forbidden: &'a [String],
}

/// The parts that a limit has.
pub(super) fn parts(limit: &ServiceLimit) -> Vec<Part<'_>> {
    const ACCESS: [&str; 1] = ["parameters.access"];
    let part = |kind, what, fields, allowed, forbidden| Part { kind, what, fields, allowed, forbidden };
    let all = [
        part(
            "ServiceInstance",
            "the class, by its external name,",
            &CLASS_NAMES[..],
            &limit.allow_classes[..],
            &limit.forbid_classes[..],
        ),
        part(
            "ServiceInstance",
            "the plan, by its external name,",
            &PLAN_NAMES[..],
            &limit.allow_plans[..],
            &limit.forbid_plans[..],
        ),
        part("ServiceBinding", "the parameter access", &ACCESS[..], &limit.access[..], &[][..]),
    ];
    all.into_iter().filter(|part| !part.allowed.is_empty() || !part.forbidden.is_empty()).collect()
}

impl Part<'_> {
    /// What the part demands, for messages.
    pub(super) fn demand(&self) -> String {
        let names = |names: &[String]| names.join(", ");
        match (self.allowed, self.forbidden) {
            (allowed, []) => format!("{} must be one of: {}", self.what, names(allowed)),
            ([], forbidden) => format!("{} must be set and none of: {}", self.what, names(forbidden)),
            (allowed, forbidden) => {
                format!("{} must be one of: {}; and none of: {}", self.what, names(allowed), names(forbidden))
            }
        }
    }

    /// Whether the part is about class or plan, whose other names may mean something else.
    pub(super) fn is_named(&self) -> bool {
        self.kind == "ServiceInstance"
    }

    /// The place of the field, for findings.
    pub(super) fn place(&self) -> String {
        format!("spec.{}", self.fields[0])
    }

    fn is_violated(&self, spec: &Value) -> bool {
        let at = |path: &str| path.split('.').try_fold(spec, |value, name| value.get(name));
        let text = self.fields.iter().find_map(|field| at(field)?.as_str().filter(|text| !text.is_empty()));
        let Some(text) = text else { return true };
        (!self.allowed.is_empty() && !is_among(text, self.allowed)) || is_among(text, self.forbidden)
    }
}

/// Whether a limit is for a namespace of this name.
pub(super) fn is_for(limit: &ServiceLimit, namespace: &Namespace) -> bool {
    (limit.namespaces.is_empty() || is_among(namespace.name(), &limit.namespaces))
        && !is_among(namespace.name(), &limit.except_namespaces)
}

/// The demands of the limits that an object does not meet, each with the place of the field.
pub(super) fn unmet(limits: &[ServiceLimit], object: &Value, namespace: &Namespace) -> Vec<(String, String)> {
    let none = json!({});
    let spec = object.get("spec").unwrap_or(&none);
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let limits = limits.iter().filter(|limit| is_for(limit, namespace));
    let parts = limits.flat_map(parts).filter(|part| part.kind == kind && part.is_violated(spec));
    parts.map(|part| (part.place(), part.demand())).collect()
}

/// Whether a change touches what the limits are about. Objects that are older than the policy keep what they have.
pub(super) fn is_touched(before: Option<&Value>, after: &Value) -> bool {
    let version = after.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let is_deleted = after.pointer("/metadata/deletionTimestamp").is_some();
    let Some(before) = before else { return version.starts_with("servicecatalog.k8s.io/") };
    let fields = CLASS_NAMES.iter().chain(&PLAN_NAMES).chain(&OTHER_NAMES);
    let differ = |pointer: &str| before.pointer(pointer) != after.pointer(pointer);
    version.starts_with("servicecatalog.k8s.io/")
        && !is_deleted
        && (differ("/spec/parameters/access")
            || fields.into_iter().any(|field| differ(&format!("/spec/{field}"))))
}
