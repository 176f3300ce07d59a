//! What a finished stack gives to its namespace: the ConfigMap and the ExternalName Service named after the object. Both
//! belong to the object, so that they go with it. One that belongs to somebody else is left alone.

use std::{collections::BTreeMap, fmt::Debug};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};

use super::models;
use crate::{
    apis::aws_operator::{AdditionalResources, AwsObject, Kind},
    contract::FIELD_MANAGER,
    k8s::own,
};

/// An object of that name belongs to somebody else.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error(
        "the {kind} {name:?} exists and does not belong to this object; bindery leaves it alone. Rename or delete it"
    )]
    Taken { kind: String, name: String },
    #[error(transparent)]
    Kubernetes(#[from] kube::Error),
}

/// Writes the ConfigMap and the Service of an object whose stack has its outputs.
pub(super) async fn write(
    client: &Client,
    kind: Kind,
    object: &AwsObject,
    region: &str,
) -> Result<AdditionalResources, OutputError> {
    let mut written = AdditionalResources::default();
    let name = object.name_any();
    if let Some(data) = models::config_map(kind, object, region) {
        let config_map = ConfigMap { data: Some(data), metadata: own(&name), ..ConfigMap::default() };
        apply(client, kind, object, config_map).await?;
        written.config_maps.push(name.clone());
    }
    if let Some((host, port)) = models::external_name(kind, object, region) {
        let port = ServicePort { port, protocol: Some("TCP".to_owned()), ..ServicePort::default() };
        let spec = ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(host),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        };
        let service = Service { spec: Some(spec), metadata: own(&name), ..Service::default() };
        apply(client, kind, object, service).await?;
        written.services.push(name);
    }
    Ok(written)
}

async fn apply<K>(client: &Client, kind: Kind, owner: &AwsObject, mut wanted: K) -> Result<(), OutputError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let (name, namespace) = (owner.name_any(), owner.namespace().unwrap_or_default());
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let reference = reference(kind, owner);
    if let Some(found) = api.get_opt(&name).await? {
        let is_owned = found.owner_references().iter().any(|owner| owner.uid == reference.uid);
        if !is_owned {
            return Err(OutputError::Taken { kind: K::kind(&()).into_owned(), name });
        }
        // The version makes the write fail if the object was replaced meanwhile.
        wanted.meta_mut().resource_version = found.resource_version();
    }
    wanted.meta_mut().owner_references = Some(vec![reference]);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &parameters, &Patch::Apply(&wanted)).await?;
    Ok(())
}

fn reference(kind: Kind, owner: &AwsObject) -> OwnerReference {
    OwnerReference {
        api_version: AwsObject::api_version(&kind).into_owned(),
        kind: kind.facts().name.to_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// The outputs of a stack under the names of the object's fields.
pub(super) fn of_stack(kind: Kind, outputs: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let value = |output: &str| outputs.get(output).cloned().unwrap_or_default();
    kind.facts().outputs.iter().map(|(name, output)| ((*name).to_owned(), value(output))).collect()
}

/// The outputs before the stack has any: all are empty, as the original wrote them.
pub(super) fn empty(kind: Kind) -> BTreeMap<String, String> {
    of_stack(kind, &BTreeMap::new())
}
