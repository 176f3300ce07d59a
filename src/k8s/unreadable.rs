//! Reports objects that the API server holds but bindery cannot parse. Each is skipped and reported in the log, by a
//! metric and, if bindery may write events, by an event. No report quotes the object.

use std::{fmt, sync::Arc};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, core::error_boundary::InvalidObject};
use tracing::warn;

use super::{
    error::without_values,
    events::{Event, Recorder},
};
use crate::telemetry::Metrics;

/// The reason of the event.
const REASON: &str = "Unreadable";

/// Why an object cannot be read.
#[must_use]
pub fn why(invalid: &InvalidObject) -> String {
    without_values(&invalid.error)
}

/// Reports skipped objects. Clones share it.
#[derive(Clone)]
pub struct Unreadable {
    metrics: Arc<Metrics>,
    recorder: Option<Recorder>,
}

impl Unreadable {
    /// Also reports by events.
    #[must_use]
    pub fn with_events(recorder: Recorder, metrics: Arc<Metrics>) -> Self {
        Self { metrics, recorder: Some(recorder) }
    }

    /// For a role that may not write events.
    #[must_use]
    pub fn without_events(metrics: Arc<Metrics>) -> Self {
        Self { metrics, recorder: None }
    }

    /// Reports an object.
    pub fn tell<K: Resource>(&self, kind: &K::DynamicType, invalid: &InvalidObject) {
        let reference = reference::<K>(kind, invalid);
        let (kind, why) = (K::kind(kind), why(invalid));
        self.metrics.unreadable(&kind);
        warn!(
            kind = %kind, namespace = reference.namespace, name = reference.name, why,
            "an object cannot be read and is skipped"
        );
        let Some(recorder) = self.recorder.clone() else { return };
        let note = format!(
            "bindery cannot read this {kind} ({why}) and goes on with what it knew before; correct the object"
        );
        let event = Event::warning("Read", REASON, note);
        tokio::spawn(async move { recorder.record(&reference, &event).await });
    }
}

impl fmt::Debug for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unreadable").finish_non_exhaustive()
    }
}

fn reference<K: Resource>(kind: &K::DynamicType, invalid: &InvalidObject) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(kind).into_owned()),
        kind: Some(K::kind(kind).into_owned()),
        name: invalid.metadata.name.clone(),
        namespace: invalid.metadata.namespace.clone(),
        uid: invalid.metadata.uid.clone(),
        resource_version: invalid.metadata.resource_version.clone(),
        field_path: None,
    }
}
