//! The webhook for brokers that name a Secret: `secret_rights` checks that the author may get the Secret, and the
//! approval goes into the object.

use std::collections::BTreeMap;

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use serde::Deserialize;
use serde_json::Value;

use super::{
    codec::{MalformedReview, Request},
    decision::{Decision, DenialStatus},
    handler::Handler,
    secret_rights::{Approvable, Purpose, SecretRights, Verdict, annotate},
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
};

/// The path of this webhook in the webhook configuration.
pub const PATH: &str = "/check-secrets";

/// Checks that users who write a ClusterServiceBroker or ServiceBroker may get the Secrets that it names.
pub struct ServiceBrokerHandler(SecretRights);

const PURPOSE: Purpose = Purpose {
    field: "spec.authInfo",
    summary: "broker forbidden access to auth secret",
    effect: "send its content to spec.url",
};

impl ServiceBrokerHandler {
    /// Creates a handler that checks permissions with the API server and has approvals issued.
    #[must_use]
    pub fn new(client: Client, approvals: Approvals) -> Self {
        Self(SecretRights::new(client, approvals))
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
        let nowhere = wanted.secrets().into_iter().find(|secret| secret.namespace.is_empty());
        let verdict = match nowhere {
            Some(secret) => without_namespace(&secret),
            None => {
                let before = before.as_ref().map(approvable);
                self.0.judge(approvable(&wanted), before, &request.user_info, PURPOSE).await
            }
        };
        let count = kept_count(request.old_object.as_ref(), object);
        Ok(match verdict {
            Verdict::Unchanged => match count {
                None => Decision::unchanged(),
                Some(count) => Decision::patch("completed", Patch(vec![count])),
            },
            Verdict::Approved(approval) => {
                let approval = annotate(object.metadata.annotations.as_ref(), &approval);
                Decision::patch("approved", Patch(approval.into_iter().chain(count).collect()))
            }
            Verdict::Refused(status, message) => Decision::deny("refused", status, message),
        })
    }

    fn unreadable(&self, why: &str) -> Option<Decision> {
        let message = format!("the object cannot be read: {why}");
        Some(Decision::deny("malformed", DenialStatus::Invalid, message))
    }
}

/// Keeps the number of `relistRequests`: Go clients write zero for a number that they do not know, as in old manifests.
fn kept_count(before: Option<&Broker>, object: &Broker) -> Option<PatchOperation> {
    let count = |broker: &Broker| broker.spec.common.relist_requests.unwrap_or_default();
    let before = before.map(count).filter(|before| *before != 0 && count(object) == 0)?;
    let path = PointerBuf::from_tokens(["spec", "relistRequests"]);
    Some(PatchOperation::Add(AddOperation { path, value: Value::from(before) }))
}

fn without_namespace(secret: &SecretReference) -> Verdict {
    let message = format!(
        "spec.authInfo names Secret {:?} without its namespace; set secretRef.namespace",
        secret.name
    );
    Verdict::Refused(DenialStatus::Invalid, message)
}

fn approvable(broker: &ExternalResourceBroker) -> Approvable<'_, ExternalResourceBroker> {
    Approvable { object: broker, approval: broker.approval.as_deref() }
}

#[cfg(test)]
mod tests;
