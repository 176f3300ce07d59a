//! RAM users with one policy and one access key. The order of a removal is the one that RAM demands: keys, policies, the
//! user.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    AccessKey, Account, AlibabaError, Call, ErrorKind,
    endpoints::Product,
    rpc::{Parameters, entries, text},
};

const PAGE: &str = "1000";
/// How long RAM may take until it knows a new user or role.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(300);
/// The policies that bindery makes are of the account, not of Alibaba Cloud.
pub(super) const CUSTOM: &str = "Custom";

/// Nothing, if the resource does not exist.
pub(super) fn found<T>(outcome: Result<T, AlibabaError>) -> Result<Option<T>, AlibabaError> {
    tolerating(outcome, ErrorKind::NotFound)
}

/// Nothing, if the error is of this kind.
fn tolerating<T>(outcome: Result<T, AlibabaError>, kind: ErrorKind) -> Result<Option<T>, AlibabaError> {
    match outcome {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == kind => Ok(None),
        Err(error) => Err(error),
    }
}

/// A user or a role to create, with a policy of the same name.
#[derive(Clone, Copy, Debug)]
pub struct PrincipalRequest<'a> {
    /// The name, unique in the account.
    pub name: &'a str,
    /// What people read in the console.
    pub comment: &'a str,
    /// The policy.
    pub policy: &'a str,
}

impl Account {
    /// Whether a user of this name exists.
    ///
    /// # Errors
    /// When RAM does not answer or refuses.
    pub async fn has_user(&self, name: &str) -> Result<bool, AlibabaError> {
        let call = Call::read("ram:GetUser", name);
        Ok(found(self.ram(call, &[("UserName", name)]).await)?.is_some())
    }

    /// The names of all users that begin with this prefix.
    ///
    /// # Errors
    /// When RAM does not answer or refuses.
    pub async fn users(&self, prefix: &str) -> Result<Vec<String>, AlibabaError> {
        self.listed(Call::read("ram:ListUsers", "*"), &[], ["Users", "User"], "UserName", prefix).await
    }

    /// The names of the account's own policies that begin with this prefix.
    ///
    /// # Errors
    /// When RAM does not answer or refuses.
    pub async fn policies(&self, prefix: &str) -> Result<Vec<String>, AlibabaError> {
        let of = &[("PolicyType", CUSTOM)];
        self.listed(Call::read("ram:ListPolicies", "*"), of, ["Policies", "Policy"], "PolicyName", prefix)
            .await
    }

    /// Creates a user with its policy and a new access key. Alibaba Cloud needs some time until it knows the key.
    ///
    /// # Errors
    /// When RAM does not answer or refuses. After an error, parts may exist.
    pub async fn create_user(&self, wanted: &PrincipalRequest<'_>) -> Result<AccessKey, AlibabaError> {
        let name = wanted.name;
        let create = [("UserName", name), ("DisplayName", name), ("Comments", wanted.comment)];
        // The policy is first and goes last, so that it tells of a user whom RAM does not know yet.
        self.create_policy(wanted).await?;
        existing(self.ram(Call::write("ram:CreateUser", name), &create).await)?;
        let attach = [("PolicyType", CUSTOM), ("PolicyName", name), ("UserName", name)];
        existing(self.once_known(Call::write("ram:AttachPolicyToUser", name), &attach).await)?;
        let call = Call::once("ram:CreateAccessKey", name);
        let answer = self.once_known(call, &[("UserName", name)]).await?;
        let key = &answer["AccessKey"];
        match (text(key, "AccessKeyId"), text(key, "AccessKeySecret")) {
            (Some(id), Some(secret)) => Ok(AccessKey { id, secret: secret.into(), token: None }),
            _ => Err(AlibabaError::incomplete(call, "access key")),
        }
    }

    /// Deletes a user with its access keys and its policies, whatever of them exists. Returns whether RAM knew the user.
    ///
    /// # Errors
    /// When RAM does not answer or refuses. The keys are deleted first.
    pub async fn delete_user(&self, name: &str) -> Result<bool, AlibabaError> {
        let of_user = [("UserName", name)];
        let keys = found(self.ram(Call::read("ram:ListAccessKeys", name), &of_user).await)?;
        let Some(keys) = keys else { return Ok(false) };
        for key in entries(&keys, ["AccessKeys", "AccessKey"]) {
            let id = text(key, "AccessKeyId").unwrap_or_default();
            let delete = [("UserName", name), ("UserAccessKeyId", &id)];
            found(self.ram(Call::write("ram:DeleteAccessKey", name), &delete).await)?;
        }
        let policies = found(self.ram(Call::read("ram:ListPoliciesForUser", name), &of_user).await)?;
        for policy in entries(&policies.unwrap_or_default(), ["Policies", "Policy"]) {
            let (kind, policy) = (text(policy, "PolicyType"), text(policy, "PolicyName"));
            let (kind, policy) = (kind.unwrap_or_default(), policy.unwrap_or_default());
            let detach = [("PolicyType", kind.as_str()), ("PolicyName", &policy), ("UserName", name)];
            found(self.ram(Call::write("ram:DetachPolicyFromUser", name), &detach).await)?;
        }
        found(self.ram(Call::write("ram:DeleteUser", name), &of_user).await)?;
        Ok(true)
    }

    /// Whether the account has a policy of its own of this name.
    ///
    /// # Errors
    /// When RAM does not answer or refuses.
    pub async fn has_policy(&self, name: &str) -> Result<bool, AlibabaError> {
        let of = [("PolicyType", CUSTOM), ("PolicyName", name)];
        Ok(found(self.ram(Call::read("ram:GetPolicy", name), &of).await)?.is_some())
    }

    pub(super) async fn create_policy(&self, wanted: &PrincipalRequest<'_>) -> Result<(), AlibabaError> {
        let create =
            [("PolicyName", wanted.name), ("PolicyDocument", wanted.policy), ("Description", wanted.comment)];
        existing(self.ram(Call::write("ram:CreatePolicy", wanted.name), &create).await)
    }

    /// Deletes a policy of the account, which nobody has any more. Nothing happens if it is gone.
    ///
    /// # Errors
    /// When RAM does not answer or refuses.
    pub async fn delete_policy(&self, name: &str) -> Result<(), AlibabaError> {
        found(self.ram(Call::write("ram:DeletePolicy", name), &[("PolicyName", name)]).await).map(drop)
    }

    pub(super) async fn ram(
        &self,
        call: Call<'_>,
        parameters: &[(&str, &str)],
    ) -> Result<Value, AlibabaError> {
        self.rpc(call, Product::Ram, &Parameters::new(parameters)).await
    }

    /// Makes a call for a user or role that was created just now, which RAM may not know yet.
    pub(super) async fn once_known(
        &self,
        call: Call<'_>,
        parameters: &[(&str, &str)],
    ) -> Result<Value, AlibabaError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ram(call, parameters).await {
                Err(error) if error.kind() == ErrorKind::NotFound && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The names in a list of RAM that begin with a prefix.
    async fn listed(
        &self,
        call: Call<'_>,
        of: &[(&str, &str)],
        path: [&str; 2],
        field: &str,
        prefix: &str,
    ) -> Result<Vec<String>, AlibabaError> {
        let (mut names, mut marker) = (Vec::new(), None::<String>);
        loop {
            let parameters =
                Parameters::new(of).with("MaxItems", PAGE).with_some("Marker", marker.as_deref());
            let answer = self.rpc(call, Product::Ram, &parameters).await?;
            let of_page = entries(&answer, path).filter_map(|item| text(item, field));
            names.extend(of_page.filter(|name| name.starts_with(prefix)));
            marker = text(&answer, "Marker").filter(|_| answer["IsTruncated"] == true);
            if marker.is_none() {
                return Ok(names);
            }
        }
    }
}

/// What exists already counts as created.
pub(super) fn existing(outcome: Result<Value, AlibabaError>) -> Result<(), AlibabaError> {
    tolerating(outcome, ErrorKind::Exists).map(drop)
}
