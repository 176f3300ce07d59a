//! The decision of a handler about an object. `codec` encodes it as the response.

use std::collections::BTreeMap;

use json_patch::Patch;

/// The decision about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The value of the `outcome` label in metrics.
    pub(super) outcome: &'static str,
    /// The changes to an allowed object.
    pub(super) patch: Patch,
    /// Warnings for the user who sent the request.
    pub(super) warnings: Vec<String>,
    /// What the API server writes into its audit log, by a name of the handler's own.
    pub(super) audit: BTreeMap<&'static str, String>,
    /// Why the object is refused; `None` if it is allowed.
    pub(super) denial: Option<Denial>,
}

/// Why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// The status that the user's client receives.
    pub(super) status: DenialStatus,
    /// The reason and a remedy, for the user.
    pub(super) message: String,
}

/// The status that the API server itself uses for such an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialStatus {
    /// The object does not have the structure that Kubernetes defines.
    BadRequest,
    /// The user lacks a permission.
    Forbidden,
    /// A field of the object has an invalid value.
    Invalid,
    /// The object cannot be checked now. A retry may succeed.
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
    /// Allows the object unchanged.
    #[must_use]
    pub fn unchanged() -> Self {
        Self::patch("unchanged", Patch(Vec::new()))
    }

    /// Allows the object with these changes.
    #[must_use]
    pub fn patch(outcome: &'static str, patch: Patch) -> Self {
        Self { outcome, patch, warnings: Vec::new(), audit: BTreeMap::new(), denial: None }
    }

    /// Refuses the object.
    #[must_use]
    pub fn deny(outcome: &'static str, status: DenialStatus, message: String) -> Self {
        Self { denial: Some(Denial { status, message }), ..Self::patch(outcome, Patch(Vec::new())) }
    }

    /// Adds warnings for the user who sent the request.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Adds an entry for the API server's audit log.
    #[must_use]
    pub fn with_audit(mut self, name: &'static str, text: String) -> Self {
        self.audit.insert(name, text);
        self
    }

    /// Counts the decision under this outcome instead.
    #[must_use]
    pub fn counted_as(self, outcome: &'static str) -> Self {
        Self { outcome, ..self }
    }
}
