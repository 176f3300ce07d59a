//! Stacks of the installation that no object owns: those of objects that were removed without their finalizer, which the
//! ledger has and the operator deletes, or deleted with the policy `retain`.

use std::collections::{BTreeMap, HashMap};

use kube::{Api, Client, api::ListParams};

use super::{accounts::AccountList, desired, ledger::mark};
use crate::{
    apis::{aws_operator::AwsObject, bindery::stack_record::StackRecord},
    cloud::aws::{AwsError, stacks::Stack},
    contract::external_resource::STACK,
    k8s::list::list,
};

/// A stack without an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnownedStack {
    /// The number of the stack's account.
    pub account: String,
    /// The stack's name.
    pub name: String,
    /// CloudFormation's state of the stack.
    pub status: String,
    /// The object that the stack was made for: kind, namespace and name.
    pub object: String,
    /// How far the operator is that deletes the stack, if the ledger has it.
    pub progress: Option<String>,
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

/// Lists the stacks of the installation `cluster` that no object owns, in all its accounts. Changes nothing.
///
/// # Errors
/// When the stacks or the objects cannot be read.
pub async fn unowned_stacks(
    client: &Client,
    accounts: &AccountList,
    cluster: &str,
) -> Result<Vec<UnownedStack>, StackSweepError> {
    let mut progress = recorded(client, cluster).await?;
    // The role of a team may see the stacks of an account that another one has shown.
    let mut stacks = BTreeMap::new();
    for account in accounts.all() {
        stacks.extend(account.stacks().await?.into_iter().map(|stack| (stack.id.clone(), stack)));
    }
    let mut unowned = Vec::new();
    for stack in stacks.into_values() {
        let Some(origin) = desired::origin(&stack, cluster) else { continue };
        if !is_owned(client, &origin, &stack, cluster).await? {
            let object = format!("{} {}/{}", origin.kind.facts().name, origin.namespace, origin.name);
            let status = stack.status.to_string();
            let progress = progress.remove(&stack.name);
            // arn:PARTITION:cloudformation:REGION:ACCOUNT:stack/NAME/ID
            let account = stack.id.split(':').nth(4).unwrap_or_default().to_owned();
            unowned.push(UnownedStack { account, name: stack.name, status, object, progress });
        }
    }
    unowned.sort_by(|one, other| (&one.account, &one.name).cmp(&(&other.account, &other.name)));
    Ok(unowned)
}

/// What the ledger says of stacks, by their names.
async fn recorded(client: &Client, cluster: &str) -> Result<HashMap<String, String>, kube::Error> {
    let selected = ListParams::default().labels(&format!("{STACK}={}", mark(cluster)));
    let records = match list::<StackRecord>(&Api::all(client.clone()), selected).await {
        Ok(records) => records.items,
        // Objects of an earlier version may have no ledger yet.
        Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    let message = |record: StackRecord| {
        let message = record.status.and_then(|status| status.message);
        (record.spec.stack, message.unwrap_or_else(|| "the operator is to delete it".to_owned()))
    };
    Ok(records.into_iter().map(message).collect())
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
