//! Lists policies and exceptions.

use std::fmt::Debug;

use anyhow::{anyhow, bail};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{
    apis::bindery::{
        credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
    },
    k8s::{explain, list::list},
};

pub(super) async fn policies(client: &Client) -> anyhow::Result<Vec<CredentialPolicy>> {
    all(client, "CredentialPolicies").await
}

pub(super) async fn exceptions(client: &Client) -> anyhow::Result<Vec<CredentialPolicyException>> {
    all(client, "CredentialPolicyExceptions").await
}

async fn all<K>(client: &Client, kinds: &str) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match list(&Api::all(client.clone()), ListParams::default()).await {
        Ok(listed) => listed.complete().map_err(|unread| anyhow!("{unread}")),
        Err(error) => bail!("cannot list {kinds}: {}", explain(&error)),
    }
}
