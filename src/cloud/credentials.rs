//! Where an account has its credentials from: the chain of the cloud's SDK, or a static access key in files.

use std::{
    io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

/// Where the credentials of an account come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The default chain of the cloud's SDK, such as environment, web identity and the machine.
    #[default]
    Chain,
    /// A static access key.
    AccessKey {
        /// The id of the key.
        id: KeyId,
        /// The file with the key's secret. It is read again after the cloud has refused the key, so that a mounted
        /// Secret may change.
        secret_file: PathBuf,
    },
}

/// The id of an access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyId {
    /// The id itself.
    Given(String),
    /// A file with the id, which is read together with that of the secret.
    File(PathBuf),
}

/// A role that calls are made under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumedRole {
    /// The role's ARN.
    pub arn: String,
    /// The external id that the role's trust policy demands.
    pub external_id: Option<String>,
}

/// A static access key as its files have it.
pub(in crate::cloud) struct StaticKey {
    pub(in crate::cloud) id: String,
    pub(in crate::cloud) secret: SecretString,
}

/// A file of a static access key cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot be read: {cause}; name the file with {of}")]
pub(in crate::cloud) struct UnreadableFile {
    pub(in crate::cloud) file: PathBuf,
    of: &'static str,
    cause: io::Error,
}

impl Credentials {
    /// The static key; `None` if the chain has the credentials.
    pub(in crate::cloud) async fn static_key(&self) -> Result<Option<StaticKey>, UnreadableFile> {
        let Self::AccessKey { id, secret_file } = self else { return Ok(None) };
        let id = match id {
            KeyId::Given(id) => id.clone(),
            KeyId::File(file) => contents(file, "the id of the access key").await?,
        };
        let secret = contents(secret_file, "the secret of the access key").await?;
        Ok(Some(StaticKey { id: id.trim().to_owned(), secret: secret.trim().into() }))
    }
}

/// The text of a file of credentials. `of` says what the file contains.
pub(in crate::cloud) async fn contents(file: &Path, of: &'static str) -> Result<String, UnreadableFile> {
    let text = tokio::fs::read_to_string(file).await;
    text.map_err(|cause| UnreadableFile { file: file.to_owned(), of, cause })
}
