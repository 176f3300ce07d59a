//! Prevents a second broker from using a store. The embedded store's leases are in memory, so two brokers on the same
//! records would work on the same instance at once. The kernel releases the lock when its process ends in any way.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::Duration,
};

use tokio::time::Instant;

use super::StoreError;

const POLL: Duration = Duration::from_millis(200);

/// Held while a broker uses a store.
pub(crate) struct StoreLock(#[expect(dead_code, reason = "held, not used")] File);

impl StoreLock {
    /// Locks the file beside the store, with `.lock` added; waits up to `patience` for the present owner to end.
    pub(crate) async fn take(store: &Path, patience: Duration) -> Result<Self, StoreError> {
        let mut path = store.as_os_str().to_owned();
        path.push(".lock");
        let failed = |error: std::io::Error| StoreError::Failed {
            store: format!("sqlite:{}", store.display()),
            problem: format!("lock file {}: {error}; check the folder", Path::new(&path).display()),
        };
        let options = tokio::fs::OpenOptions::new().create(true).append(true).open(&path).await;
        let file = options.map_err(failed)?.into_std().await;
        let deadline = Instant::now() + patience;
        let mut is_logged = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(StoreError::InUse { store: format!("sqlite:{}", store.display()) });
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if !is_logged {
                tracing::info!(store = %store.display(), "another broker uses the store; waiting for its end");
                is_logged = true;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lock_admits_one_process_and_the_next_waits() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("broker.db");
        let held = StoreLock::take(&store, Duration::ZERO).await.unwrap();
        let error = StoreLock::take(&store, Duration::from_secs(30)).await.err().unwrap().to_string();
        assert!(error.contains("broker.db is in use by another broker"), "{error}");
        let mut next = Box::pin(StoreLock::take(&store, Duration::from_secs(30)));
        let early = tokio::time::timeout(Duration::from_secs(1), &mut next).await;
        assert!(early.is_err(), "it is held");
        drop(held);
        next.await.unwrap();
    }
}
