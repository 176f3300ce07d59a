//! Registers bindery's own broker as a `ClusterServiceBroker`, or for its namespace as a `ServiceBroker`, like any other
//! broker.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::contract::{
    self,
    approval::{APPROVAL, CHECK},
};
use crate::{
    apis::servicecatalog::reasons,
    k8s::explain,
    server::certificates::{PublishError, TrustAnchors},
};

/// Who may use the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole cluster: a `ClusterServiceBroker`.
    Cluster,
    /// The broker's own namespace: a `ServiceBroker`.
    Namespace,
}

impl Scope {
    fn kind(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterServiceBroker",
            Self::Namespace => "ServiceBroker",
        }
    }
}

/// The registration. Publishing a bundle registers the broker with it.
pub struct Registration {
    /// Applies the object.
    pub client: Client,
    /// Who may use the broker.
    pub scope: Scope,
    /// The object's name.
    pub name: String,
    /// The address of the broker.
    pub url: String,
    /// The namespace of the broker, and of the Secret with its password.
    pub secret_namespace: String,
    /// The Secret with the broker's password, keys `username` and `password`.
    pub secret_name: String,
}

#[async_trait]
impl TrustAnchors for Registration {
    async fn publish(&self, bundle: &str) -> Result<(), PublishError> {
        let kind = self.scope.kind();
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("servicecatalog.k8s.io", "v1beta1", kind));
        let (client, namespace) = (self.client.clone(), &self.secret_namespace);
        let brokers: Api<DynamicObject> = match self.scope {
            Scope::Cluster => Api::all_with(client, &resource),
            Scope::Namespace => Api::namespaced_with(client, namespace, &resource),
        };
        let secret = match self.scope {
            Scope::Cluster => json!({"namespace": namespace, "name": self.secret_name}),
            Scope::Namespace => json!({"name": self.secret_name}),
        };
        let (label, value) = contract::binding::MANAGED_BY;
        let broker = json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1",
            "kind": kind,
            "metadata": {"name": self.name, "labels": {label: value}},
            "spec": {
                "url": self.url,
                "caBundle": STANDARD.encode(bundle),
                "authInfo": {"basic": {"secretRef": secret}},
            },
        });
        // Applying unchanged content changes nothing, not even the resourceVersion.
        let parameters = PatchParams::apply(contract::FIELD_MANAGER).force();
        let applied = brokers.patch(&self.name, &parameters, &Patch::Apply(broker)).await;
        let registered = async { ask_for_approval(&brokers, &applied?).await }.await;
        registered.map_err(|error: kube::Error| PublishError {
            object: format!("{kind} {}", self.name),
            reason: explain(&error),
            remedy: "install the CRDs (`bindery crds | kubectl apply --server-side -f -`) and let bindery patch it",
        })
    }
}

/// Several registrations of one broker. Without any, somebody else registers it.
#[async_trait]
impl TrustAnchors for Vec<Registration> {
    async fn publish(&self, bundle: &str) -> Result<(), PublishError> {
        for registration in self {
            registration.publish(bundle).await?;
        }
        Ok(())
    }
}

/// Asks the webhook to check the reference to the broker's Secret, if the webhook was away when the object was
/// written. While the webhook is away nothing is changed, because the object would change again at each check.
async fn ask_for_approval(brokers: &Api<DynamicObject>, broker: &DynamicObject) -> kube::Result<()> {
    let approval = broker.annotations().get(APPROVAL);
    if approval.is_some_and(|approval| approval != CHECK) && !is_refused(broker) {
        return Ok(());
    }
    let asked = Patch::Merge(json!({"metadata": {"annotations": {APPROVAL: CHECK}}}));
    let manager = || PatchParams {
        field_manager: Some(format!("{}-registration", contract::FIELD_MANAGER)),
        ..PatchParams::default()
    };
    let tried =
        brokers.patch(&broker.name_any(), &PatchParams { dry_run: true, ..manager() }, &asked).await?;
    if tried.annotations().get(APPROVAL).is_some_and(|approval| approval != CHECK) {
        brokers.patch(&broker.name_any(), &manager(), &asked).await?;
    }
    Ok(())
}

/// Whether the catalog reports that the approval is invalid.
fn is_refused(broker: &DynamicObject) -> bool {
    let conditions = broker.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["reason"] == reasons::SECRET_NOT_APPROVED)
}
