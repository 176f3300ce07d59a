//! Leader election: the replica that holds a Lease does the work. The protocol is that of client-go's
//! `tools/leaderelection`: writes carry the `resourceVersion` that was read, each process judges expiry by its own
//! clock from the moment it saw the Lease change, and a leader that cannot renew in time stops before another may
//! begin.

mod observer;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::observer::{Leadership, is_held, observe};
use super::explain;

/// How long other replicas wait for a silent leader.
const LEASE: Duration = Duration::from_secs(15);
/// How long a leader may go without a renewal. Together with [`STOPPING`] less than [`LEASE`].
const RENEWAL_DEADLINE: Duration = Duration::from_secs(10);
/// How long the work may take to stop when the Lease is lost; then it is dropped.
const STOPPING: Duration = Duration::from_secs(4);
/// The interval between reads of the Lease.
const RETRY: Duration = Duration::from_secs(2);
/// The time limit of one request.
const REQUEST: Duration = Duration::from_secs(3);

/// One replica's view of a Lease.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    observed: Observation,
}

/// When this process last saw the Lease change, by its own clock.
#[derive(Default)]
struct Observation(Option<(Option<String>, Instant)>);

/// The result of an attempt to hold the Lease.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Held,
    HeldByAnother,
}

impl Election {
    /// Joins the election for a Lease under this identity, which must be unique among replicas.
    #[must_use]
    pub fn new(client: Client, namespace: &str, lease: &str, identity: &str) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self {
            leases,
            name: lease.to_owned(),
            identity: identity.to_owned(),
            observed: Observation::default(),
        }
    }

    /// Runs `work` whenever this process holds the Lease, until `stop` is cancelled. The token given to `work` is
    /// cancelled when the Lease is lost; work that does not stop soon is dropped.
    ///
    /// # Errors
    /// The error that `work` returned.
    pub async fn run<F, E>(
        mut self,
        stop: CancellationToken,
        mut work: impl FnMut(CancellationToken) -> F,
    ) -> Result<(), E>
    where
        F: Future<Output = Result<(), E>>,
    {
        while stop.run_until_cancelled(self.acquire()).await.is_some() {
            info!(lease = self.name, identity = self.identity, "leading");
            let term = stop.child_token();
            let mut working = std::pin::pin!(work(term.clone()));
            let ended = tokio::select! {
                result = &mut working => Some(result),
                () = self.keep() => None,
            };
            if let Some(result) = ended {
                self.release().await;
                return result;
            }
            warn!(lease = self.name, identity = self.identity, "the Lease is lost; the work stops");
            term.cancel();
            if let Ok(result) = tokio::time::timeout(STOPPING, working).await {
                result?;
            }
        }
        Ok(())
    }

    /// Waits until this process holds the Lease.
    async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(Attempt::Held) => return,
                Ok(Attempt::HeldByAnother) => {}
                Err(error) => warn!(lease = self.name, error, "the Lease cannot be taken; retrying"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews the Lease until it is lost.
    async fn keep(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY).await;
            match self.attempt().await {
                Ok(Attempt::Held) => renewed = Instant::now(),
                Ok(Attempt::HeldByAnother) => return,
                Err(error) => warn!(lease = self.name, error, "the Lease cannot be renewed; retrying"),
            }
            // The result of another attempt would come too late.
            if renewed.elapsed() + RETRY + REQUEST > RENEWAL_DEADLINE {
                return;
            }
        }
    }

    /// Takes or renews the Lease, unless another holds it.
    async fn attempt(&mut self) -> Result<Attempt, String> {
        match tokio::time::timeout(REQUEST, self.try_hold()).await {
            Ok(Ok(attempt)) => Ok(attempt),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err(format!("the API server has not answered for {REQUEST:?}")),
        }
    }

    async fn try_hold(&mut self) -> Result<Attempt, kube::Error> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None)),
            };
            return written(self.leases.create(&PostParams::default(), &lease).await);
        };
        if self.observed.is_held_by_another(&lease, &self.identity, Instant::now()) {
            return Ok(Attempt::HeldByAnother);
        }
        let spec = self.spec(lease.spec.as_ref());
        let lease = Lease { spec: Some(spec), ..lease };
        written(self.leases.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn spec(&self, former: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mine = former.filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity));
        let transitions = former.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(mine.is_none() && former.is_some())),
            ..LeaseSpec::default()
        }
    }

    /// Releases the Lease, so that another replica can take over at once. If that fails, the Lease expires by itself.
    async fn release(&self) {
        let release = async {
            let Some(lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
            let held =
                lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity);
            if held {
                let spec = LeaseSpec { holder_identity: None, ..lease.spec.clone().unwrap_or_default() };
                let lease = Lease { spec: Some(spec), ..lease };
                self.leases.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(REQUEST, release).await {
            warn!(
                lease = self.name,
                error = explain(&error),
                "the Lease is not released; it expires by itself"
            );
        }
    }
}

impl Observation {
    /// Whether another process holds the Lease and renewed it within [`LEASE`].
    fn is_held_by_another(&mut self, lease: &Lease, identity: &str, now: Instant) -> bool {
        let version = &lease.metadata.resource_version;
        let since = match &self.0 {
            Some((seen, since)) if seen == version => *since,
            _ => {
                self.0 = Some((version.clone(), now));
                now
            }
        };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        !holder.is_empty() && holder != identity && now < since + LEASE
    }
}

/// A conflict means that another replica wrote first; the next attempt reads its write.
fn written(result: Result<Lease, kube::Error>) -> Result<Attempt, kube::Error> {
    match result {
        Ok(_) => Ok(Attempt::Held),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Attempt::HeldByAnother),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() }),
        }
    }

    #[test]
    fn an_own_or_released_lease_can_be_taken() {
        let now = Instant::now();
        for holder in ["me", ""] {
            assert!(!Observation::default().is_held_by_another(&lease(holder, "1"), "me", now), "{holder:?}");
        }
    }

    #[test]
    fn another_process_keeps_its_lease_until_it_was_silent_for_the_whole_duration() {
        let (start, mut observed) = (Instant::now(), Observation::default());
        assert!(observed.is_held_by_another(&lease("other", "1"), "me", start));
        assert!(observed.is_held_by_another(&lease("other", "1"), "me", start + RENEWAL_DEADLINE));
        // The other process renewed, so the time starts again.
        assert!(observed.is_held_by_another(&lease("other", "2"), "me", start + LEASE));
        assert!(observed.is_held_by_another(&lease("other", "2"), "me", start + LEASE + RENEWAL_DEADLINE));
        assert!(!observed.is_held_by_another(&lease("other", "2"), "me", start + LEASE * 2));
    }

    #[test]
    fn a_leader_stops_before_another_may_begin() {
        assert!(RENEWAL_DEADLINE + STOPPING < LEASE);
    }

    #[test]
    fn losing_a_race_for_the_lease_is_no_error() {
        let conflict = kube::core::Status { code: 409, ..kube::core::Status::default() };
        assert_eq!(written(Err(kube::Error::Api(Box::new(conflict)))).unwrap(), Attempt::HeldByAnother);
    }
}
