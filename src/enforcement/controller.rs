//! Applies the compiled objects. Policies are few, so every change leads to one pass over all of them. A policy that
//! becomes invalid keeps the objects of its last valid spec: a mistake must not switch it off.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::ClusterResourceScope,
    runtime::{
        reflector::{self, Store, store::Writer},
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::status::{of_exception, of_policy};
use crate::{
    apis::bindery::{
        credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
    },
    contract::{FIELD_MANAGER, policy::POLICY},
    k8s::{
        delete_by_uid, explain,
        guarded::Guarded,
        unreadable::Unreadable,
        watch::{self, Change},
        with_timeout,
    },
    policy::cel::{Compiled, compile},
    telemetry::Metrics,
};

/// How often everything is applied again, in case a change was missed.
const RESYNC: Duration = Duration::from_mins(10);
/// The wait after a pass in which a write failed.
const RETRY: Duration = Duration::from_secs(5);
/// The time limit of one write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to check whether the custom resource definitions exist.
const CRD_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The controller ended without having been stopped.
#[derive(Debug, thiserror::Error)]
#[error(
    "a task of the CredentialPolicy controller ended unexpectedly ({0}), which is a defect; report it with the log"
)]
pub struct EnforcementError(String);

/// The caches of the watched kinds.
struct Stores {
    policies: Store<CredentialPolicy>,
    exceptions: Store<CredentialPolicyException>,
    admission_policies: Store<ValidatingAdmissionPolicy>,
    bindings: Store<ValidatingAdmissionPolicyBinding>,
}

struct Controller {
    client: Client,
    /// Namespaces for which no policy holds, in addition to those of the system.
    excluded: Vec<String>,
    stores: Stores,
    changed: Arc<Notify>,
    unreadable: Unreadable,
    metrics: Arc<Metrics>,
}

/// Runs the controller until `stop`. Only one process of an installation may run it at a time, which the caller ensures.
/// `excluded` are namespaces for which no policy holds, in addition to those of the system.
///
/// # Errors
/// When a task ends unexpectedly.
pub async fn run(
    client: Client,
    excluded: Vec<String>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), EnforcementError> {
    if stop.run_until_cancelled(await_definitions(&client)).await.is_none() {
        return Ok(());
    }
    let (policies, policy_writer) = reflector::store();
    let (exceptions, exception_writer) = reflector::store();
    let (admission_policies, admission_policy_writer) = reflector::store();
    let (bindings, binding_writer) = reflector::store();
    let controller = Arc::new(Controller {
        client,
        excluded,
        stores: Stores { policies, exceptions, admission_policies, bindings },
        changed: Arc::default(),
        unreadable: Unreadable::without_events(metrics.clone()),
        metrics,
    });
    let mut tasks = JoinSet::new();
    let ours = || watch::of_all().labels(POLICY);
    controller.watch(&mut tasks, watch::of_all(), policy_writer);
    controller.watch(&mut tasks, watch::of_all(), exception_writer);
    controller.watch(&mut tasks, ours(), admission_policy_writer);
    controller.watch(&mut tasks, ours(), binding_writer);
    tasks.spawn(controller.work());
    match stop.run_until_cancelled(tasks.join_next()).await {
        None => Ok(()),
        Some(ended) => {
            let why =
                ended.and_then(Result::err).map_or("without an error".to_owned(), |error| error.to_string());
            Err(EnforcementError(why))
        }
    }
}

async fn await_definitions(client: &Client) {
    let policies: Api<Guarded<CredentialPolicy>> = Api::all(client.clone());
    let exceptions: Api<Guarded<CredentialPolicyException>> = Api::all(client.clone());
    let one = ListParams::default().limit(1);
    while let Err(error) = policies.list(&one).await.map(drop).and(exceptions.list(&one).await.map(drop)) {
        let error = explain(&error);
        warn!(
            error,
            "CredentialPolicies cannot be listed; create their custom resource definitions: bindery crds | kubectl apply -f -"
        );
        tokio::time::sleep(CRD_CHECK_INTERVAL).await;
    }
}

impl Controller {
    fn watch<K>(self: &Arc<Self>, tasks: &mut JoinSet<()>, config: watcher::Config, writer: Writer<K>)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api: Api<Guarded<K>> = Api::all(self.client.clone());
        let (changed, unreadable) = (self.changed.clone(), self.unreadable.clone());
        tasks.spawn(watch::watch(api, config, unreadable, writer, move |change| {
            if !matches!(change, Change::Applied { beyond_status: false, .. }) {
                changed.notify_one();
            }
        }));
    }

    /// Makes a pass after each change, and when an exception ends.
    async fn work(self: Arc<Self>) {
        let Stores { policies, exceptions, admission_policies, bindings } = &self.stores;
        let ready = async {
            policies.wait_until_ready().await?;
            exceptions.wait_until_ready().await?;
            admission_policies.wait_until_ready().await?;
            bindings.wait_until_ready().await
        };
        if ready.await.is_err() {
            // A writer is gone, so a watch has ended, which ends the controller.
            return;
        }
        loop {
            let wait = self.pass().await;
            // An elapsed time is as good a reason for a pass as a change.
            let _ = timeout(wait, self.changed.notified()).await;
        }
    }

    /// Applies all policies. Returns when the next pass is due without a change.
    async fn pass(&self) -> Duration {
        let now = Timestamp::now();
        let exceptions: Vec<CredentialPolicyException> =
            self.stores.exceptions.state().iter().map(|exception| exception.as_ref().clone()).collect();
        let policies = self.stores.policies.state();
        // Objects of policies in here stay as they are.
        let mut kept = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        let mut is_complete = true;
        for policy in policies.iter().filter(|policy| policy.metadata.deletion_timestamp.is_none()) {
            let compiled = compile(policy, &exceptions, &self.excluded, now);
            let outcome = match &compiled {
                Ok(compiled) => self.apply(policy, compiled).await.map_err(|error| ("ApplyFailed", error)),
                Err(error) => Err(("InvalidPolicy", error.to_string())),
            };
            match &compiled {
                Ok(compiled) => wanted.extend(compiled.iter().map(|it| it.policy.name_any())),
                Err(_) => drop(kept.insert(policy.name_any())),
            }
            if let Err((reason, error)) = &outcome {
                warn!(
                    credentialpolicy = policy.name_any(),
                    reason, error, "a policy is not held as it is written"
                );
                kept.insert(policy.name_any());
                is_complete &= *reason == "InvalidPolicy";
            }
            let compiled = compiled.unwrap_or_default();
            let status = of_policy(policy, &compiled, outcome.err(), &exceptions, now);
            is_complete &=
                self.write_status(policy.as_ref(), policy.status.as_ref() != Some(&status), &status).await;
        }
        let ends = exceptions.iter().map(|it| (it.metadata.name.as_deref().unwrap_or_default(), it));
        self.metrics.exception_ends(ends.map(|(name, it)| (name, it.spec.expires_at.0.as_second())));
        for exception in self.stores.exceptions.state() {
            let is_known = policies.iter().any(|policy| policy.name_any() == exception.spec.policy);
            let status = of_exception(&exception, is_known, now);
            let is_new = exception.status.as_ref() != Some(&status);
            is_complete &= self.write_status(exception.as_ref(), is_new, &status).await;
        }
        // A binding without its policy would be reported as an error by the API server, so bindings go first.
        is_complete &= self.prune(&self.stores.bindings, &wanted, &kept).await;
        is_complete &= self.prune(&self.stores.admission_policies, &wanted, &kept).await;
        if !is_complete {
            return RETRY;
        }
        let ends = exceptions.iter().map(|exception| exception.spec.expires_at.0).filter(|end| *end > now);
        let next =
            ends.min().map_or(RESYNC, |end| Duration::try_from(end.duration_since(now)).unwrap_or_default());
        next.min(RESYNC)
    }

    /// Applies the objects of one policy, each ValidatingAdmissionPolicy before its binding.
    async fn apply(&self, owner: &CredentialPolicy, compiled: &[Compiled]) -> Result<(), String> {
        for Compiled { policy, binding, .. } in compiled {
            self.apply_one(owner, policy.clone()).await?;
            self.apply_one(owner, binding.clone()).await?;
        }
        Ok(())
    }

    async fn apply_one<K>(&self, owner: &CredentialPolicy, mut object: K) -> Result<(), String>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        object.meta_mut().owner_references = Some(vec![owner_reference(owner)]);
        let name = object.name_any();
        let api: Api<K> = Api::all(self.client.clone());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&object);
        let applied = with_timeout(WRITE_TIMEOUT, api.patch(&name, &parameters, &patch)).await;
        applied
            .map(drop)
            .map_err(|error| format!("cannot apply {} {name}: {}", K::kind(&()), explain(&error)))
    }

    /// Deletes the objects that no policy needs any more. Returns whether all could be deleted.
    async fn prune<K>(&self, store: &Store<K>, wanted: &BTreeSet<String>, kept: &BTreeSet<String>) -> bool
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let mut is_complete = true;
        for object in store.state() {
            let of_kept = object.labels().get(POLICY).is_some_and(|policy| kept.contains(policy));
            let name = object.name_any();
            if of_kept || wanted.contains(&name) {
                continue;
            }
            let deletion = delete_by_uid::delete(&api, &name, object.uid());
            match with_timeout(WRITE_TIMEOUT, deletion).await {
                Ok(()) => info!(kind = %K::kind(&()), name, "deleted an object that no policy needs"),
                Err(error) => {
                    warn!(kind = %K::kind(&()), name, error = explain(&error), "an object cannot be deleted");
                    is_complete = false;
                }
            }
        }
        is_complete
    }

    /// Writes a status that changed. Returns whether it is written.
    async fn write_status<K>(&self, object: &K, is_new: bool, status: &impl Serialize) -> bool
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
    {
        if !is_new {
            return true;
        }
        let api: Api<K> = Api::all(self.client.clone());
        let (name, parameters) = (object.name_any(), PatchParams::default());
        let patch = Patch::Merge(json!({"status": status}));
        let written = api.patch_status(&name, &parameters, &patch);
        match with_timeout(WRITE_TIMEOUT, written).await {
            // A deleted object needs no status.
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.is_not_found() => true,
            Err(error) => {
                warn!(kind = %K::kind(&()), name, error = explain(&error), "status not written");
                false
            }
        }
    }
}

/// The API server deletes the objects with their policy, also while bindery is away.
fn owner_reference(owner: &CredentialPolicy) -> OwnerReference {
    owner.controller_owner_ref(&()).unwrap_or_default()
}
