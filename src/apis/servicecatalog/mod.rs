//! The types and custom resource definitions of `servicecatalog.k8s.io/v1beta1` (kubernetes-retired/service-catalog
//! `pkg/apis/servicecatalog/v1beta1/types.go`). Pure.
//!
//! Go clients serialise the zero value of every field, so an empty string means an absent value in every optional
//! string.

pub mod binding;
pub mod broker;
pub mod class;
pub mod condition;
pub mod instance;
pub(crate) mod names;
pub mod parameters;
pub mod plan;
pub mod reasons;
pub mod scope;
pub mod secret_transform;
pub mod secrets;

pub use crate::apis::bindery::external_resource::{
    ExternalResource, ExternalResourceKind, ExternalResourceSpec, ExternalResourceState,
    ExternalResourceStatus,
};
pub use binding::{ServiceBinding, ServiceBindingSpec, ServiceBindingStatus};
pub use broker::{
    AuthInfo, BrokerUrl, ClusterServiceBroker, ClusterServiceBrokerSpec, CommonServiceBrokerSpec,
    ServiceBroker, ServiceBrokerSpec, ServiceBrokerStatus,
};
pub use class::{
    ClusterServiceClass, ClusterServiceClassSpec, CommonServiceClassSpec, ServiceClass, ServiceClassSpec,
};
pub use condition::{Condition, ConditionType, Conditions};
pub use instance::{ServiceInstance, ServiceInstanceSpec, ServiceInstanceStatus};
pub use parameters::{ParametersFromSource, UserInfo};
pub use plan::{
    ClusterServicePlan, ClusterServicePlanSpec, CommonServicePlanSpec, ServicePlan, ServicePlanSpec,
};
pub use secrets::UsesSecrets;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The finalizer of all kinds that need one. It is the old Service Catalog's, so its tools (`svcat --abandon`) work.
pub const FINALIZER: &str = "kubernetes-incubator/service-catalog";

/// All custom resource definitions, in the order of the generated file.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        ClusterServiceBroker::crd(),
        ClusterServiceClass::crd(),
        ClusterServicePlan::crd(),
        ServiceBroker::crd(),
        ServiceClass::crd(),
        ServicePlan::crd(),
        ServiceInstance::crd(),
        ServiceBinding::crd(),
        ExternalResource::crd(),
    ]
}

/// A reference to a cluster-scoped object, or to one in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NameReference {
    /// The name of the object.
    #[schemars(schema_with = "object_name")]
    pub name: String,
}

/// The schema of an optional JSON object with any members.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true})
}

/// The schema of an object's name that becomes part of a path (RFC 1123 subdomain).
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": OBJECT_NAME_PATTERN})
}

/// The schema of a namespace's name that becomes part of a path (RFC 1123 label).
pub(crate) fn label_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
}

const OBJECT_NAME_PATTERN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// The schema of optional bytes, base64 in JSON.
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "nullable": true, "format": "byte"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_the_definitions_is_deterministic() {
        let names: Vec<_> = crds().iter().filter_map(|crd| crd.metadata.name.clone()).collect();
        assert_eq!(
            names,
            [
                "clusterservicebrokers.servicecatalog.k8s.io",
                "clusterserviceclasses.servicecatalog.k8s.io",
                "clusterserviceplans.servicecatalog.k8s.io",
                "servicebrokers.servicecatalog.k8s.io",
                "serviceclasses.servicecatalog.k8s.io",
                "serviceplans.servicecatalog.k8s.io",
                "serviceinstances.servicecatalog.k8s.io",
                "servicebindings.servicecatalog.k8s.io",
                "externalresources.bindery.dev",
            ]
        );
        assert_eq!(serde_json::to_string(&crds()).unwrap(), serde_json::to_string(&crds()).unwrap());
    }

    #[test]
    fn definitions_have_a_status_subresource_and_old_kinds_the_metadata_of_service_catalog() {
        for crd in crds() {
            let version = &crd.spec.versions[0];
            assert!(
                version.subresources.as_ref().is_some_and(|s| s.status.is_some()),
                "{:?}",
                crd.metadata.name
            );
            if crd.spec.group == "servicecatalog.k8s.io" {
                assert_eq!(crd.metadata.labels.as_ref().unwrap()["svcat"], "true");
                assert_eq!(
                    crd.metadata.annotations.as_ref().unwrap()["api-approved.kubernetes.io"],
                    "unapproved, API of the retired service-catalog"
                );
                assert_eq!(
                    crd.spec.names.categories.as_deref(),
                    Some(&["all".to_owned(), "svcat".to_owned()][..])
                );
            }
        }
    }

    #[test]
    fn columns_are_those_of_service_catalog() {
        let columns = |crd: CustomResourceDefinition| -> Vec<String> {
            crd.spec.versions[0]
                .additional_printer_columns
                .iter()
                .flatten()
                .map(|column| format!("{} {}", column.name, column.json_path))
                .collect()
        };
        assert_eq!(
            columns(ServiceInstance::crd()),
            [
                "Class .status.userSpecifiedClassName",
                "Plan .status.userSpecifiedPlanName",
                "Status .status.lastConditionState",
                "Age .metadata.creationTimestamp"
            ]
        );
        assert_eq!(
            columns(ServiceBinding::crd()),
            [
                "Service-Instance .spec.instanceRef.name",
                "Secret-Name .spec.secretName",
                "Status .status.lastConditionState",
                "Age .metadata.creationTimestamp"
            ]
        );
        assert_eq!(
            columns(ClusterServicePlan::crd()),
            [
                "External-Name .spec.externalName",
                "Broker .spec.clusterServiceBrokerName",
                "Class .spec.clusterServiceClassRef.name",
                "Age .metadata.creationTimestamp"
            ]
        );
    }
}
