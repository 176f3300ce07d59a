//! The error body (spec.md, "Service Broker Errors").

use serde::{Deserialize, Serialize};

/// Error codes that the specification defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The plan needs asynchronous operations: send `accepts_incomplete=true`.
    AsyncRequired,
    /// Another operation on the same instance is in progress: try again later.
    ConcurrencyError,
    /// The binding needs an application's id.
    RequiresApp,
    /// The `maintenance_info.version` sent is not the catalog's.
    MaintenanceInfoConflict,
}

impl ErrorCode {
    /// The code in the body's field `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsyncRequired => "AsyncRequired",
            Self::ConcurrencyError => "ConcurrencyError",
            Self::RequiresApp => "RequiresApp",
            Self::MaintenanceInfoConflict => "MaintenanceInfoConflict",
        }
    }
}

/// The body of an unsuccessful response. All fields are optional in the specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// One CamelCase word; those in [`ErrorCode`] have a fixed meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What went wrong and what to do, for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// With a failed update or delete only: whether the instance can still be used; absent means true (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_usable: Option<bool>,
    /// With a failed update only: whether the update may be repeated; absent means true (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_repeatable: Option<bool>,
}

impl ErrorBody {
    /// A body with only a text for the user.
    #[must_use]
    pub fn described(description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..Self::default() }
    }

    /// A body with a defined code.
    #[must_use]
    pub fn coded(code: ErrorCode, description: impl Into<String>) -> Self {
        Self {
            error: Some(code.as_str().to_owned()),
            description: Some(description.into()),
            ..Self::default()
        }
    }

    /// Whether the body carries this code.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.error.as_deref() == Some(code.as_str())
    }
}
