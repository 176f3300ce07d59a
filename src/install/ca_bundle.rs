//! The CA bundle in bindery's webhook configurations. The chart owns everything else in these objects.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use crate::{
    k8s::{explain, explain_watch},
    server::certificates::{PublishError, TrustAnchors},
};

/// The field manager that owns only the CA bundles, so that applying the chart again does not change them. It writes
/// by update and not by apply: an applier also owns the name of each webhook, and then nobody else who applies the
/// configuration could ever remove a webhook (kubernetes#128102).
const FIELD_MANAGER: &str = "bindery-ca-bundle";

/// Publishes the bundle to every webhook of one `MutatingWebhookConfiguration`, and of a `ValidatingWebhookConfiguration` of
/// the same name.
pub struct WebhookBundle {
    /// Reads and patches the configurations.
    client: Client,
    /// The configurations' name.
    name: String,
    /// Whether there is a `ValidatingWebhookConfiguration`.
    validates: bool,
    /// Whether the log has the present problem with it.
    is_logged: AtomicBool,
}

#[async_trait]
impl TrustAnchors for WebhookBundle {
    async fn publish(&self, bundle: &str) -> Result<(), PublishError> {
        if self.validates {
            let published = self.publish_to::<ValidatingWebhookConfiguration>(bundle).await;
            // Injection does not wait for the webhook of policies, without which objects are admitted.
            match published {
                Ok(()) => self.is_logged.store(false, Ordering::Relaxed),
                Err(error) if !self.is_logged.swap(true, Ordering::Relaxed) => {
                    warn!(%error, "the rules of policies that a webhook judges do not hold");
                }
                Err(_) => {}
            }
        }
        self.publish_to::<MutatingWebhookConfiguration>(bundle).await
    }

    /// Another program applied the manifests in a way that removes the bundle, or recreated a configuration.
    fn changes(&self) -> BoxStream<'static, ()> {
        let mutating = self.changes_of::<MutatingWebhookConfiguration>();
        if self.validates {
            stream::select(mutating, self.changes_of::<ValidatingWebhookConfiguration>()).boxed()
        } else {
            mutating
        }
    }
}

impl WebhookBundle {
    /// The bundle of the configurations of this name. `validates` tells whether there is a
    /// `ValidatingWebhookConfiguration`.
    #[must_use]
    pub fn new(client: Client, name: String, validates: bool) -> Self {
        Self { client, name, validates, is_logged: AtomicBool::new(false) }
    }

    async fn publish_to<K: Configuration>(&self, bundle: &str) -> Result<(), PublishError> {
        let configurations: Api<K> = Api::all(self.client.clone());
        let current = configurations.get(&self.name).await.map_err(|error| self.failed::<K>(&error))?;
        let Some(patch) = bundle_patch(&current, bundle) else { return Ok(()) };
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        configurations
            .patch(&self.name, &parameters, &Patch::Strategic(patch))
            .await
            .map_err(|error| self.failed::<K>(&error))?;
        info!(kind = %K::kind(&()), configuration = self.name, "the CA bundle is published");
        Ok(())
    }

    fn changes_of<K: Configuration>(&self) -> BoxStream<'static, ()> {
        let this_one = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        watcher(Api::<K>::all(self.client.clone()), this_one)
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

    fn failed<K: Configuration>(&self, error: &kube::Error) -> PublishError {
        PublishError {
            object: format!("{} {}", K::kind(&()), self.name),
            reason: explain(error),
            remedy: "install it with the chart or from webhook-config/, and let bindery get and patch it",
        }
    }
}

/// A kind with webhooks.
trait Configuration:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
    /// The name of each webhook and its CA bundle.
    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)>;
}

impl Configuration for MutatingWebhookConfiguration {
    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)> {
        let webhooks = self.webhooks.as_deref().unwrap_or_default();
        webhooks.iter().map(|it| (it.name.as_str(), it.client_config.ca_bundle.as_ref())).collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    fn bundles(&self) -> Vec<(&str, Option<&ByteString>)> {
        let webhooks = self.webhooks.as_deref().unwrap_or_default();
        webhooks.iter().map(|it| (it.name.as_str(), it.client_config.ca_bundle.as_ref())).collect()
    }
}

/// The patch that makes every webhook trust `bundle`, or `None` if all do. Webhooks are merged by name. The patch
/// fails if the configuration was changed meanwhile.
fn bundle_patch(configuration: &impl Configuration, bundle: &str) -> Option<Value> {
    let webhooks = configuration.bundles();
    if webhooks.iter().all(|(_, present)| present.is_some_and(|ca| ca.0 == bundle.as_bytes())) {
        return None;
    }
    let encoded = STANDARD.encode(bundle);
    let webhooks: Vec<Value> = webhooks
        .iter()
        .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": encoded}}))
        .collect();
    let metadata = configuration.meta();
    let metadata = json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version});
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
        let configuration: MutatingWebhookConfiguration = serde_saphyr::from_str(manifest).unwrap();
        let patch = bundle_patch(&configuration, "ca").unwrap();
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
