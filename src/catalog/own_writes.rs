//! Guards against outdated watch caches: a reconciler does not act on an object that is older than bindery's own last write.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The resource version of bindery's last write of each object, by uid. A reconciler that gets an older version waits until the
/// watch delivers its own write; otherwise it would send a request to a broker twice.
#[derive(Debug, Default)]
pub(super) struct OwnWrites(Mutex<HashMap<String, u64>>);

impl OwnWrites {
    /// Records a write, with the metadata that the API server returned.
    pub(super) fn record(&self, meta: &ObjectMeta) {
        if let (Some(uid), Some(version)) = (&meta.uid, version(meta)) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.clone(), version);
        }
    }

    /// Whether this version of an object is at least as new as bindery's last write.
    pub(super) fn is_up_to_date(&self, meta: &ObjectMeta) -> bool {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = meta.uid.as_deref().unwrap_or_default();
        let Some(written) = writes.get(uid) else { return true };
        if version(meta).is_some_and(|version| version < *written) {
            return false;
        }
        writes.remove(uid);
        true
    }

    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Resource versions can be compared as numbers (KEP-5504).
fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_older_than_the_last_write_is_ignored() {
        let meta = |version: &str| ObjectMeta {
            uid: Some("u".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        let writes = OwnWrites::default();
        assert!(writes.is_up_to_date(&meta("9")));
        writes.record(&meta("10"));
        assert!(!writes.is_up_to_date(&meta("9")));
        assert!(writes.is_up_to_date(&meta("11")));
        assert!(writes.is_up_to_date(&meta("9")), "seen once is enough");
    }
}
