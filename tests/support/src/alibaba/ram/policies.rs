//! Policies, and what they are attached to.

use serde_json::{Value, json};

use super::{
    super::{
        Settings,
        call::Parameters,
        identities::{Identities, Policy},
        refusal::refuse,
    },
    Result, check_name, document, page,
};

const MOST_VERSIONS: usize = 5;

pub(super) fn create_policy(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = check_name(p, "PolicyName", 128, "-")?;
    let document = document(p, "PolicyDocument")?;
    if identities.policies.contains_key(name) {
        return refuse(409, "EntityAlreadyExists.Policy", format!("The policy {name} already exists."));
    }
    let policy = Policy {
        versions: [(1, document)].into(),
        default: 1,
        description: p.get("Description").unwrap_or_default().to_owned(),
        tags: p.tags(),
        is_given: false,
    };
    identities.policies.insert(name.to_owned(), policy);
    Ok(json!({"Policy": policy_item(name)}))
}

pub(super) fn create_policy_version(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let (name, document) = (p.required("PolicyName")?, document(p, "PolicyDocument")?);
    let rotates = p.get("RotateStrategy") == Some("DeleteOldestNonDefaultVersionWhenLimitExceeded");
    let policy = identities.policy(name)?;
    if policy.versions.len() >= MOST_VERSIONS {
        let oldest = policy.versions.keys().copied().find(|version| *version != policy.default);
        match oldest.filter(|_| rotates) {
            Some(oldest) => policy.versions.remove(&oldest),
            None => {
                let message = format!("The policy {name} has five versions.");
                return refuse(409, "LimitExceeded.Policy.Version", message);
            }
        };
    }
    let version = policy.versions.keys().max().map_or(1, |last| last + 1);
    policy.versions.insert(version, document);
    if p.is_true("SetAsDefault") {
        policy.default = version;
    }
    Ok(
        json!({"PolicyVersion": {"VersionId": format!("v{version}"), "IsDefaultVersion": policy.default == version}}),
    )
}

pub(super) fn get_policy(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = p.required("PolicyName")?;
    p.required("PolicyType")?;
    let policy = identities.policy(name)?;
    let document = policy.versions[&policy.default].clone();
    let version = json!({"VersionId": format!("v{}", policy.default), "PolicyDocument": document});
    let mut item = policy_item(name);
    item["Description"] = policy.description.clone().into();
    Ok(json!({"Policy": item, "DefaultPolicyVersion": version}))
}

pub(super) fn list_policies(identities: &Identities, settings: &Settings, p: &Parameters) -> Result<Value> {
    if p.get("PolicyType") == Some("System") {
        return Ok(json!({"Policies": {"Policy": []}, "IsTruncated": false}));
    }
    let (listed, marker) = page(identities.policies.keys(), settings, p)?;
    let policies: Vec<_> = listed
        .iter()
        .map(|name| {
            let mut item = policy_item(name);
            item["Description"] = identities.policies[*name].description.clone().into();
            item
        })
        .collect();
    Ok(json!({"Policies": {"Policy": policies}, "IsTruncated": marker.is_some(), "Marker": marker}))
}

pub(super) fn delete_policy(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = p.required("PolicyName")?;
    let versions = identities.policy(name)?.versions.len();
    let conflict = |what: &str| {
        refuse(409, &format!("DeleteConflict.{what}"), format!("The policy {name} is still in use."))
    };
    if identities.users.values().any(|user| user.policies.contains(name)) {
        return conflict("Policy.User");
    }
    if identities.roles.values().any(|role| role.policies.contains(name)) {
        return conflict("Role.Policy");
    }
    if versions > 1 && !p.is_true("CascadingDelete") {
        return conflict("Policy.Version");
    }
    identities.policies.remove(name);
    Ok(json!({}))
}

pub(super) fn attach(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = custom_policy(identities, p)?;
    let (policies, of) = identities.attachments(p)?;
    if !policies.insert(name.to_owned()) {
        let message = format!("The policy {name} is attached already.");
        return refuse(409, &format!("EntityAlreadyExists.{of}.Policy"), message);
    }
    Ok(json!({}))
}

pub(super) fn detach(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = custom_policy(identities, p)?;
    let (policies, of) = identities.attachments(p)?;
    if !policies.remove(name) {
        return refuse(
            404,
            &format!("EntityNotExist.{of}.Policy"),
            format!("The policy {name} is not attached."),
        );
    }
    Ok(json!({}))
}

pub(super) fn custom_policy<'a>(identities: &mut Identities, p: &'a Parameters) -> Result<&'a str> {
    let name = p.required("PolicyName")?;
    match p.required("PolicyType")? {
        "Custom" => identities.policy(name).map(|_| name),
        "System" => refuse(404, "EntityNotExist.Policy", format!("The system policy {name} does not exist.")),
        _ => refuse(400, "InvalidParameter.PolicyType", "PolicyType must be Custom or System."),
    }
}

pub(super) fn list_entities(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = custom_policy(identities, p)?;
    let users = identities.users.iter().filter(|(_, user)| user.policies.contains(name));
    let users: Vec<_> = users.map(|(user, _)| json!({"UserName": user})).collect();
    let roles = identities.roles.iter().filter(|(_, role)| role.policies.contains(name));
    let roles: Vec<_> = roles.map(|(role, _)| json!({"RoleName": role})).collect();
    Ok(json!({"Users": {"User": users}, "Roles": {"Role": roles}, "Groups": {"Group": []}}))
}

pub(super) fn policy_item(name: &str) -> Value {
    json!({"PolicyName": name, "PolicyType": "Custom"})
}
