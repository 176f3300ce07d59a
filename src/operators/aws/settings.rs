//! The settings of the operator, which the command line fills.

use std::time::Duration;

use super::{accounts::AccountList, policies::DeletionPolicy};
use crate::apis::aws_operator::Kind;

/// How the operator hears of what CloudFormation does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum StackEvents {
    /// It lists the stacks as long as CloudFormation works on one.
    #[default]
    Poll,
    /// CloudFormation sends the events of stacks to a queue.
    Push,
}

/// The settings of the operator.
pub struct OperatorSettings {
    /// The name of the cluster, the first part of the names of all stacks.
    pub cluster: String,
    /// The accounts and roles.
    pub accounts: AccountList,
    /// The kinds to reconcile.
    pub kinds: Vec<Kind>,
    /// The only namespace whose objects are reconciled.
    pub namespace: Option<String>,
    /// The namespace of templates for all namespaces.
    pub default_namespace: Option<String>,
    /// What becomes of the stacks of deleted objects, unless they or their Namespace say otherwise.
    pub deletion_policy: DeletionPolicy,
    /// Whether templates of users may create users, roles and policies of IAM.
    pub may_create_principals: bool,
    /// How often stacks are checked for drift; absent: never.
    pub drift_interval: Option<Duration>,
    /// The bucket for templates that are too long for a request.
    pub bucket: Option<String>,
    /// How often stacks that CloudFormation works on are listed.
    pub poll: Duration,
    /// Whether stacks are polled, or their events are received.
    pub events: StackEvents,
}
