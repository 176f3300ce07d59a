//! What an earlier patch left in a pod: volumes under bindery's names, and mounts of them, of Secrets that are not asked for any more.
//! The injection takes nothing away, so it tells of them. Pure.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::{
    Warning,
    container::Container,
    fields::text,
    names::{VOLUME_PREFIX, volume_name},
};

/// How many leftovers are reported at most, each in one warning.
const MOST: usize = 10;

/// The leftovers in a pod that asks for nothing.
pub(super) fn all_leftovers(pod: &Value) -> Vec<Warning> {
    leftovers(pod, &[], &[])
}

/// The leftovers in a pod whose containers are bound so, and of whose Secrets these are mounted.
pub(super) fn leftovers(pod: &Value, bound: &[Container<'_>], mounted: &[&str]) -> Vec<Warning> {
    let list =
        |of: &'static str| pod.get("spec").and_then(|spec| spec.get(of)?.as_array()).into_iter().flatten();
    let of_bindery: HashMap<&str, &str> = list("volumes").filter_map(of_bindery).collect();
    if of_bindery.is_empty() {
        return Vec::new();
    }
    // Sorted, so that each is there once and the order is always the same.
    let mut found = BTreeSet::new();
    for container in list("initContainers").chain(list("containers")) {
        let name = text(container, &["name"]).unwrap_or_default();
        let is_wanted = |secret: &str| {
            let is_it = |container: &&Container<'_>| container.name == name;
            mounted.contains(&secret) && bound.iter().find(is_it).is_some_and(|it| it.is_bound_to(secret))
        };
        let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
        for volume in mounts.filter_map(|mount| text(mount, &["name"])) {
            found.extend(
                of_bindery
                    .get(volume)
                    .filter(|secret| !is_wanted(secret))
                    .map(|secret| (*secret, volume, name)),
            );
        }
    }
    let has_mount: BTreeSet<&str> = found.iter().map(|(secret, ..)| *secret).collect();
    let unused =
        of_bindery.iter().filter(|(_, secret)| !mounted.contains(*secret) && !has_mount.contains(*secret));
    let unused: BTreeSet<(&str, &str, &str)> =
        unused.map(|(volume, secret)| (*secret, *volume, "")).collect();
    let warning = |(secret, volume, container): (&str, &str, &str)| Warning::Leftover {
        container: (!container.is_empty()).then(|| container.to_owned()),
        volume: volume.to_owned(),
        secret: secret.to_owned(),
    };
    found.into_iter().chain(unused).take(MOST).map(warning).collect()
}

/// The name and the Secret of a volume that bindery has made.
fn of_bindery(volume: &Value) -> Option<(&str, &str)> {
    let (name, secret) = (text(volume, &["name"])?, text(volume, &["secret", "secretName"])?);
    (name.starts_with(VOLUME_PREFIX) && name == volume_name(secret)).then_some((name, secret))
}
