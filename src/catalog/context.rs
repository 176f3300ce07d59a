//! What the reconcilers share: the API client, watch caches, broker clients, the ledger, retries and locks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::{
    Client, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};

use super::{connections::Connections, keyed_lock::Turns, ledger::Ledger};
use crate::apis::servicecatalog::{
    ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ExternalResource, ServiceBinding,
    ServiceInstance,
};
use crate::{
    install::secret_approvals::Approvals,
    k8s::{backoff::Retries, events::Recorder, namespaces::NamespaceMeta, unreadable::Unreadable},
    telemetry::Metrics,
};

/// The average interval between checks of a binding's Secrets.
const SECRETS_READ_EVERY: Duration = Duration::from_mins(10);

/// The caches of the watched kinds.
pub(super) struct Stores {
    pub(super) brokers: Store<ClusterServiceBroker>,
    pub(super) classes: Store<ClusterServiceClass>,
    pub(super) plans: Store<ClusterServicePlan>,
    pub(super) instances: Store<ServiceInstance>,
    pub(super) bindings: Store<ServiceBinding>,
    pub(super) external_resources: Store<ExternalResource>,
    pub(super) namespaces: Store<NamespaceMeta>,
}

impl Stores {
    /// Waits until every kind has been listed once.
    pub(super) async fn synced(&self) {
        // A store whose watch ended never becomes ready; the task that runs the watches notices that.
        let _ = tokio::join!(
            self.brokers.wait_until_ready(),
            self.classes.wait_until_ready(),
            self.plans.wait_until_ready(),
            self.instances.wait_until_ready(),
            self.bindings.wait_until_ready(),
            self.external_resources.wait_until_ready(),
            self.namespaces.wait_until_ready(),
        );
    }

    pub(super) fn broker(&self, name: &str) -> Option<Arc<ClusterServiceBroker>> {
        self.brokers.get(&ObjectRef::new(name))
    }

    pub(super) fn class(&self, name: &str) -> Option<Arc<ClusterServiceClass>> {
        self.classes.get(&ObjectRef::new(name))
    }
}

/// The state of a namespace, as far as reconcilers need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamespaceState {
    /// The watch has not seen the namespace yet, or it is gone.
    Unknown,
    /// The namespace is being deleted: nothing is created in it or for it.
    Terminating {
        /// When the deletion began.
        since: Timestamp,
    },
    /// The namespace is in normal use.
    Active {
        /// Its uid.
        uid: String,
    },
}

/// The dependencies of every reconciler.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) stores: Stores,
    pub(super) connections: Connections,
    pub(super) ledger: Ledger,
    pub(super) retries: Retries,
    pub(super) turns: Turns,
    pub(super) looks: Looks,
    pub(super) writes: Writes,
    pub(super) metrics: Arc<Metrics>,
    /// Reports objects that cannot be read.
    pub(super) unreadable: Unreadable,
    /// The uid of the namespace kube-system, which commonly serves as the cluster's id.
    pub(super) cluster_id: String,
    pub(super) recorder: Recorder,
}

impl Context {
    pub(super) fn new(
        client: Client,
        stores: Stores,
        metrics: Arc<Metrics>,
        cluster_id: String,
        approvals: Approvals,
    ) -> Self {
        let recorder = Recorder::new(client.clone(), stores.namespaces.clone());
        Self {
            connections: Connections::new(client.clone(), approvals),
            ledger: Ledger::new(client.clone(), stores.external_resources.clone()),
            retries: Retries::default(),
            turns: Turns::default(),
            looks: Looks::default(),
            writes: Writes::default(),
            unreadable: Unreadable::with_events(recorder.clone(), metrics.clone()),
            recorder,
            metrics,
            cluster_id,
            stores,
            client,
        }
    }

    pub(super) fn namespace(&self, name: &str) -> NamespaceState {
        let Some(namespace) = self.stores.namespaces.get(&ObjectRef::new(name)) else {
            return NamespaceState::Unknown;
        };
        match &namespace.metadata.deletion_timestamp {
            Some(since) => NamespaceState::Terminating { since: since.0 },
            None => NamespaceState::Active { uid: namespace.uid().unwrap_or_default() },
        }
    }

    /// The uid of a namespace, if the watch has seen it.
    pub(super) fn namespace_uid(&self, name: &str) -> Option<String> {
        self.stores.namespaces.get(&ObjectRef::new(name))?.uid()
    }

    /// Whether a namespace is being deleted.
    pub(super) fn is_going(&self, name: &str) -> bool {
        matches!(self.namespace(name), NamespaceState::Terminating { .. })
    }
}

/// The versions of bindery's latest writes. A reconciler that gets an older version waits for its own write to arrive
/// in the cache; otherwise it would ask a broker twice.
#[derive(Debug, Default)]
pub(super) struct Writes(Mutex<HashMap<String, u64>>);

impl Writes {
    /// Records the version of an object that bindery wrote.
    pub(super) fn wrote(&self, meta: &ObjectMeta) {
        if let (Some(uid), Some(version)) = (&meta.uid, version(meta)) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.clone(), version);
        }
    }

    /// Whether this version of an object is at least the one that bindery wrote last.
    pub(super) fn are_seen(&self, meta: &ObjectMeta) -> bool {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = meta.uid.as_deref().unwrap_or_default();
        let Some(written) = writes.get(uid) else { return true };
        if version(meta).is_some_and(|version| version < *written) {
            return false;
        }
        writes.remove(uid);
        true
    }

    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Resource versions can be compared as numbers (KEP-5504).
fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_ref()?.parse().ok()
}

/// The times of the next check of each binding's Secrets.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<String, Look>>);

#[derive(Debug)]
struct Look {
    due: Instant,
    /// The value of the annotation that asks for a check.
    asked: Option<String>,
}

impl Looks {
    /// The time until the next check; zero if the check is due or asked for. After a start the first checks are
    /// spread over the whole interval.
    pub(super) fn wait(&self, uid: &str, asked: Option<&str>) -> Duration {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let look = looks.entry(uid.to_owned()).or_insert_with(|| Look {
            due: Instant::now() + SECRETS_READ_EVERY.mul_f64(rand::random::<f64>()),
            asked: asked.map(str::to_owned),
        });
        if look.asked.as_deref() != asked {
            return Duration::ZERO;
        }
        look.due.saturating_duration_since(Instant::now())
    }

    /// Whether a new annotation asks for a check. An annotation from before bindery's start does not.
    pub(super) fn is_asked(&self, uid: &str, asked: Option<&str>) -> bool {
        self.wait(uid, asked);
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.get(uid).is_some_and(|look| look.asked.as_deref() != asked)
    }

    /// Records that the Secrets were checked.
    pub(super) fn looked(&self, uid: &str, asked: Option<&str>) -> Duration {
        let wait = SECRETS_READ_EVERY.mul_f64(0.75 + rand::random::<f64>() / 2.0);
        let look = Look { due: Instant::now() + wait, asked: asked.map(str::to_owned) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), look);
        wait
    }

    /// Makes the next reconcile check the Secrets.
    pub(super) fn hurry(&self, uid: &str) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = looks.get_mut(uid) {
            look.due = Instant::now();
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_older_than_the_last_write_is_ignored() {
        let meta = |version: &str| ObjectMeta {
            uid: Some("u".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        let writes = Writes::default();
        assert!(writes.are_seen(&meta("9")));
        writes.wrote(&meta("10"));
        assert!(!writes.are_seen(&meta("9")));
        assert!(writes.are_seen(&meta("11")));
        assert!(writes.are_seen(&meta("9")), "seen once is enough");
    }

    #[test]
    fn a_new_annotation_causes_a_check_at_once() {
        let looks = Looks::default();
        assert!(looks.wait("a", None) <= SECRETS_READ_EVERY);
        assert!(looks.looked("a", None) > SECRETS_READ_EVERY / 2);
        assert!(looks.wait("a", None) > Duration::ZERO);
        assert_eq!(looks.wait("a", Some("1")), Duration::ZERO);
        looks.looked("a", Some("1"));
        assert!(looks.wait("a", Some("1")) > Duration::ZERO);
        looks.hurry("a");
        assert_eq!(looks.wait("a", Some("1")), Duration::ZERO);
        looks.looked("a", Some("1"));
        assert!(looks.wait("a", Some("1")) > Duration::ZERO);
    }
}
