//! Periodic work on each backend: locking out expired credentials, and completing removals that left something. The
//! backend itself knows what is left to do, so that any broker of the installation can do it after any interruption.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::{sleep, timeout};

use super::{Engine, Provider};
use crate::broker::config::BackendName;

/// The interval for completing removals.
const SETTLING: Duration = Duration::from_mins(5);

impl Engine {
    /// Locks out expired credentials until the engine stops, on each backend separately.
    pub(crate) async fn expire(&self) {
        join_all(self.0.providers.iter().map(|(server, provider)| self.expire_on(server, provider))).await;
    }

    /// Completes removals that left something until the engine stops, on each backend separately.
    pub(crate) async fn settle(&self) {
        join_all(self.0.providers.iter().map(|(server, provider)| self.settle_on(server, provider))).await;
    }

    async fn settle_on(&self, server: &BackendName, provider: &Arc<dyn Provider>) {
        let timing = self.0.timing;
        let settling = async {
            loop {
                {
                    let _permit = self.0.permit_outside_operations(server).await;
                    match timeout(timing.call, provider.settle()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%server, "cannot complete removals: {error}"),
                        Err(_) => tracing::debug!(%server, "completing removals takes too long"),
                    }
                }
                sleep(SETTLING).await;
            }
        };
        tokio::select! {
            () = self.0.stop.cancelled() => {}
            () = settling => {}
        }
    }

    async fn expire_on(&self, server: &BackendName, provider: &Arc<dyn Provider>) {
        let timing = self.0.timing;
        let mut failed = false;
        let watching = async {
            loop {
                let expired = {
                    let _permit = self.0.permit_outside_operations(server).await;
                    timeout(timing.call, provider.expire()).await
                };
                // Log a backend that stays unreachable only once.
                match expired {
                    Ok(Ok(())) => failed = false,
                    Ok(Err(error)) if !failed => {
                        tracing::warn!(%server, "cannot look for expired credentials: {error}");
                        failed = true;
                    }
                    Err(_) if !failed => {
                        tracing::warn!(%server, "looking for expired credentials takes too long");
                        failed = true;
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
                sleep(timing.expiry).await;
            }
        };
        tokio::select! {
            () = self.0.stop.cancelled() => {}
            () = watching => {}
        }
    }
}
