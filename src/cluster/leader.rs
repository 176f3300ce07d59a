//! Leader election: of all replicas, the one that holds a Lease does the work.

use std::future::Future;

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How long a leader that vanished is waited for, in seconds.
const LEASE_SECONDS: u64 = 15;
/// How long before the end of that time the leader renews, in seconds.
const RENEWAL_SECONDS: u64 = 10;

/// Runs `work` whenever this process holds the Lease, until `stop`. The token given to `work` is cancelled when the
/// Lease is lost; `work` is waited for before the Lease may be taken again.
///
/// # Errors
/// When the Lease cannot be managed at all, or what `work` returned.
pub async fn run_as_leader<W, F, E>(
    client: Client,
    namespace: &str,
    lease: &str,
    identity: &str,
    stop: CancellationToken,
    mut work: W,
) -> Result<(), E>
where
    W: FnMut(CancellationToken) -> F,
    F: Future<Output = Result<(), E>>,
    E: From<LeaseManagerError>,
{
    let manager = LeaseManagerBuilder::new(client, lease)
        .with_namespace(namespace)
        .with_identity(identity)
        .with_duration(LEASE_SECONDS)
        .with_grace(RENEWAL_SECONDS)
        .build()
        .await?;
    let (mut held, task) = manager.watch().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            watched = until(&mut held, true) => if !watched { break },
        }
        info!(lease, identity, "leading");
        let term = stop.child_token();
        let mut working = std::pin::pin!(work(term.clone()));
        tokio::select! {
            result = &mut working => { result?; break }
            _ = until(&mut held, false) => {
                info!(lease, identity, "the Lease is lost");
                term.cancel();
                working.await?;
            }
        }
    }
    // Closing the channel makes the manager release the Lease.
    drop(held);
    if let Ok(ended) = task.await {
        ended?;
    }
    Ok(())
}

/// Waits until the Lease is held, or is not. `false`: nobody watches it any more.
async fn until(held: &mut watch::Receiver<bool>, wanted: bool) -> bool {
    held.wait_for(|held| *held == wanted).await.is_ok()
}
