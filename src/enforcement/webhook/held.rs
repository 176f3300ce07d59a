//! The policies by which the webhook judges: a cache of all CredentialPolicies and their exceptions. A policy that becomes
//! invalid counts as it was before, as it does in the API server, but only until this process ends.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        reflector::{self, Store, store::Writer},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use tracing::debug;

use crate::{
    apis::bindery::{
        credential_policy::{CredentialPolicy, Engine},
        credential_policy_exception::CredentialPolicyException,
    },
    enforcement::stood_down,
    k8s::{
        explain_watch,
        guarded::Guarded,
        unreadable::Unreadable,
        watch::{event_stream, of_all},
    },
    policy::Policies,
    telemetry::{Metrics, ops::Readiness},
};

/// The names of the caches in readiness reports.
const POLICIES: &str = "credentialpolicies";
const EXCEPTIONS: &str = "credentialpolicyexceptions";

/// The policies that are held at the moment.
pub struct HeldPolicies {
    policies: Store<CredentialPolicy>,
    exceptions: Store<CredentialPolicyException>,
    /// Namespaces for which no policy holds, in addition to those of the system.
    excluded: Vec<String>,
    /// The last valid version of each policy.
    valid: Mutex<BTreeMap<String, Arc<CredentialPolicy>>>,
    present: RwLock<Arc<Policies>>,
}

impl HeldPolicies {
    /// Returns the cache and the future of its watches, which the caller must run. The process is not ready before
    /// the first lists, or before bindery knows that there are none.
    pub fn new(
        client: &Client,
        excluded: Vec<String>,
        metrics: Arc<Metrics>,
        readiness: Readiness,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        for part in [POLICIES, EXCEPTIONS] {
            readiness.wait_for(part, "they have not been read yet");
        }
        let (policies, policy_writer) = reflector::store();
        let (exceptions, exception_writer) = reflector::store();
        let held = Arc::new(Self::of(policies, exceptions, excluded));
        let unreadable = Unreadable::without_events(metrics);
        let all_policies = Api::all(client.clone());
        let all_exceptions = Api::all(client.clone());
        let (one, other) = (held.clone(), held.clone());
        let of_policies =
            watch(all_policies, policy_writer, unreadable.clone(), readiness.clone(), POLICIES, move || {
                one.refresh();
            });
        let of_exceptions =
            watch(all_exceptions, exception_writer, unreadable, readiness, EXCEPTIONS, move || {
                other.refresh();
            });
        (held, async move {
            futures::future::join(of_policies, of_exceptions).await;
        })
    }

    pub(super) fn of(
        policies: Store<CredentialPolicy>,
        exceptions: Store<CredentialPolicyException>,
        excluded: Vec<String>,
    ) -> Self {
        Self { policies, exceptions, excluded, valid: Mutex::default(), present: RwLock::default() }
    }

    /// The policies by which to judge now.
    pub(super) fn present(&self) -> Arc<Policies> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Builds the policies again after a change of a cache.
    pub(super) fn refresh(&self) {
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.policies.state();
        valid.retain(|name, _| all.iter().any(|policy| policy.name_any() == *name));
        let is_off = |name: &str| {
            let present = all.iter().find(|policy| policy.name_any() == name);
            present.is_some_and(|it| it.metadata.deletion_timestamp.is_some() || stood_down(it).is_some())
        };
        for policy in &all {
            if Policies::new(std::slice::from_ref(policy.as_ref()), Vec::new(), Vec::new()).is_ok() {
                valid.insert(policy.name_any(), policy.clone());
            }
        }
        let held = valid.iter().filter(|(name, _)| !is_off(name)).map(|(_, policy)| policy.as_ref().clone());
        let held: Vec<_> = held.collect();
        let exceptions = self.exceptions.state().iter().map(|exception| exception.as_ref().clone()).collect();
        // Each is valid by itself, so all together are.
        let policies = Policies::new(&held, exceptions, self.excluded.clone()).unwrap_or_default();
        *self.present.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(policies.evaluated_by(Engine::Webhook));
    }
}

/// Keeps a cache up to date and calls `changed` after each event. Never ends.
async fn watch<K>(
    api: Api<Guarded<K>>,
    mut writer: Writer<K>,
    unreadable: Unreadable,
    readiness: Readiness,
    part: &'static str,
    changed: impl Fn() + Send,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = event_stream(api, of_all(), writer.as_reader(), unreadable);
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                writer.apply_watcher_event(&event);
                // A new list counts once it is complete.
                if !matches!(event, Event::Init | Event::InitApply(_)) {
                    changed();
                }
                if matches!(event, Event::InitDone) {
                    readiness.ready(part);
                }
            }
            // Injection does not wait for policies; the watch retries by itself.
            Err(error) => {
                debug!(part, error = explain_watch(&error), "the watch was interrupted");
                readiness.ready(part);
            }
        }
    }
}

#[cfg(test)]
mod tests;
