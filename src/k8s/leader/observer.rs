//! Observes whether an election has a leader, without taking part in it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tracing::debug;

use super::{LEASE, REQUEST};
use crate::k8s::explain;

/// The interval between reads of the Lease.
const LOOK: Duration = Duration::from_secs(3);

/// Whether a Lease is held. Clones share the observation.
#[derive(Clone, Debug, Default)]
pub struct Leadership(Arc<Mutex<Sight>>);

/// The last observation of the Lease.
#[derive(Debug, Default)]
struct Sight {
    version: Option<String>,
    /// The time, by this process's clock, by which the holder must renew the Lease.
    held_until: Option<Instant>,
}

/// Returns the observation of the Lease of this name, and the task that updates it, which the caller must run.
pub fn observe(
    client: Client,
    namespace: &str,
    lease: &str,
) -> (Leadership, impl Future<Output = ()> + Send + use<>) {
    let leadership = Leadership::default();
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    (leadership.clone(), look(leases, lease.to_owned(), leadership))
}

/// Whether a process holds the Lease of this name now.
///
/// # Errors
/// When the Lease cannot be read.
pub async fn is_held(client: Client, namespace: &str, lease: &str) -> kube::Result<bool> {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let leadership = Leadership::default();
    leadership.saw(leases.get_opt(lease).await?.as_ref(), Instant::now(), Timestamp::now());
    Ok(leadership.is_held())
}

async fn look(leases: Api<Lease>, name: String, leadership: Leadership) {
    loop {
        match tokio::time::timeout(REQUEST, leases.get_opt(&name)).await {
            Ok(Ok(lease)) => leadership.saw(lease.as_ref(), Instant::now(), Timestamp::now()),
            Ok(Err(error)) => debug!(lease = name, error = explain(&error), "the Lease cannot be read"),
            Err(_) => debug!(lease = name, "the Lease cannot be read: no answer"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Leadership {
    /// Whether a process held the Lease at the last read and has renewed it in time.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is_held_at(Instant::now())
    }

    fn is_held_at(&self, now: Instant) -> bool {
        let sight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sight.held_until.is_some_and(|until| now < until)
    }

    fn saw(&self, lease: Option<&Lease>, now: Instant, clock: Timestamp) {
        let mut sight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        if holder.is_empty() {
            sight.held_until = None;
        } else if sight.version.is_none() {
            // The Lease may be an old one, so only its own time counts. Clocks may differ a little.
            let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
            let age = renewed.map(|at| clock.duration_since(at).unsigned_abs());
            sight.held_until =
                age.and_then(|age| LEASE.checked_sub(age)).and_then(|left| now.checked_add(left));
        } else if sight.version != version {
            sight.held_until = now.checked_add(LEASE);
        }
        sight.version = version;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, version: &str, renewed: Timestamp) -> Lease {
        serde_json::from_value(json!({
            "metadata": {"resourceVersion": version},
            "spec": {"holderIdentity": holder, "renewTime": format!("{renewed:.6}")}
        }))
        .unwrap()
    }

    #[test]
    fn a_renewed_lease_is_held_until_its_next_renewal_is_due() {
        let (leadership, now, clock) = (Leadership::default(), Instant::now(), Timestamp::now());
        leadership.saw(Some(&lease("a", "1", clock - Duration::from_secs(5))), now, clock);
        assert!(leadership.is_held_at(now + Duration::from_secs(9)));
        assert!(!leadership.is_held_at(now + Duration::from_secs(11)));
    }

    #[test]
    fn an_abandoned_lease_is_not_held_until_it_is_renewed() {
        let (leadership, now, clock) = (Leadership::default(), Instant::now(), Timestamp::now());
        let long_ago = clock - Duration::from_mins(3);
        leadership.saw(Some(&lease("a", "1", long_ago)), now, clock);
        assert!(!leadership.is_held_at(now));
        leadership.saw(Some(&lease("a", "1", long_ago)), now + LOOK, clock);
        assert!(!leadership.is_held_at(now + LOOK), "the Lease is unchanged");
        // Even if the holder's clock is wrong.
        leadership.saw(Some(&lease("b", "2", long_ago)), now + LOOK * 2, clock);
        assert!(leadership.is_held_at(now + LOOK * 2));
    }

    #[test]
    fn a_silent_leader_counts_as_gone_after_the_lease_duration() {
        let (leadership, now, clock) = (Leadership::default(), Instant::now(), Timestamp::now());
        for version in ["1", "2"] {
            leadership.saw(Some(&lease("a", version, clock)), now, clock);
        }
        leadership.saw(Some(&lease("a", "2", clock)), now + LOOK, clock);
        assert!(leadership.is_held_at(now + LEASE / 2));
        assert!(!leadership.is_held_at(now + LEASE), "reading the Lease again does not extend it");
    }

    #[test]
    fn a_released_or_missing_lease_is_not_held() {
        let (now, clock) = (Instant::now(), Timestamp::now());
        for end in [None, Some(lease("", "2", clock))] {
            let leadership = Leadership::default();
            leadership.saw(Some(&lease("a", "1", clock)), now, clock);
            assert!(leadership.is_held_at(now));
            leadership.saw(end.as_ref(), now, clock);
            assert!(!leadership.is_held_at(now));
        }
    }
}
