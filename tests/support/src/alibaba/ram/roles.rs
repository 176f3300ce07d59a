//! Roles.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    super::{
        Settings,
        account::ACCOUNT,
        call::Parameters,
        identities::{Identities, Role},
        refusal::refuse,
    },
    Result, check_name, document,
};

pub(super) fn create_role(identities: &mut Identities, settings: &Settings, p: &Parameters) -> Result<Value> {
    let name = check_name(p, "RoleName", 64, ".-")?;
    let trust = document(p, "AssumeRolePolicyDocument")?;
    let longest_session = p.number("MaxSessionDuration")?.unwrap_or(3600);
    if !(3600..=43_200).contains(&longest_session) {
        let message = "MaxSessionDuration must be between 3600 and 43200.";
        return refuse(400, "InvalidParameter.MaxSessionDuration", message);
    }
    if identities.roles.contains_key(name) {
        return refuse(409, "EntityAlreadyExists.Role", format!("The role {name} already exists."));
    }
    let role = Role {
        trust: serde_json::from_str(&trust).unwrap_or_default(),
        policies: BTreeSet::new(),
        longest_session,
        tags: p.tags(),
        unknown_for: settings.entity_lag,
        is_given: false,
    };
    let item = role_item(name, &role);
    identities.roles.insert(name.to_owned(), role);
    Ok(json!({"Role": item}))
}

pub(super) fn delete_role(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = p.required("RoleName")?;
    if !identities.role(name)?.policies.is_empty() {
        return refuse(409, "DeleteConflict.Role.Policy", format!("The role {name} still has a policy."));
    }
    identities.roles.remove(name);
    Ok(json!({}))
}

pub(super) fn role_item(name: &str, role: &Role) -> Value {
    json!({"RoleName": name, "Arn": format!("acs:ram::{ACCOUNT}:role/{}", name.to_lowercase()),
        "AssumeRolePolicyDocument": role.trust.to_string(), "MaxSessionDuration": role.longest_session})
}
