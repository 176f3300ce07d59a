//! What a handler decides about an object. `codec` makes the answer of it.

use json_patch::Patch;

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// As metrics count it.
    pub(super) outcome: &'static str,
    /// What is changed of an object that is allowed.
    pub(super) patch: Patch,
    /// What the author should know.
    pub(super) warnings: Vec<String>,
    /// Why the object is refused, if it is.
    pub(super) denial: Option<Denial>,
}

/// Why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// What the author's client gets as status.
    pub(super) status: DenialStatus,
    /// In words, with a remedy.
    pub(super) message: String,
}

/// The status that the API server itself has for such an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialStatus {
    /// The object is not shaped as Kubernetes defines it.
    BadRequest,
    /// The author may not.
    Forbidden,
    /// The object says something impossible.
    Invalid,
    /// It cannot be decided now. Whoever tries again may succeed.
    ServiceUnavailable,
}

impl DenialStatus {
    /// The code and the reason of the `Status`.
    pub(super) fn parts(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "BadRequest"),
            Self::Forbidden => (403, "Forbidden"),
            Self::Invalid => (422, "Invalid"),
            Self::ServiceUnavailable => (503, "ServiceUnavailable"),
        }
    }
}

impl Decision {
    /// Lets the object pass as it is.
    #[must_use]
    pub fn unchanged() -> Self {
        Self::patch("unchanged", Patch(Vec::new()))
    }

    /// Lets the object pass with these changes.
    #[must_use]
    pub fn patch(outcome: &'static str, patch: Patch) -> Self {
        Self { outcome, patch, warnings: Vec::new(), denial: None }
    }

    /// Refuses the object.
    #[must_use]
    pub fn deny(outcome: &'static str, status: DenialStatus, message: String) -> Self {
        Self { denial: Some(Denial { status, message }), ..Self::patch(outcome, Patch(Vec::new())) }
    }

    /// The same decision, with what the author should know.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }
}
