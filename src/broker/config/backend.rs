//! A configured backend: what every type of backend has (name, type, limits), and settings that only the backend
//! parses.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BackendLimits, RawSettings};

/// A backend's name in the configuration; records in the broker's store refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendName(String);

impl BackendName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for BackendName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl From<&str> for BackendName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A backend, such as a database server or an account of a cloud.
#[derive(Clone, Debug)]
pub struct BackendSettings {
    /// The backend's name in plans and records.
    pub name: BackendName,
    /// The backend's type, for which a constructor is registered.
    pub kind: String,
    /// The concurrency and rate limits.
    pub limits: BackendLimits,
    /// Settings that only the backend parses.
    pub settings: RawSettings,
}
