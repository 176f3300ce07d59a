//! Change sets of CloudFormation: what an update would replace, before it is made.

use std::{fmt, time::Duration};

use aws_sdk_cloudformation::types::{
    Capability, ChangeSetStatus, ChangeSetType, Replacement as SdkReplacement, ResourceChange,
};
use tokio::time::{Instant, sleep};

use super::{
    Account, AwsError, Call, ErrorKind,
    stacks::{StackRequest, parameters, tags},
};

/// How long CloudFormation may take to compute a change set.
const LONGEST: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);

/// A resource that an update replaces, or may replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The resource's name in the template.
    pub resource: String,
    /// The resource's type.
    pub kind: String,
    /// Whether CloudFormation cannot say before the update.
    pub is_conditional: bool,
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certainty = if self.is_conditional { "may replace" } else { "replaces" };
        write!(f, "{certainty} {} ({})", self.resource, self.kind)
    }
}

/// A computed change set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    name: String,
    /// The resources that the update replaces.
    pub replacements: Vec<Replacement>,
}

impl Account {
    /// Computes what an update changes; `None` if it changes nothing.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn plan_update(&self, request: &StackRequest<'_>) -> Result<Option<ChangeSet>, AwsError> {
        self.create_change_set(request).await?;
        let deadline = Instant::now() + LONGEST;
        loop {
            let clients = self.clients().await?;
            let call = Call::read("cloudformation:DescribeChangeSet", request.name);
            let describe = || {
                let described = clients.cloudformation.describe_change_set();
                described.stack_name(request.name).change_set_name(request.token).send()
            };
            let described = self.call(call, describe).await?;
            match described.status {
                Some(ChangeSetStatus::CreateComplete) => {
                    let changes = described.changes.unwrap_or_default().into_iter();
                    let replacements =
                        changes.filter_map(|change| replacement(change.resource_change?)).collect();
                    return Ok(Some(ChangeSet { name: request.token.to_owned(), replacements }));
                }
                Some(ChangeSetStatus::Failed) => {
                    let reason = described.status_reason.unwrap_or_default();
                    self.delete_change_set(request.name, request.token).await?;
                    let is_empty = reason.contains("didn't contain changes")
                        || reason.contains("No updates are to be performed");
                    return if is_empty { Ok(None) } else { Err(AwsError::refused(call, reason)) };
                }
                _ if Instant::now() > deadline => {
                    return Err(AwsError::unavailable(
                        call,
                        "the change set is not computed within a minute",
                    ));
                }
                _ => sleep(PAUSE).await,
            }
        }
    }

    async fn create_change_set(&self, request: &StackRequest<'_>) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:CreateChangeSet", request.name);
        let create = || {
            clients
                .cloudformation
                .create_change_set()
                .stack_name(request.name)
                .change_set_name(request.token)
                .change_set_type(ChangeSetType::Update)
                .set_template_body(request.body())
                .set_template_url(request.template_url.map(ToOwned::to_owned))
                .set_parameters(Some(parameters(request.parameters)))
                .set_tags(Some(tags(request.tags)))
                .set_role_arn(request.role_arn.map(ToOwned::to_owned))
                .set_capabilities(request.may_create_principals.then(|| vec![Capability::CapabilityNamedIam]))
                .client_token(request.token)
                .send()
        };
        match self.call(call, create).await {
            // The change set of a request whose answer was lost.
            Err(error) if error.kind() == ErrorKind::Exists => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Starts the update that a change set describes.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn execute_change_set(&self, stack: &str, change_set: &ChangeSet) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:ExecuteChangeSet", stack);
        let execute = || {
            let request = clients.cloudformation.execute_change_set();
            request
                .stack_name(stack)
                .change_set_name(&change_set.name)
                .client_request_token(&change_set.name)
                .send()
        };
        self.call(call, execute).await.map(drop)
    }

    /// Drops a change set.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn drop_change_set(&self, stack: &str, change_set: &ChangeSet) -> Result<(), AwsError> {
        self.delete_change_set(stack, &change_set.name).await
    }

    async fn delete_change_set(&self, stack: &str, name: &str) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:DeleteChangeSet", stack);
        let delete =
            || clients.cloudformation.delete_change_set().stack_name(stack).change_set_name(name).send();
        self.call(call, delete).await.map(drop)
    }
}

fn replacement(change: ResourceChange) -> Option<Replacement> {
    let is_conditional = match change.replacement? {
        SdkReplacement::True => false,
        SdkReplacement::Conditional => true,
        _ => return None,
    };
    Some(Replacement {
        resource: change.logical_resource_id.unwrap_or_default(),
        kind: change.resource_type.unwrap_or_default(),
        is_conditional,
    })
}
