//! What the reconcilers share: the client, the watch caches, the broker connections, the ledger, back-off and locks.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Client, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};

use super::{
    CatalogSettings, approved_secrets::ApprovedSecrets, connections::Connections, keyed_lock::KeyedLock,
    ledger::Ledger, own_writes::OwnWrites, secret_checks::SecretChecks,
};
use crate::apis::servicecatalog::{
    ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ExternalResource, ServiceBinding,
    ServiceBroker, ServiceClass, ServiceInstance, ServicePlan,
    scope::{BrokerKey, BrokerObject, ClassObject, PlanObject},
};
use crate::{
    k8s::{
        backoff::Retries, cache::Cache, events::Recorder, namespaces::NamespaceMeta, unreadable::Unreadable,
    },
    telemetry::Metrics,
};

/// The caches of the watched kinds.
pub(super) struct Stores {
    pub(super) cluster_brokers: Store<ClusterServiceBroker>,
    pub(super) cluster_classes: Store<ClusterServiceClass>,
    pub(super) cluster_plans: Store<ClusterServicePlan>,
    pub(super) brokers: Store<ServiceBroker>,
    pub(super) classes: Store<ServiceClass>,
    pub(super) plans: Store<ServicePlan>,
    pub(super) instances: Cache<ServiceInstance>,
    pub(super) bindings: Cache<ServiceBinding>,
    pub(super) external_resources: Cache<ExternalResource>,
    pub(super) namespaces: Store<NamespaceMeta>,
}

impl Stores {
    /// Waits until every kind has been listed once.
    pub(super) async fn synced(&self) {
        // A store whose watch ended never becomes ready; the task that runs the watches notices that.
        let _ = tokio::join!(
            self.cluster_brokers.wait_until_ready(),
            self.cluster_classes.wait_until_ready(),
            self.cluster_plans.wait_until_ready(),
            self.brokers.wait_until_ready(),
            self.classes.wait_until_ready(),
            self.plans.wait_until_ready(),
            self.instances.wait_until_ready(),
            self.bindings.wait_until_ready(),
            self.external_resources.wait_until_ready(),
            self.namespaces.wait_until_ready(),
        );
    }

    /// The broker of this name, of the cluster or of a namespace.
    pub(super) fn broker(&self, key: &BrokerKey) -> Option<Arc<dyn BrokerObject>> {
        match &key.namespace {
            None => Some(self.cluster_brokers.get(&ObjectRef::new(&key.name))?),
            Some(namespace) => Some(self.brokers.get(&ObjectRef::new(&key.name).within(namespace))?),
        }
    }

    /// The classes of the cluster, or those of a namespace.
    pub(super) fn classes_of(&self, namespace: Option<&str>) -> Vec<Arc<dyn ClassObject>> {
        match namespace {
            None => self.cluster_classes.state().into_iter().map(|class| class as _).collect(),
            Some(_) => {
                let classes = self.classes.state_filter(|class| class.namespace().as_deref() == namespace);
                classes.into_iter().map(|class| class as _).collect()
            }
        }
    }

    /// The plans of the cluster, or those of a namespace.
    pub(super) fn plans_of(&self, namespace: Option<&str>) -> Vec<Arc<dyn PlanObject>> {
        match namespace {
            None => self.cluster_plans.state().into_iter().map(|plan| plan as _).collect(),
            Some(_) => {
                let plans = self.plans.state_filter(|plan| plan.namespace().as_deref() == namespace);
                plans.into_iter().map(|plan| plan as _).collect()
            }
        }
    }

    /// The class with this id in the catalog of a broker. A broker may be registered under another name now, so a
    /// class of another broker in the same scope is the second choice.
    pub(super) fn class_with_id(&self, broker: &BrokerKey, id: &str) -> Option<Arc<dyn ClassObject>> {
        let mut classes = self.classes_of(broker.namespace.as_deref());
        classes.retain(|class| class.common().external_id == id);
        classes.into_iter().max_by_key(|class| class.broker() == *broker)
    }

    /// The plan with this id in the catalog of a broker, see [`Self::class_with_id`].
    pub(super) fn plan_with_id(&self, broker: &BrokerKey, id: &str) -> Option<Arc<dyn PlanObject>> {
        let mut plans = self.plans_of(broker.namespace.as_deref());
        plans.retain(|plan| plan.common().external_id == id);
        plans.into_iter().max_by_key(|plan| plan.broker() == *broker)
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
    pub(super) secrets: ApprovedSecrets,
    pub(super) ledger: Ledger,
    pub(super) retries: Retries,
    pub(super) locks: KeyedLock,
    pub(super) secret_checks: SecretChecks,
    pub(super) own_writes: OwnWrites,
    pub(super) metrics: Arc<Metrics>,
    /// Reports objects that cannot be read.
    pub(super) unreadable: Unreadable,
    /// How long a failing operation at a broker is retried.
    pub(super) retry_duration: Duration,
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
        settings: &CatalogSettings,
    ) -> Self {
        let approvals = settings.approvals.clone();
        let recorder = Recorder::new(client.clone(), stores.namespaces.clone());
        Self {
            secrets: ApprovedSecrets::new(client.clone(), approvals.clone()),
            connections: Connections::new(client.clone(), approvals, stores.namespaces.clone()),
            ledger: Ledger::new(client.clone(), stores.external_resources.clone()),
            retries: Retries::default(),
            locks: KeyedLock::default(),
            secret_checks: SecretChecks::default(),
            own_writes: OwnWrites::default(),
            unreadable: Unreadable::with_events(recorder.clone(), metrics.clone()),
            recorder,
            metrics,
            retry_duration: settings.retry_duration,
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
    pub(super) fn is_terminating(&self, name: &str) -> bool {
        matches!(self.namespace(name), NamespaceState::Terminating { .. })
    }
}
