//! The recorder of Kubernetes events. The name of an event follows from its object, reason and note, so that the same
//! event again raises the count of the one that is there, also after another replica has become leader. kube's
//! `Recorder` would create a second event in that case, and would keep the former note when only the note changed.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::reflector::{ObjectRef, Store},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::debug;

use super::{explain, namespaces::NamespaceMeta, with_timeout};
use crate::contract::FIELD_MANAGER;

/// The maximum length of an event's note in bytes, exclusive (`events.k8s.io/v1`).
const MAX_NOTE: usize = 1024;
/// The maximum length of an object's name that becomes part of its events' names.
const MAX_NAME: usize = 200;
/// The namespace of events about cluster-scoped objects.
const CLUSTER_SCOPE_NAMESPACE: &str = "default";
/// How long one write may take. The events of other objects must not wait for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to repeat an event whose cause lasts: the API server deletes events after an hour.
pub const REPEAT_INTERVAL: Duration = Duration::from_mins(55);
/// How long the recorder counts the repeats of an event after it was last written.
const COUNT_TTL: Duration = Duration::from_mins(110);
/// The quiet period of an event that is written once. The API server has deleted the event by then.
const ONCE: Duration = COUNT_TTL;
/// How often counts that are too old are dropped.
const CLEANUP_INTERVAL: Duration = Duration::from_mins(5);

/// An event before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether the type is `Warning`; otherwise it is `Normal`.
    pub is_warning: bool,
    /// Why: one CamelCase word.
    pub reason: Cow<'static, str>,
    /// What bindery was doing: one CamelCase word.
    pub action: &'static str,
    /// The message for people. Text that comes from an object which could not be decoded must have passed through
    /// [`without_values`](super::without_values).
    pub note: String,
}

impl Event {
    /// An event of the type `Normal`.
    #[must_use]
    pub fn normal(action: &'static str, reason: impl Into<Cow<'static, str>>, note: String) -> Self {
        Self { is_warning: false, reason: reason.into(), action, note }
    }

    /// An event of the type `Warning`.
    #[must_use]
    pub fn warning(action: &'static str, reason: impl Into<Cow<'static, str>>, note: String) -> Self {
        Self { is_warning: true, reason: reason.into(), action, note }
    }
}

/// Writes events. Clones share the counts.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    namespaces: Store<NamespaceMeta>,
    quiet: Duration,
    counts: Arc<Mutex<Counts>>,
}

impl Recorder {
    /// A recorder that writes every repeat. `namespaces` says which Namespaces are terminating.
    #[must_use]
    pub fn new(client: Client, namespaces: Store<NamespaceMeta>) -> Self {
        Self { client, namespaces, quiet: Duration::ZERO, counts: Arc::default() }
    }

    /// Drops repeats of an event that come sooner than this after the last one, for events that many objects cause.
    #[must_use]
    pub fn with_quiet_period(self, quiet: Duration) -> Self {
        Self { quiet, ..self }
    }

    /// Writes an event about an object, unless its namespace is terminating: nothing can be created in there. A failed write
    /// is logged and is not an error for the caller, because statuses, metrics and `bindery who` carry the same facts.
    pub async fn record(&self, regarding: &ObjectReference, event: &Event) {
        self.record_as(regarding, event, digest(regarding, event, None), self.quiet).await;
    }

    /// Writes an event about an occurrence that another system has given an id. However often the occurrence is seen, by
    /// this replica or another, the event is written once.
    pub async fn record_once(&self, regarding: &ObjectReference, event: &Event, occurrence: &str) {
        self.record_as(regarding, event, digest(regarding, event, Some(occurrence)), ONCE).await;
    }

    async fn record_as(&self, regarding: &ObjectReference, event: &Event, key: u64, quiet: Duration) {
        let namespace = regarding.namespace.as_deref().unwrap_or(CLUSTER_SCOPE_NAMESPACE);
        if self.is_terminating(namespace) {
            return;
        }
        let Some(count) = self.lock().next(key, quiet, Instant::now()) else { return };
        let count = Some(count).filter(|_| quiet != ONCE);
        let new = manifest(key, namespace, regarding, event);
        if let Err(error) = with_timeout(WRITE_TIMEOUT, self.write(namespace, &new, count)).await {
            debug!(
                namespace,
                object = regarding.name,
                reason = %event.reason,
                error = explain(&error),
                "event not written"
            );
            // The next caller with this event tries again, whatever the quiet period is.
            self.lock().entries.remove(&key);
        }
    }

    fn is_terminating(&self, namespace: &str) -> bool {
        let known = self.namespaces.get(&ObjectRef::new(namespace));
        known.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates the event, or raises the count of the one that exists; without a count, that one is left as it is.
    async fn write(&self, namespace: &str, event: &v1::Event, count: Option<i32>) -> kube::Result<()> {
        let api: Api<v1::Event> = Api::namespaced(self.client.clone(), namespace);
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, event).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let Some(count) = count else { return Ok(()) };
                // A former leader's count is not known, and a series begins with the second occurrence.
                let series = json!({"count": count.max(2), "lastObservedTime": MicroTime(Timestamp::now())});
                let patch = Patch::Merge(json!({"series": series}));
                api.patch(&event.name_any(), &PatchParams::default(), &patch).await.map(drop)
            }
            written => written.map(drop),
        }
    }
}

/// How often each event has been written, by the digest that is part of its name.
#[derive(Default)]
struct Counts {
    entries: HashMap<u64, Count>,
    cleaned: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Count {
    last: Instant,
    times: i32,
}

impl Counts {
    /// The count of an event that occurs now; `None` during its quiet period.
    fn next(&mut self, key: u64, quiet: Duration, now: Instant) -> Option<i32> {
        if self.cleaned.is_none_or(|cleaned| now >= cleaned + CLEANUP_INTERVAL) {
            self.cleaned = Some(now);
            self.entries.retain(|_, count| now < count.last + COUNT_TTL);
        }
        match self.entries.get_mut(&key) {
            Some(count) if now < count.last + quiet => None,
            Some(count) => {
                *count = Count { last: now, times: count.times.saturating_add(1) };
                Some(count.times)
            }
            None => {
                self.entries.insert(key, Count { last: now, times: 1 });
                Some(1)
            }
        }
    }
}

fn digest(regarding: &ObjectReference, event: &Event, occurrence: Option<&str>) -> u64 {
    let uid = regarding.uid.as_deref().unwrap_or_default();
    let mut text = format!("{uid}\0{}\0{}", event.reason, event.note);
    if let Some(occurrence) = occurrence {
        text = format!("{text}\0{occurrence}");
    }
    let digest = Sha256::digest(text);
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn name(key: u64, regarding: &ObjectReference) -> String {
    let name = regarding.name.as_deref().filter(|name| name.len() <= MAX_NAME);
    format!("{}.{key:016x}", name.unwrap_or(FIELD_MANAGER))
}

fn manifest(key: u64, namespace: &str, regarding: &ObjectReference, event: &Event) -> v1::Event {
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| FIELD_MANAGER.to_owned());
    v1::Event {
        metadata: ObjectMeta {
            name: Some(name(key, regarding)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some(if event.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(event.reason.clone().into_owned()),
        note: Some(truncated(&event.note).to_owned()),
        action: Some(event.action.to_owned()),
        regarding: Some(regarding.clone()),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(instance),
        ..v1::Event::default()
    }
}

fn truncated(note: &str) -> &str {
    if note.len() < MAX_NOTE {
        return note;
    }
    let end = (0..MAX_NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
    &note[..end]
}

#[cfg(test)]
mod tests;
