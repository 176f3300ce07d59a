//! The settings of the operator, which the command line fills.

use std::{collections::BTreeMap, time::Duration};

use super::policies::DeletionPolicy;
use crate::{apis::aws_operator::Kind, cloud::aws::Account};

/// The settings of the operator.
pub struct OperatorSettings {
    /// The name of the cluster, the first part of the names of all stacks.
    pub cluster: String,
    /// The account for objects of Namespaces that ask for no other.
    pub account: Account,
    /// The accounts that Namespaces may ask for, by number.
    pub accounts: BTreeMap<String, Account>,
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
    /// How often stacks that CloudFormation works on are listed.
    pub poll: Duration,
}
