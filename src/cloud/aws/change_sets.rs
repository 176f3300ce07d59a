//! Change sets of CloudFormation: what an update would replace, before it is made, and imports of resources that exist.

use std::{fmt, time::Duration};

use aws_sdk_cloudformation::types::{
    Capability, Change, ChangeSetStatus, ChangeSetType, Replacement as SdkReplacement, ResourceChange,
    ResourceToImport,
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

/// A resource that exists and that a stack takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The resource's name in the template.
    pub resource: String,
    /// The resource's type.
    pub kind: String,
    /// The property that identifies resources of the type, such as `QueueUrl`.
    pub property: String,
    /// The value of that property.
    pub identifier: String,
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
        self.create_change_set(request, None).await?;
        match self.computed(request).await? {
            Computed::Changes(changes) => {
                let changes = changes.into_iter();
                let replacements =
                    changes.filter_map(|change| replacement(change.resource_change?)).collect();
                Ok(Some(ChangeSet { name: request.token.to_owned(), replacements }))
            }
            Computed::Failed(reason) => {
                let is_empty = reason.contains("didn't contain changes")
                    || reason.contains("No updates are to be performed");
                if is_empty { Ok(None) } else { Err(AwsError::refused(describe(request), reason)) }
            }
        }
    }

    /// Plans a new stack that takes over a resource. The template has this resource only, and no outputs. Until the change set
    /// is executed, the stack is in the state `REVIEW_IN_PROGRESS` and without resources.
    ///
    /// Returns the reason if the resource does not exist or belongs to another stack.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn plan_import(
        &self,
        request: &StackRequest<'_>,
        import: &Import,
    ) -> Result<Result<ChangeSet, String>, AwsError> {
        self.create_change_set(request, Some(import)).await?;
        Ok(match self.computed(request).await? {
            Computed::Changes(_) => {
                Ok(ChangeSet { name: request.token.to_owned(), replacements: Vec::new() })
            }
            Computed::Failed(reason) => Err(reason),
        })
    }

    /// Waits until a change set is computed. One that failed is deleted.
    async fn computed(&self, request: &StackRequest<'_>) -> Result<Computed, AwsError> {
        let deadline = Instant::now() + LONGEST;
        let clients = self.clients().await?;
        loop {
            let ask = || {
                let described = clients.cloudformation.describe_change_set();
                described.stack_name(request.name).change_set_name(request.token).send()
            };
            let described = self.call(describe(request), ask).await?;
            match described.status {
                Some(ChangeSetStatus::CreateComplete) => {
                    return Ok(Computed::Changes(described.changes.unwrap_or_default()));
                }
                Some(ChangeSetStatus::Failed) => {
                    self.delete_change_set(request.name, request.token).await?;
                    return Ok(Computed::Failed(described.status_reason.unwrap_or_default()));
                }
                _ if Instant::now() > deadline => {
                    let told = "the change set is not computed within a minute";
                    return Err(AwsError::unavailable(describe(request), told));
                }
                _ => sleep(PAUSE).await,
            }
        }
    }

    async fn create_change_set(
        &self,
        request: &StackRequest<'_>,
        import: Option<&Import>,
    ) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:CreateChangeSet", request.name);
        let imported = import.map(to_import);
        let create = || {
            // CloudFormation refuses tags of an import.
            let tags = import.is_none().then(|| tags(request.tags));
            let kind = if import.is_none() { ChangeSetType::Update } else { ChangeSetType::Import };
            clients
                .cloudformation
                .create_change_set()
                .stack_name(request.name)
                .change_set_name(request.token)
                .change_set_type(kind)
                .set_resources_to_import(imported.clone().map(|resource| vec![resource]))
                .set_template_body(request.body())
                .set_template_url(request.template_url.map(ToOwned::to_owned))
                .set_parameters(Some(parameters(request.parameters)))
                .set_tags(tags)
                .set_role_arn(request.role_arn.map(ToOwned::to_owned))
                .set_notification_arns(request.notified.arns())
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

    /// Starts what a change set describes.
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

/// What became of a change set.
enum Computed {
    Changes(Vec<Change>),
    /// The reason.
    Failed(String),
}

fn describe<'a>(request: &StackRequest<'a>) -> Call<'a> {
    Call::read("cloudformation:DescribeChangeSet", request.name)
}

fn to_import(import: &Import) -> ResourceToImport {
    ResourceToImport::builder()
        .logical_resource_id(&import.resource)
        .resource_type(&import.kind)
        .resource_identifier(&import.property, &import.identifier)
        .build()
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
