//! What a binding may ask for, and what it gets: the access, and a key, a session, a role for a service account, a user
//! of a server, or an address alone.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::offered::{CredentialKind, OfferedService};
use crate::{
    broker::{
        backends::{Unacceptable, access::Access, service_account},
        config::Lifetime,
    },
    cloud::aws::{pod_identity::ServiceAccount, sessions::LONGEST_CHAINED},
    osb::Object,
};

/// How long sessions last in STS.
const SESSIONS: (Duration, Duration) = (Duration::from_mins(15), Duration::from_hours(12));

/// The parameters of a binding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct BindingParameters {
    access: Option<Access>,
    credentials: Option<CredentialKind>,
    valid_for: Option<Lifetime>,
    service_account: Option<String>,
}

/// What a binding gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    /// The access key of a user.
    User(Access),
    /// A session of this duration.
    Session(Access, Duration),
    /// A role for a service account.
    Role(Access, RoleFor),
    /// A user of the instance's database or message broker.
    OnServer(Access),
    /// The address alone, since the service has no credentials.
    Address,
}

/// For whom a role is, and how pods get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RoleFor {
    /// By a token that this OIDC provider has issued.
    Token { provider_arn: String, namespace: String, service_account: String },
    /// By EKS Pod Identity.
    Pods(ServiceAccount),
}

/// The properties of the JSON Schema of a binding's parameters.
pub(super) fn schema(service: &OfferedService) -> Value {
    let access = service.access.schema("What the binding may do with the resource.");
    if service.definition.service.shared {
        return json!({});
    }
    if service.has_server() {
        return json!({"access": access});
    }
    let mut properties = json!({
        "access": access,
        "credentials": service.credentials.schema(
            "An access key that lasts until the binding ends (user), temporary credentials (session), or a role for \
             a service account (irsa, pod-identity)."),
        "validFor": service.valid_for.schema(),
    });
    if service.offers_roles() {
        properties["serviceAccount"] = json!({"type": "string", "maxLength": 253, "default": service_account::DEFAULT,
            "description": "The service account whose pods get the role, with credentials: irsa or pod-identity."});
    }
    properties
}

impl OfferedService {
    /// What a binding with these parameters gets. The platform's context says in which namespace it is.
    ///
    /// # Errors
    /// Names the parameter that is unknown or not allowed.
    pub(super) fn grant(&self, given: &Object, context: &Object) -> Result<Granted, Unacceptable> {
        let parameters: BindingParameters = serde_path_to_error::deserialize(Value::Object(given.clone()))
            .map_err(|error| {
                Unacceptable::Invalid(format!(
                    "parameter {} is not understood: {}",
                    error.path(),
                    error.inner()
                ))
            })?;
        if self.definition.service.shared {
            let problem = "the service has no credentials; leave the parameters out".to_owned();
            return if given.is_empty() { Ok(Granted::Address) } else { Err(Unacceptable::Invalid(problem)) };
        }
        let access = refusing("access", self.access.take(parameters.access))?;
        if self.has_server() {
            return match given.keys().find(|name| name.as_str() != "access") {
                None => Ok(Granted::OnServer(access)),
                Some(name) => refuse(name, "a binding is a user of the instance's server; leave it out"),
            };
        }
        let kind = refusing("credentials", self.credentials.take(parameters.credentials))?;
        let is_for_pods = matches!(kind, CredentialKind::Irsa | CredentialKind::PodIdentity);
        if parameters.service_account.is_some() && !is_for_pods {
            return refuse("serviceAccount", "belongs to credentials: irsa or pod-identity; leave it out");
        }
        match (kind, parameters.valid_for) {
            (CredentialKind::Session, asked) => self.session(access, asked),
            (_, Some(_)) => {
                refuse("validFor", "only a session has an end; ask for credentials: session, or leave it out")
            }
            (CredentialKind::User, None) => Ok(Granted::User(access)),
            (CredentialKind::Irsa | CredentialKind::PodIdentity, None) => {
                let account =
                    service_account::ServiceAccount::read(parameters.service_account.as_deref(), context);
                let account = account.or_else(|(name, problem)| refuse(name, problem))?;
                Ok(Granted::Role(access, self.role(kind, account)?))
            }
        }
    }

    fn session(&self, access: Access, asked: Option<Lifetime>) -> Result<Granted, Unacceptable> {
        let asked = refusing("validFor", self.valid_for.take(asked))?;
        let duration = asked.map_or(LONGEST_CHAINED, Lifetime::duration);
        let (shortest, longest) = SESSIONS;
        if !(shortest..=longest).contains(&duration) {
            return refuse("validFor", "AWS has sessions of 15m to 12h; ask for such a time");
        }
        Ok(Granted::Session(access, duration))
    }

    fn role(
        &self,
        kind: CredentialKind,
        account: service_account::ServiceAccount,
    ) -> Result<RoleFor, Unacceptable> {
        let service_account::ServiceAccount { namespace, name: account } = account;
        let eks = &self.eks;
        match (kind, &eks.oidc_provider_arn, &eks.cluster_name) {
            (CredentialKind::Irsa, Some(provider), _) => {
                Ok(RoleFor::Token { provider_arn: provider.clone(), namespace, service_account: account })
            }
            (CredentialKind::PodIdentity, _, Some(cluster)) => {
                Ok(RoleFor::Pods(ServiceAccount { cluster: cluster.clone(), namespace, name: account }))
            }
            _ => refuse("credentials", "needs a cluster on EKS, which the backend does not name"),
        }
    }
}

fn refuse<T>(name: &str, problem: &str) -> Result<T, Unacceptable> {
    refusing(name, Err(problem.to_owned()))
}

fn refusing<T>(name: &str, taken: Result<T, String>) -> Result<T, Unacceptable> {
    taken.map_err(|problem| Unacceptable::Invalid(format!("parameter {name}: {problem}")))
}
