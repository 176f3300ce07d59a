//! Finds leftovers of an earlier patch: volumes with bindery's names, and their mounts, of Secrets and ConfigMaps that
//! the pod does not ask for any more. The injection removes nothing, so it warns about them. Pure.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::{
    Warning,
    container::Container,
    fields::text,
    names::{VOLUME_PREFIX, hashed_volume_name, volume_name},
    source::{Object, ObjectKind},
};

/// The maximum number of leftovers that are reported, each in one warning.
const MOST: usize = 10;

/// The leftovers in a pod that asks for nothing.
pub(super) fn all_leftovers(pod: &Value) -> Vec<Warning> {
    leftovers(pod, &[], &[])
}

/// The leftovers in a pod whose containers are `bound`, and which mounts these objects.
pub(super) fn leftovers(pod: &Value, bound: &[Container<'_>], mounted: &[Object<'_>]) -> Vec<Warning> {
    let list =
        |of: &'static str| pod.get("spec").and_then(|spec| spec.get(of)?.as_array()).into_iter().flatten();
    let of_bindery: HashMap<&str, Object<'_>> = list("volumes").filter_map(of_bindery).collect();
    if of_bindery.is_empty() {
        return Vec::new();
    }
    // Sorted, to avoid duplicates and for a stable order.
    let mut found = BTreeSet::new();
    for container in list("initContainers").chain(list("containers")) {
        let name = text(container, &["name"]).unwrap_or_default();
        let is_wanted = |object: Object<'_>| {
            let is_it = |container: &&Container<'_>| container.name == name;
            mounted.contains(&object) && bound.iter().find(is_it).is_some_and(|it| it.is_bound_to(object))
        };
        let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
        for volume in mounts.filter_map(|mount| text(mount, &["name"])) {
            found.extend(
                of_bindery
                    .get(volume)
                    .filter(|object| !is_wanted(**object))
                    .map(|object| (*object, volume, name)),
            );
        }
    }
    let has_mount: BTreeSet<Object<'_>> = found.iter().map(|(object, ..)| *object).collect();
    let unused =
        of_bindery.iter().filter(|(_, object)| !mounted.contains(*object) && !has_mount.contains(*object));
    let unused: BTreeSet<(Object<'_>, &str, &str)> =
        unused.map(|(volume, object)| (*object, *volume, "")).collect();
    let warning = |(object, volume, container): (Object<'_>, &str, &str)| Warning::Leftover {
        container: (!container.is_empty()).then(|| container.to_owned()),
        volume: volume.to_owned(),
        object: object.to_string(),
    };
    found.into_iter().chain(unused).take(MOST).map(warning).collect()
}

/// The name and the object of a volume that bindery created.
fn of_bindery(volume: &Value) -> Option<(&str, Object<'_>)> {
    let name = text(volume, &["name"]).filter(|name| name.starts_with(VOLUME_PREFIX))?;
    let object = ObjectKind::ALL.into_iter().find_map(|kind| {
        let object = text(volume, &[kind.volume_field(), kind.volume_name_field()])?;
        Some(Object { kind, name: object })
    })?;
    [volume_name(object), hashed_volume_name(object)].iter().any(|own| own == name).then_some((name, object))
}
