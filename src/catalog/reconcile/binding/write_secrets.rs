//! Writes the Secrets in the order in which pods need them, and records their revision in the status without any
//! credentials.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, ResourceExt};

use super::{Failure, expiry};
use crate::{
    apis::servicecatalog::{ServiceBinding, ServiceBindingStatus, binding::Revision},
    bindings::{
        secret_extras::Extras,
        secrets::{self, Marks},
    },
    catalog::reconcile::{now, resolve::Offer},
    contract::env_secret_name,
    osb::{BindResponse, Credentials},
};

/// What is written into a binding's Secrets.
pub(super) struct Content<'a> {
    pub(super) offer: &'a Offer,
    pub(super) response: &'a BindResponse,
    /// The data of the Secret that pods mount.
    pub(super) data: BTreeMap<String, ByteString>,
    /// The data of the Secret with the variables.
    pub(super) variables: BTreeMap<String, ByteString>,
    /// What the binding's annotations add to both.
    pub(super) extras: Extras,
}

/// Writes the Secrets in the order in which pods need them, and updates the status.
pub(super) async fn write_secrets(
    binding: &ServiceBinding,
    content: &Content<'_>,
    api: &Api<Secret>,
    new: &mut ServiceBindingStatus,
) -> Result<(), Failure> {
    let Content { offer, response, data, variables, extras } = content;
    let existing = secrets::read(api, binding).await?;
    let credentials = response.credentials.as_ref().map(Credentials::expose);
    let username = credentials
        .and_then(|credentials| credentials.get("username"))
        .and_then(|name| name.as_str())
        .map(str::to_owned);
    let revision = revision(&existing, data, username.as_ref(), new);
    let expires_at = response.metadata.as_ref().and_then(|metadata| metadata.expires_at.clone());
    let service = offer.class.common().external_name.clone();
    let marks = Marks { revision, service, expires_at, extras: extras.clone() };
    let variables_name = env_secret_name(&binding.name_any());
    let mut written = Vec::new();
    for (name, existing) in &existing {
        let data = if *name == variables_name { variables } else { data };
        let desired = secrets::desired(binding, name, data.clone(), &marks);
        written.push(secrets::write(api, &desired, existing.as_ref()).await?);
    }
    new.secrets = written;
    new.expires_at =
        response.metadata.as_ref().and_then(|metadata| expiry::parse(metadata.expires_at.as_deref()?));
    new.renew_before =
        response.metadata.as_ref().and_then(|metadata| expiry::parse(metadata.renew_before.as_deref()?));
    if new.revisions.last().is_none_or(|last| last.n != revision) {
        new.revisions.push(Revision { n: revision, written_at: now(), username });
    }
    Ok(())
}

/// The revision of these credentials: the mounted Secret's revision if its data is the same, otherwise the next one.
/// If a Secret was lost or changed by a user and the credentials are still the old ones, the Secret keeps its old
/// revision; then only the user name identifies the credentials.
fn revision(
    existing: &[(String, Option<Secret>)],
    data: &BTreeMap<String, ByteString>,
    username: Option<&String>,
    status: &ServiceBindingStatus,
) -> i64 {
    let mounted = existing.last().and_then(|(_, secret)| secret.as_ref());
    let known = status.revisions.last();
    let Some(number) = known.map(|last| last.n).max(mounted.and_then(secrets::revision)) else { return 1 };
    let same_data = mounted.and_then(|secret| secret.data.as_ref()) == Some(data);
    let as_written = status.secrets.last().zip(mounted).is_some_and(|(written, mounted)| {
        Some(&written.resource_version) == mounted.metadata.resource_version.as_ref()
    });
    let same_user = known.is_none_or(|last| last.username.as_ref() == username);
    if same_data || (!as_written && same_user) { number } else { number.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The revision when the mounted Secret holds `held` in version `version`, the status names user `u` with
    /// revision 2 written as version `1`, and the broker answers `answered`.
    fn next(held: Option<&[(&str, &str)]>, version: &str, answered: &[(&str, &str)]) -> i64 {
        let status: ServiceBindingStatus = serde_json::from_value(json!({
            "revisions": [{"n": 2, "writtenAt": "2026-01-01T00:00:00Z", "username": "u"}],
            "secrets": [{"name": "b", "uid": "x", "resourceVersion": "1"}],
        }))
        .unwrap();
        let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, ByteString> {
            let pairs = pairs.iter();
            pairs.map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
        };
        let secret = held.map(|pairs| {
            let mut secret = Secret::default();
            secret.metadata.resource_version = Some(version.to_owned());
            secret.data = Some(data(pairs));
            secret
        });
        let username = answered[0].1.to_owned();
        revision(&[("b".to_owned(), secret)], &data(answered), Some(&username), &status)
    }

    #[test]
    fn the_revision_counts_credentials_not_writes() {
        let old = [("username", "u"), ("password", "p")];
        let new_user = [("username", "v"), ("password", "q")];
        let new_password = [("username", "u"), ("password", "q")];
        assert_eq!(next(Some(&old), "1", &old), 2, "nothing new");
        assert_eq!(next(None, "", &old), 2, "lost");
        assert_eq!(next(Some(&[("username", "mine")]), "7", &old), 2, "changed by somebody");
        assert_eq!(next(Some(&old), "1", &new_user), 3, "another user");
        assert_eq!(next(Some(&old), "1", &new_password), 3, "another password");
        assert_eq!(next(None, "", &new_user), 3, "lost, and another user");
        assert_eq!(revision(&[], &BTreeMap::new(), None, &ServiceBindingStatus::default()), 1, "the first");
    }
}
