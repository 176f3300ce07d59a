//! The webhook for objects that make bindery read Secrets. It asks the API server whether the user may get these
//! Secrets, and writes an approval into the object; bindery reads no Secret without an approval. The webhook checks the
//! permission when an object is created, when an update changes a field that the approval covers, and when the user
//! requests a check. It keeps a valid approval, so a user who edits other fields needs no access to the Secret.

use std::collections::BTreeMap;

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use k8s_openapi::api::{
    authentication::v1::UserInfo,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    codec::{MalformedReview, Request},
    decision::{Decision, DenialStatus},
    handler::Handler,
};
use crate::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{
            AuthInfo, CommonServiceBrokerSpec, UsesSecrets,
            broker::{AuthSecret, SecretReference},
            scope::BrokerKey,
        },
    },
    contract::approval::APPROVAL,
    install::secret_approvals::Approvals,
    k8s::explain,
};

/// The path of this webhook in the webhook configuration.
pub const PATH: &str = "/check-secrets";

/// Checks that users who write a ClusterServiceBroker or ServiceBroker may get the Secrets that it names.
pub struct ServiceBrokerHandler {
    client: Client,
    approvals: Approvals,
}

impl ServiceBrokerHandler {
    /// Creates a handler that checks permissions with the API server and has approvals issued.
    #[must_use]
    pub fn new(client: Client, approvals: Approvals) -> Self {
        Self { client, approvals }
    }
}

/// The fields of a ClusterServiceBroker or ServiceBroker that an approval covers.
#[derive(Deserialize)]
pub struct Broker {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(flatten)]
    common: CommonServiceBrokerSpec,
    auth_info: Option<References>,
}

#[derive(Deserialize)]
struct References {
    basic: Option<Reference>,
    bearer: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    secret_ref: Secret,
}

/// The reference of a ServiceBroker has no namespace, and that of a ClusterServiceBroker must have one.
#[derive(Deserialize)]
struct Secret {
    namespace: Option<String>,
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Broker {
    fn approval(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(APPROVAL).map(String::as_str)
    }

    /// What the approval covers. `namespace` is that of a ServiceBroker: it uses only Secrets of its own namespace.
    fn read(&self, namespace: Option<&str>) -> ExternalResourceBroker {
        let name = self.metadata.name.clone().unwrap_or_default();
        let key = BrokerKey { namespace: namespace.map(str::to_owned), name };
        let secret = |reference: &Reference| AuthSecret {
            secret_ref: SecretReference {
                namespace: match namespace {
                    Some(namespace) => namespace.to_owned(),
                    None => reference.secret_ref.namespace.clone().unwrap_or_default(),
                },
                name: reference.secret_ref.name.clone(),
            },
        };
        let auth_info = self.spec.auth_info.as_ref().map(|references| AuthInfo {
            basic: references.basic.as_ref().map(secret),
            bearer: references.bearer.as_ref().map(secret),
        });
        ExternalResourceBroker::new(key, &self.spec.common, auth_info, self.approval())
    }
}

/// The result of the check.
enum Verdict {
    /// The object names no Secret, or the update needs no check.
    Unchanged,
    /// The approval to write into the object.
    Approved(String),
    /// The user may not get the Secret, or the permission cannot be checked.
    Refused(DenialStatus, String),
}

impl Handler<Option<Broker>, Option<Broker>, UserInfo> for ServiceBrokerHandler {
    const NAME: &'static str = "secrets";

    async fn review(
        &self,
        request: &Request<Option<Broker>, Option<Broker>, UserInfo>,
    ) -> Result<Decision, MalformedReview> {
        let is_of = |kind| request.is_of("servicecatalog.k8s.io", kind);
        let is_broker = is_of("ClusterServiceBroker") || is_of("ServiceBroker");
        let Some(object) = request.object.as_ref().filter(|_| is_broker && request.is_written()) else {
            return Ok(Decision::unchanged());
        };
        let namespace = if is_of("ServiceBroker") { Some(request.namespace()?) } else { None };
        let wanted = object.read(namespace);
        let before = request.old_object.as_ref().map(|broker| broker.read(namespace));
        let verdict = self.judge(wanted, before, &request.user_info).await;
        Ok(match verdict {
            Verdict::Unchanged => Decision::unchanged(),
            Verdict::Approved(approval) => Decision::patch("approved", patch(object, &approval)),
            Verdict::Refused(status, message) => Decision::deny("refused", status, message),
        })
    }

    fn unreadable(&self, why: &str) -> Option<Decision> {
        let message = format!("the object cannot be read: {why}");
        Some(Decision::deny("malformed", DenialStatus::Invalid, message))
    }
}

impl ServiceBrokerHandler {
    async fn judge(
        &self,
        wanted: ExternalResourceBroker,
        before: Option<ExternalResourceBroker>,
        author: &UserInfo,
    ) -> Verdict {
        if let Some(secret) = wanted.secrets().iter().find(|secret| secret.namespace.is_empty()) {
            return without_namespace(secret);
        }
        if wanted.secrets().is_empty() {
            return Verdict::Unchanged;
        }
        if let Some(before) = before.filter(|before| before.checked() == wanted.checked()) {
            // An update of other fields, such as a label by a controller, must not cause an approval.
            if before.approval == wanted.approval {
                return Verdict::Unchanged;
            }
            let approval = before.approval.as_deref().unwrap_or_default();
            match self.approvals.verify(&before.checked(), approval).await {
                Ok(true) => return Verdict::Approved(approval.to_owned()),
                Ok(false) => {}
                Err(error) => return postponed(&error.to_string()),
            }
        }
        self.approve(&wanted, author).await
    }

    /// Issues an approval if the user may get all Secrets that the object names.
    async fn approve(&self, wanted: &impl UsesSecrets, author: &UserInfo) -> Verdict {
        for secret in wanted.secrets() {
            match self.may_get(&secret, author).await {
                Ok(true) => {}
                Ok(false) => return refused(&secret, author),
                Err(error) => return postponed(&explain(&error)),
            }
        }
        match self.approvals.issue(&wanted.checked()).await {
            Ok(approval) => Verdict::Approved(approval),
            Err(error) => postponed(&error.to_string()),
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

fn without_namespace(secret: &SecretReference) -> Verdict {
    let message = format!(
        "spec.authInfo names Secret {:?} without its namespace; set secretRef.namespace",
        secret.name
    );
    Verdict::Refused(DenialStatus::Invalid, message)
}

fn refused(secret: &SecretReference, author: &UserInfo) -> Verdict {
    let SecretReference { namespace, name } = secret;
    let author = author.username.as_deref().unwrap_or_default();
    info!(author, namespace, secret = name, "refused a reference to a Secret that its author may not get");
    let message = format!(
        "broker forbidden access to auth secret ({namespace}/{name}): user {author:?} may not get the Secret, and bindery \
        would send its content to spec.url. Ask for the right to get that Secret, name another, or have somebody with \
        the right write the object"
    );
    Verdict::Refused(DenialStatus::Forbidden, message)
}

/// Refuses an object that cannot be checked now. The user can retry.
fn postponed(why: &str) -> Verdict {
    warn!(error = why, "cannot check a reference to a Secret");
    let message =
        format!("bindery cannot check now whether you may get the Secret of spec.authInfo: {why}; try again");
    Verdict::Refused(DenialStatus::ServiceUnavailable, message)
}

/// The patch that writes the approval; empty if the object already has it.
fn patch(object: &Broker, approval: &str) -> Patch {
    if object.approval() == Some(approval) {
        return Patch(Vec::new());
    }
    let annotations = ["metadata", "annotations"];
    let (path, value) = match &object.metadata.annotations {
        Some(_) => {
            (PointerBuf::from_tokens(annotations.into_iter().chain([APPROVAL])), Value::from(approval))
        }
        None => (PointerBuf::from_tokens(annotations), json!({APPROVAL: approval})),
    };
    Patch(vec![PatchOperation::Add(AddOperation { path, value })])
}

#[cfg(test)]
mod tests;
