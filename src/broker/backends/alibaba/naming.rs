//! Names on Alibaba Cloud, derived from ids alone. A name is also the mark: neither a bucket nor a user can be created
//! together with a tag, so the installation is part of every name, from the first moment.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    broker::backends::{BindingSpec, InstanceSpec},
    cloud::alibaba::digest,
    osb::{BindingId, InstanceId},
};

/// The beginning of everything that any installation creates.
pub(super) const ROOT: &str = "bindery-";
/// The tag that finds a database server again. Its value is the name of the instance.
pub(super) const INSTANCE_TAG: &str = "bindery:instance";
/// The tag of what any installation has created, which the rights of the broker are limited to.
pub(super) const INSTALLATION_TAG: &str = "bindery:installation";
/// The tag of what was kept when its instance was deleted. Nothing of it belongs to bindery any more.
pub(super) const RETAINED_TAG: &str = "bindery:retained";

/// Buckets take at most 128 characters in the value of a tag.
const LONGEST_TAG: usize = 128;

/// The beginning of everything that this installation creates.
pub(super) fn of_installation(installation: &str) -> String {
    format!("{ROOT}{}-", digest(&["installation", installation], 10))
}

/// The name of an instance: the bucket, or the value of the server's tag.
pub(super) fn instance(installation: &str, instance: &InstanceId) -> String {
    format!("{}{}", of_installation(installation), digest(&["instance", instance.as_str()], 20))
}

/// The beginning of the names of an instance's bindings.
pub(super) fn bindings_of(instance: &str) -> String {
    format!("{instance}-")
}

/// The name of a binding: the RAM user or role, or the description of the database account.
pub(super) fn binding(installation: &str, on: &InstanceId, binding: &BindingId) -> String {
    let of_instance = bindings_of(&instance(installation, on));
    format!("{of_instance}{}", digest(&["binding", on.as_str(), binding.as_str()], 20))
}

/// The instance that a binding's name belongs to.
pub(super) fn instance_of(binding: &str) -> &str {
    binding.rsplit_once('-').map_or(binding, |(instance, _)| instance)
}

/// The database of an instance.
pub(super) fn database(instance: &InstanceId) -> String {
    format!("db_{}", digest(&["database", instance.as_str()], 20))
}

/// The account of a binding whose user names none. MySQL 5.6 takes 16 characters.
pub(super) fn account(instance: &InstanceId, binding: &BindingId) -> String {
    format!("u{}", digest(&["account", instance.as_str(), binding.as_str()], 15))
}

/// The tags of an instance.
pub(super) fn tags(installation: &str, of: &InstanceSpec) -> BTreeMap<String, String> {
    let name = instance(installation, &of.id);
    let context = |name: &str| of.context.get(name).and_then(Value::as_str).unwrap_or_default();
    let pairs = [
        (INSTANCE_TAG, name.as_str()),
        (INSTALLATION_TAG, installation),
        ("bindery:instance-id", of.id.as_str()),
        ("bindery:namespace", context("namespace")),
        ("bindery:instance-name", context("instance_name")),
    ];
    let given = pairs.iter().filter(|(_, value)| !value.is_empty());
    given.map(|(key, value)| ((*key).to_owned(), tag_value(value))).collect()
}

/// What people read about a binding's user or role in the console.
pub(super) fn comment(binding: &BindingSpec) -> String {
    let context = |name: &str| binding.context.get(name).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (context("namespace"), context("binding_name"));
    let comment = if name.is_empty() {
        "A binding of bindery".to_owned()
    } else {
        format!("Binding {namespace}/{name} of bindery")
    };
    tag_value(&comment)
}

/// A text that fits into a tag; another one becomes its hash.
pub(super) fn tag_value(text: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || " +-=._:/@".contains(letter);
    // Alibaba Cloud refuses addresses.
    let is_plain = text.chars().all(fits) && !text.contains("://");
    if is_plain && text.len() <= LONGEST_TAG { text.to_owned() } else { digest(&[text], 32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_whatever_ids_contain() {
        for id in ["", "../../x", &"ä".repeat(5000), "0f3c0a4e-8b7e-4a4f-9d62-3c2b1a0d9e8f"] {
            let (on, bound) = (InstanceId::from(id), BindingId::from(id));
            let (bucket, user) = (instance("tests", &on), binding("tests", &on, &bound));
            assert!(bucket.len() <= 63 && user.len() <= 64, "{bucket} {user}");
            assert!(user.starts_with(&bindings_of(&bucket)) && instance_of(&user) == bucket);
            assert!(account(&on, &bound).len() == 16 && database(&on).len() <= 64);
        }
    }

    #[test]
    fn different_ids_and_installations_give_different_names() {
        let named = |installation: &str, on: &str, bound: &str| {
            binding(installation, &InstanceId::from(on), &BindingId::from(bound))
        };
        assert_ne!(named("i", "a", "bc"), named("i", "ab", "c"));
        assert_ne!(named("i", "a", "b"), named("j", "a", "b"));
    }

    #[test]
    fn a_tag_that_would_be_refused_becomes_a_hash() {
        assert_eq!(tag_value("shop-1/db_2"), "shop-1/db_2");
        assert_eq!(tag_value("http://x").len(), 32);
        assert_eq!(tag_value(&"a".repeat(129)).len(), 32);
    }
}
