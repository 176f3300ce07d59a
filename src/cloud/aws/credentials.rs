//! The credentials of an account: those of the SDK's chain, or a static access key whose secret lies in a file.

use std::path::PathBuf;

use aws_sdk_sts::config::Credentials as SdkCredentials;

use super::error::{AwsError, ErrorKind};

/// Where the credentials of an account come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The SDK's default chain: environment, profile, web identity (IRSA), pod identity, instance.
    #[default]
    Chain,
    /// A static access key.
    AccessKey {
        /// The id of the key.
        id: String,
        /// The file with the key's secret. It is read again after AWS has refused the key, so that a mounted Secret
        /// may change.
        secret_file: PathBuf,
    },
}

impl Credentials {
    /// The static key, if there is one.
    pub(super) async fn read(&self) -> Result<Option<SdkCredentials>, AwsError> {
        let Self::AccessKey { id, secret_file } = self else { return Ok(None) };
        let secret = tokio::fs::read_to_string(secret_file).await.map_err(|error| {
            let problem = format!("cannot be read: {error}; name the file with the secret access key");
            AwsError::before_call(&secret_file.display().to_string(), ErrorKind::Credentials, problem)
        })?;
        Ok(Some(SdkCredentials::new(id, secret.trim(), None, None, "bindery")))
    }
}
