//! Switches policies off in an emergency. The mark on the CredentialPolicy comes first, so that a running controller does not
//! put back what is deleted then; the deletion works without any controller.

use anyhow::{Context, bail};
use k8s_openapi::{
    api::{
        admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        authentication::v1::{SelfSubjectReview, SelfSubjectReviewStatus},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::reflector,
};
use serde_json::{Value, json};

use super::listed::policies;
use crate::{
    apis::bindery::credential_policy::CredentialPolicy,
    contract::policy::{POLICY, STOOD_DOWN},
    enforcement::{resumed_notice, stood_down, stood_down_notice},
    k8s::{events::Recorder, explain},
};

/// Switches off one policy, or all.
///
/// # Errors
/// When the API server cannot be reached or refuses. Policies that were switched off before stay off.
pub(super) async fn stand_down(client: &Client, name: Option<&str>, reason: &str) -> anyhow::Result<String> {
    let why = format!("{} by {}: {reason}", Timestamp::now().strftime("%FT%TZ"), who(client).await);
    let mut lines = Vec::new();
    for policy in named(policies(client).await?, name)? {
        let name = policy.name_any();
        let marked = match stood_down(&policy) {
            // The first reason stays.
            Some(_) => policy,
            None => mark(client, &name, &json!(why)).await?,
        };
        let deleted = delete_bindings(client, &name).await?;
        if let Some((event, occurrence)) = stood_down_notice(&marked) {
            recorder(client).record_once(&marked.object_ref(&()), &event, &occurrence).await;
        }
        lines.push(format!(
            "CredentialPolicy {name} is stood down: {deleted} ValidatingAdmissionPolicyBindings deleted; go back with: bindery \
             policies resume {name}"
        ));
    }
    Ok(told(lines))
}

fn told(mut lines: Vec<String>) -> String {
    if lines.is_empty() {
        lines.push("there is no CredentialPolicy".to_owned());
    }
    lines.join("\n") + "\n"
}

/// Switches on one policy, or all that were switched off.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub(super) async fn resume(client: &Client, name: Option<&str>) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for policy in named(policies(client).await?, name)? {
        let name = policy.name_any();
        if stood_down(&policy).is_none() {
            lines.push(format!("CredentialPolicy {name} was not stood down"));
            continue;
        }
        mark(client, &name, &Value::Null).await?;
        let (event, occurrence) = resumed_notice(Timestamp::now());
        recorder(client).record_once(&policy.object_ref(&()), &event, &occurrence).await;
        lines.push(format!(
            "CredentialPolicy {name} is resumed: the API server holds it as soon as bindery has put its objects back; see: \
             kubectl get credentialpolicy {name}"
        ));
    }
    Ok(told(lines))
}

fn named(policies: Vec<CredentialPolicy>, name: Option<&str>) -> anyhow::Result<Vec<CredentialPolicy>> {
    let Some(name) = name else { return Ok(policies) };
    let found: Vec<_> = policies.into_iter().filter(|policy| policy.name_any() == name).collect();
    if found.is_empty() {
        bail!("there is no CredentialPolicy {name}");
    }
    Ok(found)
}

async fn mark(client: &Client, name: &str, value: &Value) -> anyhow::Result<CredentialPolicy> {
    let api: Api<CredentialPolicy> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"metadata": {"annotations": {STOOD_DOWN: value}}}));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(policy) => Ok(policy),
        Err(error) => bail!("cannot annotate CredentialPolicy {name}: {}", explain(&error)),
    }
}

/// Deletes what makes the API server evaluate the policy, and returns how many objects there were.
async fn delete_bindings(client: &Client, policy: &str) -> anyhow::Result<usize> {
    let api: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let selected = ListParams::default().labels(&format!("{POLICY}={policy}"));
    let failed = |error: kube::Error| {
        anyhow::anyhow!(
            "cannot delete the ValidatingAdmissionPolicyBindings of {policy}: {}",
            explain(&error)
        )
    };
    let bindings = api.list_metadata(&selected).await.map_err(failed)?;
    for binding in &bindings.items {
        match api.delete(&binding.name_any(), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                return Err(failed(error)).context("the policy is marked, and bindery will delete the rest");
            }
        }
    }
    Ok(bindings.items.len())
}

/// The user who runs the command. An emergency does not wait for the name.
async fn who(client: &Client) -> String {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let user = review
        .ok()
        .and_then(|review| review.status)
        .and_then(|SelfSubjectReviewStatus { user_info }| user_info);
    user.and_then(|user| user.username).unwrap_or_else(|| "an unknown user".to_owned())
}

/// A recorder for events on objects of the cluster.
fn recorder(client: &Client) -> Recorder {
    Recorder::new(client.clone(), reflector::store().0)
}
