//! IAM users with one inline policy and one access key. A user's path says to whom the user belongs, since IAM lists
//! paths, and sets them with the user itself.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag;
use secrecy::SecretString;

use super::{Account, AwsError, Call, ErrorKind};

/// The name of the only inline policy of a user or a role.
pub(super) const POLICY: &str = "bindery";

/// A user or a role to create.
#[derive(Clone, Copy, Debug)]
pub struct PrincipalRequest<'a> {
    /// The name, unique in the account.
    pub name: &'a str,
    /// The path, such as `/bindery/`.
    pub path: &'a str,
    /// The inline policy.
    pub policy: &'a str,
    /// The permissions boundary.
    pub boundary: Option<&'a str>,
    /// The tags.
    pub tags: &'a BTreeMap<String, String>,
}

/// A user or a role that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name.
    pub name: String,
    /// The path.
    pub path: String,
    /// The ARN.
    pub arn: String,
    /// The tags, which only the description of a single role has.
    pub tags: BTreeMap<String, String>,
}

/// An access key. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The id of the key.
    pub id: String,
    /// The secret.
    pub secret: SecretString,
}

impl Account {
    /// The user of this name.
    ///
    /// # Errors
    /// When IAM does not answer or refuses.
    pub async fn user(&self, name: &str) -> Result<Option<Principal>, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("iam:GetUser", name);
        let got = self.call(call, || clients.iam.get_user().user_name(name).send()).await;
        let Some(output) = found(got)? else { return Ok(None) };
        Ok(output.user.map(|user| Principal {
            name: user.user_name,
            path: user.path,
            arn: user.arn,
            tags: BTreeMap::new(),
        }))
    }

    /// The users below a path.
    ///
    /// # Errors
    /// When IAM does not answer or refuses.
    pub async fn users(&self, path: &str) -> Result<Vec<Principal>, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("iam:ListUsers", path);
        let (mut users, mut marker) = (Vec::new(), None);
        loop {
            let request = || clients.iam.list_users().path_prefix(path).set_marker(marker.clone()).send();
            let page = self.call(call, request).await?;
            let of_page = page.users.into_iter();
            users.extend(of_page.map(|user| Principal {
                name: user.user_name,
                path: user.path,
                arn: user.arn,
                tags: BTreeMap::new(),
            }));
            marker = page.marker.filter(|_| page.is_truncated);
            if marker.is_none() {
                return Ok(users);
            }
        }
    }

    /// Creates a user with its policy and a new access key. AWS needs some time until it knows the key.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Exists`] when the user exists with another path. After an error, parts may exist.
    pub async fn create_user(&self, wanted: &PrincipalRequest<'_>) -> Result<AccessKey, AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("iam:CreateUser", wanted.name);
        let create = || {
            clients
                .iam
                .create_user()
                .user_name(wanted.name)
                .path(wanted.path)
                .set_permissions_boundary(wanted.boundary.map(ToOwned::to_owned))
                .set_tags(Some(tags(wanted.tags)))
                .send()
        };
        match self.call(call, create).await {
            // The answer to an earlier attempt may have been lost.
            Err(error) if error.kind() == ErrorKind::Exists => {
                let existing = self.user(wanted.name).await?;
                if existing.is_none_or(|user| user.path != wanted.path) {
                    return Err(error);
                }
            }
            outcome => drop(outcome?),
        }
        let put = || {
            let put = clients.iam.put_user_policy().user_name(wanted.name).policy_name(POLICY);
            put.policy_document(wanted.policy).send()
        };
        self.call(Call::write("iam:PutUserPolicy", wanted.name), put).await?;
        let call = Call::once("iam:CreateAccessKey", wanted.name);
        let created =
            self.call(call, || clients.iam.create_access_key().user_name(wanted.name).send()).await?;
        let key = created.access_key.ok_or_else(|| AwsError::incomplete(call, "access key"))?;
        Ok(AccessKey { id: key.access_key_id, secret: key.secret_access_key.into() })
    }

    /// Deletes a user with its access keys and inline policies, whatever of them exists.
    ///
    /// # Errors
    /// When IAM does not answer or refuses. The keys are deleted first.
    pub async fn delete_user(&self, name: &str) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("iam:ListAccessKeys", name);
        let listed = self.call(call, || clients.iam.list_access_keys().user_name(name).send()).await;
        let Some(keys) = found(listed)? else { return Ok(()) };
        for id in keys.access_key_metadata.into_iter().filter_map(|key| key.access_key_id) {
            let call = Call::write("iam:DeleteAccessKey", name);
            let delete = || clients.iam.delete_access_key().user_name(name).access_key_id(&id).send();
            found(self.call(call, delete).await)?;
        }
        let call = Call::read("iam:ListUserPolicies", name);
        let listed = self.call(call, || clients.iam.list_user_policies().user_name(name).send()).await;
        for policy in found(listed)?.map(|listed| listed.policy_names).unwrap_or_default() {
            let call = Call::write("iam:DeleteUserPolicy", name);
            let delete = || clients.iam.delete_user_policy().user_name(name).policy_name(&policy).send();
            found(self.call(call, delete).await)?;
        }
        let call = Call::write("iam:DeleteUser", name);
        found(self.call(call, || clients.iam.delete_user().user_name(name).send()).await).map(drop)
    }
}

/// Nothing, if the resource does not exist.
pub(super) fn found<T>(outcome: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match outcome {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tags as IAM takes them. A tag without a key or a value cannot be built.
pub(super) fn tags(values: &BTreeMap<String, String>) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build().ok();
    values.iter().filter_map(tag).collect()
}
