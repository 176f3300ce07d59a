//! One log line for each operation that somebody asked for and each look at credentials, and one more when an operation
//! ends that was going on.

use super::{BindResult, FetchedBinding, Provisioned, Refusal, Status};
use crate::{
    broker::store::records::{Operation, Outcome},
    osb::{BindingId, InstanceId},
};

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

/// What the log says of an answer.
pub(super) trait AuditOutcome {
    fn told(&self) -> &'static str;
}

impl AuditOutcome for Status {
    fn told(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Already => "already done",
            Self::Accepted(_) => "accepted",
        }
    }
}

impl AuditOutcome for Provisioned {
    fn told(&self) -> &'static str {
        self.status.told()
    }
}

impl AuditOutcome for BindResult {
    fn told(&self) -> &'static str {
        self.status.told()
    }
}

impl AuditOutcome for FetchedBinding {
    fn told(&self) -> &'static str {
        "done"
    }
}

impl Audit {
    pub(super) fn log<T: AuditOutcome>(&self, outcome: &Result<T, Refusal>) {
        let Self { verb, caller, instance, binding } = self;
        let (told, refusal) = match outcome {
            Ok(answer) => (answer.told(), None),
            Err(refusal) => ("refused", Some(tracing::field::display(refusal))),
        };
        tracing::info!(
            target: "bindery::audit",
            verb,
            %instance,
            binding = binding.as_ref().map(tracing::field::display),
            caller = caller.0.as_deref(),
            outcome = told,
            refusal,
            "{verb} {told}",
        );
    }
}

/// Logs the end of an operation that nobody waits for any more.
pub(super) fn ended(instance: &InstanceId, binding: Option<&BindingId>, operation: &Operation) {
    let failure = match &operation.outcome {
        Outcome::Failed(why) => Some(why.as_str()),
        Outcome::InProgress(_) | Outcome::Succeeded => None,
    };
    tracing::info!(
        target: "bindery::audit",
        verb = operation.verb.as_str(),
        %instance,
        binding = binding.map(tracing::field::display),
        caller = operation.caller.as_deref(),
        operation = operation.id,
        outcome = if failure.is_some() { "failed" } else { "done" },
        failure,
        "operation ended",
    );
}
