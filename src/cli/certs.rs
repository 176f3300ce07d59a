//! `bindery certs`: prints a serving certificate for the webhook, for installations that have no cert-manager and in
//! which bindery may not write certificates.

use std::path::PathBuf;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::server::{certificates, pki::ServingCertificate};

/// Print a serving certificate for the webhook.
///
/// Prints a Secret with a new certificate authority and the certificate. With --webhook it also prints the webhook
/// configuration with the new CA bundle. Apply both: `bindery certs --webhook FILE | kubectl apply -f -`.
#[derive(Debug, clap::Args)]
pub(super) struct CertsArgs {
    /// The installation's name: the Service is NAME-admission, the Secret NAME-admission-tls.
    #[arg(long, env = "BINDERY_NAME", default_value = "bindery")]
    name: String,
    /// The namespace of the Service and the Secret.
    #[arg(long, short, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    namespace: String,
    /// A webhook configuration to print with its CA bundle filled in.
    #[arg(long, value_name = "FILE")]
    webhook: Option<PathBuf>,
}

/// The manifests as YAML documents.
///
/// # Errors
/// When the webhook configuration cannot be read or no certificate can be made.
pub(super) fn run(args: &CertsArgs) -> anyhow::Result<String> {
    let CertsArgs { name, namespace, webhook } = args;
    let certificate = ServingCertificate::generate(
        &super::service_names(name, "admission", namespace),
        jiff::Timestamp::now(),
    )?;
    let mut secret =
        serde_json::to_value(certificates::to_secret(&format!("{name}-admission-tls"), &certificate))?;
    secret["apiVersion"] = json!("v1");
    secret["kind"] = json!("Secret");
    secret["metadata"]["namespace"] = json!(namespace);
    let mut printed = format!("---\n{}", serde_saphyr::to_string(&secret)?);
    if let Some(file) = webhook {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let configuration = trusting(&text, &certificate.bundle)
            .with_context(|| format!("{} cannot be used", file.display()))?;
        printed.push_str("---\n");
        printed.push_str(&serde_saphyr::to_string(&configuration)?);
    }
    Ok(printed)
}

fn trusting(manifest: &str, bundle: &str) -> anyhow::Result<Value> {
    let mut configuration: Value = serde_saphyr::from_str(manifest)?;
    let kind = configuration["kind"].as_str().unwrap_or_default();
    anyhow::ensure!(
        kind == "MutatingWebhookConfiguration",
        "its kind is {kind:?}; pass a file with one MutatingWebhookConfiguration, such as \
        webhook-config/4-webhook.yaml"
    );
    let webhooks = configuration["webhooks"].as_array_mut().context("it has no list `webhooks`")?;
    for webhook in webhooks {
        webhook["clientConfig"]["caBundle"] = json!(STANDARD.encode(bundle));
    }
    Ok(configuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_webhook_trusts_the_new_authority() {
        let manifest = "kind: MutatingWebhookConfiguration\nwebhooks: [{name: a}, {name: b, clientConfig: {service: {}}}]";
        let filled = trusting(manifest, "ca").unwrap();
        for webhook in filled["webhooks"].as_array().unwrap() {
            assert_eq!(webhook["clientConfig"]["caBundle"], STANDARD.encode("ca"));
        }
    }

    #[test]
    fn another_kind_is_refused() {
        let message = trusting("kind: Service", "ca").unwrap_err().to_string();
        assert!(message.contains("Service") && message.contains("MutatingWebhookConfiguration"), "{message}");
    }
}
