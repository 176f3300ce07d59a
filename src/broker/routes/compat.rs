//! Which fields a platform with an older API version gets; no other module decides this. Receivers must ignore unknown
//! fields, but some clients' schemas forbid extra members. Source: servicebroker `release-notes.md` and the tags.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    broker::backends::Bound,
    osb::{
        ApiVersion, BindResponse, BindingMetadata, Catalog, FetchedInstance, InstanceMetadata, LastOperation,
        Plan, Service,
    },
};

/// The maintenance version in a request, a field since 2.15. From an older platform it is an extension and is ignored.
pub(super) fn maintenance_info(given: Option<Value>, version: ApiVersion) -> Option<Value> {
    given.filter(|_| version.has_minor(15))
}

/// The catalog for a platform of this version.
pub(super) fn catalog(mut catalog: Catalog, version: ApiVersion) -> Catalog {
    catalog.services.iter_mut().for_each(|service| trim_service(service, version));
    catalog
}

fn trim_service(service: &mut Service, version: ApiVersion) {
    if !version.has_minor(14) {
        (service.instances_retrievable, service.bindings_retrievable) = (false, false);
    }
    if !version.has_minor(15) {
        service.allow_context_updates = false;
    }
    service.plans.iter_mut().for_each(|plan| trim_plan(plan, version));
}

fn trim_plan(plan: &mut Plan, version: ApiVersion) {
    if !version.has_minor(15) {
        (plan.plan_updateable, plan.maximum_polling_duration, plan.maintenance_info) = (None, None, None);
    }
    if !version.has_minor(17) {
        plan.binding_rotatable = None;
    }
}

/// Labels came with 2.16, attributes with 2.17.
pub(super) fn instance_metadata(
    metadata: Option<InstanceMetadata>,
    version: ApiVersion,
) -> Option<InstanceMetadata> {
    let mut metadata = metadata.filter(|_| version.has_minor(16))?;
    if !version.has_minor(17) {
        metadata.attributes.clear();
    }
    Some(metadata)
}

/// An instance for a platform of this version.
pub(super) fn fetched_instance(found: FetchedInstance, version: ApiVersion) -> FetchedInstance {
    FetchedInstance {
        maintenance_info: found.maintenance_info.filter(|_| version.has_minor(15)),
        // A fetch returns metadata one version later than a provision does.
        metadata: found.metadata.filter(|_| version.has_minor(17)),
        ..found
    }
}

/// The contents of a binding for a platform of this version.
pub(super) fn bound(bound: Bound, version: ApiVersion) -> BindResponse {
    // The specification requires the renewal before the expiry, whatever the service says.
    let renew_before = bound.renew_before.map(|at| bound.expires_at.map_or(at, |end| at.min(end)));
    let metadata = BindingMetadata {
        expires_at: bound.expires_at.map(timestamp),
        renew_before: renew_before.filter(|_| version.has_minor(17)).map(timestamp),
    };
    let has_metadata = version.has_minor(16) && metadata != BindingMetadata::default();
    BindResponse {
        credentials: Some(bound.credentials),
        metadata: has_metadata.then_some(metadata),
        endpoints: Some(bound.endpoints).filter(|endpoints| version.has_minor(15) && !endpoints.is_empty()),
        syslog_drain_url: bound.syslog_drain_url,
        route_service_url: bound.route_service_url,
        volume_mounts: bound.volume_mounts,
        ..BindResponse::default()
    }
}

/// The state of an operation for a platform of this version.
pub(super) fn last_operation(found: LastOperation, version: ApiVersion) -> LastOperation {
    let is_known = |_: &bool| version.has_minor(16);
    LastOperation {
        instance_usable: found.instance_usable.filter(is_known),
        update_repeatable: found.update_repeatable.filter(is_known),
        ..found
    }
}

/// Formats `yyyy-mm-ddThh:mm:ss.sZ`, which the specification's pattern requires.
fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%1fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("2.13", &[])]
    #[case("2.14", &["instances_retrievable", "bindings_retrievable"])]
    #[case("2.16", &["instances_retrievable", "bindings_retrievable", "allow_context_updates", "plan_updateable",
        "maximum_polling_duration", "maintenance_info"])]
    #[case("2.17", &["instances_retrievable", "bindings_retrievable", "allow_context_updates", "plan_updateable",
        "maximum_polling_duration", "maintenance_info", "binding_rotatable"])]
    fn fields_come_with_their_version(#[case] version: &str, #[case] expected: &[&str]) {
        let full: Catalog = serde_json::from_value(serde_json::json!({"services": [{
            "id": "s", "name": "s", "description": "d", "bindable": true, "instances_retrievable": true,
            "bindings_retrievable": true, "allow_context_updates": true,
            "plans": [{"id": "p", "name": "p", "description": "d", "binding_rotatable": true, "plan_updateable": true,
                "maximum_polling_duration": 60, "maintenance_info": {"version": "1.0.0"}}],
        }]}))
        .unwrap();
        let text = serde_json::to_string(&catalog(full, version.parse().unwrap())).unwrap();
        for field in [
            "instances_retrievable",
            "bindings_retrievable",
            "allow_context_updates",
            "plan_updateable",
            "maximum_polling_duration",
            "maintenance_info",
            "binding_rotatable",
        ] {
            assert_eq!(text.contains(field), expected.contains(&field), "{field} in {version}");
        }
        assert!(!text.contains("null"), "{text}");
    }
}
