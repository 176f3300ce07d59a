//! The CA bundle in bindery's webhook configuration. The chart owns everything else in that object.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde_json::{Value, json};
use tracing::{debug, info};

use crate::{
    k8s::{explain, explain_watch},
    server::certificates::{PublishError, TrustAnchors},
};

/// The field manager that owns only the CA bundles, so that applying the chart again does not change them. It writes
/// by update and not by apply: an applier also owns the name of each webhook, and then nobody else who applies the
/// configuration could ever remove a webhook (kubernetes#128102).
const FIELD_MANAGER: &str = "bindery-ca-bundle";

/// Publishes the bundle to every webhook of one `MutatingWebhookConfiguration`.
pub struct WebhookBundle {
    /// Reads and patches the configuration.
    pub client: Client,
    /// The configuration's name.
    pub name: String,
}

#[async_trait]
impl TrustAnchors for WebhookBundle {
    async fn publish(&self, bundle: &str) -> Result<(), PublishError> {
        let configurations = self.configurations();
        let current = configurations.get(&self.name).await.map_err(|error| self.failed(&error))?;
        let Some(patch) = bundle_patch(&current, bundle) else { return Ok(()) };
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        configurations
            .patch(&self.name, &parameters, &Patch::Strategic(patch))
            .await
            .map_err(|error| self.failed(&error))?;
        info!(configuration = self.name, "the CA bundle is published");
        Ok(())
    }

    /// Another program applied the manifests in a way that removes the bundle, or recreated the configuration.
    fn changes(&self) -> BoxStream<'static, ()> {
        let this_one = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        watcher(self.configurations(), this_one)
            .default_backoff()
            .filter_map(async |event| match event {
                Ok(Event::Apply(_) | Event::InitApply(_)) => Some(()),
                Ok(_) => None,
                Err(error) => {
                    // The watch restarts by itself, and the configuration is also checked every few seconds.
                    debug!(
                        error = explain_watch(&error),
                        "the watch of the webhook configuration was interrupted"
                    );
                    None
                }
            })
            .boxed()
    }
}

impl WebhookBundle {
    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    fn failed(&self, error: &kube::Error) -> PublishError {
        PublishError {
            object: format!("MutatingWebhookConfiguration {}", self.name),
            reason: explain(error),
            remedy: "install it with the chart or from webhook-config/, and let bindery get and patch it",
        }
    }
}

/// The patch that makes every webhook trust `bundle`, or `None` if all do. Webhooks are merged by name. The patch
/// fails if the configuration was changed meanwhile.
fn bundle_patch(configuration: &MutatingWebhookConfiguration, bundle: &str) -> Option<Value> {
    let webhooks = configuration.webhooks.as_deref().unwrap_or_default();
    let trusts = |webhook: &MutatingWebhook| {
        webhook.client_config.ca_bundle.as_ref().is_some_and(|ca| ca.0 == bundle.as_bytes())
    };
    if webhooks.iter().all(trusts) {
        return None;
    }
    let encoded = STANDARD.encode(bundle);
    let webhooks: Vec<Value> = webhooks
        .iter()
        .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": encoded}}))
        .collect();
    let metadata = json!({
        "uid": configuration.metadata.uid,
        "resourceVersion": configuration.metadata.resource_version
    });
    Some(json!({"metadata": metadata, "webhooks": webhooks}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundles: &[Option<&str>]) -> MutatingWebhookConfiguration {
        let webhooks: Vec<Value> = bundles
            .iter()
            .enumerate()
            .map(|(number, bundle)| {
                json!({"name": format!("w{number}.bindery.dev"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
                       "clientConfig": {"caBundle": bundle.map(|text| STANDARD.encode(text))}})
            })
            .collect();
        let metadata = json!({"name": "bindery", "uid": "u", "resourceVersion": "7"});
        serde_json::from_value(json!({"metadata": metadata, "webhooks": webhooks})).unwrap()
    }

    #[test]
    fn nothing_is_patched_when_every_webhook_trusts_the_bundle() {
        assert_eq!(bundle_patch(&configuration(&[Some("ca"), Some("ca")]), "ca"), None);
    }

    /// The configuration after the manifests were applied again.
    #[test]
    fn all_webhooks_of_the_installation_get_the_bundle() {
        let manifest = include_str!("../../webhook-config/4-webhook.yaml");
        let patch = bundle_patch(&serde_saphyr::from_str(manifest).unwrap(), "ca").unwrap();
        let bundle = json!({"caBundle": STANDARD.encode("ca")});
        assert_eq!(
            patch["webhooks"],
            json!([
                {"name": "inject.bindery.dev", "clientConfig": bundle},
                {"name": "defaults.bindery.dev", "clientConfig": bundle},
                {"name": "workloads.bindery.dev", "clientConfig": bundle},
                {"name": "brokers.bindery.dev", "clientConfig": bundle},
                {"name": "instances.bindery.dev", "clientConfig": bundle},
                {"name": "bindings.bindery.dev", "clientConfig": bundle},
                {"name": "namespaces.bindery.dev", "clientConfig": bundle}
            ])
        );
    }

    #[test]
    fn every_webhook_gets_the_bundle_not_only_the_first() {
        for bundles in [[Some("ca"), None], [None, Some("ca")], [Some("old"), Some("old")]] {
            let patch = bundle_patch(&configuration(&bundles), "ca").unwrap();
            for webhook in patch["webhooks"].as_array().unwrap() {
                assert_eq!(webhook["clientConfig"]["caBundle"], STANDARD.encode("ca"));
            }
            assert_eq!(patch["webhooks"].as_array().unwrap().len(), 2);
            assert_eq!(patch["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
        }
    }
}
