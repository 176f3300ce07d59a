//! Which pods an exception exempts from which rules.

use super::{allowed::is_among, subject::Subject};
use crate::apis::bindery::{
    credential_policy::RuleName, credential_policy_exception::CredentialPolicyException,
};

/// Whether the exception names this policy and this rule.
pub(super) fn is_about(exception: &CredentialPolicyException, policy: &str, rule: RuleName) -> bool {
    let rules = &exception.spec.rules;
    exception.spec.policy == policy && (rules.is_empty() || rules.contains(&rule))
}

/// Whether the exception is for this pod. It must name the images of all containers, so that no other container
/// is exempt as well. What has no images, such as a Secret, has none that it names.
pub(super) fn is_for(exception: &CredentialPolicyException, subject: &Subject<'_>) -> bool {
    let spec = &exception.spec;
    spec.namespaces.iter().any(|name| name == subject.namespace.name())
        && (spec.names.is_empty() || is_among(subject.name, &spec.names))
        && (spec.service_accounts.is_empty() || is_among(subject.service_account(), &spec.service_accounts))
        && (spec.images.is_empty() || has_only(subject, &spec.images))
}

fn has_only(subject: &Subject<'_>, images: &[String]) -> bool {
    subject.images().next().is_some() && subject.images().all(|image| is_among(image, images))
}
