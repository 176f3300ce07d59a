//! IAM roles with one inline policy, which somebody assumes. Sessions of a role end with the role.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Account, AwsError, Call, ErrorKind,
    users::{POLICY, Principal, PrincipalRequest, found, tags},
};

impl Account {
    /// The role of this name.
    ///
    /// # Errors
    /// When IAM does not answer or refuses.
    pub async fn role(&self, name: &str) -> Result<Option<Principal>, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("iam:GetRole", name);
        let got = self.call(call, || clients.iam.get_role().role_name(name).send()).await;
        let Some(output) = found(got)? else { return Ok(None) };
        Ok(output.role.map(|role| {
            let tags = role.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect();
            Principal { name: role.role_name, path: role.path, arn: role.arn, tags }
        }))
    }

    /// The roles below a path.
    ///
    /// # Errors
    /// When IAM does not answer or refuses.
    pub async fn roles(&self, path: &str) -> Result<Vec<Principal>, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("iam:ListRoles", path);
        let (mut roles, mut marker) = (Vec::new(), None);
        loop {
            let request = || clients.iam.list_roles().path_prefix(path).set_marker(marker.clone()).send();
            let page = self.call(call, request).await?;
            let of_page = page.roles.into_iter();
            roles.extend(of_page.map(|role| Principal {
                name: role.role_name,
                path: role.path,
                arn: role.arn,
                tags: BTreeMap::new(),
            }));
            marker = page.marker.filter(|_| page.is_truncated);
            if marker.is_none() {
                return Ok(roles);
            }
        }
    }

    /// Creates a role with its policy, for sessions of at most `longest`. Returns the role's ARN. AWS needs some time
    /// until the role can be assumed.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Exists`] when the role exists with another path. After an error, parts may exist.
    pub async fn create_role(
        &self,
        wanted: &PrincipalRequest<'_>,
        trust: &str,
        longest: Duration,
    ) -> Result<String, AwsError> {
        let clients = self.clients().await?;
        let call = Call::write("iam:CreateRole", wanted.name);
        let seconds = i32::try_from(longest.as_secs()).unwrap_or(i32::MAX);
        let create = || {
            clients
                .iam
                .create_role()
                .role_name(wanted.name)
                .path(wanted.path)
                .assume_role_policy_document(trust)
                .max_session_duration(seconds)
                .set_permissions_boundary(wanted.boundary.map(ToOwned::to_owned))
                .set_tags(Some(tags(wanted.tags)))
                .send()
        };
        let arn = match self.call(call, create).await {
            // The answer to an earlier attempt may have been lost.
            Err(error) if error.kind() == ErrorKind::Exists => {
                let existing = self.role(wanted.name).await?.filter(|role| role.path == wanted.path);
                existing.ok_or(error)?.arn
            }
            created => {
                let role = created?.role.ok_or_else(|| AwsError::incomplete(call, "role"))?;
                role.arn
            }
        };
        let put = || {
            let put = clients.iam.put_role_policy().role_name(wanted.name).policy_name(POLICY);
            put.policy_document(wanted.policy).send()
        };
        self.call(Call::write("iam:PutRolePolicy", wanted.name), put).await?;
        Ok(arn)
    }

    /// Deletes a role with its inline policies, whatever of them exists.
    ///
    /// # Errors
    /// When IAM does not answer or refuses.
    pub async fn delete_role(&self, name: &str) -> Result<(), AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("iam:ListRolePolicies", name);
        let listed = self.call(call, || clients.iam.list_role_policies().role_name(name).send()).await;
        let Some(policies) = found(listed)? else { return Ok(()) };
        for policy in policies.policy_names {
            let call = Call::write("iam:DeleteRolePolicy", name);
            let delete = || clients.iam.delete_role_policy().role_name(name).policy_name(&policy).send();
            found(self.call(call, delete).await)?;
        }
        let call = Call::write("iam:DeleteRole", name);
        found(self.call(call, || clients.iam.delete_role().role_name(name).send()).await).map(drop)
    }
}
