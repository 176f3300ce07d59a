//! Errors of a configuration. Each message names the file or variable, the field, and the remedy.

use std::path::{Path, PathBuf};

/// Why a configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// A required field is missing.
    #[error("{field} is missing: {remedy}")]
    Missing {
        /// The field.
        field: String,
        /// The remedy.
        remedy: String,
    },
    /// A field has an invalid value.
    #[error("{field} {problem}")]
    Invalid {
        /// The field.
        field: String,
        /// The problem and the remedy.
        problem: String,
    },
    /// An error in a file.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The error.
        error: Box<Self>,
    },
}

impl ConfigError {
    pub(crate) fn missing(field: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Missing { field: field.into(), remedy: remedy.into() }
    }

    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), problem: problem.into() }
    }

    pub(crate) fn in_file(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), error: Box::new(self) }
    }
}
