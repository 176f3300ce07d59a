//! A service that a backend offers: its definition, and what the backend's settings say about it.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    definition::{Definition, PlanMetadata},
    rules::Rules,
};
use crate::{
    broker::{
        backends::{access::Access, choice::Choice, validity::Validity},
        config::Kinds,
    },
    osb::Object,
};

/// What a binding's credentials are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CredentialKind {
    /// The access key of an IAM user, which lasts until the binding ends.
    #[default]
    User,
    /// Temporary credentials of a role, which end by themselves.
    Session,
    /// A role that pods assume by a token of the cluster.
    Irsa,
    /// A role that EKS Pod Identity gives to pods.
    #[serde(rename = "pod-identity")]
    PodIdentity,
}

impl Kinds for CredentialKind {
    const ALL: &'static [Self] = &[Self::User, Self::Session, Self::Irsa, Self::PodIdentity];
    // The others need a cluster on EKS.
    const ALLOWED: &'static [Self] = &[Self::User, Self::Session];

    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
            Self::Irsa => "irsa",
            Self::PodIdentity => "pod-identity",
        }
    }
}

/// The cluster whose service accounts get roles.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Eks {
    /// The name of the cluster, for EKS Pod Identity.
    pub(super) cluster_name: Option<String>,
    /// The ARN of the cluster's OIDC provider in IAM, for IRSA.
    pub(super) oidc_provider_arn: Option<String>,
}

/// A service that the backend offers.
#[derive(Clone, Debug)]
pub(super) struct OfferedService {
    /// The name in the catalog.
    pub(super) name: String,
    /// The name of the definition.
    pub(super) kind: String,
    pub(super) definition: Arc<Definition>,
    pub(super) access: Choice<Access>,
    pub(super) credentials: Choice<CredentialKind>,
    pub(super) valid_for: Validity,
    pub(super) eks: Eks,
    pub(super) defaults: Object,
    pub(super) values: Object,
}

impl OfferedService {
    /// The plans in which all of the operator's parameters have values, by name.
    pub(super) fn plans(&self, rules: &Rules) -> impl Iterator<Item = (&String, &PlanMetadata)> {
        self.definition.service.plans.iter().filter(|(_, plan)| self.is_complete(plan, rules))
    }

    /// Whether the operator has set what only the operator may set.
    fn is_complete(&self, plan: &PlanMetadata, rules: &Rules) -> bool {
        self.definition.service.operator_parameters.iter().all(|name| {
            self.definition.template.parameters[name].default.is_some()
                || plan.values.contains_key(name)
                || self.values.contains_key(name)
                || self.defaults.contains_key(name)
                || rules.overrides.is_prescribed(&self.name, name)
        })
    }

    /// Whether bindings are users of a database or of a message broker.
    pub(super) fn has_server(&self) -> bool {
        self.definition.service.server.is_some()
    }

    /// Whether bindings may be roles for service accounts.
    pub(super) fn offers_roles(&self) -> bool {
        let allowed = &self.credentials.allowed;
        allowed.contains(&CredentialKind::Irsa) || allowed.contains(&CredentialKind::PodIdentity)
    }
}
