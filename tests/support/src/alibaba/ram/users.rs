//! Users and their access keys.

use serde_json::{Value, json};

use super::{
    super::{
        Settings,
        account::ACCOUNT,
        call::Parameters,
        identities::{Identities, User},
        refusal::refuse,
    },
    Result, check_name, page,
};

const MOST_KEYS: usize = 2;

pub(super) fn create_user(identities: &mut Identities, settings: &Settings, p: &Parameters) -> Result<Value> {
    let name = check_name(p, "UserName", 64, ".-_")?;
    if identities.users.contains_key(name) {
        return refuse(409, "EntityAlreadyExists.User", format!("The user {name} already exists."));
    }
    let text = |parameter: &str| p.get(parameter).unwrap_or_default().to_owned();
    for parameter in ["DisplayName", "Comments"] {
        if text(parameter).chars().count() > 128 {
            return refuse(
                400,
                &format!("InvalidParameter.{parameter}.Length"),
                "It has more than 128 characters.",
            );
        }
    }
    let user = User {
        display_name: text("DisplayName"),
        comments: text("Comments"),
        tags: p.tags(),
        unknown_for: settings.entity_lag,
        ..User::default()
    };
    identities.users.insert(name.to_owned(), user);
    Ok(json!({"User": {"UserName": name, "UserId": "2".to_owned() + ACCOUNT}}))
}

pub(super) fn list_users(identities: &Identities, settings: &Settings, p: &Parameters) -> Result<Value> {
    let (listed, marker) = page(identities.users.keys(), settings, p)?;
    let item = |name: &&String| {
        let user = &identities.users[*name];
        json!({"UserName": name, "DisplayName": user.display_name, "Comments": user.comments})
    };
    let users: Vec<_> = listed.iter().map(item).collect();
    Ok(json!({"Users": {"User": users}, "IsTruncated": marker.is_some(), "Marker": marker}))
}

pub(super) fn delete_user(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = p.required("UserName")?;
    let conflict = |what: &str| {
        let message = format!("The user {name} still has something: {what}.");
        refuse(409, &format!("DeleteConflict.User.{what}"), message)
    };
    if !identities.user(name)?.policies.is_empty() {
        return conflict("Policy");
    }
    if identities.keys.values().any(|key| key.user == name) {
        return conflict("AccessKey");
    }
    identities.users.remove(name);
    Ok(json!({}))
}

pub(super) fn create_access_key(
    identities: &mut Identities,
    settings: &Settings,
    p: &Parameters,
) -> Result<Value> {
    let name = p.required("UserName")?;
    identities.user(name)?;
    if identities.keys.values().filter(|key| key.user == name).count() >= MOST_KEYS {
        return refuse(409, "LimitExceeded.User.AccessKey", format!("The user {name} has two access keys."));
    }
    let (id, secret) = identities.make_key(name, settings.key_lag);
    Ok(json!({"AccessKey": {"AccessKeyId": id, "AccessKeySecret": secret, "Status": "Active"}}))
}

/// The key of a call, which must be one of its user.
pub(super) fn key<'a>(identities: &mut Identities, p: &'a Parameters) -> Result<&'a str> {
    let (name, id) = (p.required("UserName")?, p.required("UserAccessKeyId")?);
    identities.user(name)?;
    if identities.keys.get(id).is_none_or(|key| key.user != name) {
        let message = format!("The user {name} has no access key {id}.");
        return refuse(404, "EntityNotExist.User.AccessKey", message);
    }
    Ok(id)
}

pub(super) fn update_access_key(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let id = key(identities, p)?;
    let is_active = match p.required("Status")? {
        "Active" => true,
        "Inactive" => false,
        _ => return refuse(400, "InvalidParameter.Status", "Status must be Active or Inactive."),
    };
    if let Some(key) = identities.keys.get_mut(id) {
        key.is_active = is_active;
    }
    Ok(json!({}))
}

pub(super) fn delete_access_key(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let id = key(identities, p)?;
    identities.keys.remove(id);
    Ok(json!({}))
}

pub(super) fn list_access_keys(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let name = p.required("UserName")?;
    identities.user(name)?;
    let status = |is_active: bool| if is_active { "Active" } else { "Inactive" };
    let keys = identities.keys.iter().filter(|(_, key)| key.user == name);
    let keys: Vec<_> =
        keys.map(|(id, key)| json!({"AccessKeyId": id, "Status": status(key.is_active)})).collect();
    Ok(json!({"AccessKeys": {"AccessKey": keys}}))
}
