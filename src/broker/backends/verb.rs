//! The operations of the Open Service Broker API that change something.

use serde::{Deserialize, Serialize};

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Creates an instance.
    Provision,
    /// Updates an instance.
    Update,
    /// Removes an instance.
    Deprovision,
    /// Creates a binding.
    Bind,
    /// Revokes a binding.
    Unbind,
}

impl Verb {
    /// The verb's name in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Update => "update",
            Self::Deprovision => "deprovision",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
        }
    }

    /// Whether the verb creates something, so that a delete may interrupt it.
    pub(crate) fn is_creation(self) -> bool {
        matches!(self, Self::Provision | Self::Bind)
    }

    /// Whether the verb removes something, so that recovery retries it until it succeeds.
    pub(crate) fn is_deletion(self) -> bool {
        matches!(self, Self::Deprovision | Self::Unbind)
    }
}
