//! Stacks of CloudFormation: create, describe, update and delete. Every change carries a token, so that a repeated
//! request starts nothing twice, and is made under the deploy role if there is one.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::types::{
    Capability, Parameter, Stack as SdkStack, StackStatus as SdkStatus, Tag,
};

use super::{Account, AwsError, Call, ErrorKind, StackStatus};

/// A stack to create or to update to.
#[derive(Clone, Copy, Debug)]
pub struct StackRequest<'a> {
    /// The stack's name.
    pub name: &'a str,
    /// The template's text.
    pub template: &'a str,
    /// Where CloudFormation reads the template, if its text is too long for a request.
    pub template_url: Option<&'a str>,
    /// The values of the template's parameters. They are visible to everybody who may describe the stack, so none is
    /// secret.
    pub parameters: &'a BTreeMap<String, String>,
    /// Tags of the stack, which CloudFormation gives to the resources, too.
    pub tags: &'a BTreeMap<String, String>,
    /// The role under which CloudFormation works.
    pub role_arn: Option<&'a str>,
    /// Identifies the request: a repetition with the same token starts nothing.
    pub token: &'a str,
    /// Whether the template may create users, roles and policies of IAM.
    pub may_create_principals: bool,
    /// Where CloudFormation sends the stack's events.
    pub notified: Notified<'a>,
}

/// The topic of Amazon SNS to which CloudFormation sends the events of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notified<'a> {
    /// That of the stack, if it has one.
    #[default]
    AsBefore,
    /// None.
    Nobody,
    /// The topic with this ARN.
    Topic(&'a str),
}

impl Notified<'_> {
    pub(super) fn arns(self) -> Option<Vec<String>> {
        match self {
            Self::AsBefore => None,
            Self::Nobody => Some(Vec::new()),
            Self::Topic(arn) => Some(vec![arn.to_owned()]),
        }
    }
}

impl StackRequest<'_> {
    pub(super) fn body(&self) -> Option<String> {
        self.template_url.is_none().then(|| self.template.to_owned())
    }
}

/// A stack as CloudFormation describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The stack's id, an ARN.
    pub id: String,
    /// The stack's name.
    pub name: String,
    /// The state.
    pub status: StackStatus,
    /// The values of the parameters.
    pub parameters: BTreeMap<String, String>,
    /// The values of the outputs.
    pub outputs: BTreeMap<String, String>,
    /// The tags.
    pub tags: BTreeMap<String, String>,
    /// The ARNs of the topics to which CloudFormation sends the stack's events.
    pub topics: Vec<String>,
}

impl Account {
    /// The stack of this name, unless it was deleted.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn stack(&self, name: &str) -> Result<Option<Stack>, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("cloudformation:DescribeStacks", name);
        let described =
            self.call(call, || clients.cloudformation.describe_stacks().stack_name(name).send()).await;
        let stacks = match described {
            Ok(output) => output.stacks.unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(stacks.into_iter().map(Stack::from).find(|stack| !stack.status.is_deleted()))
    }

    /// All stacks of the account in its region.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn stacks(&self) -> Result<Vec<Stack>, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("cloudformation:DescribeStacks", "*");
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let request = || clients.cloudformation.describe_stacks().set_next_token(next.clone()).send();
            let page = self.call(call, request).await?;
            found.extend(page.stacks.unwrap_or_default().into_iter().map(Stack::from));
            next = page.next_token;
            if next.is_none() {
                found.retain(|stack| !stack.status.is_deleted());
                return Ok(found);
            }
        }
    }

    /// Starts to create a stack.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Exists`] when a stack of that name exists.
    pub async fn create_stack(&self, request: &StackRequest<'_>) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:CreateStack", request.name);
        let create = || {
            clients
                .cloudformation
                .create_stack()
                .stack_name(request.name)
                .set_template_body(request.body())
                .set_template_url(request.template_url.map(ToOwned::to_owned))
                .set_parameters(Some(parameters(request.parameters)))
                .set_tags(Some(tags(request.tags)))
                .set_role_arn(request.role_arn.map(ToOwned::to_owned))
                .set_notification_arns(request.notified.arns())
                .set_capabilities(request.may_create_principals.then(|| vec![Capability::CapabilityNamedIam]))
                .client_request_token(request.token)
                .send()
        };
        self.call(call, create).await.map(drop)
    }

    /// Starts to update a stack. Returns whether there is anything to update.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn update_stack(&self, request: &StackRequest<'_>) -> Result<bool, AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:UpdateStack", request.name);
        let update = || {
            clients
                .cloudformation
                .update_stack()
                .stack_name(request.name)
                .set_template_body(request.body())
                .set_template_url(request.template_url.map(ToOwned::to_owned))
                .set_parameters(Some(parameters(request.parameters)))
                .set_tags(Some(tags(request.tags)))
                .set_role_arn(request.role_arn.map(ToOwned::to_owned))
                .set_notification_arns(request.notified.arns())
                .set_capabilities(request.may_create_principals.then(|| vec![Capability::CapabilityNamedIam]))
                .client_request_token(request.token)
                .send()
        };
        match self.call(call, update).await {
            Ok(_) => Ok(true),
            Err(error) if error.message().contains("No updates are to be performed") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Continues the rollback of an update that failed.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn continue_update_rollback(&self, name: &str, role_arn: Option<&str>) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:ContinueUpdateRollback", name);
        let request = || {
            let request = clients.cloudformation.continue_update_rollback().stack_name(name);
            request.set_role_arn(role_arn.map(ToOwned::to_owned)).send()
        };
        self.call(call, request).await.map(drop)
    }

    /// Starts to delete a stack. Succeeds if there is none.
    ///
    /// # Errors
    /// When CloudFormation does not answer or refuses.
    pub async fn delete_stack(&self, name: &str, role_arn: Option<&str>) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("cloudformation:DeleteStack", name);
        let request = || {
            let request = clients.cloudformation.delete_stack().stack_name(name);
            request.set_role_arn(role_arn.map(ToOwned::to_owned)).send()
        };
        self.call(call, request).await.map(drop)
    }
}

impl From<SdkStack> for Stack {
    fn from(stack: SdkStack) -> Self {
        let pairs = |pairs: Vec<(Option<String>, Option<String>)>| -> BTreeMap<String, String> {
            pairs.into_iter().filter_map(|(key, value)| Some((key?, value?))).collect()
        };
        let of_parameters = stack.parameters.unwrap_or_default().into_iter();
        let of_outputs = stack.outputs.unwrap_or_default().into_iter();
        let of_tags = stack.tags.unwrap_or_default().into_iter();
        Self {
            id: stack.stack_id.unwrap_or_default(),
            name: stack.stack_name.unwrap_or_default(),
            status: StackStatus::new(stack.stack_status.as_ref().map_or("", SdkStatus::as_str)),
            parameters: pairs(of_parameters.map(|p| (p.parameter_key, p.parameter_value)).collect()),
            outputs: pairs(of_outputs.map(|output| (output.output_key, output.output_value)).collect()),
            tags: pairs(of_tags.map(|tag| (tag.key, tag.value)).collect()),
            topics: stack.notification_arns.unwrap_or_default(),
        }
    }
}

pub(super) fn parameters(values: &BTreeMap<String, String>) -> Vec<Parameter> {
    let parameter = |(key, value): (&String, &String)| {
        Parameter::builder().parameter_key(key).parameter_value(value).build()
    };
    values.iter().map(parameter).collect()
}

pub(super) fn tags(values: &BTreeMap<String, String>) -> Vec<Tag> {
    values.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}
