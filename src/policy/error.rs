//! Why a policy or an exception that matches its schema is invalid.

/// An error in a CredentialPolicy or a CredentialPolicyException.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name}: {field}: {problem}")]
pub struct InvalidPolicy {
    /// The object's kind.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// The field with the error.
    pub field: String,
    /// What is wrong, and what to write.
    pub problem: String,
}
