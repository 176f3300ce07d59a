//! Logging in as the administrator, even during a password change.

use secrecy::SecretString;

use super::error::SharedConnectError;
use crate::broker::config::PasswordSource;

/// Logs in with the current password. If the server rejects it, a change may be in progress: tries the next password,
/// too.
pub(super) async fn log_in<T, E, F>(
    source: Option<&PasswordSource>,
    log_in: impl Fn(Option<SecretString>) -> F + Send,
    is_wrong_login: impl Fn(&E) -> bool + Send,
) -> Result<T, E>
where
    T: Send,
    E: From<SharedConnectError> + Send,
    F: Future<Output = Result<T, E>> + Send,
{
    let Some(source) = source else { return log_in(None).await };
    let password = source.read().await.map_err(SharedConnectError::from)?;
    match log_in(Some(password.clone())).await {
        Err(error) if is_wrong_login(&error) => {
            match source.read_changed(&password).await.map_err(SharedConnectError::from)? {
                Some(changed) => log_in(Some(changed)).await,
                None => Err(error),
            }
        }
        outcome => outcome,
    }
}
