//! One operation at a time on each instance and its bindings. A second one is refused, not queued: the platform repeats it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::osb::InstanceId;

/// The instances that an operation is under way on.
#[derive(Clone, Default)]
pub(super) struct Locks(Arc<Mutex<HashSet<InstanceId>>>);

/// Held while an operation is under way.
pub(super) struct Held {
    locks: Locks,
    instance: InstanceId,
}

impl Locks {
    pub(super) fn try_hold(&self, instance: &InstanceId) -> Option<Held> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.clone());
        free.then(|| Held { locks: self.clone(), instance: instance.clone() })
    }

    pub(super) fn is_held(&self, instance: &InstanceId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(instance)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.instance);
    }
}
