//! Whether the API server sends objects to the webhook that judges policies.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, Client};

use crate::{
    apis::bindery::credential_policy::{CredentialPolicy, Engine},
    k8s::explain,
};

/// Whether the webhook judges a rule of the policy.
pub(super) fn is_needed(policy: &CredentialPolicy) -> bool {
    policy.spec.rules_of(Engine::Webhook).next().is_some()
}

/// Why the API server does not send objects to the webhook of this configuration; `None` if it does.
pub(super) async fn problem(client: &Client, name: &str) -> Option<String> {
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let found = match configurations.get_opt(name).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Some(format!(
                "there is no ValidatingWebhookConfiguration {name}; install it with the chart's enforcement.enabled"
            ));
        }
        Err(error) => {
            return Some(format!(
                "ValidatingWebhookConfiguration {name} cannot be read: {}",
                explain(&error)
            ));
        }
    };
    is_untrusted(&found).then(|| {
        format!("ValidatingWebhookConfiguration {name} has a webhook without a caBundle; set it, or wait for bindery")
    })
}

fn is_untrusted(configuration: &ValidatingWebhookConfiguration) -> bool {
    let webhooks = configuration.webhooks.as_deref().unwrap_or_default();
    let has_bundle =
        |bundle: Option<&k8s_openapi::ByteString>| bundle.is_some_and(|bundle| !bundle.0.is_empty());
    webhooks.is_empty() || !webhooks.iter().all(|it| has_bundle(it.client_config.ca_bundle.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn with(bundles: &[Value]) -> ValidatingWebhookConfiguration {
        let webhook = |bundle: &Value| {
            json!({"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"caBundle": bundle}})
        };
        let webhooks: Vec<_> = bundles.iter().map(webhook).collect();
        serde_json::from_value(json!({"metadata": {"name": "bindery"}, "webhooks": webhooks})).unwrap()
    }

    #[test]
    fn every_webhook_needs_a_bundle() {
        assert!(!is_untrusted(&with(&[json!("Y2E="), json!("Y2E=")])));
        for bundles in [&[][..], &[json!(null)], &[json!("")], &[json!("Y2E="), json!(null)]] {
            assert!(is_untrusted(&with(bundles)), "{bundles:?}");
        }
    }
}
