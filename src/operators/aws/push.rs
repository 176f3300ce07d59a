//! Push instead of polling: CloudFormation sends the events of stacks to a topic, and bindery receives them from a queue. Topic
//! and queue are a stack of bindery's own in each account. An event says only that it is time to list the stacks, so an event
//! that is lost or forged does no harm.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{
    accounts::ListedAccount,
    desired::CLUSTER_TAG,
    reconcile::{Operator, Subject},
    settings::StackEvents,
};
use crate::cloud::aws::{
    AwsError, digest, stack_name,
    stacks::{Notified, Stack, StackRequest},
};

/// The topic and the queue of an account.
const TEMPLATE: &str = include_str!("templates/events.yaml");
/// The wait after the events could not be received.
const RETRY: Duration = Duration::from_mins(1);

/// Why the events of an account are not received.
#[derive(Debug, thiserror::Error)]
enum ChannelError {
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error("the stack {0} exists and is not bindery's; delete it, or use --events poll")]
    Taken(String),
    #[error("the stack {0} lacks its outputs; delete it, so that bindery creates it anew")]
    Incomplete(String),
}

impl Operator {
    /// Receives the events of an account, or removes what a former `--events push` has left there. Ends only in the second case.
    pub(super) async fn hear(&self, events: StackEvents, account: &ListedAccount) {
        if events == StackEvents::Poll {
            if let Err(error) = self.remove_channel(account).await {
                debug!(account = account.name, %error, "a former queue of stack events is not looked for");
            }
            return;
        }
        loop {
            let Err(error) = self.receive(account).await;
            account.channel.set(None);
            warn!(account = account.name, %error, "the events of stacks are not received; the stacks are polled");
            sleep(RETRY).await;
        }
    }

    async fn receive(&self, account: &ListedAccount) -> Result<Infallible, ChannelError> {
        let made = self.channel_stack(account).await?;
        let output = |name: &str| made.outputs.get(name).filter(|value| !value.is_empty());
        let (Some(topic), Some(queue)) = (output("TopicARN"), output("QueueURL")) else {
            return Err(ChannelError::Incomplete(made.name));
        };
        account.channel.set(Some(topic));
        info!(account = account.name, "the events of stacks are received");
        loop {
            for message in account.account.receive_messages(queue).await? {
                if let Some(stack) = stack_in(&message.body) {
                    self.memories.hear_of(stack);
                }
                account.account.delete_message(queue, &message).await?;
            }
        }
    }

    /// The stack with topic and queue. It is created if it does not exist.
    async fn channel_stack(&self, account: &ListedAccount) -> Result<Stack, ChannelError> {
        let name = self.channel_name();
        let tags = BTreeMap::from([(CLUSTER_TAG.to_owned(), self.cluster.clone())]);
        loop {
            match account.account.stack(&name).await? {
                None => {
                    let token = format!("create-{}", digest(&[TEMPLATE, &name], 32));
                    let request = StackRequest {
                        name: &name,
                        template: TEMPLATE,
                        template_url: None,
                        parameters: &BTreeMap::new(),
                        tags: &tags,
                        role_arn: None,
                        token: &token,
                        may_create_principals: false,
                        notified: Notified::AsBefore,
                    };
                    account.account.create_stack(&request).await?;
                }
                Some(stack) if !self.is_channel(&stack) => return Err(ChannelError::Taken(name)),
                Some(stack) if stack.status.is_usable() => return Ok(stack),
                Some(stack) if stack.status.has_failed() => account.account.delete_stack(&name, None).await?,
                Some(_) => {}
            }
            sleep(self.poll).await;
        }
    }

    async fn remove_channel(&self, account: &ListedAccount) -> Result<(), AwsError> {
        let found = account.account.stack(&self.channel_name()).await?;
        if let Some(stack) = found.filter(|stack| self.is_channel(stack) && !stack.status.is_deleting()) {
            account.account.delete_stack(&stack.name, None).await?;
            info!(account = account.name, stack = stack.name, "the former queue of stack events is removed");
        }
        Ok(())
    }

    /// No kind is called `bindery`, so that no object has a stack of this name.
    fn channel_name(&self) -> String {
        stack_name(&[&self.cluster, "bindery", "events"])
    }

    fn is_channel(&self, stack: &Stack) -> bool {
        stack.tags.get(CLUSTER_TAG).is_some_and(|cluster| *cluster == self.cluster)
    }
}

impl Subject<'_> {
    /// Where CloudFormation sends the events of the object's stack.
    pub(super) fn notified(&self) -> Notified<'_> {
        match (&self.topic, &self.stack) {
            (Some(topic), _) => Notified::Topic(topic),
            (None, Some(stack)) if !stack.topics.is_empty() => Notified::Nobody,
            (None, _) => Notified::AsBefore,
        }
    }
}

/// The name of the stack whose own state an event is about. An event has a line `Name='value'` for each fact; the properties of
/// resources, which users write, come before the stack's name.
fn stack_in(event: &str) -> Option<&str> {
    let fact = |name: &str| {
        let begin = event.rfind(&format!("{name}='"))? + name.len() + 2;
        event[begin..].split('\'').next()
    };
    (fact("ResourceType")? == "AWS::CloudFormation::Stack").then(|| fact("StackName")).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the User Guide of CloudFormation, shortened.
    const EVENT: &str = "StackId='arn:aws:cloudformation:us-east-1:111122223333:stack/demos-sqsqueue-a-b/1'\n\
        Timestamp='2026-01-01T00:00:00.000Z'\nLogicalResourceId='demos-sqsqueue-a-b'\nResourceProperties='null'\n\
        ResourceStatus='CREATE_COMPLETE'\nResourceType='AWS::CloudFormation::Stack'\nStackName='demos-sqsqueue-a-b'\n\
        ClientRequestToken='create-1'\n";

    #[test]
    fn an_event_names_its_stack() {
        assert_eq!(stack_in(EVENT), Some("demos-sqsqueue-a-b"));
        let of_resource = EVENT.replace("AWS::CloudFormation::Stack", "AWS::SQS::Queue");
        assert_eq!(stack_in(&of_resource), None, "the stack follows");
        let sly = EVENT.replace("'null'", "'{\"a\":\"\nStackName='other'\n\"}'");
        assert_eq!(stack_in(&sly), Some("demos-sqsqueue-a-b"));
        for odd in ["", "StackName='", "ResourceType='AWS::CloudFormation::Stack'"] {
            assert_eq!(stack_in(odd), None);
        }
    }
}
