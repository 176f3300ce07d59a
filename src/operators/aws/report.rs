//! Writes the state of a stack into its object, and an event for each change of it.

use std::time::Duration;

use tracing::debug;

use super::{
    error::OperatorError,
    outputs,
    reconcile::{Operator, Subject},
};
use crate::{apis::aws_operator::AwsObject, k8s::events::Event};

/// How often the events of a stack that CloudFormation works on are read.
const READING: Duration = Duration::from_mins(1);

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
            None => self.news(subject).await?,
        };
        self.write_status(subject, subject.object.clone(), stack.status.as_str(), reason).await.map(drop)
    }

    /// Tells in events what CloudFormation did since the object was last written. Returns the reason of a new failure.
    pub(super) async fn news(&self, subject: &Subject<'_>) -> Result<Option<String>, OperatorError> {
        let Some(stack) = &subject.stack else { return Ok(None) };
        let (object, status) = (subject.object, &stack.status);
        let is_new = object.status.resource_status != status.as_str();
        let is_due = if status.is_in_progress() {
            self.memories.is_reading_due(object, READING)
        } else {
            self.memories.end_reading(object);
            is_new
        };
        if !is_due {
            return Ok(None);
        }
        if status.has_failed() {
            return self.reason_of_failure(subject).await.map(Some);
        }
        // The stack is as wanted, so there is no reason to wait for events that cannot be read.
        if let Err(error) = self.read_history(subject, stack).await {
            debug!(stack = stack.name, %error, "the events of the stack are not told");
        }
        Ok(None)
    }

    /// Writes a state for which there is no stack of the object's own.
    pub(super) async fn report_word(
        &self,
        subject: &Subject<'_>,
        word: &str,
        reason: &str,
    ) -> Result<(), OperatorError> {
        self.write_status(subject, subject.object.clone(), word, Some(reason.to_owned())).await.map(drop)
    }

    /// Writes `object` with this state, unless the stored object has it. Returns the stored object.
    pub(super) async fn write_status(
        &self,
        subject: &Subject<'_>,
        mut object: AwsObject,
        status: &str,
        reason: Option<String>,
    ) -> Result<AwsObject, OperatorError> {
        let before = &subject.object.status;
        let stack = subject.stack.as_ref();
        object.status.stack_id = stack.map(|stack| stack.id.clone()).unwrap_or_default();
        status.clone_into(&mut object.status.resource_status);
        // A reason lasts as long as its state.
        object.status.resource_status_reason = reason.unwrap_or_else(|| {
            if before.resource_status == status && stack.is_some_and(|stack| stack.status.has_failed()) {
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
            return Ok(object);
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
        let history = self.read_history(subject, stack).await?;
        let failure = history.first_failure.map(|failure| failure.to_string());
        let failure = failure.unwrap_or_else(|| "no event of the stack has a reason".to_owned());
        Ok(match stack.status.way_out() {
            Some(way_out) => format!("{failure}; {way_out}"),
            None => format!("{failure}; the stack is as it was before the update"),
        })
    }

    /// Tells that the creation failed too often.
    pub(super) async fn give_up(&self, subject: &Subject<'_>) -> Result<(), OperatorError> {
        let end = format!(
            "; bindery has tried {} times and stops. Correct the cause, then set spec.rollbackCount to 0",
            subject.object.rollback_count()
        );
        let reason = self.reason_of_failure(subject).await?;
        let told = if reason.ends_with(&end) { reason } else { reason + &end };
        self.report(subject, Some(told)).await
    }
}
