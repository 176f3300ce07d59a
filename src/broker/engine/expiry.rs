//! Looking regularly for credentials that are past their time. Each backend knows when they end, so that any broker of
//! the installation can do it, after any interruption.

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::{sleep, timeout};

use super::{Engine, Provider};
use crate::config::ServerName;

impl Engine {
    /// Locks out whoever is past its time, on each backend apart from the others, until the engine stops.
    pub(crate) async fn expire(&self) {
        join_all(self.0.providers.iter().map(|(server, provider)| self.expire_on(server, provider))).await;
    }

    async fn expire_on(&self, server: &ServerName, provider: &Arc<dyn Provider>) {
        let timing = self.0.timing;
        let mut failed = false;
        let watching = async {
            loop {
                let expired = timeout(timing.call, provider.expire()).await;
                // A server that is away is said to be so once.
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
