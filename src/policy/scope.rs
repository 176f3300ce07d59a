//! For which pods a policy holds, and in which mode.

use kube::core::{Selector, SelectorExt};

use super::{allowed::is_among, error::InvalidPolicy, namespace::Namespace, subject::Subject};
use crate::apis::bindery::{
    credential_policy::{CredentialPolicy, Mode, Override, RuleName, Scope},
    label_selector,
};

/// The namespaces for which no policy holds: a policy that stops these stops the cluster.
pub const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "kube-node-lease"];

/// The scope and the overrides of a policy, parsed.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    namespaces: Selector,
    overrides: Vec<(Selector, Override)>,
    scope: Scope,
}

impl Reach {
    pub(super) fn read(policy: &CredentialPolicy) -> Result<Self, InvalidPolicy> {
        let invalid = |field: String, problem| InvalidPolicy {
            kind: "CredentialPolicy",
            name: policy.metadata.name.clone().unwrap_or_default(),
            field,
            problem,
        };
        if policy.spec.named_rules().next().is_none() {
            let problem = "name at least one rule, such as noPlainText: {}".to_owned();
            return Err(invalid("spec.rules".to_owned(), problem));
        }
        let scope = policy.spec.scope.clone().unwrap_or_default();
        let selector = scope.namespace_selector.clone().unwrap_or_default();
        let namespaces = label_selector::parse(&selector)
            .map_err(|problem| invalid("spec.scope.namespaceSelector".to_owned(), problem))?;
        let mut overrides = Vec::new();
        for (index, wanted) in policy.spec.overrides.iter().enumerate() {
            if wanted.namespaces.is_empty() && wanted.namespace_selector.is_none() {
                let problem = "select namespaces: set namespaces, namespaceSelector, or both".to_owned();
                return Err(invalid(format!("spec.overrides[{index}]"), problem));
            }
            let selector = wanted.namespace_selector.clone().unwrap_or_default();
            let selector = label_selector::parse(&selector)
                .map_err(|problem| invalid(format!("spec.overrides[{index}].namespaceSelector"), problem))?;
            overrides.push((selector, wanted.clone()));
        }
        Ok(Self { namespaces, overrides, scope })
    }

    /// Whether the labels of Namespaces matter to the policy.
    pub(super) fn asks_for_labels(&self) -> bool {
        !self.namespaces.selects_all() || self.overrides.iter().any(|(selector, _)| !selector.selects_all())
    }

    /// Whether the policy says anything about pods of this Namespace.
    pub(super) fn holds_in(&self, namespace: &Namespace, excluded: &[String]) -> bool {
        let is_system = SYSTEM_NAMESPACES.contains(&namespace.name());
        let is_excluded = |names: &[String]| names.iter().any(|name| name == namespace.name());
        !is_system
            && !is_excluded(excluded)
            && !is_excluded(&self.scope.exclude_namespaces)
            && self.namespaces.matches(namespace.labels())
    }

    /// Whether the policy says anything about this pod, in a Namespace in which it holds.
    pub(super) fn has_pod(&self, subject: &Subject<'_>) -> bool {
        let images = &self.scope.images;
        self.has_account(subject.service_account())
            && (images.is_empty() || subject.images().any(|image| is_among(image, images)))
    }

    /// Whether the policy is for all pods of its namespaces, so that it can say something about objects that are not pods.
    pub(super) fn is_for_all_pods(&self) -> bool {
        self.scope.is_for_all_pods()
    }

    /// Whether the policy says anything about pods of this service account.
    pub(super) fn has_account(&self, account: &str) -> bool {
        let accounts = &self.scope.service_accounts;
        accounts.is_empty() || is_among(account, accounts)
    }

    /// The mode of a rule in a Namespace.
    pub(super) fn mode(&self, rule: RuleName, otherwise: Mode, namespace: &Namespace) -> Mode {
        let is_meant = |(selector, wanted): &&(Selector, Override)| {
            (wanted.rules.is_empty() || wanted.rules.contains(&rule))
                && (wanted.namespaces.is_empty() || is_among(namespace.name(), &wanted.namespaces))
                && selector.matches(namespace.labels())
        };
        self.overrides.iter().find(is_meant).map_or(otherwise, |(_, wanted)| wanted.mode)
    }
}
