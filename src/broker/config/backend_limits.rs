//! Concurrency and rate limits of one backend, which every type of backend has.

use std::num::{NonZeroU32, NonZeroUsize};

use serde::Deserialize;

/// The limits that the operator sets for one backend, enforced by the engine. An absent limit is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BackendLimits {
    /// The maximum number of concurrent operations.
    pub concurrency: Option<NonZeroUsize>,
    /// The maximum number of calls per second.
    pub requests_per_second: Option<NonZeroU32>,
}

impl BackendLimits {
    /// Takes each absent limit from `otherwise`.
    pub(crate) fn or(self, otherwise: Self) -> Self {
        Self {
            concurrency: self.concurrency.or(otherwise.concurrency),
            requests_per_second: self.requests_per_second.or(otherwise.requests_per_second),
        }
    }
}
