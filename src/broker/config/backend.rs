//! A backend as a configuration names it: what every type of backend has (name, type, limits), and the settings of its own that only
//! the backend understands.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BackendLimits, RawSettings};

/// What a configuration calls a backend; the records of the broker's store refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendName(String);

impl BackendName {
    /// The name as it was given.
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
    /// What plans and records call it.
    pub name: BackendName,
    /// Its type, which a constructor is registered for.
    pub kind: String,
    /// How much it may be asked.
    pub limits: BackendLimits,
    /// What only the backend understands.
    pub settings: RawSettings,
}
