//! The events of a stack's resources, told as events of the object.

use std::collections::BTreeMap;

use kube::Resource;

use super::reconcile::{Operator, Subject};
use crate::{
    cloud::aws::{
        AwsError,
        stack_events::{History, ResourceEvent},
        stacks::Stack,
    },
    k8s::events::Event,
};

/// How many events of resources one operation has at most. A template of a user may have hundreds of resources.
const MOST: usize = 20;

impl Operator {
    /// Reads what happened in the stack's current or last operation, and tells it.
    pub(super) async fn read_history(
        &self,
        subject: &Subject<'_>,
        stack: &Stack,
    ) -> Result<History, AwsError> {
        // The id, because a deleted stack has lost its name.
        let history = subject.account.account.stack_history(&stack.id).await?;
        let object = subject.object.object_ref(&subject.kind);
        for event in selected(&history.events) {
            self.recorder.record_once(&object, &told(event), &event.id).await;
        }
        Ok(history)
    }
}

/// All failures, then the last event of each resource.
fn selected(events: &[ResourceEvent]) -> Vec<&ResourceEvent> {
    let mut last = BTreeMap::new();
    for event in events.iter().filter(|event| !event.is_failure()) {
        last.insert(event.resource.as_str(), event);
    }
    let failures = events.iter().filter(|event| event.is_failure());
    failures.chain(last.into_values()).take(MOST).collect()
}

fn told(event: &ResourceEvent) -> Event {
    let ResourceEvent { resource, kind, status, reason, .. } = event;
    let mut note = format!("{resource} ({kind})");
    if !reason.is_empty() {
        note = format!("{note}: {reason}");
    }
    if event.is_failure() {
        Event::warning("Reconcile", status.clone(), note)
    } else {
        Event::normal("Reconcile", status.clone(), note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, resource: &str, status: &str) -> ResourceEvent {
        ResourceEvent {
            id: id.to_owned(),
            resource: resource.to_owned(),
            status: status.to_owned(),
            ..ResourceEvent::default()
        }
    }

    #[test]
    fn failures_come_first_and_each_resource_has_its_last_event() {
        let events = [
            event("1", "Queue", "UPDATE_IN_PROGRESS"),
            event("2", "Topic", "UPDATE_COMPLETE"),
            event("3", "Queue", "UPDATE_FAILED"),
            event("4", "Queue", "UPDATE_IN_PROGRESS"),
            event("5", "Queue", "UPDATE_COMPLETE"),
        ];
        let ids: Vec<_> = selected(&events).iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, ["3", "5", "2"]);
    }

    #[test]
    fn a_large_template_has_few_events() {
        let events: Vec<_> =
            (0..500).map(|number| event("", &format!("R{number}"), "CREATE_COMPLETE")).collect();
        assert_eq!(selected(&events).len(), MOST);
    }
}
