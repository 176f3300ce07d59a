//! Drift of an object's stack, checked at an interval if the installation asks for it, and shown in the status.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tracing::debug;

use super::{
    error::OperatorError,
    reasons,
    reconcile::{Operator, Subject},
};
use crate::{
    apis::aws_operator::AwsObject,
    cloud::aws::{AwsError, drift::Drift, stacks::Stack},
    k8s::events::Event,
};

/// How soon the outcome of a check is asked for.
const SOON: Duration = Duration::from_secs(5);
/// How many resources the status names.
const MOST: usize = 10;

impl Operator {
    /// The next step of the check for drift of a settled stack. Returns when the step after it is due; `None` without checks.
    pub(super) async fn check_drift(
        &self,
        subject: &Subject<'_>,
        written: AwsObject,
    ) -> Result<Option<Duration>, OperatorError> {
        let (Some(interval), Some(stack)) = (self.drift_interval, &subject.stack) else { return Ok(None) };
        if let Some(left) = time_left(&written, interval) {
            return Ok(Some(left));
        }
        match self.drift_of(subject, stack).await {
            Ok(Some(drift)) => {
                self.show_drift(subject, written, &drift).await?;
                Ok(Some(interval))
            }
            Ok(None) => Ok(Some(SOON)),
            // The object is as wanted; a check that fails is tried again with the next one.
            Err(error) => {
                debug!(stack = stack.name, %error, "the stack is not checked for drift");
                Ok(Some(interval))
            }
        }
    }

    async fn drift_of(&self, subject: &Subject<'_>, stack: &Stack) -> Result<Option<Drift>, AwsError> {
        let account = &subject.account.account;
        let Some(check) = self.memories.drift_check(subject.object) else {
            let check = account.detect_drift(&stack.name).await?;
            self.memories.begin_drift_check(subject.object, check);
            return Ok(None);
        };
        let drift = account.drift(&stack.name, &check).await;
        if !matches!(drift, Ok(None)) {
            self.memories.end_drift_check(subject.object);
        }
        drift
    }

    async fn show_drift(
        &self,
        subject: &Subject<'_>,
        mut object: AwsObject,
        drift: &Drift,
    ) -> Result<(), OperatorError> {
        let told = told(drift);
        if drift.status == "DRIFTED" && object.status.drift != told {
            let event = Event::warning("Reconcile", reasons::DRIFTED, told.clone());
            self.event(subject, &event).await;
        }
        object.status.drift = told;
        object.status.drift_checked_at = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.replace(subject.kind, &object).await.map(drop)
    }
}

/// How long until the next check.
fn time_left(object: &AwsObject, interval: Duration) -> Option<Duration> {
    let last: Timestamp = object.status.drift_checked_at.parse().ok()?;
    let next = last.checked_add(interval).ok()?;
    Duration::try_from(next.duration_since(Timestamp::now())).ok().filter(|left| !left.is_zero())
}

fn told(drift: &Drift) -> String {
    let mut resources: Vec<_> = drift.resources.iter().take(MOST).map(ToString::to_string).collect();
    if drift.resources.len() > MOST {
        resources.push(format!("and {} more", drift.resources.len() - MOST));
    }
    if resources.is_empty() {
        drift.status.clone()
    } else {
        format!("{}: {}", drift.status, resources.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::aws::drift::DriftedResource;

    #[test]
    fn the_status_names_properties_but_no_values() {
        let resource = DriftedResource {
            resource: "Queue".to_owned(),
            kind: "AWS::SQS::Queue".to_owned(),
            is_deleted: false,
            properties: vec!["/DelaySeconds".to_owned()],
        };
        let drift = Drift { status: "DRIFTED".to_owned(), resources: vec![resource.clone()] };
        assert_eq!(told(&drift), "DRIFTED: Queue (AWS::SQS::Queue) has other values of /DelaySeconds");
        let many = Drift { resources: vec![resource; 12], ..drift };
        assert!(told(&many).ends_with("; and 2 more"));
        assert_eq!(told(&Drift { status: "IN_SYNC".to_owned(), resources: Vec::new() }), "IN_SYNC");
    }

    #[test]
    fn the_next_check_waits_for_the_interval() {
        let hour = Duration::from_hours(1);
        let mut object = AwsObject::default();
        assert_eq!(time_left(&object, hour), None);
        object.status.drift_checked_at = Timestamp::now().to_string();
        assert!(time_left(&object, hour).unwrap() > Duration::from_mins(59));
        assert_eq!(time_left(&object, Duration::ZERO), None);
    }
}
