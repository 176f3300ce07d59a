//! Applies the compiled objects. Policies are few, so every change leads to one pass over all of them. A policy that
//! becomes invalid keeps the objects of its last valid spec: a mistake must not switch it off.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    runtime::{
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{
        Notify, mpsc,
        watch::{Receiver, Sender},
    },
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    audit::{Audit, AuditState},
    notices::{ends_soon, next_end, notices},
    policy_writer::PolicyWriter,
    status::{STOOD_DOWN, of_exception, of_policy},
    stood_down,
    type_check::TypeCheck,
    webhook_registration,
};
use crate::{
    apis::bindery::{
        credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
    },
    contract::policy::POLICY,
    k8s::{
        events::Recorder,
        explain,
        guarded::Guarded,
        namespaces::NamespaceMeta,
        unreadable::Unreadable,
        watch::{self, Change},
    },
    policy::cel::{Compiled, compile},
    telemetry::Metrics,
};

/// How often everything is applied again, in case a change was missed.
const RESYNC: Duration = Duration::from_mins(10);
/// The wait after a pass in which a write failed.
const RETRY: Duration = Duration::from_secs(5);
/// How often to check whether the custom resource definitions exist.
const CRD_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The reason of a policy with an invalid spec.
const INVALID: &str = "InvalidPolicy";

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

/// What an installation says about its policies.
#[derive(Clone, Debug, Default)]
pub struct EnforcementSettings {
    /// Namespaces for which no policy holds, in addition to those of the system.
    pub excluded: Vec<String>,
    /// The name of the `ValidatingWebhookConfiguration`.
    pub webhook: String,
}

struct Controller {
    client: Client,
    writer: PolicyWriter,
    settings: EnforcementSettings,
    stores: Stores,
    changed: Arc<Notify>,
    /// A policy or an exception changed, and so may have what the audit says.
    judging_changed: Arc<Notify>,
    audit: Receiver<AuditState>,
    /// The audit may begin.
    ready: Arc<Notify>,
    /// What the last pass made of each policy.
    applied: Mutex<BTreeMap<String, Applied>>,
    recorder: Recorder,
    unreadable: Unreadable,
    metrics: Arc<Metrics>,
}

/// What a pass made of a policy: the objects that hold it, or a reason and a message.
#[derive(Default)]
struct Applied {
    compiled: Vec<Compiled>,
    failure: Option<(&'static str, String)>,
}

/// Runs the controller until `stop`. Only one process of an installation may run it at a time, which the caller ensures.
///
/// # Errors
/// When a task ends unexpectedly.
pub async fn run(
    client: Client,
    settings: EnforcementSettings,
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
    let (namespaces, namespace_writer) = reflector::store();
    let (audit_sender, audit) = tokio::sync::watch::channel(AuditState::default());
    let controller = Arc::new(Controller {
        recorder: Recorder::new(client.clone(), namespaces.clone()),
        writer: PolicyWriter { client: client.clone() },
        client,
        settings,
        stores: Stores { policies, exceptions, admission_policies, bindings },
        changed: Arc::default(),
        judging_changed: Arc::default(),
        audit,
        ready: Arc::default(),
        applied: Mutex::default(),
        unreadable: Unreadable::without_events(metrics.clone()),
        metrics,
    });
    let mut tasks = JoinSet::new();
    let ours = || watch::of_all().labels(POLICY);
    controller.watch(&mut tasks, watch::of_all(), policy_writer, true);
    controller.watch(&mut tasks, watch::of_all(), exception_writer, true);
    controller.watch(&mut tasks, ours(), admission_policy_writer, false);
    controller.watch(&mut tasks, ours(), binding_writer, false);
    let changed_namespaces = controller.watch_namespaces(&mut tasks, namespace_writer);
    tasks.spawn(controller.audit(namespaces, audit_sender).run(changed_namespaces));
    tasks.spawn(controller.clone().work());
    let ended = stop.run_until_cancelled(tasks.join_next()).await;
    controller.metrics.forget_policies();
    match ended {
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
    /// Watches a kind. `judges` tells whether it is one of bindery's own: the audit must judge everything again after a change,
    /// and only bindery writes its status.
    fn watch<K>(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        config: watcher::Config,
        writer: Writer<K>,
        judges: bool,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api: Api<Guarded<K>> = Api::all(self.client.clone());
        let (changed, judging_changed) = (self.changed.clone(), self.judging_changed.clone());
        tasks.spawn(watch::watch(api, config, self.unreadable.clone(), writer, move |change| {
            if !judges || !matches!(change, Change::Applied { beyond_status: false, .. }) {
                changed.notify_one();
                if judges {
                    judging_changed.notify_one();
                }
            }
        }));
    }

    /// Watches the metadata of Namespaces, and returns the names of those that change.
    fn watch_namespaces(
        &self,
        tasks: &mut JoinSet<()>,
        writer: Writer<NamespaceMeta>,
    ) -> mpsc::UnboundedReceiver<String> {
        let api: Api<Guarded<NamespaceMeta>> = Api::all(self.client.clone());
        let (sender, receiver) = mpsc::unbounded_channel();
        tasks.spawn(watch::watch(api, watch::of_all(), self.unreadable.clone(), writer, move |change| {
            let (Change::Applied { object, .. } | Change::Deleted(object)) = change;
            // Nobody receives once the controller ends.
            let _ = sender.send(object.name_any());
        }));
        receiver
    }

    fn audit(&self, namespaces: Store<NamespaceMeta>, state: Sender<AuditState>) -> Audit {
        Audit {
            client: self.client.clone(),
            policies: self.stores.policies.clone(),
            exceptions: self.stores.exceptions.clone(),
            namespaces,
            excluded: self.settings.excluded.clone(),
            changed: self.judging_changed.clone(),
            state,
            metrics: self.metrics.clone(),
            ready: self.ready.clone(),
        }
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
        self.ready.notify_one();
        let mut audit = self.audit.clone();
        loop {
            let mut due = Instant::now() + self.pass().await;
            loop {
                tokio::select! {
                    () = self.changed.notified() => break,
                    () = sleep_until(due) => break,
                    Ok(()) = audit.changed() => {
                        if !self.write_statuses(Timestamp::now()).await {
                            due = due.min(Instant::now() + RETRY);
                        }
                    }
                }
            }
        }
    }

    /// Applies all policies. Returns when the next pass is due without a change.
    async fn pass(&self) -> Duration {
        let now = Timestamp::now();
        let exceptions = self.exceptions();
        let policies = self.stores.policies.state();
        // Objects of policies in here stay as they are.
        let mut kept = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        let mut is_complete = true;
        let mut all = BTreeMap::new();
        for policy in policies.iter().filter(|policy| policy.metadata.deletion_timestamp.is_none()) {
            let applied = self.hold(policy, &exceptions, now).await;
            wanted.extend(applied.compiled.iter().map(|it| it.policy.name_any()));
            if let Some((reason, error)) =
                applied.failure.as_ref().filter(|(reason, _)| *reason != STOOD_DOWN)
            {
                warn!(
                    credentialpolicy = policy.name_any(),
                    reason, error, "a policy is not held as it is written"
                );
                kept.insert(policy.name_any());
                is_complete &= *reason == INVALID;
            }
            all.insert(policy.name_any(), applied);
            for (event, occurrence) in notices(policy, &exceptions, now) {
                self.recorder.record_once(&policy.object_ref(&()), &event, &occurrence).await;
            }
        }
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = all;
        self.count_exceptions(&exceptions, now);
        // A binding without its policy would be reported as an error by the API server, so bindings go first.
        is_complete &= self.writer.prune(&self.stores.bindings, &wanted, &kept).await;
        is_complete &= self.writer.prune(&self.stores.admission_policies, &wanted, &kept).await;
        is_complete &= self.write_statuses(now).await;
        if is_complete { next_end(&exceptions, now).map_or(RESYNC, |end| end.min(RESYNC)) } else { RETRY }
    }

    fn exceptions(&self) -> Vec<CredentialPolicyException> {
        self.stores.exceptions.state().iter().map(|exception| exception.as_ref().clone()).collect()
    }

    /// Makes the API server hold a policy.
    async fn hold(
        &self,
        policy: &CredentialPolicy,
        exceptions: &[CredentialPolicyException],
        now: Timestamp,
    ) -> Applied {
        if let Some(why) = stood_down(policy) {
            let message =
                format!("somebody switched the policy off: {why}; go back with bindery policies resume");
            return Applied { compiled: Vec::new(), failure: Some((STOOD_DOWN, message)) };
        }
        match compile(policy, exceptions, &self.settings.excluded, now) {
            Ok(compiled) => {
                let failure = match self.writer.apply(policy, &compiled).await {
                    Err(error) => Some(("ApplyFailed", error)),
                    Ok(()) if webhook_registration::is_needed(policy) => {
                        let problem =
                            webhook_registration::problem(&self.client, &self.settings.webhook).await;
                        problem.map(|problem| ("WebhookMissing", problem))
                    }
                    Ok(()) => None,
                };
                Applied { compiled, failure }
            }
            Err(error) => Applied { compiled: Vec::new(), failure: Some((INVALID, error.to_string())) },
        }
    }

    fn count_exceptions(&self, exceptions: &[CredentialPolicyException], now: Timestamp) {
        let ends = exceptions.iter().map(|it| (it.metadata.name.as_deref().unwrap_or_default(), it));
        self.metrics.exception_ends(ends.map(|(name, it)| (name, it.spec.expires_at.0.as_second())));
        let policies = self.stores.policies.state();
        let mut ending: BTreeMap<String, i64> =
            policies.iter().map(|policy| (policy.name_any(), 0)).collect();
        for exception in exceptions.iter().filter(|exception| ends_soon(exception, now)) {
            if let Some(count) = ending.get_mut(&exception.spec.policy) {
                *count += 1;
            }
        }
        self.metrics.exceptions_ending(ending.iter().map(|(policy, count)| (policy.as_str(), *count)));
    }

    /// A compiled object as the API server has it.
    fn known(&self, compiled: &ValidatingAdmissionPolicy) -> Option<Arc<ValidatingAdmissionPolicy>> {
        self.stores.admission_policies.get(&ObjectRef::new(&compiled.name_any()))
    }

    /// Writes the statuses that changed. Returns whether all are written.
    async fn write_statuses(&self, now: Timestamp) -> bool {
        let (exceptions, policies) = (self.exceptions(), self.stores.policies.state());
        let audit = self.audit.borrow().clone();
        let mut is_complete = true;
        for policy in &policies {
            let status = {
                let all = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
                // A policy that no pass has seen gets its status from the next.
                let Some(Applied { compiled, failure }) = all.get(&policy.name_any()) else { continue };
                let known: Vec<_> = compiled.iter().map(|it| self.known(&it.policy)).collect();
                let type_check = TypeCheck::of(known.iter().map(Option::as_deref));
                of_policy(policy, compiled, failure.clone(), &exceptions, &audit, &type_check, now)
            };
            let is_new = policy.status.as_ref() != Some(&status);
            is_complete &= self.writer.write_status(policy.as_ref(), is_new, &status).await;
        }
        for exception in self.stores.exceptions.state() {
            let is_known = policies.iter().any(|policy| policy.name_any() == exception.spec.policy);
            let status = of_exception(&exception, is_known, now);
            let is_new = exception.status.as_ref() != Some(&status);
            is_complete &= self.writer.write_status(exception.as_ref(), is_new, &status).await;
        }
        is_complete
    }
}
