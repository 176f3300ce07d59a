//! How far the audit has come: what was found, what is not listed yet, and what comes next.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, Instant};

use super::{
    PUBLISH_DELAY,
    findings::Findings,
    judge::{Judge, NamespaceTraits},
    kinds::{KINDS, Kind},
    report_writer::ReportWriter,
};

/// How far the audit has come.
pub(super) struct Progress {
    pub(super) findings: Findings,
    /// The objects with violations in lists that are not complete yet.
    pub(super) listed: BTreeMap<&'static Kind, BTreeSet<(String, String)>>,
    /// The kinds whose objects have not all been judged by the present policies.
    pub(super) unlisted: BTreeSet<&'static Kind>,
    /// Why a kind cannot be listed or watched.
    pub(super) problems: BTreeMap<&'static Kind, String>,
    /// The traits of each Namespace by which its objects were judged; `None` if the Namespace was unknown.
    pub(super) judged_by: BTreeMap<String, Option<NamespaceTraits>>,
    pub(super) writer: ReportWriter,
    pub(super) reports_read: Option<Instant>,
    /// The namespaces whose report must be compared with the findings.
    pub(super) unwritten: BTreeSet<String>,
    /// When to publish next.
    pub(super) due: Instant,
    /// When to judge everything again.
    pub(super) end: Instant,
}

impl Progress {
    pub(super) fn new(writer: ReportWriter) -> Self {
        Self {
            findings: Findings::default(),
            listed: BTreeMap::new(),
            unlisted: BTreeSet::new(),
            problems: BTreeMap::new(),
            judged_by: BTreeMap::new(),
            writer,
            reports_read: None,
            unwritten: BTreeSet::new(),
            due: Instant::now(),
            end: far(),
        }
    }

    /// Begins to judge everything again. Former findings stay until their object is judged.
    pub(super) fn begin(&mut self, judge: &Judge) {
        self.listed.clear();
        self.problems.clear();
        self.judged_by.clear();
        let (judged, ignored): (Vec<_>, Vec<_>) = KINDS.iter().partition(|kind| judge.judges(kind));
        for kind in ignored {
            self.findings.retain(kind, &BTreeSet::new());
        }
        self.unlisted = judged.into_iter().collect();
        self.end = judge.next_end(Timestamp::now()).map_or_else(far, |wait| Instant::now() + wait);
        // What passes in a report depends on the policies, too.
        self.unwritten.extend(self.findings.namespaces().cloned());
        self.due = Instant::now();
    }

    /// Judges everything again after this time at the latest.
    pub(super) fn end_by(&mut self, wait: SignedDuration) {
        self.end = self.end.min(Instant::now() + wait.unsigned_abs());
    }

    pub(super) fn publish_soon(&mut self) {
        self.due = self.due.min(Instant::now() + PUBLISH_DELAY);
    }

    pub(super) fn problem(&self) -> Option<String> {
        let (kind, error) = self.problems.iter().next()?;
        Some(format!("{}s cannot be read: {error}", kind.name))
    }
}

/// A time that never comes in the life of a process.
fn far() -> Instant {
    Instant::now() + Duration::from_hours(24 * 365)
}
