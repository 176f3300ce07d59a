//! The credentials of an account: those of the SDK's chain, or a static access key whose secret lies in a file,
//! as its id may.

use std::path::{Path, PathBuf};

use aws_sdk_sts::config::Credentials as SdkCredentials;

use super::{AwsError, ErrorKind};

/// Where the credentials of an account come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The SDK's default chain: environment, profile, web identity (IRSA), pod identity, instance.
    #[default]
    Chain,
    /// A static access key.
    AccessKey {
        /// The id of the key.
        id: KeyId,
        /// The file with the key's secret. It is read again after AWS has refused the key, so that a mounted Secret
        /// may change.
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

impl Credentials {
    /// The static key, if there is one.
    pub(super) async fn read(&self) -> Result<Option<SdkCredentials>, AwsError> {
        let Self::AccessKey { id, secret_file } = self else { return Ok(None) };
        let id = match id {
            KeyId::Given(id) => id.clone(),
            KeyId::File(file) => contents(file, "the id of the access key").await?,
        };
        let secret = contents(secret_file, "the secret access key").await?;
        Ok(Some(SdkCredentials::new(id.trim(), secret.trim(), None, None, "bindery")))
    }
}

async fn contents(file: &Path, of: &str) -> Result<String, AwsError> {
    tokio::fs::read_to_string(file).await.map_err(|error| {
        let problem = format!("cannot be read: {error}; name the file with {of}");
        AwsError::before_call(&file.display().to_string(), ErrorKind::Credentials, problem)
    })
}
