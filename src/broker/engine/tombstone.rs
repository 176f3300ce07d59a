//! Tombstones: what is kept of the operations on a deleted instance or binding. A tombstone holds the ids of the
//! delete and of the operations that did not succeed, so that a failed creation can still be polled after a delete.
//! Stores keep a tombstone as text. Pure.

use super::super::store::{
    Change,
    records::{PastOperation, Record},
};

/// The operations on a deleted instance or binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tombstone {
    pub(super) delete: String,
    pub(super) failed: Vec<String>,
}

impl Tombstone {
    /// Parses ids separated by spaces. Earlier versions wrote only the delete's id.
    pub(super) fn read(text: &str) -> Self {
        let mut ids = text.split(' ').map(ToOwned::to_owned);
        Self { delete: ids.next().unwrap_or_default(), failed: ids.collect() }
    }
}

/// The change that keeps a tombstone after a delete; `None` if no platform polls.
pub(super) fn of(record: &impl Record) -> Option<Change> {
    let (delete, (former, past)) = (record.operation(), record.history());
    let is_polled = delete.is_asynchronous || former.is_some_and(|former| former.is_asynchronous);
    let former = former.cloned().map(PastOperation::from);
    let failed = former.iter().chain(past.iter().rev()).filter(|operation| !operation.succeeded);
    let failed: Vec<_> = failed.map(|operation| operation.id.clone()).collect();
    (is_polled && (delete.is_asynchronous || !failed.is_empty())).then(|| {
        let ids: Vec<_> = [delete.id.clone()].into_iter().chain(failed).collect();
        Change::Tombstone(record.key(), ids.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_an_earlier_version_is_a_delete() {
        assert_eq!(Tombstone::read("a"), Tombstone { delete: "a".to_owned(), failed: Vec::new() });
        assert_eq!(Tombstone::read("a b c").failed, ["b", "c"]);
    }
}
