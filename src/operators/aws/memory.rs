//! What the operator remembers of objects between reconciles. A restart loses all of it without harm: it only saves calls.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::ResourceExt;
use tokio::time::Instant;

use crate::apis::aws_operator::AwsObject;

/// What is remembered of all objects, by uid.
#[derive(Default)]
pub(super) struct Memories(Mutex<HashMap<String, Memory>>);

#[derive(Default)]
struct Memory {
    /// When bindery last changed the stack: an older list of stacks does not show the change.
    changed: Option<Instant>,
    /// When a failed stack may be tried again.
    paused_until: Option<Instant>,
    /// When the events of a stack under way were last read.
    read: Option<Instant>,
    /// The check for drift that is under way.
    drift_check: Option<String>,
    /// The last import that failed.
    failed_import: Option<FailedImport>,
    /// The name of the object's stack.
    stack: Option<String>,
    /// Whether bindery is told of the stack's events.
    is_pushed: bool,
}

/// Why a resource could not be imported.
#[derive(Clone)]
pub(super) struct FailedImport {
    /// What identifies the resource.
    pub(super) identifier: String,
    /// Whether the resource belongs to another stack.
    pub(super) is_taken: bool,
    pub(super) told: String,
    pub(super) at: Instant,
}

impl Memories {
    pub(super) fn stack_changed(&self, object: &AwsObject) {
        self.of(object, |memory| memory.changed = Some(Instant::now()));
    }

    /// When bindery last changed the stack of the object.
    pub(super) fn changed(&self, object: &AwsObject) -> Option<Instant> {
        self.of(object, |memory| memory.changed)
    }

    pub(super) fn pause(&self, object: &AwsObject, pause: Duration) {
        self.of(object, |memory| memory.paused_until = Some(Instant::now() + pause));
    }

    /// How long the pause lasts.
    pub(super) fn pause_left(&self, object: &AwsObject) -> Option<Duration> {
        let until = self.of(object, |memory| memory.paused_until)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    pub(super) fn end_pause(&self, object: &AwsObject) {
        self.of(object, |memory| memory.paused_until = None);
    }

    /// Whether the events of a stack under way are to be read again. They are not at first, when there is nothing to read.
    pub(super) fn is_reading_due(&self, object: &AwsObject, interval: Duration) -> bool {
        self.of(object, |memory| {
            let now = Instant::now();
            let last = *memory.read.get_or_insert(now);
            let is_due = now >= last + interval;
            if is_due {
                memory.read = Some(now);
            }
            is_due
        })
    }

    pub(super) fn end_reading(&self, object: &AwsObject) {
        self.of(object, |memory| memory.read = None);
    }

    pub(super) fn drift_check(&self, object: &AwsObject) -> Option<String> {
        self.of(object, |memory| memory.drift_check.clone())
    }

    pub(super) fn begin_drift_check(&self, object: &AwsObject, check: String) {
        self.of(object, |memory| memory.drift_check = Some(check));
    }

    pub(super) fn end_drift_check(&self, object: &AwsObject) {
        self.of(object, |memory| memory.drift_check = None);
    }

    pub(super) fn remember_stack(&self, object: &AwsObject, stack: &str, is_pushed: bool) {
        self.of(object, |memory| {
            memory.stack.get_or_insert_with(|| stack.to_owned());
            memory.is_pushed = is_pushed;
        });
    }

    pub(super) fn is_pushed(&self, object: &AwsObject) -> bool {
        self.of(object, |memory| memory.is_pushed)
    }

    /// The stack of this name has changed now.
    pub(super) fn hear_of(&self, stack: &str) {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = memories.values_mut().find(|memory| memory.stack.as_deref() == Some(stack));
        if let Some(memory) = heard {
            memory.changed = Some(Instant::now());
        }
    }

    pub(super) fn remember_failed_import(&self, object: &AwsObject, failed: FailedImport) {
        self.of(object, |memory| memory.failed_import = Some(failed));
    }

    /// The last import of this resource, if it failed less than `age` ago.
    pub(super) fn failed_import(
        &self,
        object: &AwsObject,
        identifier: &str,
        age: Duration,
    ) -> Option<FailedImport> {
        let failed = self.of(object, |memory| memory.failed_import.clone())?;
        (failed.identifier == identifier && failed.at.elapsed() < age).then_some(failed)
    }

    pub(super) fn forget(&self, object: &AwsObject) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&object.uid().unwrap_or_default());
    }

    fn of<T>(&self, object: &AwsObject, change: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(memories.entry(object.uid().unwrap_or_default()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stack_under_way_is_read_at_intervals() {
        let (memories, object, minute) = (Memories::default(), AwsObject::default(), Duration::from_mins(1));
        assert!(!memories.is_reading_due(&object, minute), "nothing has happened yet");
        tokio::time::advance(minute).await;
        assert!(memories.is_reading_due(&object, minute));
        assert!(!memories.is_reading_due(&object, minute));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends() {
        let (memories, object) = (Memories::default(), AwsObject::default());
        assert_eq!(memories.pause_left(&object), None);
        memories.pause(&object, Duration::from_secs(9));
        assert_eq!(memories.pause_left(&object), Some(Duration::from_secs(9)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(memories.pause_left(&object), None);
    }
}
