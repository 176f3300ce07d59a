//! Checks that the author of an object may get the Secrets that bindery reads for it. bindery may read every Secret and
//! an author may not, so an object without an approval makes bindery read nothing. The check happens when an object is
//! created, when an update changes a field that the approval covers, and when the user requests a check. A valid
//! approval stays, so a user who edits other fields needs no access to the Secrets.

use std::collections::BTreeMap;

use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use k8s_openapi::api::{
    authentication::v1::UserInfo,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::decision::DenialStatus;
use crate::{
    apis::servicecatalog::{UsesSecrets, broker::SecretReference},
    contract::approval::APPROVAL,
    install::secret_approvals::Approvals,
    k8s::explain,
};

/// Asks the API server about users' rights and issues approvals.
pub(super) struct SecretRights {
    client: Client,
    approvals: Approvals,
}

/// Where an object names Secrets and what bindery does with them: the parts of messages that differ between kinds.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    /// The field with the references.
    pub(super) field: &'static str,
    /// The refusal in short.
    pub(super) summary: &'static str,
    /// What would happen with the content of a Secret.
    pub(super) effect: &'static str,
}

/// An object and the approval in its annotations.
pub(super) struct Approvable<'a, T> {
    pub(super) object: &'a T,
    pub(super) approval: Option<&'a str>,
}

/// The result of the check.
pub(super) enum Verdict {
    /// The object names no Secret, or the update needs no check.
    Unchanged,
    /// The approval to write into the object.
    Approved(String),
    /// The user may not get the Secret, or the permission cannot be checked.
    Refused(DenialStatus, String),
}

impl SecretRights {
    pub(super) fn new(client: Client, approvals: Approvals) -> Self {
        Self { client, approvals }
    }

    /// Decides about an object, or about an update of the object `before`.
    pub(super) async fn judge<T: UsesSecrets + Sync>(
        &self,
        wanted: Approvable<'_, T>,
        before: Option<Approvable<'_, T>>,
        author: &UserInfo,
        purpose: Purpose,
    ) -> Verdict {
        if wanted.object.secrets().is_empty() {
            return Verdict::Unchanged;
        }
        let checked = wanted.object.checked();
        if let Some(before) = before.filter(|before| before.object.checked() == checked) {
            // An update of other fields, such as a label by a controller, must not cause an approval.
            if before.approval == wanted.approval {
                return Verdict::Unchanged;
            }
            let approval = before.approval.unwrap_or_default();
            match self.approvals.verify(&checked, approval).await {
                Ok(true) => return Verdict::Approved(approval.to_owned()),
                Ok(false) => {}
                Err(error) => return postponed(&error.to_string(), purpose),
            }
        }
        self.approve(wanted.object, author, purpose).await
    }

    /// Issues an approval if the user may get all Secrets that the object names.
    async fn approve<T: UsesSecrets + Sync>(
        &self,
        wanted: &T,
        author: &UserInfo,
        purpose: Purpose,
    ) -> Verdict {
        for secret in wanted.secrets() {
            match self.may_get(&secret, author).await {
                Ok(true) => {}
                Ok(false) => return refused(&secret, author, purpose),
                Err(error) => return postponed(&explain(&error), purpose),
            }
        }
        match self.approvals.issue(&wanted.checked()).await {
            Ok(approval) => Verdict::Approved(approval),
            Err(error) => postponed(&error.to_string(), purpose),
        }
    }

    async fn may_get(&self, secret: &SecretReference, author: &UserInfo) -> kube::Result<bool> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: author.username.clone(),
                uid: author.uid.clone(),
                groups: author.groups.clone(),
                extra: author.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("get".to_owned()),
                    resource: Some("secrets".to_owned()),
                    namespace: Some(secret.namespace.clone()),
                    name: Some(secret.name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

fn refused(secret: &SecretReference, author: &UserInfo, purpose: Purpose) -> Verdict {
    let SecretReference { namespace, name } = secret;
    let Purpose { summary, effect, .. } = purpose;
    let author = author.username.as_deref().unwrap_or_default();
    info!(author, namespace, secret = name, "refused a reference to a Secret that its author may not get");
    let message = format!(
        "{summary} ({namespace}/{name}): user {author:?} may not get the Secret, and bindery would {effect}. Ask for \
         the right to get that Secret, name another, or have somebody with the right write the object"
    );
    Verdict::Refused(DenialStatus::Forbidden, message)
}

/// Refuses an object that cannot be checked now. The user can retry.
fn postponed(why: &str, purpose: Purpose) -> Verdict {
    warn!(error = why, "cannot check a reference to a Secret");
    let field = purpose.field;
    let message =
        format!("bindery cannot check now whether you may get the Secrets of {field}: {why}; try again");
    Verdict::Refused(DenialStatus::ServiceUnavailable, message)
}

/// The patch operation that writes the approval; `None` if the annotations already have it.
pub(super) fn annotate(
    annotations: Option<&BTreeMap<String, String>>,
    approval: &str,
) -> Option<PatchOperation> {
    let present = annotations.and_then(|annotations| annotations.get(APPROVAL));
    if present.is_some_and(|present| present == approval) {
        return None;
    }
    let path = ["metadata", "annotations"];
    let (path, value) = match annotations {
        Some(_) => (PointerBuf::from_tokens(path.into_iter().chain([APPROVAL])), Value::from(approval)),
        None => (PointerBuf::from_tokens(path), json!({APPROVAL: approval})),
    };
    Some(PatchOperation::Add(AddOperation { path, value }))
}

#[cfg(test)]
pub(super) mod stand_in;
