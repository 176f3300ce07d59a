//! One log line for each operation that somebody asked for.

use super::Refusal;
use crate::osb::{BindingId, InstanceId};

/// Who asks: the platform's originating identity, if it sent one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller(pub(crate) Option<String>);

/// What is asked for.
pub(super) struct Audit {
    pub(super) verb: &'static str,
    pub(super) caller: Caller,
    pub(super) instance: InstanceId,
    pub(super) binding: Option<BindingId>,
}

impl Audit {
    pub(super) fn log(&self, refusal: Option<&Refusal>) {
        let Self { verb, caller, instance, binding } = self;
        tracing::info!(
            target: "bindery::audit",
            verb,
            %instance,
            binding = binding.as_ref().map(tracing::field::display),
            caller = caller.0.as_deref(),
            refusal = refusal.map(tracing::field::display),
            "{verb} {}", if refusal.is_none() { "done" } else { "refused" },
        );
    }
}
