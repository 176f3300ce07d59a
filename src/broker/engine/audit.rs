//! The audit log: one line for each request for an operation or for credentials, and one for the end of each
//! asynchronous operation.

use super::{BindResult, Provisioned, Refusal, RequestContext, Status};
use crate::{
    broker::store::{
        Key,
        records::{Operation, Outcome},
    },
    osb::{BindingId, InstanceId},
};

/// The caller of a request: the platform's originating identity, if the platform sent one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller(pub(crate) Option<String>);

/// The subject of a request.
pub(super) struct Audit {
    pub(super) verb: &'static str,
    pub(super) caller: Caller,
    pub(super) instance: InstanceId,
    pub(super) binding: Option<BindingId>,
}

/// The outcome of a request in the log.
pub(super) trait AuditOutcome {
    fn label(&self) -> &'static str;
}

impl AuditOutcome for Status {
    fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Already => "already done",
            Self::Accepted(_) => "accepted",
        }
    }
}

impl AuditOutcome for Provisioned {
    fn label(&self) -> &'static str {
        self.status.label()
    }
}

impl AuditOutcome for BindResult {
    fn label(&self) -> &'static str {
        self.status.label()
    }
}

impl Audit {
    pub(super) fn of(
        verb: &'static str,
        context: &RequestContext,
        instance: &InstanceId,
        binding: Option<&BindingId>,
    ) -> Self {
        let (caller, instance, binding) = (context.caller.clone(), instance.clone(), binding.cloned());
        Self { verb, caller, instance, binding }
    }

    pub(super) fn log<T: AuditOutcome>(&self, outcome: &Result<T, Refusal>) {
        let Self { verb, caller, instance, binding } = self;
        let (label, refusal) = match outcome {
            Ok(answer) => (answer.label(), None),
            Err(refusal) => ("refused", Some(tracing::field::display(refusal))),
        };
        tracing::info!(
            target: "bindery::audit",
            verb,
            %instance,
            binding = binding.as_ref().map(tracing::field::display),
            caller = caller.0.as_deref(),
            outcome = label,
            refusal,
            "{verb} {label}",
        );
    }
}

/// Logs the end of an operation for which no request waits any more.
pub(super) fn ended(key: &Key, operation: &Operation) {
    let Key { instance, binding } = key;
    let failure = match &operation.outcome {
        Outcome::Failed(why) => Some(why.as_str()),
        Outcome::InProgress(_) | Outcome::Succeeded => None,
    };
    tracing::info!(
        target: "bindery::audit",
        verb = operation.verb.as_str(),
        %instance,
        binding = binding.as_ref().map(tracing::field::display),
        caller = operation.caller.as_deref(),
        operation = operation.id,
        outcome = if failure.is_some() { "failed" } else { "done" },
        failure,
        "operation ended",
    );
}
