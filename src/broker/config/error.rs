//! What can be wrong with a configuration. Each message names the file or variable, the field, and the remedy.

use std::path::{Path, PathBuf};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A field that must be there is not.
    #[error("{field} is missing: {remedy}")]
    Missing {
        /// Which one.
        field: String,
        /// What to do.
        remedy: String,
    },
    /// A field cannot have the value it has.
    #[error("{field} {problem}")]
    Invalid {
        /// Which one.
        field: String,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// Any of these, in a file.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
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
