//! Parameters of the AWS Service Broker that are none of a template (pure): `region`, `target_account_id` and
//! `target_role_name` say where the service is, which is the backend's choice; `user_tags` and `admin_tags` become tags
//! of the stack.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    naming,
    overrides::{Override, Overrides, Place},
};
use crate::{broker::backends::Unacceptable, osb::Object};

const REGION: &str = "region";
const ACCOUNT: &str = "target_account_id";
const ROLE: &str = "target_role_name";
const USER_TAGS: &str = "user_tags";
const ADMIN_TAGS: &str = "admin_tags";

/// The prefixes of keys that AWS or bindery set.
const RESERVED: [&str; 2] = ["aws:", "bindery:"];

/// Where a backend's services are, and which tags users may set.
#[derive(Clone, Debug, Default)]
pub(super) struct Placement {
    region: Option<String>,
    /// The account and the name of the role that is assumed.
    role: Option<(String, String)>,
    /// The keys of tags that users may set.
    user_tags: Vec<String>,
}

/// A tag as in requests of AWS.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

/// Whether a parameter is one of these.
pub(super) fn has(name: &str) -> bool {
    [REGION, ACCOUNT, ROLE, USER_TAGS, ADMIN_TAGS].contains(&name)
}

/// The pattern of their names, for schemas that take and do not offer them.
pub(super) fn pattern() -> String {
    format!("^({})$", [REGION, ACCOUNT, ROLE, USER_TAGS, ADMIN_TAGS].join("|"))
}

impl Placement {
    pub(super) fn new(region: Option<&str>, role_arn: Option<&str>, user_tags: &[String]) -> Self {
        let role = role_arn.and_then(|arn| {
            let mut parts = arn.splitn(6, ':').skip(4);
            Some((parts.next()?.to_owned(), parts.next()?.strip_prefix("role/")?.to_owned()))
        });
        Self { region: region.map(ToOwned::to_owned), role, user_tags: user_tags.to_vec() }
    }

    /// The value that a parameter has on this backend.
    fn fixed(&self, name: &str) -> Option<&str> {
        let role = self.role.as_ref();
        match name {
            REGION => self.region.as_deref(),
            ACCOUNT => role.map(|(account, _)| account.as_str()),
            _ => role.map(|(_, name)| name.as_str()),
        }
    }

    /// Checks an override of one of these parameters.
    ///
    /// # Errors
    /// Says what to do instead.
    pub(super) fn check_override(&self, one: &Override) -> Result<(), String> {
        match one.parameter.as_str() {
            USER_TAGS | ADMIN_TAGS => tags(&Value::from(one.value.as_str())).map(drop),
            name if self.fixed(name) == Some(one.value.as_str()) => Ok(()),
            name => {
                let setting = if name == REGION { "`region`" } else { "`role`" };
                Err(format!(
                    "is {:?}, but a backend is in one region and one account; set its {setting}, or add a backend",
                    one.value
                ))
            }
        }
    }

    /// The tags that a user asks for.
    ///
    /// # Errors
    /// Names the parameter that the backend does not allow, and says what to do.
    pub(super) fn user_tags(&self, given: &Object) -> Result<BTreeMap<String, String>, Unacceptable> {
        let is_set = |value: &Value| !value.is_null() && value.as_str() != Some("");
        let mut wanted = BTreeMap::new();
        for (name, value) in given.iter().filter(|(name, value)| has(name) && is_set(value)) {
            let refuse = |problem: String| Unacceptable::Invalid(format!("parameter {name}: {problem}"));
            match name.as_str() {
                USER_TAGS => wanted = self.allowed(tags(value).map_err(refuse)?).map_err(refuse)?,
                ADMIN_TAGS => {
                    return Err(refuse(
                        "is for the operator, as `tags` of the backend; leave it out".to_owned(),
                    ));
                }
                _ if value.as_str().is_some_and(|value| self.fixed(name) == Some(value)) => {}
                _ => return Err(refuse(self.elsewhere(name))),
            }
        }
        Ok(wanted)
    }

    fn allowed(&self, tags: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
        match tags.keys().find(|key| !self.user_tags.contains(key)) {
            None => Ok(tags),
            Some(key) if self.user_tags.is_empty() => Err(format!(
                "has {key:?}, but the operator allows no tags of users; leave it out, or ask for `userTags` of the backend"
            )),
            Some(key) => {
                Err(format!("has {key:?}, but the operator allows only {}", self.user_tags.join(", ")))
            }
        }
    }

    fn elsewhere(&self, name: &str) -> String {
        let way_out = "leave it out, or choose a service of another backend";
        match (name, self.fixed(name)) {
            (REGION, Some(region)) => format!("the service is in {region}; {way_out}"),
            (REGION, None) => format!("the operator chooses the region; {way_out}"),
            (_, Some(fixed)) => format!("is {fixed} for this service; {way_out}"),
            (_, None) => format!("the service is in the broker's own account; {way_out}"),
        }
    }
}

/// The tags that overrides give the instances at a place.
pub(super) fn overridden_tags(
    overrides: &Overrides,
    place: &Place<'_>,
    service: &str,
) -> BTreeMap<String, String> {
    let of = |name| overrides.value(place, service, name).map(|value| tags(&Value::from(value)));
    // The configuration was refused if they are not tags.
    [USER_TAGS, ADMIN_TAGS].into_iter().filter_map(of).flatten().flatten().collect()
}

/// A list of tags, which may be written as JSON text: `[{"Key": "team", "Value": "shop"}]`.
fn tags(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let form = r#"write it as [{"Key": "team", "Value": "shop"}]"#;
    let parsed: Result<Vec<Tag>, _> = match value {
        Value::String(text) => serde_json::from_str(text),
        other => serde_json::from_value(other.clone()),
    };
    let parsed = parsed.map_err(|error| format!("is no list of tags: {error}; {form}"))?;
    for Tag { key, value } in &parsed {
        let is_reserved = RESERVED.iter().any(|prefix| key.to_lowercase().starts_with(prefix));
        if key.is_empty() || key.len() > 128 || is_reserved || naming::tag_value(key) != *key {
            return Err(format!("has {key:?}, which cannot be the key of a tag; take another"));
        }
        if naming::tag_value(value) != *value {
            return Err(format!(
                "has {value:?}, which AWS does not take; use letters, digits and ` +-=._:/@`"
            ));
        }
    }
    Ok(parsed.into_iter().map(|Tag { key, value }| (key, value)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HERE: &str = "arn:aws:iam::210987654321:role/teams/bindery";

    fn user_tags(placement: &Placement, name: &str, value: Value) -> Result<Vec<String>, String> {
        let given = Object::from_iter([(name.to_owned(), value)]);
        let found = placement.user_tags(&given).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|(key, value)| format!("{key}={value}")).collect())
    }

    #[rstest::rstest]
    #[case("region", json!("eu-west-1"), Ok(""))]
    #[case("region", json!(""), Ok(""))]
    #[case("region", json!("us-east-1"), Err("the service is in eu-west-1; leave it out"))]
    #[case("target_account_id", json!("210987654321"), Ok(""))]
    #[case("target_account_id", json!("123456789012"), Err("is 210987654321 for this service"))]
    #[case("target_role_name", json!("teams/bindery"), Ok(""))]
    #[case("target_role_name", json!("admin"), Err("choose a service of another backend"))]
    #[case("admin_tags", json!("[]"), Err("`tags` of the backend"))]
    #[case("user_tags", json!(r#"[{"Key": "team", "Value": "shop"}]"#), Ok("team=shop"))]
    #[case("user_tags", json!([{"Key": "team", "Value": "shop"}]), Ok("team=shop"))]
    #[case("user_tags", json!([{"Key": "cost", "Value": "1"}]), Err("allows only team, bindery:x"))]
    #[case("user_tags", json!([{"Key": "bindery:x", "Value": "1"}]), Err("cannot be the key"))]
    #[case("user_tags", json!([{"Key": "team", "Value": "ä"}]), Err("AWS does not take"))]
    #[case("user_tags", json!({"team": "shop"}), Err("write it as"))]
    fn users_get_what_the_backend_allows(
        #[case] name: &str,
        #[case] value: Value,
        #[case] expected: Result<&str, &str>,
    ) {
        let allowed = ["team".to_owned(), "bindery:x".to_owned()];
        let placement = Placement::new(Some("eu-west-1"), Some(HERE), &allowed);
        match (user_tags(&placement, name, value), expected) {
            (Ok(tags), Ok(expected)) => assert_eq!(tags.join(","), expected),
            (Err(problem), Err(named)) => assert!(problem.contains(named), "{problem}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn without_settings_nothing_is_allowed() {
        let placement = Placement::default();
        for (name, value, named) in [
            ("region", json!("eu-west-1"), "the operator chooses the region"),
            ("target_role_name", json!("r"), "the broker's own account"),
            ("user_tags", json!([{"Key": "team", "Value": "shop"}]), "`userTags` of the backend"),
        ] {
            let problem = user_tags(&placement, name, value).unwrap_err();
            assert!(problem.contains(named), "{problem}");
        }
    }
}
