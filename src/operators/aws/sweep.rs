//! Stacks of the installation that no object owns: those of objects that were removed without their finalizer or deleted
//! with the policy `retain`.

use kube::{Api, Client};

use super::desired;
use crate::{
    apis::aws_operator::AwsObject,
    cloud::aws::{Account, AwsError, stacks::Stack},
};

/// A stack without an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnownedStack {
    /// The stack's name.
    pub name: String,
    /// CloudFormation's state of the stack.
    pub status: String,
    /// The object that the stack was made for: kind, namespace and name.
    pub object: String,
}

/// Why the stacks cannot be compared with the objects.
#[derive(Debug, thiserror::Error)]
pub enum StackSweepError {
    /// The stacks cannot be listed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// An object cannot be read.
    #[error("the objects of service-operator.aws cannot be read: {}", crate::k8s::explain(.0))]
    Kubernetes(#[from] kube::Error),
}

/// Lists the stacks of the installation `cluster` that no object owns. Changes nothing.
///
/// # Errors
/// When the stacks or the objects cannot be read.
pub async fn unowned_stacks(
    client: &Client,
    account: &Account,
    cluster: &str,
) -> Result<Vec<UnownedStack>, StackSweepError> {
    let mut unowned = Vec::new();
    for stack in account.stacks().await? {
        let Some(origin) = desired::origin(&stack, cluster) else { continue };
        if !is_owned(client, &origin, &stack, cluster).await? {
            let object = format!("{} {}/{}", origin.kind.facts().name, origin.namespace, origin.name);
            let status = stack.status.to_string();
            unowned.push(UnownedStack { name: stack.name, status, object });
        }
    }
    unowned.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(unowned)
}

async fn is_owned(
    client: &Client,
    origin: &desired::Origin<'_>,
    stack: &Stack,
    cluster: &str,
) -> Result<bool, StackSweepError> {
    let api: Api<AwsObject> = Api::namespaced_with(client.clone(), origin.namespace, &origin.kind);
    Ok(api.get_opt(origin.name).await?.is_some_and(|object| {
        desired::is_of(stack, cluster, &object) && desired::name(cluster, origin.kind, &object) == stack.name
    }))
}
