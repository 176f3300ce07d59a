//! Names on AWS, derived from ids alone, and the marks of the installation. A stack carries its mark as a tag; a user or
//! role as its path, which IAM sets with the principal itself and lists without further calls.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    broker::backends::{BindingSpec, InstanceSpec},
    cloud::aws::{digest, stack_name},
    osb::{BindingId, InstanceId},
};

/// Queues of a stack have its name as prefix, and users of the AWS Service Broker look for this one.
pub(super) const STACK_PREFIX: &str = "AWSServiceBroker";
/// The path of everything that bindery creates in IAM.
pub(super) const ROOT_PATH: &str = "/bindery/";
/// The tag of a stack that marks its installation.
pub(super) const INSTALLATION_TAG: &str = "bindery:installation";

/// Tags have at most 256 characters.
const LONGEST_TAG: usize = 256;

/// The stack of an instance.
pub(super) fn stack(instance: &InstanceId) -> String {
    stack_name(&[STACK_PREFIX, &digest(&["instance", instance.as_str()], 32)])
}

/// The user or role of a binding.
pub(super) fn principal(instance: &InstanceId, binding: &BindingId) -> String {
    format!("bindery-{}", digest(&["binding", instance.as_str(), binding.as_str()], 32))
}

/// The path of the installation's users and roles.
pub(super) fn installation_path(installation: &str) -> String {
    format!("{ROOT_PATH}{}/", digest(&["installation", installation], 16))
}

/// The path of the users and roles of an instance's bindings.
pub(super) fn instance_path(installation: &str, instance: &InstanceId) -> String {
    format!("{}{}/", installation_path(installation), digest(&["instance", instance.as_str()], 32))
}

/// Identifies the request for a stack of this content.
pub(super) fn token(verb: &str, template: &str, parameters: &BTreeMap<String, String>) -> String {
    let mut parts = vec![template];
    parts.extend(parameters.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
    format!("{verb}-{}", digest(&parts, 32))
}

/// The tags of an instance's stack, which its resources get, too.
pub(super) fn instance_tags(installation: &str, instance: &InstanceSpec) -> BTreeMap<String, String> {
    let context = |name: &str| instance.context.get(name).and_then(Value::as_str).unwrap_or_default();
    tags(&[
        (INSTALLATION_TAG, installation),
        ("bindery:instance-id", instance.id.as_str()),
        ("bindery:cluster", &instance.organization_guid),
        ("bindery:namespace", context("namespace")),
        ("bindery:instance", context("instance_name")),
    ])
}

/// The tags of a binding's user or role.
pub(super) fn binding_tags(
    installation: &str,
    on: &InstanceSpec,
    binding: &BindingSpec,
) -> BTreeMap<String, String> {
    let context = |name: &str| binding.context.get(name).and_then(Value::as_str).unwrap_or_default();
    tags(&[
        (INSTALLATION_TAG, installation),
        ("bindery:instance-id", on.id.as_str()),
        ("bindery:binding-id", binding.id.as_str()),
        ("bindery:namespace", context("namespace")),
        ("bindery:binding", context("binding_name")),
    ])
}

/// The value of a tag: AWS takes letters, digits, spaces and a few signs. Another text becomes its hash.
pub(super) fn tag_value(text: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || " +-=._:/@".contains(letter);
    if text.chars().all(fits) && text.len() <= LONGEST_TAG { text.to_owned() } else { digest(&[text], 32) }
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let given = pairs.iter().filter(|(_, value)| !value.is_empty());
    given.map(|(key, value)| ((*key).to_owned(), tag_value(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_whatever_ids_contain() {
        for id in ["", "../../x", &"ä".repeat(5000), "0f3c0a4e-8b7e-4a4f-9d62-3c2b1a0d9e8f"] {
            let (instance, binding) = (InstanceId::from(id), BindingId::from(id));
            let names = [stack(&instance), principal(&instance, &binding)];
            assert!(names.iter().all(|name| name.len() <= 64), "{names:?}");
            let path = instance_path("tests", &instance);
            assert!(path.starts_with(ROOT_PATH) && path.ends_with('/') && path.len() <= 128, "{path}");
        }
    }

    #[test]
    fn different_ids_give_different_names() {
        let principal =
            |instance: &str, binding: &str| principal(&InstanceId::from(instance), &BindingId::from(binding));
        assert_ne!(principal("a", "bc"), principal("ab", "c"));
        assert_ne!(stack(&InstanceId::from("a")), stack(&InstanceId::from("b")));
        assert_ne!(installation_path("a"), installation_path("b"));
    }

    #[test]
    fn a_tag_that_aws_would_refuse_becomes_a_hash() {
        assert_eq!(tag_value("shop-1/db_2"), "shop-1/db_2");
        assert_eq!(tag_value("ä").len(), 32);
        assert_eq!(tag_value(&"a".repeat(257)).len(), 32);
    }
}
