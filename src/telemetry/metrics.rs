//! All metrics in one struct, in the OpenMetrics text format.

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a process, shared by its roles.
pub struct Metrics {
    registry: Registry,
    osb_requests: Family<OsbLabels, Counter>,
    reconciles: Family<KindLabel, Histogram, fn() -> Histogram>,
    reconcile_errors: Family<KindLabel, Counter>,
    admissions: Family<OutcomeLabel, Counter>,
    admission_durations: Family<EntryLabel, Histogram, fn() -> Histogram>,
    admissions_shed: Counter,
    injections: Family<NamespaceLabel, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    namespace_labels: Namespaces,
    certificate_expiry: Family<CertificateLabel, Gauge>,
    pods_missed: Family<NamespaceLabel, Gauge>,
    pods_waiting: Family<NamespaceLabel, Gauge>,
    namespaces: Family<NamespaceLabels, Gauge>,
    exception_ends: Family<ExceptionLabel, Gauge>,
    exceptions_ending: Family<PolicyLabel, Gauge>,
    policy_violations: Family<ViolationLabels, Gauge>,
    unreadable: Family<ObjectKindLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OsbLabels {
    verb: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExceptionLabel {
    exception: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabel {
    policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViolationLabels {
    policy: String,
    rule: &'static str,
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectKindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryLabel {
    entry: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabel {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    namespace: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    binding: String,
    state: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers all metrics.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bindery");
        let metrics = Self {
            osb_requests: Family::default(),
            // From a millisecond (nothing to do) to a minute (the time limit of a broker's answer).
            reconciles: Family::new_with_constructor(|| {
                Histogram::new([0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0])
            }),
            reconcile_errors: Family::default(),
            admissions: Family::default(),
            // From the fastest answer about a small pod to the API server's longest timeout.
            admission_durations: Family::new_with_constructor(|| {
                Histogram::new([
                    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.025, 0.1, 0.5,
                    2.0, 10.0,
                ])
            }),
            admissions_shed: Counter::default(),
            injections: Family::default(),
            refusals: Family::default(),
            namespace_labels: Namespaces::default(),
            certificate_expiry: Family::default(),
            pods_missed: Family::default(),
            pods_waiting: Family::default(),
            namespaces: Family::default(),
            exception_ends: Family::default(),
            exceptions_ending: Family::default(),
            policy_violations: Family::default(),
            unreadable: Family::default(),
            registry: Registry::default(),
        };
        metrics.register_reconciliation(&mut registry);
        metrics.register_admission(&mut registry);
        metrics.register_objects(&mut registry);
        Self { registry, ..metrics }
    }

    fn register_reconciliation(&self, registry: &mut Registry) {
        registry.register("osb_requests", "Open Service Broker requests answered", self.osb_requests.clone());
        registry.register("reconcile_duration_seconds", "Time a reconcile took", self.reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that failed", self.reconcile_errors.clone());
    }

    fn register_objects(&self, registry: &mut Registry) {
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a serving certificate expires, in seconds since 1970",
            self.certificate_expiry.clone(),
        );
        registry.register(
            "pods_missed",
            "Pods that asked for bindings and were created without them",
            self.pods_missed.clone(),
        );
        registry.register(
            "pods_waiting",
            "Pods that have waited for more than five seconds for a Secret",
            self.pods_waiting.clone(),
        );
        registry.register(
            "namespaces",
            "Namespaces that a NamespaceBinding selects",
            self.namespaces.clone(),
        );
        registry.register(
            "policy_exception_end_seconds",
            "When a CredentialPolicyException ends",
            self.exception_ends.clone(),
        );
        registry.register(
            "policy_exceptions_ending",
            "CredentialPolicyExceptions that end within seven days",
            self.exceptions_ending.clone(),
        );
        registry.register(
            "policy_violations",
            "Existing pods and workloads that violate a rule of a CredentialPolicy",
            self.policy_violations.clone(),
        );
        registry.register(
            "unreadable_objects",
            "Objects of the API server that could not be read and were skipped, counted at each read",
            self.unreadable.clone(),
        );
    }

    fn register_admission(&self, registry: &mut Registry) {
        registry.register("admissions", "Admission reviews by outcome", self.admissions.clone());
        registry.register(
            "admission_duration_seconds",
            "Time from a review's last byte to its answer",
            self.admission_durations.clone(),
        );
        registry.register(
            "admissions_shed",
            "Admission reviews answered with 429 because too many arrived at once",
            self.admissions_shed.clone(),
        );
        registry.register("injections", "Pods that were injected", self.injections.clone());
        registry.register("refusals", "Pods refused", self.refusals.clone());
    }

    /// Counts an answered Open Service Broker request: `verb` such as `provision`, `result` such as `created`.
    pub fn osb_request(&self, verb: &'static str, result: &'static str) {
        self.osb_requests.get_or_create(&OsbLabels { verb, result }).inc();
    }

    /// Records a reconcile of an object of this kind.
    pub fn reconciled(&self, kind: &'static str, took: Duration, failed: bool) {
        self.reconciles.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
        let errors = self.reconcile_errors.get_or_create(&KindLabel { kind });
        if failed {
            errors.inc();
        }
    }

    /// Records an answered admission review: `entry` of the webhook such as `pod`, `outcome` such as `injected`.
    pub fn admission(&self, entry: &'static str, outcome: &'static str, took: Duration) {
        self.admissions.get_or_create(&OutcomeLabel { outcome }).inc();
        self.admission_durations.get_or_create(&EntryLabel { entry }).observe(took.as_secs_f64());
    }

    /// Counts an admission review without an answer: `outcome` such as `late`.
    pub fn unanswered(&self, outcome: &'static str) {
        self.admissions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts an admission review that was shed.
    pub fn shed(&self) {
        self.admissions_shed.inc();
    }

    /// Counts a pod of this namespace that was injected.
    pub fn injection(&self, namespace: &str) {
        let namespace = self.namespace_labels.label(namespace);
        self.injections.get_or_create(&NamespaceLabel { namespace }).inc();
    }

    /// Counts a pod of this namespace that was refused: `reason` such as `not-bound`.
    pub fn refusal(&self, namespace: &str, reason: &'static str) {
        let namespace = self.namespace_labels.label(namespace);
        self.refusals.get_or_create(&RefusalLabels { namespace, reason }).inc();
    }

    /// Records when the certificate of this name expires.
    pub fn certificate_expires(&self, name: &str, at: jiff::Timestamp) {
        self.certificate_expiry
            .get_or_create(&CertificateLabel { name: name.to_owned() })
            .set(at.as_second());
    }

    /// Records how many pods of a namespace were created without the bindings that they ask for.
    pub fn pods_missed(&self, namespace: &str, count: i64) {
        set_or_remove(&self.pods_missed, namespace, count);
    }

    /// Records how many pods of a namespace wait for a Secret.
    pub fn pods_waiting(&self, namespace: &str, count: i64) {
        set_or_remove(&self.pods_waiting, namespace, count);
    }

    /// Removes the pod metrics, because another process counts pods now.
    pub fn forget_pods(&self) {
        self.pods_missed.clear();
        self.pods_waiting.clear();
    }

    /// Counts an object of this kind that cannot be read and is skipped.
    pub fn unreadable(&self, kind: &str) {
        self.unreadable.get_or_create(&ObjectKindLabel { kind: kind.to_owned() }).inc();
    }

    /// Records how many namespaces of each NamespaceBinding are in which state, such as `ready`. NamespaceBindings
    /// that are not listed are removed.
    pub fn namespaces<'a, const N: usize>(
        &self,
        bindings: impl Iterator<Item = (&'a str, [(&'static str, i64); N])>,
    ) {
        self.namespaces.clear();
        for (binding, counts) in bindings {
            for (state, count) in counts {
                self.namespaces
                    .get_or_create(&NamespaceLabels { binding: binding.to_owned(), state })
                    .set(count);
            }
        }
    }

    /// Records when each exception ends, as Unix time. Exceptions that are not listed are removed.
    pub fn exception_ends<'a>(&self, ends: impl Iterator<Item = (&'a str, i64)>) {
        self.exception_ends.clear();
        for (exception, end) in ends {
            self.exception_ends.get_or_create(&ExceptionLabel { exception: exception.to_owned() }).set(end);
        }
    }

    /// Records how many exceptions of each policy end soon. Policies that are not listed are removed.
    pub fn exceptions_ending<'a>(&self, counts: impl Iterator<Item = (&'a str, i64)>) {
        self.exceptions_ending.clear();
        for (policy, count) in counts {
            self.exceptions_ending.get_or_create(&PolicyLabel { policy: policy.to_owned() }).set(count);
        }
    }

    /// Records how many objects violate which rule of which policy in which mode. What is not listed is removed.
    pub fn policy_violations<'a>(
        &self,
        counts: impl Iterator<Item = (&'a str, &'static str, &'static str, i64)>,
    ) {
        self.policy_violations.clear();
        for (policy, rule, mode, count) in counts {
            let labels = ViolationLabels { policy: policy.to_owned(), rule, mode };
            self.policy_violations.get_or_create(&labels).set(count);
        }
    }

    /// Removes the metrics of policies, because another process runs their controller now.
    pub fn forget_policies(&self) {
        self.exception_ends.clear();
        self.exceptions_ending.clear();
        self.policy_violations.clear();
    }

    /// All metrics as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The namespaces with a series of their own: the first that were counted. Without a limit, namespaces that come and
/// go would fill the memory of this process and of Prometheus.
#[derive(Default)]
struct Namespaces(Mutex<HashSet<String>>);

impl Namespaces {
    const MOST: usize = 1000;
    /// All other namespaces. No namespace can have this name.
    const OTHERS: &str = "(others)";

    fn label(&self, namespace: &str) -> String {
        // Nothing panics while it holds the lock, and the set stays consistent after any panic.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(namespace) {
            if known.len() >= Self::MOST {
                return Self::OTHERS.to_owned();
            }
            known.insert(namespace.to_owned());
        }
        namespace.to_owned()
    }
}

/// A namespace with the value 0 gets no line, because namespaces come and go.
fn set_or_remove(family: &Family<NamespaceLabel, Gauge>, namespace: &str, count: i64) {
    let label = NamespaceLabel { namespace: namespace.to_owned() };
    if count == 0 {
        family.remove(&label);
    } else {
        family.get_or_create(&label).set(count);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
