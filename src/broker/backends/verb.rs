//! The verbs of the Open Service Broker API that change something.

use serde::{Deserialize, Serialize};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Makes an instance.
    Provision,
    /// Changes an instance.
    Update,
    /// Removes an instance.
    Deprovision,
    /// Creates a binding.
    Bind,
    /// Revokes a binding.
    Unbind,
}

impl Verb {
    /// The word for it in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Update => "update",
            Self::Deprovision => "deprovision",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
        }
    }

    /// Whether it makes something, so that a delete may halt it.
    pub(crate) fn is_creation(self) -> bool {
        matches!(self, Self::Provision | Self::Bind)
    }

    /// Whether it removes something, so that it is tried again until that is done.
    pub(crate) fn is_deletion(self) -> bool {
        matches!(self, Self::Deprovision | Self::Unbind)
    }
}
