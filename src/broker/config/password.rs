//! The passwords of a configuration: their sources, and how to read one during a rotation.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

use super::ConfigError;

/// A password, or the file that holds it. A file is read whenever the password is needed, so that a mounted Secret may
/// change; a trailing line break is not part of the password.
#[derive(Clone, Debug)]
pub enum PasswordSource {
    /// The password itself.
    Given(SecretString),
    /// A file.
    File(PathBuf),
}

impl PasswordSource {
    /// Reads the current password.
    ///
    /// # Errors
    /// When the file cannot be read; the error names it.
    pub async fn read(&self) -> Result<SecretString, ConfigError> {
        match self {
            Self::Given(password) => Ok(password.clone()),
            Self::File(path) => read_password(path).await,
        }
    }

    /// The password to try after `refused` was rejected: the one that is about to replace it, or has just replaced it.
    ///
    /// # Errors
    /// As [`PasswordSource::read_next`] and [`PasswordSource::read`].
    pub async fn read_changed(&self, refused: &SecretString) -> Result<Option<SecretString>, ConfigError> {
        // The order matters: the next password leaves the file beside only after it is in this one.
        if let Some(next) = self.read_next().await? {
            return Ok(Some(next));
        }
        let current = self.read().await?;
        Ok((current.expose_secret() != refused.expose_secret()).then_some(current))
    }

    /// The next password, during a rotation: from the file beside the current one, with `.next` added.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub async fn read_next(&self) -> Result<Option<SecretString>, ConfigError> {
        let Self::File(path) = self else { return Ok(None) };
        match read_password(&next_to(path)).await {
            Ok(next) => Ok(Some(next)),
            Err(ConfigError::Unreadable { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The file for the next password, beside the file of the current one.
#[must_use]
pub fn next_to(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

async fn read_password(path: &Path) -> Result<SecretString, ConfigError> {
    tokio::fs::read_to_string(path)
        .await
        .map(|text| text.trim_end_matches(['\r', '\n']).to_owned().into())
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_that_changes_is_found_before_and_after_it_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let source = PasswordSource::File(file.clone());
        let instead_of = async |refused: &str| {
            let changed = source.read_changed(&refused.into()).await.unwrap();
            changed.map(|changed| changed.expose_secret().to_owned())
        };
        std::fs::write(&file, "old\n").unwrap();
        assert_eq!(instead_of("old").await, None);
        std::fs::write(next_to(&file), "new\n").unwrap();
        assert_eq!(instead_of("old").await.as_deref(), Some("new"));
        std::fs::rename(next_to(&file), &file).unwrap();
        assert_eq!(instead_of("old").await.as_deref(), Some("new"));
        assert_eq!(instead_of("new").await, None);
    }
}
