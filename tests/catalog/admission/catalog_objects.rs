//! The webhooks for objects of the Service Catalog API, registered as by the plain manifests for the objects of one
//! test.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindery::{
    admission::{
        router::Routes,
        service_bindings::{self, ServiceBindingHandler},
        service_brokers::{self, ServiceBrokerHandler},
        service_instances::{self, ServiceInstanceHandler},
    },
    apis::servicecatalog::ServiceInstance,
    telemetry::Metrics,
};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use super::webhook::{REGISTRATION, Server};
use crate::harness::{Place, approvals, client_of, until};

/// The registered webhooks of a place.
pub(crate) struct Completion {
    client: Client,
    name: String,
    pub(crate) server: Server,
}

impl Completion {
    /// Registers the webhooks for the namespace of the place, and for cluster-scoped objects with the label
    /// `checked: <namespace>`.
    pub(crate) async fn of(place: &Place) -> Self {
        let (client, keys) = (place.client.clone(), approvals(&place.client));
        let routes = Routes::new(Arc::new(Metrics::new()))
            .handle(service_brokers::PATH, ServiceBrokerHandler::new(client.clone(), keys.clone()))
            .handle(service_instances::PATH, ServiceInstanceHandler::new(client.clone(), keys.clone()))
            .handle(service_bindings::PATH, ServiceBindingHandler::new(client.clone(), keys))
            .into_router();
        let server = Server::start(routes).await;
        let mut configuration: Value = serde_saphyr::from_str(REGISTRATION).unwrap();
        configuration["metadata"]["name"] = json!(place.namespace);
        let webhooks = configuration["webhooks"].as_array_mut().unwrap();
        webhooks.retain(|webhook| webhook["rules"][0]["apiGroups"] == json!(["servicecatalog.k8s.io"]));
        for webhook in webhooks {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
            let url = format!("https://{}{path}", server.address);
            webhook["clientConfig"] = json!({"url": url, "caBundle": STANDARD.encode(&server.bundle)});
            if webhook["rules"][0]["scope"] == "Namespaced" {
                webhook["namespaceSelector"] =
                    json!({"matchLabels": {"kubernetes.io/metadata.name": place.namespace}});
            } else {
                webhook["objectSelector"] = json!({"matchLabels": {"checked": place.namespace}});
            }
        }
        let configuration: MutatingWebhookConfiguration = serde_json::from_value(configuration).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &configuration).await.unwrap();
        let completion = Self { client, name: place.namespace.clone(), server };
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let probe: ServiceInstance = serde_json::from_value(json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
            "metadata": {"name": "probe"}, "spec": {"clusterServiceClassName": "c"}}))
        .unwrap();
        until("the API server asks the webhooks", async || {
            place.api().create(&dry, &probe).await.unwrap().spec.user_info.is_some()
        })
        .await;
        completion
    }

    pub(crate) async fn finish(self) {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client);
        configurations.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// Access as a user who may write instances, bindings and brokers of the place's namespace, and get the Secrets with
/// these names.
pub(crate) async fn tenant(place: &Place, name: &str, secrets: &[&str]) -> Client {
    let (user, namespace) = (format!("{name}-{}", place.namespace), &place.namespace);
    let mut rules = vec![json!({"apiGroups": ["servicecatalog.k8s.io"], "verbs": ["*"],
        "resources": ["serviceinstances", "servicebindings", "servicebrokers"]})];
    if !secrets.is_empty() {
        let secrets =
            json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": ["get"]});
        rules.push(secrets);
    }
    let role: Role =
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules}))
            .unwrap();
    let binding: RoleBinding =
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]}))
        .unwrap();
    place.api().create(&PostParams::default(), &role).await.unwrap();
    place.api().create(&PostParams::default(), &binding).await.unwrap();
    let client = client_of(&user, &["tenants"]).await;
    let instances: Api<ServiceInstance> = Api::namespaced(client.clone(), namespace);
    until("the tenant's rights hold", async || instances.list(&ListParams::default()).await.is_ok()).await;
    client
}
