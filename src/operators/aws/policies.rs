//! The annotations that say what becomes of a stack (pure): those of AWS Controllers for Kubernetes (ACK), and bindery's own.

use std::collections::BTreeMap;

use super::step::Adoption;
use crate::contract::aws_operator::{ALLOW_REPLACEMENT, ALLOWED_NAMESPACES};

/// Annotation of an object or a Namespace: `retain` keeps the stack when the object is deleted.
pub(super) const DELETION_POLICY: &str = "services.k8s.aws/deletion-policy";
/// Annotation of an object: `adopt` or `adopt-or-create`.
const ADOPTION_POLICY: &str = "services.k8s.aws/adoption-policy";

/// What becomes of the stack of a deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeletionPolicy {
    /// The stack is deleted.
    #[default]
    Delete,
    /// The stack stays.
    Retain,
}

impl DeletionPolicy {
    /// The value of the annotation.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Retain => "retain",
        }
    }
}

type Annotations = BTreeMap<String, String>;

/// An annotation has a value that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the annotation {annotation} is {value:?}; write {allowed}")]
pub(super) struct BadAnnotation {
    pub(super) annotation: &'static str,
    pub(super) value: String,
    pub(super) allowed: &'static str,
}

/// What becomes of the stack: the object's annotation counts before the Namespace's, and that before the installation's
/// setting.
pub(super) fn deletion(
    object: &Annotations,
    namespace: Option<&Annotations>,
    installation: DeletionPolicy,
) -> Result<DeletionPolicy, BadAnnotation> {
    let set = |annotations: &Annotations| annotations.get(DELETION_POLICY).cloned();
    let value = set(object).or_else(|| namespace.and_then(set));
    match value.as_deref().unwrap_or_default() {
        "" => Ok(installation),
        "delete" => Ok(DeletionPolicy::Delete),
        "retain" => Ok(DeletionPolicy::Retain),
        other => Err(BadAnnotation {
            annotation: DELETION_POLICY,
            value: other.to_owned(),
            allowed: "delete or retain",
        }),
    }
}

/// Whether a stack or a resource that exists becomes the object's.
pub(super) fn adoption(object: &Annotations) -> Result<Adoption, BadAnnotation> {
    match object.get(ADOPTION_POLICY).map(String::as_str).unwrap_or_default() {
        "" => Ok(Adoption::Never),
        "adopt" => Ok(Adoption::Adopt),
        "adopt-or-create" => Ok(Adoption::AdoptOrCreate),
        other => Err(BadAnnotation {
            annotation: ADOPTION_POLICY,
            value: other.to_owned(),
            allowed: "adopt or adopt-or-create",
        }),
    }
}

/// Whether an update may replace a resource that holds data.
pub(super) fn allows_replacement(object: &Annotations) -> bool {
    object.get(ALLOW_REPLACEMENT).is_some_and(|value| value == "true")
}

/// Whether a template of another namespace lists this namespace.
pub(super) fn allows_namespace(template: &Annotations, namespace: &str) -> bool {
    let listed = template.get(ALLOWED_NAMESPACES).map(String::as_str).unwrap_or_default();
    listed
        .split(',')
        .map(str::trim)
        .any(|listed| listed == "*" || (listed == namespace && !listed.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(annotation: &str, value: &str) -> Annotations {
        BTreeMap::from([(annotation.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_nearest_deletion_policy_counts() {
        let (none, retain, delete) =
            (Annotations::new(), with(DELETION_POLICY, "retain"), with(DELETION_POLICY, "delete"));
        let installation = DeletionPolicy::Retain;
        assert_eq!(deletion(&none, None, installation), Ok(DeletionPolicy::Retain));
        assert_eq!(deletion(&none, Some(&delete), installation), Ok(DeletionPolicy::Delete));
        assert_eq!(deletion(&retain, Some(&delete), DeletionPolicy::Delete), Ok(DeletionPolicy::Retain));
        let problem = deletion(&with(DELETION_POLICY, "keep"), None, installation).unwrap_err().to_string();
        assert!(problem.contains("delete or retain"), "{problem}");
    }

    #[test]
    fn a_template_is_shared_with_listed_namespaces_only() {
        let listed = with(ALLOWED_NAMESPACES, "shop, blog");
        assert!(allows_namespace(&listed, "shop") && allows_namespace(&listed, "blog"));
        assert!(!allows_namespace(&listed, "sho") && !allows_namespace(&Annotations::new(), ""));
        assert!(allows_namespace(&with(ALLOWED_NAMESPACES, "*"), "any"));
    }
}
