//! RAM 2015-05-01 (RAM API reference, one page an action; error codes: doc-detail 28754). Resources of the rights are
//! `acs:ram:*:ACCOUNT:user/NAME`, `policy/NAME` and `role/NAME`; attaching needs the right on both sides. Only policies of
//! type Custom exist here.

mod policies;
mod roles;
mod users;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Settings,
    account::ACCOUNT,
    call::{Call, Parameters, Product},
    identities::{Caller, Identities, Policy, Role, User},
    policy::{self, Context},
    refusal::{Refusal, refuse},
};

type Result<T> = std::result::Result<T, Refusal>;

/// The length of a policy's document at most (CreatePolicy).
const LARGEST_DOCUMENT: usize = 6144;

/// Answers an action of RAM.
pub(super) fn answer(
    identities: &mut Identities,
    settings: &Settings,
    caller: &Caller,
    call: &Call,
) -> Result<Value> {
    let p = &call.parameters;
    let resources = resources(&call.action, p)?;
    caller.check(Product::Ram, &call.action, &resources, Context::new())?;
    match call.action.as_str() {
        "CreateUser" => users::create_user(identities, settings, p),
        "GetUser" => {
            let name = p.required("UserName")?;
            let user = identities.user(name)?;
            Ok(
                json!({"User": {"UserName": name, "DisplayName": user.display_name, "Comments": user.comments}}),
            )
        }
        "ListUsers" => users::list_users(identities, settings, p),
        "DeleteUser" => users::delete_user(identities, p),
        "CreateAccessKey" => users::create_access_key(identities, settings, p),
        "UpdateAccessKey" => users::update_access_key(identities, p),
        "DeleteAccessKey" => users::delete_access_key(identities, p),
        "ListAccessKeys" => users::list_access_keys(identities, p),
        "CreatePolicy" => policies::create_policy(identities, p),
        "CreatePolicyVersion" => policies::create_policy_version(identities, p),
        "GetPolicy" => policies::get_policy(identities, p),
        "ListPolicies" => policies::list_policies(identities, settings, p),
        "DeletePolicy" => policies::delete_policy(identities, p),
        "AttachPolicyToUser" | "AttachPolicyToRole" => policies::attach(identities, p),
        "DetachPolicyFromUser" | "DetachPolicyFromRole" => policies::detach(identities, p),
        "ListPoliciesForUser" | "ListPoliciesForRole" => {
            let policies: Vec<_> =
                identities.attachments(p)?.0.iter().map(|name| policies::policy_item(name)).collect();
            Ok(json!({"Policies": {"Policy": policies}}))
        }
        "ListEntitiesForPolicy" => policies::list_entities(identities, p),
        "CreateRole" => roles::create_role(identities, settings, p),
        "GetRole" => {
            let name = p.required("RoleName")?;
            Ok(json!({"Role": roles::role_item(name, identities.role(name)?)}))
        }
        "DeleteRole" => roles::delete_role(identities, p),
        "TagResources" => tag(identities, p),
        action => {
            refuse(404, "InvalidAction.NotFound", format!("The stand-in does not know {action} of RAM."))
        }
    }
}

/// What the caller needs the right on.
fn resources(action: &str, p: &Parameters) -> Result<Vec<String>> {
    let of = |kind: &str, name: &str| format!("acs:ram:*:{ACCOUNT}:{kind}/{name}");
    let named = |kind: &str, parameter: &str| p.required(parameter).map(|name| of(kind, name));
    Ok(match action {
        "ListUsers" => vec![of("user", "*")],
        "ListPolicies" => vec![of("policy", "*")],
        "TagResources" => {
            let kind = p.required("ResourceType")?;
            p.list("ResourceNames").into_iter().map(|name| of(kind, name)).collect()
        }
        "AttachPolicyToUser" | "DetachPolicyFromUser" => {
            vec![named("policy", "PolicyName")?, named("user", "UserName")?]
        }
        "AttachPolicyToRole" | "DetachPolicyFromRole" => {
            vec![named("policy", "PolicyName")?, named("role", "RoleName")?]
        }
        _ if action.contains("Role") => vec![named("role", "RoleName")?],
        _ if action.contains("User") || action.contains("AccessKey") => vec![named("user", "UserName")?],
        _ => vec![named("policy", "PolicyName")?],
    })
}

impl Identities {
    /// A user who exists, and is known everywhere by now.
    fn user(&mut self, name: &str) -> Result<&mut User> {
        let unknown = || Refusal::new(404, "EntityNotExist.User", format!("The user {name} does not exist."));
        let user = self.users.get_mut(name).ok_or_else(unknown)?;
        if user.unknown_for > 0 {
            user.unknown_for -= 1;
            return Err(unknown());
        }
        Ok(user)
    }

    pub(super) fn role(&mut self, name: &str) -> Result<&mut Role> {
        let unknown = || Refusal::new(404, "EntityNotExist.Role", format!("The role {name} does not exist."));
        let role = self.roles.get_mut(name).ok_or_else(unknown)?;
        if role.unknown_for > 0 {
            role.unknown_for -= 1;
            return Err(unknown());
        }
        Ok(role)
    }

    fn policy(&mut self, name: &str) -> Result<&mut Policy> {
        let unknown =
            || Refusal::new(404, "EntityNotExist.Policy", format!("The policy {name} does not exist."));
        self.policies.get_mut(name).ok_or_else(unknown)
    }

    /// The policies of the user or role that a call names, and the word for which of them it is.
    fn attachments(&mut self, p: &Parameters) -> Result<(&mut BTreeSet<String>, &'static str)> {
        match p.get("RoleName") {
            Some(role) => Ok((&mut self.role(role)?.policies, "Role")),
            None => Ok((&mut self.user(p.required("UserName")?)?.policies, "User")),
        }
    }
}

/// Names: 1 to 64 letters, digits, `.`, `-` and `_` (CreateUser); policies have no `.` or `_`, and 128 characters.
fn check_name<'a>(p: &'a Parameters, parameter: &str, longest: usize, others: &str) -> Result<&'a str> {
    let name = p.required(parameter)?;
    if name.len() > longest {
        return refuse(400, &format!("InvalidParameter.{parameter}.Length"), format!("{name} is too long."));
    }
    if !name.chars().all(|it| it.is_ascii_alphanumeric() || others.contains(it)) {
        let message = format!("{name} has characters that are not allowed.");
        return refuse(400, &format!("InvalidParameter.{parameter}.InvalidChars"), message);
    }
    Ok(name)
}

/// Lists have a Marker as long as they are truncated (ListUsers, ListPolicies).
fn page<'a>(
    names: impl Iterator<Item = &'a String>,
    settings: &Settings,
    p: &Parameters,
) -> Result<(Vec<&'a String>, Option<&'a String>)> {
    let most = p.number("MaxItems")?.unwrap_or(100);
    if !(1..=1000).contains(&most) {
        return refuse(400, "InvalidParameter.MaxItems", "MaxItems must be between 1 and 1000.");
    }
    let most = settings.longest_page.min(usize::try_from(most).unwrap_or(usize::MAX));
    let marker = p.get("Marker").unwrap_or_default();
    let mut rest = names.skip_while(|name| !marker.is_empty() && name.as_str() < marker).peekable();
    let listed: Vec<_> = rest.by_ref().take(most).collect();
    Ok((listed, rest.next()))
}

fn document(p: &Parameters, parameter: &str) -> Result<String> {
    let document = p.required(parameter)?;
    if document.len() > LARGEST_DOCUMENT {
        return refuse(400, &format!("InvalidParameter.{parameter}.Length"), "The document is too long.");
    }
    match policy::parse(document) {
        Ok(_) => Ok(document.to_owned()),
        Err(mistake) => refuse(400, "InvalidParameter.PolicyGrammar", mistake),
    }
}

fn tag(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let kind = p.required("ResourceType")?;
    let tags = p.tags();
    if tags.is_empty() {
        p.required("Tag.1.Key")?;
    }
    if tags.keys().any(|key| key.starts_with("acs:") || key.starts_with("aliyun") || key.len() > 128) {
        return refuse(400, "InvalidParameter.TagKey", "A key of a tag is not allowed.");
    }
    p.required("ResourceNames.1")?;
    for name in p.list("ResourceNames") {
        let of = match kind {
            "user" => &mut identities.user(name)?.tags,
            "policy" => &mut identities.policy(name)?.tags,
            "role" => &mut identities.role(name)?.tags,
            _ => return refuse(400, "InvalidParameter.ResourceType", format!("{kind} cannot be tagged.")),
        };
        of.extend(tags.clone());
    }
    Ok(json!({}))
}
