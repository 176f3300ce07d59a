//! Rotates bindery's own password on a backend. The new password is stored beside the old one before the backend gets
//! it, and replaces the old one afterwards; brokers try both meanwhile. So one of them works after a kill at any
//! point, and repeating the command resumes the rotation.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep};

use super::{
    ServiceError,
    backends::{Administrator, Backends, Registry},
};
use crate::broker::config::{BackendName, ConfigError, PasswordSource, ServiceSettings};

/// The kubelet updates a mounted Secret within a minute and a half.
const MOUNTED_WITHIN: Duration = Duration::from_mins(3);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Stores the password that brokers read from a file: the file itself, or the Secret that is mounted there.
#[async_trait]
pub trait PasswordKeeper: Send + Sync {
    /// Stores the next password beside the current one.
    ///
    /// # Errors
    /// When the password cannot be stored; nothing has changed then.
    async fn stage(&self, current: &SecretString, next: &SecretString) -> anyhow::Result<()>;

    /// Replaces the current password with the next one.
    ///
    /// # Errors
    /// When the next password is still beside the current one; the call can be repeated.
    async fn promote(&self, next: &SecretString) -> anyhow::Result<()>;
}

/// Why a rotation failed or is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum PasswordChangeError {
    /// No such backend.
    #[error("backend {0} is not configured; name one of `backends`")]
    UnknownBackend(BackendName),
    /// The password is not in a file.
    #[error(
        "the password of backend {0} is in no file, so the new one could not be kept; give it a passwordFile"
    )]
    NoFile(BackendName),
    /// Another backend's administrator has the same password file.
    #[error(
        "backends {0} and {1} have one passwordFile; give each its own file, because each gets its own password"
    )]
    Shared(BackendName, BackendName),
    /// A password cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The password could not be stored.
    #[error("{0:#}")]
    Keeper(#[from] anyhow::Error),
    /// The next password is stored, but the broker does not see it.
    #[error(
        "the new password is kept, but {file}.next does not hold it after {} s; mount the Secret's key there, and repeat", .waited.as_secs()
    )]
    NotMounted {
        /// The file with the current password.
        file: String,
        /// How long the rotation waited.
        waited: Duration,
    },
    /// The backend reported an error.
    #[error("{0}; the new password is kept beside the old one: repeat")]
    Service(#[from] ServiceError),
}

/// Rotates the administrator's password on a backend. `settle` is how long other brokers may take to see the stored
/// password.
///
/// # Errors
/// When the rotation is incomplete; a repetition resumes it.
pub async fn change_password(
    config: &ServiceSettings,
    backend: &BackendName,
    keeper: &dyn PasswordKeeper,
    settle: Duration,
) -> Result<(), PasswordChangeError> {
    let backends = Registry::builtin().configure(config)?;
    let administrators = backends.administrators();
    let administrator = administrator(&backends, backend)?;
    let source = match &administrator.password {
        Some(source @ PasswordSource::File(_)) => source,
        Some(PasswordSource::Given(_)) | None => return Err(PasswordChangeError::NoFile(backend.clone())),
    };
    let shares = |other: &Administrator| {
        other.account != administrator.account
            && matches!((&other.password, source), (Some(PasswordSource::File(a)), PasswordSource::File(b)) if a == b)
    };
    if let Some((other, _)) = administrators.iter().find(|(_, other)| shares(other)) {
        return Err(PasswordChangeError::Shared(backend.clone(), other.clone()));
    }
    let next = match source.read_next().await? {
        // An earlier rotation was interrupted; the server may already have this password.
        Some(next) => next,
        None => {
            let next = (administrator.new_password)();
            keeper.stage(&source.read().await?, &next).await?;
            seen(source, &next).await?;
            next
        }
    };
    sleep(settle).await;
    // The rotation creates nothing, so the installation's mark is not needed.
    let providers = backends.providers("");
    let provider =
        providers.get(backend).ok_or_else(|| PasswordChangeError::UnknownBackend(backend.clone()))?;
    provider.change_password(&next).await?;
    keeper.promote(&next).await?;
    Ok(())
}

/// The file with the password of a backend's administrator.
///
/// # Errors
/// When there is no such backend, or its password is not in a file.
pub fn password_file(
    config: &ServiceSettings,
    backend: &BackendName,
) -> Result<PathBuf, PasswordChangeError> {
    let backends = Registry::builtin().configure(config)?;
    match administrator(&backends, backend)?.password {
        Some(PasswordSource::File(path)) => Ok(path),
        Some(PasswordSource::Given(_)) | None => Err(PasswordChangeError::NoFile(backend.clone())),
    }
}

fn administrator(backends: &Backends, backend: &BackendName) -> Result<Administrator, PasswordChangeError> {
    let found = backends.administrators().remove(backend);
    found.ok_or_else(|| PasswordChangeError::UnknownBackend(backend.clone()))
}

/// Waits until the file beside the current password's contains the next one.
async fn seen(source: &PasswordSource, next: &SecretString) -> Result<(), PasswordChangeError> {
    let deadline = Instant::now() + MOUNTED_WITHIN;
    loop {
        match source.read_next().await? {
            Some(seen) if seen.expose_secret() == next.expose_secret() => return Ok(()),
            _ if Instant::now() > deadline => {
                let file = match source {
                    PasswordSource::File(path) => path.display().to_string(),
                    PasswordSource::Given(_) => String::new(),
                };
                return Err(PasswordChangeError::NotMounted { file, waited: MOUNTED_WITHIN });
            }
            _ => sleep(LOOK_AGAIN).await,
        }
    }
}
