//! bindery's own broker, registered as a `ClusterServiceBroker` like anybody else's.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::json;

use super::{
    certificates::{PublishError, TrustAnchors},
    explain,
};
use crate::contract;

/// What to register. Publishing a bundle registers the broker with it.
pub struct Registration {
    /// Applies the object.
    pub client: Client,
    /// The ClusterServiceBroker's name.
    pub name: String,
    /// Where the broker listens.
    pub url: String,
    /// The namespace of the Secret with the broker's password.
    pub secret_namespace: String,
    /// The Secret with the broker's password, keys `username` and `password`.
    pub secret_name: String,
}

#[async_trait]
impl TrustAnchors for Registration {
    async fn publish(&self, bundle: &str) -> Result<(), PublishError> {
        let kind = GroupVersionKind::gvk("servicecatalog.k8s.io", "v1beta1", "ClusterServiceBroker");
        let brokers: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
        let (label, value) = contract::binding::MANAGED_BY;
        let broker = json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1",
            "kind": "ClusterServiceBroker",
            "metadata": {"name": self.name, "labels": {label: value}},
            "spec": {
                "url": self.url,
                "caBundle": STANDARD.encode(bundle),
                "authInfo": {"basic": {"secretRef": {"namespace": self.secret_namespace, "name": self.secret_name}}},
            },
        });
        // Applying what is there already changes nothing, not even the resourceVersion.
        brokers
            .patch(&self.name, &PatchParams::apply(contract::FIELD_MANAGER).force(), &Patch::Apply(broker))
            .await
            .map(drop)
            .map_err(|error| PublishError {
                object: format!("ClusterServiceBroker {}", self.name),
                reason: explain(&error),
                remedy: "install the CRDs (`bindery crds | kubectl apply --server-side -f -`) and let bindery patch it",
            })
    }
}
