//! Changes the password that bindery itself has on a backend. The new password is written beside the old one before the backend gets
//! it, and replaces the old one afterwards; meanwhile brokers try both. So a password works after a kill at any point, and repeating
//! the command continues where it was interrupted.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep};

use super::{
    ServiceError,
    backends::{Administrator, Backends, Registry},
};
use crate::broker::config::{BackendName, ConfigError, PasswordSource, ServiceSettings};

/// The kubelet brings a changed Secret to its volumes within a minute and a half.
const MOUNTED_WITHIN: Duration = Duration::from_mins(3);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Where a password is kept that brokers read from a file: the file itself, or the Secret that is mounted there.
#[async_trait]
pub trait PasswordKeeper: Send + Sync {
    /// Keeps the next password beside the current one.
    ///
    /// # Errors
    /// When it cannot be kept; nothing is changed then.
    async fn stage(&self, current: &SecretString, next: &SecretString) -> anyhow::Result<()>;

    /// Puts the next password in the place of the current one.
    ///
    /// # Errors
    /// When it is still beside it; it can be done again.
    async fn promote(&self, next: &SecretString) -> anyhow::Result<()>;
}

/// A password that was not changed, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum PasswordChangeError {
    /// No such server.
    #[error("server {0} is not configured; name one of `backends`")]
    UnknownServer(BackendName),
    /// The password is not in a file.
    #[error(
        "the password of server {0} is in no file, so the new one could not be kept; give it a passwordFile"
    )]
    NoFile(BackendName),
    /// Another server's administrator has the same password.
    #[error(
        "servers {0} and {1} have one passwordFile; give each a file of its own, for each has a password of its own then"
    )]
    Shared(BackendName, BackendName),
    /// A password cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keeper failed.
    #[error("{0:#}")]
    Keeper(#[from] anyhow::Error),
    /// The next password is kept, and the broker does not see it.
    #[error(
        "the new password is kept, but {file}.next does not hold it after {} s; mount the Secret's key there, and repeat", .waited.as_secs()
    )]
    NotMounted {
        /// The current password's file.
        file: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The server failed.
    #[error("{0}; the new password is kept beside the old one: repeat")]
    Service(#[from] ServiceError),
}

/// Changes the administrator's password on a server. `settle` is how long other brokers may take to see what was kept.
///
/// # Errors
/// What was not done is done by a repetition.
pub async fn change_password(
    config: &ServiceSettings,
    server: &BackendName,
    keeper: &dyn PasswordKeeper,
    settle: Duration,
) -> Result<(), PasswordChangeError> {
    let backends = Registry::builtin().configure(config)?;
    let administrators = backends.administrators();
    let administrator = administrator(&backends, server)?;
    let source = match &administrator.password {
        Some(source @ PasswordSource::File(_)) => source,
        Some(PasswordSource::Given(_)) | None => return Err(PasswordChangeError::NoFile(server.clone())),
    };
    let shares = |other: &Administrator| {
        other.account != administrator.account
            && matches!((&other.password, source), (Some(PasswordSource::File(a)), PasswordSource::File(b)) if a == b)
    };
    if let Some((other, _)) = administrators.iter().find(|(_, other)| shares(other)) {
        return Err(PasswordChangeError::Shared(server.clone(), other.clone()));
    }
    let next = match source.read_next().await? {
        // A former change was cut off; the server may know it.
        Some(next) => next,
        None => {
            let next = (administrator.new_password)();
            keeper.stage(&source.read().await?, &next).await?;
            seen(source, &next).await?;
            next
        }
    };
    sleep(settle).await;
    // The installation's mark is on nothing that is done here.
    let providers = backends.providers("");
    let provider = providers.get(server).ok_or_else(|| PasswordChangeError::UnknownServer(server.clone()))?;
    provider.change_password(&next).await?;
    keeper.promote(&next).await?;
    Ok(())
}

/// The file with the password of a server's administrator.
///
/// # Errors
/// When there is no such server, or its password is in no file.
pub fn password_file(config: &ServiceSettings, server: &BackendName) -> Result<PathBuf, PasswordChangeError> {
    let backends = Registry::builtin().configure(config)?;
    match administrator(&backends, server)?.password {
        Some(PasswordSource::File(path)) => Ok(path),
        Some(PasswordSource::Given(_)) | None => Err(PasswordChangeError::NoFile(server.clone())),
    }
}

fn administrator(backends: &Backends, server: &BackendName) -> Result<Administrator, PasswordChangeError> {
    let found = backends.administrators().remove(server);
    found.ok_or_else(|| PasswordChangeError::UnknownServer(server.clone()))
}

/// Waits until the file beside the current password's holds the next one.
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
