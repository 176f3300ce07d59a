//! Lists policies and exceptions.

use anyhow::{anyhow, bail};
use kube::{Api, Client, api::ListParams};

use crate::{
    apis::bindery::{
        credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
    },
    k8s::{explain, list::list},
};

pub(super) async fn policies(client: &Client) -> anyhow::Result<Vec<CredentialPolicy>> {
    match list(&Api::all(client.clone()), ListParams::default()).await {
        Ok(listed) => listed.complete().map_err(|unread| anyhow!("{unread}")),
        Err(error) => bail!("cannot list CredentialPolicies: {}", explain(&error)),
    }
}

pub(super) async fn exceptions(client: &Client) -> anyhow::Result<Vec<CredentialPolicyException>> {
    match list(&Api::all(client.clone()), ListParams::default()).await {
        Ok(listed) => listed.complete().map_err(|unread| anyhow!("{unread}")),
        Err(error) => bail!("cannot list CredentialPolicyExceptions: {}", explain(&error)),
    }
}
