//! What is remembered of operations on an instance or a binding that is gone: the delete's id, and the ids of those that did
//! not succeed, so that the failure of a creation is still told after what it left was deleted. Stores keep it as a text. Pure.

use super::super::store::{
    Change, Key,
    records::{Binding, Instance, Operation, PastOperation},
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tombstone {
    pub(super) delete: String,
    pub(super) failed: Vec<String>,
}

impl Tombstone {
    /// Ids are without spaces, and so is the text of before, which was the delete's id alone.
    pub(super) fn read(text: &str) -> Self {
        let mut ids = text.split(' ').map(ToOwned::to_owned);
        Self { delete: ids.next().unwrap_or_default(), failed: ids.collect() }
    }

    fn of(delete: &Operation, former: Option<&Operation>, past: &[PastOperation]) -> Self {
        let former = former.cloned().map(PastOperation::from);
        let failed = former.iter().chain(past.iter().rev()).filter(|operation| !operation.succeeded);
        Self { delete: delete.id.clone(), failed: failed.map(|operation| operation.id.clone()).collect() }
    }

    /// Nothing is remembered where nobody was told to poll.
    fn record(self, key: Key, delete: &Operation, former: Option<&Operation>) -> Option<Change> {
        let is_polled = delete.is_asynchronous || former.is_some_and(|former| former.is_asynchronous);
        (is_polled && (delete.is_asynchronous || !self.failed.is_empty())).then(|| {
            let ids: Vec<_> = [self.delete].into_iter().chain(self.failed).collect();
            Change::Tombstone(key, ids.join(" "))
        })
    }
}

/// The change that remembers the operations on an instance whose delete is done, if there is a need.
pub(super) fn of_instance(record: &Instance) -> Option<Change> {
    let (delete, former) = (&record.operation, record.former.as_ref());
    Tombstone::of(delete, former, &record.past).record(record.key(), delete, former)
}

/// The same of a binding.
pub(super) fn of_binding(record: &Binding) -> Option<Change> {
    let (delete, former) = (&record.operation, record.former.as_ref());
    Tombstone::of(delete, former, &record.past).record(record.key(), delete, former)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_before_is_a_delete() {
        assert_eq!(Tombstone::read("a"), Tombstone { delete: "a".to_owned(), failed: Vec::new() });
        assert_eq!(Tombstone::read("a b c").failed, ["b", "c"]);
    }
}
