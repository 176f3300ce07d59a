//! The metrics, all in one struct, in the OpenMetrics text format.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything bindery counts. One per process, shared.
pub struct Metrics {
    registry: Registry,
    osb_requests: Family<OsbLabels, Counter>,
    reconciles: Family<KindLabel, Histogram, fn() -> Histogram>,
    reconcile_errors: Family<KindLabel, Counter>,
    admissions: Family<OutcomeLabel, Counter>,
    certificate_expiry: Family<CertificateLabel, Gauge>,
    namespaces: Family<NamespaceLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OsbLabels {
    verb: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
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
            // From a millisecond (nothing to do) to a minute (the longest a broker may take to answer).
            reconciles: Family::new_with_constructor(|| {
                Histogram::new([0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0])
            }),
            reconcile_errors: Family::default(),
            admissions: Family::default(),
            certificate_expiry: Family::default(),
            namespaces: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "osb_requests",
            "Open Service Broker requests answered",
            metrics.osb_requests.clone(),
        );
        registry.register("reconcile_duration_seconds", "Time a reconcile took", metrics.reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that failed", metrics.reconcile_errors.clone());
        registry.register("admissions", "Admission reviews answered", metrics.admissions.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a serving certificate ends, in seconds since 1970",
            metrics.certificate_expiry.clone(),
        );
        registry.register(
            "namespaces",
            "Namespaces that a NamespaceBinding selects",
            metrics.namespaces.clone(),
        );
        Self { registry, ..metrics }
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

    /// Counts an answered admission review: `outcome` such as `injected`.
    pub fn admission(&self, outcome: &'static str) {
        self.admissions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Records when the certificate of this name ends.
    pub fn certificate_expires(&self, name: &str, at: jiff::Timestamp) {
        self.certificate_expiry
            .get_or_create(&CertificateLabel { name: name.to_owned() })
            .set(at.as_second());
    }

    /// Records how many namespaces of each NamespaceBinding are in which state, such as `ready`. Those that are not named
    /// are gone.
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

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_appears_with_its_labels() {
        let metrics = Metrics::new();
        metrics.osb_request("provision", "created");
        metrics.reconciled("ServiceInstance", Duration::from_millis(3), true);
        metrics.admission("injected");
        metrics.certificate_expires("admission", jiff::Timestamp::from_second(1_800_000_000).unwrap());
        metrics.namespaces([("gone", [("ready", 1)])].into_iter());
        metrics.namespaces([("feature-branches", [("ready", 3)])].into_iter());
        let text = metrics.encode().unwrap();
        assert!(!text.contains("gone"), "{text}");
        for line in [
            r#"bindery_osb_requests_total{verb="provision",result="created"} 1"#,
            r#"bindery_reconcile_duration_seconds_count{kind="ServiceInstance"} 1"#,
            r#"bindery_reconcile_errors_total{kind="ServiceInstance"} 1"#,
            r#"bindery_admissions_total{outcome="injected"} 1"#,
            r#"bindery_certificate_expiry_timestamp_seconds{name="admission"} 1800000000"#,
            r#"bindery_namespaces{binding="feature-branches",state="ready"} 3"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
