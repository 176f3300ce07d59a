//! Limits of the work on one backend: settings that every type of backend has.

use std::num::{NonZeroU32, NonZeroUsize};

use serde::Deserialize;

/// The limits that the operator sets for one backend. The engine enforces them; without a limit it calls as often as it has
/// something to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BackendLimits {
    /// How many operations may run at the same time.
    pub concurrency: Option<NonZeroUsize>,
    /// How many calls of operations may start in a second.
    pub requests_per_second: Option<NonZeroU32>,
}

impl BackendLimits {
    /// These limits; those of `otherwise` where there is none.
    pub(crate) fn or(self, otherwise: Self) -> Self {
        Self {
            concurrency: self.concurrency.or(otherwise.concurrency),
            requests_per_second: self.requests_per_second.or(otherwise.requests_per_second),
        }
    }
}
