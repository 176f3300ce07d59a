//! RAM roles with one policy, which only the caller assumes.

use super::{
    Account, AlibabaError, Call,
    rpc::{entries, text},
    users::{CUSTOM, PrincipalRequest, existing, found},
};

impl Account {
    /// Whether a role of this name exists.
    ///
    /// # Errors
    /// When RAM does not answer or refuses.
    pub async fn has_role(&self, name: &str) -> Result<bool, AlibabaError> {
        Ok(found(self.ram(Call::read("ram:GetRole", name), &[("RoleName", name)]).await)?.is_some())
    }

    /// Creates a role with its policy. `trust` says who may assume the role. Returns the role's ARN.
    ///
    /// # Errors
    /// When RAM does not answer or refuses. After an error, parts may exist.
    pub async fn create_role(
        &self,
        wanted: &PrincipalRequest<'_>,
        trust: &str,
        account: &str,
    ) -> Result<String, AlibabaError> {
        let name = wanted.name;
        let create =
            [("RoleName", name), ("AssumeRolePolicyDocument", trust), ("Description", wanted.comment)];
        // The policy is first and goes last, as that of a user.
        self.create_policy(wanted).await?;
        existing(self.ram(Call::write("ram:CreateRole", name), &create).await)?;
        let attach = [("PolicyType", CUSTOM), ("PolicyName", name), ("RoleName", name)];
        existing(self.once_known(Call::write("ram:AttachPolicyToRole", name), &attach).await)?;
        Ok(format!("acs:ram::{account}:role/{name}"))
    }

    /// Deletes a role, whatever policies it has. Its sessions have no rights from then on. Returns
    /// whether RAM knew the role.
    ///
    /// # Errors
    /// When RAM does not answer or refuses.
    pub async fn delete_role(&self, name: &str) -> Result<bool, AlibabaError> {
        let of_role = [("RoleName", name)];
        let policies = found(self.ram(Call::read("ram:ListPoliciesForRole", name), &of_role).await)?;
        let Some(policies) = policies else { return Ok(false) };
        for policy in entries(&policies, ["Policies", "Policy"]) {
            let (kind, policy) = (text(policy, "PolicyType"), text(policy, "PolicyName"));
            let (kind, policy) = (kind.unwrap_or_default(), policy.unwrap_or_default());
            let detach = [("PolicyType", kind.as_str()), ("PolicyName", &policy), ("RoleName", name)];
            found(self.ram(Call::write("ram:DetachPolicyFromRole", name), &detach).await)?;
        }
        found(self.ram(Call::write("ram:DeleteRole", name), &of_role).await)?;
        Ok(true)
    }
}
