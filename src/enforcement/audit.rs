//! The background audit: judges the pods and workloads that exist, also those that are older than a policy, by all policies.
//! It watches the kinds that the API server judges, drops each object as soon as it is judged, and keeps only what it found:
//! for reports, the statuses of the policies and metrics. When a policy changes, everything is listed again, in pages.

mod findings;
mod judge;
mod kinds;
mod progress;
mod report;
mod report_writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt, stream, stream::BoxStream};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store},
        watcher::{self, Event},
    },
};
use tokio::{
    sync::{Notify, mpsc, watch::Sender},
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, info};

pub(super) use self::report::ReportKind;
use self::{
    findings::{Findings, Violations, violations},
    judge::{Judge, Judgement, NamespaceTraits},
    kinds::{KINDS, Kind, ObjectName, SERVICE_BINDING, Sample},
    progress::Progress,
    report::report,
    report_writer::ReportWriter,
};
use crate::{
    apis::bindery::{
        credential_policy::{AuditCounts, CredentialPolicy},
        credential_policy_exception::CredentialPolicyException,
    },
    k8s::{explain, explain_watch, guarded::Guarded, list::turn, namespaces::NamespaceMeta, watch},
    telemetry::Metrics,
};

/// Changes within this time lead to one list of everything.
const SETTLE: Duration = Duration::from_millis(500);
/// Changed results are published after this time, those of a rollout together.
const PUBLISH_DELAY: Duration = Duration::from_secs(1);
/// How often the reports are read again, in case somebody changed them or installed their kinds.
const REPORT_CHECK: Duration = Duration::from_mins(5);
/// Credentials that have become too old are noticed after this time at the latest.
const AGE_CHECK: SignedDuration = SignedDuration::from_mins(5);
/// The wait after a request that failed.
const RETRY: Duration = Duration::from_secs(5);

/// What the audit has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AuditState {
    /// The policies by which every object has been judged.
    pub(super) judged: BTreeSet<String>,
    /// The counts of each policy that is violated.
    pub(super) counts: BTreeMap<String, AuditCounts>,
    /// The kinds of reports that are written.
    pub(super) reports: Vec<&'static ReportKind>,
    /// Why the audit or the reports are incomplete.
    pub(super) problem: Option<String>,
}

/// The audit. One task runs it.
pub(super) struct Audit {
    pub(super) client: Client,
    pub(super) policies: Store<CredentialPolicy>,
    pub(super) exceptions: Store<CredentialPolicyException>,
    pub(super) namespaces: Store<NamespaceMeta>,
    /// Namespaces for which no policy holds, in addition to those of the system.
    pub(super) excluded: Vec<String>,
    /// A policy or an exception changed.
    pub(super) changed: Arc<Notify>,
    pub(super) state: Sender<AuditState>,
    pub(super) metrics: Arc<Metrics>,
    /// The caches of policies and exceptions are complete. A cache wakes only one of several tasks that wait for it, so the
    /// controller waits for them and tells the audit.
    pub(super) ready: Arc<Notify>,
}

type Seen = (&'static Kind, watcher::Result<Event<Guarded<DynamicObject>>>);

impl Audit {
    /// Audits until the caller drops the future. `changed_namespaces` are the names of Namespaces that are new or changed.
    pub(super) async fn run(self, mut changed_namespaces: mpsc::UnboundedReceiver<String>) {
        self.ready.notified().await;
        if self.namespaces.wait_until_ready().await.is_err() {
            // The writer is gone, so the watch has ended, which ends the controller.
            return;
        }
        let mut progress = Progress::new(ReportWriter::new(self.client.clone()));
        loop {
            let judge = Judge::new(&self.policies.state(), &self.exceptions.state(), &self.excluded);
            self.round(&judge, &mut progress, &mut changed_namespaces).await;
        }
    }

    /// Lists and watches all objects, until the policies change or an exception ends.
    async fn round(
        &self,
        judge: &Judge,
        progress: &mut Progress,
        changed_namespaces: &mut mpsc::UnboundedReceiver<String>,
    ) {
        progress.begin(judge);
        let mut events = self.events(judge);
        loop {
            tokio::select! {
                () = self.changed.notified() => {
                    sleep(SETTLE).await;
                    return;
                }
                () = sleep_until(progress.end) => return,
                Some(name) = changed_namespaces.recv() => self.namespace(judge, progress, &name).await,
                Some((kind, event)) = events.next() => self.event(judge, progress, kind, event),
                () = sleep_until(progress.due) => self.publish(judge, progress).await,
            }
        }
    }

    fn events(&self, judge: &Judge) -> BoxStream<'static, Seen> {
        let each = KINDS.iter().filter(|kind| judge.judges(kind)).map(|kind| self.events_of(kind).boxed());
        // Without policies there is nothing to judge, so nothing is read.
        stream::select_all(each).chain(stream::pending()).boxed()
    }

    fn events_of(&self, kind: &'static Kind) -> impl Stream<Item = Seen> + use<> {
        let api: Api<Guarded<DynamicObject>> = Api::all_with(self.client.clone(), &kind.resource());
        watcher::watcher(api, watch::of_all()).default_backoff().map(move |event| (kind, event))
    }

    fn event(
        &self,
        judge: &Judge,
        progress: &mut Progress,
        kind: &'static Kind,
        event: watcher::Result<Event<Guarded<DynamicObject>>>,
    ) {
        match event {
            Ok(Event::Init) => {
                progress.listed.insert(kind, BTreeSet::new());
                if kind.name == SERVICE_BINDING {
                    progress.findings.list_bindings();
                }
            }
            Ok(Event::InitApply(object)) => {
                if let Some((namespace, name)) = binding_name(kind, &object) {
                    progress.findings.list_binding(&namespace, &name);
                }
                if let Some((namespace, name)) = self.judge(judge, progress, kind, object) {
                    progress.listed.entry(kind).or_default().insert((namespace, name));
                }
            }
            Ok(Event::InitDone) => {
                if kind.name == SERVICE_BINDING {
                    progress.findings.bindings_listed();
                }
                let listed = progress.listed.remove(kind).unwrap_or_default();
                progress.findings.retain(kind, &listed);
                progress.unlisted.remove(kind);
                progress.problems.remove(kind);
            }
            Ok(Event::Apply(object)) => {
                progress.problems.remove(kind);
                if let Some((namespace, name)) = binding_name(kind, &object) {
                    progress.findings.set_binding(&namespace, &name, true);
                }
                self.judge(judge, progress, kind, object);
            }
            Ok(Event::Delete(object)) => {
                progress.problems.remove(kind);
                let metadata = object_metadata(&object);
                if let Some((namespace, name)) = metadata {
                    if kind.name == SERVICE_BINDING {
                        progress.findings.set_binding(&namespace, &name, false);
                    }
                    progress.findings.remove(&namespace, &ObjectName { kind, name });
                }
            }
            // Without the kind there is no binding.
            Err(error) if kind.name == SERVICE_BINDING && !judge.needs_bindings() && is_absent(&error) => {
                progress.findings.list_bindings();
                progress.findings.bindings_listed();
                progress.unlisted.remove(kind);
            }
            Err(error) => {
                // The watch restarts by itself, and does not tell when an interruption is over.
                let is_refused = matches!(
                    error,
                    watcher::Error::InitialListFailed(_)
                        | watcher::Error::WatchStartFailed(kube::Error::Api(_))
                );
                let error = explain_watch(&error);
                debug!(kind = kind.name, error, "the audit's watch was interrupted");
                if is_refused {
                    progress.problems.insert(kind, error);
                }
            }
        }
        progress.publish_soon();
    }

    /// Judges an object, and returns its namespace and name if it violates a rule.
    fn judge(
        &self,
        judge: &Judge,
        progress: &mut Progress,
        kind: &'static Kind,
        object: Guarded<DynamicObject>,
    ) -> Option<(String, String)> {
        // Metadata and JSON of any shape can be read, so only a defect of the API server leads to an unreadable object.
        let sample = Sample::of(kind, object.0.ok()?)?;
        let known = self.namespaces.get(&ObjectRef::new(&sample.namespace));
        let traits = known.as_deref().map(NamespaceTraits::of);
        progress.judged_by.insert(sample.namespace.clone(), traits);
        let now = Timestamp::now();
        let Judgement { verdicts, if_missing: missing } = judge.judgement(&sample, known.as_deref(), now);
        if let Some(age) = judge.next_age(&sample, now) {
            progress.end_by(now.duration_until(age).max(AGE_CHECK));
        }
        let mut if_missing: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, verdict) in missing {
            if_missing.entry(name).or_default().extend(violations(vec![verdict]));
        }
        let found = Violations { uid: sample.uid, all: violations(verdicts), if_missing };
        let place = (!found.is_empty()).then(|| (sample.namespace.clone(), sample.object.name.clone()));
        progress.findings.set(&sample.namespace, sample.object, found);
        place
    }

    /// Judges the objects of a Namespace again if it is not as it was when they were judged.
    async fn namespace(&self, judge: &Judge, progress: &mut Progress, name: &str) {
        let known = self.namespaces.get(&ObjectRef::new(name));
        let Some(known) = known else {
            progress.judged_by.remove(name);
            return;
        };
        let now = Some(NamespaceTraits::of(&known));
        if judge.is_idle() || progress.judged_by.get(name).is_none_or(|before| *before == now) {
            return;
        }
        for kind in KINDS.iter().filter(|kind| judge.judges(kind)) {
            if let Err(error) = self.list(judge, progress, kind, name).await {
                let error = explain(&error);
                debug!(
                    kind = kind.name,
                    namespace = name,
                    error,
                    "the objects of a namespace cannot be listed"
                );
                progress.problems.insert(kind, error);
            }
        }
        progress.publish_soon();
    }

    async fn list(
        &self,
        judge: &Judge,
        progress: &mut Progress,
        kind: &'static Kind,
        namespace: &str,
    ) -> kube::Result<()> {
        let api: Api<Guarded<DynamicObject>> =
            Api::namespaced_with(self.client.clone(), namespace, &kind.resource());
        let mut page = ListParams::default().limit(100);
        loop {
            let listed = api.list(&page).await?;
            for object in listed.items {
                self.judge(judge, progress, kind, object);
            }
            if !turn(&mut page, listed.metadata) {
                return Ok(());
            }
        }
    }

    /// Publishes the counts and writes the reports that changed.
    async fn publish(&self, judge: &Judge, progress: &mut Progress) {
        progress.due = Instant::now() + REPORT_CHECK;
        // Results of former policies must not be published beside those of the present ones. A kind that cannot be listed must
        // not keep the others back.
        let is_complete = progress.unlisted.iter().all(|kind| progress.problems.contains_key(kind));
        if !is_complete {
            return;
        }
        let mut problem = progress.problem();
        if progress.reports_read.is_none_or(|read| read.elapsed() >= REPORT_CHECK) {
            match progress.writer.read().await {
                Ok(()) => {
                    progress.reports_read = Some(Instant::now());
                    progress.unwritten.extend(progress.writer.namespaces().cloned());
                    progress.unwritten.extend(progress.findings.namespaces().cloned());
                }
                Err(error) => {
                    progress.due = Instant::now() + RETRY;
                    problem.get_or_insert(error);
                }
            }
        }
        progress.unwritten.extend(progress.findings.take_changed());
        if progress.reports_read.is_some() {
            let unwritten = std::mem::take(&mut progress.unwritten);
            let reports = unwritten.into_iter().map(|namespace| {
                let report = self.report(judge, &progress.findings, &namespace);
                (namespace, report)
            });
            let failed = progress.writer.write(reports.collect()).await;
            if !failed.is_empty() {
                progress.due = Instant::now() + RETRY;
                problem.get_or_insert_with(|| {
                    format!("{} reports cannot be written; the log says why", failed.len())
                });
                progress.unwritten.extend(failed);
            }
        }
        let counts = progress.findings.counts();
        self.metrics.policy_violations(counts.iter().flat_map(|(policy, counts)| {
            counts
                .rules
                .iter()
                .map(move |it| (policy.as_str(), it.rule.name(), it.mode.name(), it.violations))
        }));
        let reports = progress.writer.installed().to_vec();
        let judged = judge.policy_names();
        if self.state.borrow().judged != judged {
            info!(
                policies = judged.len(),
                violated = counts.len(),
                "the existing pods and workloads are audited"
            );
        }
        let state = AuditState { judged, counts, reports, problem };
        self.state.send_if_modified(|former| {
            let is_new = *former != state;
            *former = state;
            is_new
        });
    }

    fn report(&self, judge: &Judge, findings: &Findings, namespace: &str) -> Option<serde_json::Value> {
        let objects = findings.of(namespace);
        if objects.is_empty() {
            return None;
        }
        let known = self.namespaces.get(&ObjectRef::new(namespace));
        Some(report(namespace, &objects, &judge.held_in(namespace, known.as_deref()), judge.policies()))
    }
}

/// Whether the API server does not serve the kind.
fn is_absent(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The namespace and the name of a binding; `None` for objects of other kinds.
fn binding_name(kind: &Kind, object: &Guarded<DynamicObject>) -> Option<(String, String)> {
    (kind.name == SERVICE_BINDING).then(|| object_metadata(object)).flatten()
}

fn object_metadata(object: &Guarded<DynamicObject>) -> Option<(String, String)> {
    let metadata = kube::Resource::meta(object);
    Some((metadata.namespace.clone()?, metadata.name.clone()?))
}
