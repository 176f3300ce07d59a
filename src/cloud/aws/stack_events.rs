//! What CloudFormation did to a stack: its events since the current or last operation began, the first failure among them,
//! and how far the operation is.

use std::{collections::BTreeSet, fmt};

use aws_sdk_cloudformation::types::{ResourceStatus, StackEvent as SdkEvent};

use super::{Account, AwsError, Call};

/// A resource that failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The resource's name in the template.
    pub resource: String,
    /// The resource's type.
    pub kind: String,
    /// CloudFormation's reason.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.resource, self.kind, self.reason)
    }
}

/// An event of one resource of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceEvent {
    /// The event's id, which no other event has.
    pub id: String,
    /// The resource's name in the template.
    pub resource: String,
    /// The resource's type.
    pub kind: String,
    /// CloudFormation's state of the resource.
    pub status: String,
    /// CloudFormation's reason; often empty.
    pub reason: String,
}

impl ResourceEvent {
    /// Whether the resource failed by itself. CloudFormation also ends work on resources because another one failed.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.status.ends_with("_FAILED") && !self.reason.contains("cancelled")
    }
}

/// What the events say about the current or last operation of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The first resource that failed; the stack itself if no resource did.
    pub first_failure: Option<Failure>,
    /// The resources that are done.
    pub done: BTreeSet<String>,
    /// The resources that CloudFormation works on.
    pub in_progress: BTreeSet<String>,
    /// The events of resources, the oldest first.
    pub events: Vec<ResourceEvent>,
}

impl Account {
    /// What the events say about the current or last operation of a stack.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn stack_history(&self, name: &str) -> Result<History, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("cloudformation:DescribeStackEvents", name);
        let (mut events, mut next) = (Vec::new(), None);
        loop {
            let request = || {
                let request = clients.cloudformation.describe_stack_events().stack_name(name);
                request.set_next_token(next.clone()).send()
            };
            let page = self.call(call, request).await?;
            let has_begun = extend_to_start(&mut events, page.stack_events.unwrap_or_default());
            next = page.next_token;
            if has_begun || next.is_none() {
                return Ok(History::of(events));
            }
        }
    }
}

/// An event of a resource, or of the stack itself.
struct Event {
    is_of_stack: bool,
    event: ResourceEvent,
}

impl From<SdkEvent> for Event {
    fn from(event: SdkEvent) -> Self {
        Self {
            is_of_stack: event.physical_resource_id == event.stack_id,
            event: ResourceEvent {
                id: event.event_id.unwrap_or_default(),
                resource: event.logical_resource_id.unwrap_or_default(),
                kind: event.resource_type.unwrap_or_default(),
                status: event.resource_status.as_ref().map_or("", ResourceStatus::as_str).to_owned(),
                reason: event.resource_status_reason.unwrap_or_default(),
            },
        }
    }
}

/// Adds events, the newest first, until the one that began the operation. Returns whether that was found.
fn extend_to_start(events: &mut Vec<Event>, page: Vec<SdkEvent>) -> bool {
    for event in page {
        let event = Event::from(event);
        let starts = matches!(
            event.event.status.as_str(),
            "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS" | "DELETE_IN_PROGRESS" | "IMPORT_IN_PROGRESS"
        );
        if event.is_of_stack && starts {
            return true;
        }
        events.push(event);
    }
    false
}

impl History {
    /// The history in these events, the newest first.
    fn of(newest_first: Vec<Event>) -> Self {
        let mut history = Self::default();
        let mut failure_of_stack = None;
        for Event { is_of_stack, event } in newest_first.into_iter().rev() {
            if !is_of_stack {
                history.add(event);
                continue;
            }
            let has_failed =
                event.status.ends_with("_FAILED") || event.status.contains("ROLLBACK_IN_PROGRESS");
            if has_failed && !event.reason.is_empty() {
                failure_of_stack.get_or_insert(event);
            }
        }
        // The stack's own reason is often that a resource failed.
        let of_stack = failure_of_stack.as_ref().map(Failure::from);
        history.first_failure = history.first_failure.or(of_stack);
        history
    }

    fn add(&mut self, event: ResourceEvent) {
        let resource = event.resource.clone();
        if event.status.ends_with("_FAILED") {
            self.in_progress.remove(&resource);
            if self.first_failure.is_none() && event.is_failure() {
                self.first_failure = Some(Failure::from(&event));
            }
        } else if event.status.ends_with("_IN_PROGRESS") {
            self.done.remove(&resource);
            self.in_progress.insert(resource);
        } else {
            self.in_progress.remove(&resource);
            self.done.insert(resource);
        }
        self.events.push(event);
    }
}

impl From<&ResourceEvent> for Failure {
    fn from(event: &ResourceEvent) -> Self {
        let ResourceEvent { resource, kind, reason, .. } = event.clone();
        Self { resource, kind, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: &str = "arn:aws:cloudformation:us-east-1:1:stack/s/1";

    /// Events as CloudFormation lists them: the newest first.
    fn history(oldest_first: &[(&str, &str, &str)]) -> History {
        let event = |(resource, status, reason): &(&str, &str, &str)| {
            let physical = if *resource == "s" { STACK } else { "q" };
            SdkEvent::builder()
                .stack_id(STACK)
                .logical_resource_id(*resource)
                .physical_resource_id(physical)
                .resource_status(ResourceStatus::from(*status))
                .resource_status_reason(*reason)
                .build()
        };
        let mut events = Vec::new();
        extend_to_start(&mut events, oldest_first.iter().rev().map(event).collect());
        History::of(events)
    }

    #[test]
    fn a_failed_update_has_the_reason_of_its_first_failed_resource() {
        let history = history(&[
            ("s", "CREATE_IN_PROGRESS", "User Initiated"),
            ("Queue", "CREATE_FAILED", "of an earlier operation"),
            ("s", "UPDATE_IN_PROGRESS", "User Initiated"),
            ("Queue", "UPDATE_IN_PROGRESS", ""),
            ("Topic", "UPDATE_FAILED", "Resource update cancelled"),
            ("Queue", "UPDATE_FAILED", "invalid value"),
            ("s", "UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to update: [Queue]."),
            ("Queue", "UPDATE_COMPLETE", ""),
            ("s", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", ""),
            ("s", "UPDATE_ROLLBACK_COMPLETE", ""),
        ]);
        assert_eq!(history.first_failure.unwrap().reason, "invalid value");
        assert_eq!(history.events.len(), 4, "those of resources, since the operation began");
    }

    #[test]
    fn without_a_failed_resource_the_stack_has_the_reason() {
        let history = history(&[
            ("s", "UPDATE_IN_PROGRESS", "User Initiated"),
            ("s", "UPDATE_ROLLBACK_IN_PROGRESS", "Transform AWS::Serverless failed"),
            ("s", "UPDATE_ROLLBACK_COMPLETE", ""),
        ]);
        assert_eq!(history.first_failure.unwrap().reason, "Transform AWS::Serverless failed");
    }
}
