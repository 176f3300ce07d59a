//! Drift: what somebody changed of a stack's resources without CloudFormation.

use std::fmt;

use aws_sdk_cloudformation::types::{
    StackDriftDetectionStatus, StackDriftStatus, StackResourceDrift, StackResourceDriftStatus,
};

use super::{Account, AwsError, Call};

/// The outcome of a check for drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// CloudFormation's word: `IN_SYNC`, `DRIFTED`, `NOT_CHECKED` or `UNKNOWN`.
    pub status: String,
    /// The resources that differ from the template.
    pub resources: Vec<DriftedResource>,
}

/// A resource that differs from the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftedResource {
    /// The resource's name in the template.
    pub resource: String,
    /// The resource's type.
    pub kind: String,
    /// Whether the resource is gone.
    pub is_deleted: bool,
    /// The paths of the properties that differ. Their values may be secret, and are left out.
    pub properties: Vec<String>,
}

impl fmt::Display for DriftedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, kind, is_deleted, properties } = self;
        if *is_deleted {
            write!(f, "{resource} ({kind}) was deleted")
        } else {
            write!(f, "{resource} ({kind}) has other values of {}", properties.join(", "))
        }
    }
}

impl Account {
    /// Starts to compare a stack with its resources. Returns the id of the check.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn detect_drift(&self, stack: &str) -> Result<String, AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:DetectStackDrift", stack);
        let detect = || clients.cloudformation.detect_stack_drift().stack_name(stack).send();
        let started = self.call(call, detect).await?;
        started.stack_drift_detection_id.ok_or_else(|| AwsError::incomplete(call, "id of the check"))
    }

    /// The outcome of a check; `None` while it is under way.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn drift(&self, stack: &str, check: &str) -> Result<Option<Drift>, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("cloudformation:DescribeStackDriftDetectionStatus", stack);
        let describe = || {
            let request = clients.cloudformation.describe_stack_drift_detection_status();
            request.stack_drift_detection_id(check).send()
        };
        let described = self.call(call, describe).await?;
        match described.detection_status {
            Some(StackDriftDetectionStatus::DetectionInProgress) => return Ok(None),
            // Some resources could not be compared; the others were.
            Some(
                StackDriftDetectionStatus::DetectionComplete | StackDriftDetectionStatus::DetectionFailed,
            ) => {}
            _ => return Err(AwsError::incomplete(call, "state of the check")),
        }
        let status = described.stack_drift_status.as_ref().map_or("UNKNOWN", StackDriftStatus::as_str);
        let mut drift = Drift { status: status.to_owned(), resources: Vec::new() };
        if drift.status == "DRIFTED" {
            drift.resources = self.drifted_resources(stack).await?;
        }
        Ok(Some(drift))
    }

    async fn drifted_resources(&self, stack: &str) -> Result<Vec<DriftedResource>, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("cloudformation:DescribeStackResourceDrifts", stack);
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let describe = || {
                let request = clients.cloudformation.describe_stack_resource_drifts().stack_name(stack);
                request
                    .stack_resource_drift_status_filters(StackResourceDriftStatus::Modified)
                    .stack_resource_drift_status_filters(StackResourceDriftStatus::Deleted)
                    .set_next_token(next.clone())
                    .send()
            };
            let page = self.call(call, describe).await?;
            found.extend(
                page.stack_resource_drifts.unwrap_or_default().into_iter().map(DriftedResource::from),
            );
            next = page.next_token;
            if next.is_none() {
                return Ok(found);
            }
        }
    }
}

impl From<StackResourceDrift> for DriftedResource {
    fn from(drift: StackResourceDrift) -> Self {
        let differences = drift.property_differences.unwrap_or_default().into_iter();
        Self {
            resource: drift.logical_resource_id.unwrap_or_default(),
            kind: drift.resource_type.unwrap_or_default(),
            is_deleted: drift.stack_resource_drift_status == Some(StackResourceDriftStatus::Deleted),
            properties: differences.filter_map(|difference| difference.property_path).collect(),
        }
    }
}
