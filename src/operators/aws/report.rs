//! Writes the state of a stack into its object, and an event for each change of it.

use super::{
    error::OperatorError,
    outputs,
    reconcile::{Operator, Subject},
};
use crate::{apis::aws_operator::AwsObject, k8s::events::Event};

impl Operator {
    /// Writes the state of the stack. `told` replaces the reason that bindery would find itself.
    pub(super) async fn report(
        &self,
        subject: &Subject<'_>,
        told: Option<String>,
    ) -> Result<(), OperatorError> {
        let Some(stack) = &subject.stack else { return Ok(()) };
        let reason = match told {
            Some(told) => Some(told),
            // A new state that stays until somebody acts: CloudFormation's events have the reason.
            None if stack.status.is_stuck()
                && subject.object.status.resource_status != stack.status.as_str() =>
            {
                Some(self.reason_of_failure(subject).await?)
            }
            None => None,
        };
        self.write_status(subject, subject.object.clone(), stack.status.as_str(), reason).await
    }

    /// Writes a state for which there is no stack of the object's own.
    pub(super) async fn report_word(
        &self,
        subject: &Subject<'_>,
        word: &str,
        reason: &str,
    ) -> Result<(), OperatorError> {
        self.write_status(subject, subject.object.clone(), word, Some(reason.to_owned())).await
    }

    /// Writes `object` with this state, unless the stored object has it.
    pub(super) async fn write_status(
        &self,
        subject: &Subject<'_>,
        mut object: AwsObject,
        status: &str,
        reason: Option<String>,
    ) -> Result<(), OperatorError> {
        let before = &subject.object.status;
        let stack = subject.stack.as_ref();
        object.status.stack_id = stack.map(|stack| stack.id.clone()).unwrap_or_default();
        status.clone_into(&mut object.status.resource_status);
        // A reason lasts as long as its state.
        object.status.resource_status_reason = reason.unwrap_or_else(|| {
            if before.resource_status == status && stack.is_some_and(|stack| stack.status.is_stuck()) {
                before.resource_status_reason.clone()
            } else {
                String::new()
            }
        });
        if object.output.is_empty() {
            object.output = outputs::empty(subject.kind);
        }
        object.additional_resources = Some(object.additional_resources.unwrap_or_default());
        if object == *subject.object {
            return Ok(());
        }
        if object.status.resource_status != before.resource_status {
            self.tell(subject, &object).await;
        }
        self.replace(subject.kind, &object).await
    }

    async fn tell(&self, subject: &Subject<'_>, object: &AwsObject) {
        let status = object.status.resource_status.clone();
        let reason = &object.status.resource_status_reason;
        let stack = subject.stack.as_ref().map_or("", |stack| stack.name.as_str());
        let event = if reason.is_empty() {
            Event::normal("Reconcile", status, format!("stack {stack}"))
        } else {
            Event::warning("Reconcile", status, reason.clone())
        };
        self.event(subject, &event).await;
    }

    /// The first resource that failed, and the way out.
    pub(super) async fn reason_of_failure(&self, subject: &Subject<'_>) -> Result<String, OperatorError> {
        let Some(stack) = &subject.stack else { return Ok(String::new()) };
        let known = &subject.object.status;
        if known.resource_status == stack.status.as_str() && !known.resource_status_reason.is_empty() {
            return Ok(known.resource_status_reason.clone());
        }
        // The id, because a deleted stack has lost its name.
        let history = subject.account.account.stack_history(&stack.id).await?;
        let failure = history.first_failure.map(|failure| failure.to_string());
        let failure = failure.unwrap_or_else(|| "no event of the stack has a reason".to_owned());
        Ok(match stack.status.way_out() {
            Some(way_out) => format!("{failure}; {way_out}"),
            None => failure,
        })
    }
}
