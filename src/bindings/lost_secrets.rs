//! Reports bindings whose Secrets are missing. The catalog may not watch Secrets, but it watches the pods that wait for
//! them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// Tells the catalog that a Secret of a ready binding does not exist. Clones share the reports.
#[derive(Clone, Debug, Default)]
pub struct LostSecrets(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The namespace and name of each reported binding, once.
    bindings: Mutex<HashSet<(String, String)>>,
    reported: Notify,
}

impl LostSecrets {
    /// Makes the catalog check the binding's Secrets at once. If the Secrets exist, nothing happens.
    pub fn report(&self, namespace: &str, binding: &str) {
        let mut bindings = self.0.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        bindings.insert((namespace.to_owned(), binding.to_owned()));
        self.0.reported.notify_one();
    }

    /// Waits for reports and returns the bindings that were reported since the last call.
    pub(crate) async fn next(&self) -> HashSet<(String, String)> {
        loop {
            let reported =
                std::mem::take(&mut *self.0.bindings.lock().unwrap_or_else(PoisonError::into_inner));
            if !reported.is_empty() {
                return reported;
            }
            self.0.reported.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn an_early_report_is_kept_and_delivered_once() {
        let lost = LostSecrets::default();
        assert_eq!(lost.next().now_or_never(), None);
        for _ in 0..2 {
            lost.clone().report("shop", "db");
        }
        assert_eq!(lost.next().await, HashSet::from([("shop".to_owned(), "db".to_owned())]));
        assert_eq!(lost.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn a_report_wakes_the_waiting_task() {
        let lost = LostSecrets::default();
        let reporter = lost.clone();
        let (reported, ()) = tokio::join!(lost.next(), async move { reporter.report("shop", "db") });
        assert_eq!(reported.len(), 1);
    }
}
