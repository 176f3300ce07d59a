//! Checks the mounts that the pod has already: nothing can be mounted below some of them, and parts of volumes are never
//! refreshed.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    Warning,
    container::Container,
    error::InjectError,
    fields::text,
    folder::MountRoot,
    names::VOLUME_PREFIX,
    source::{Object, ObjectKind},
};

/// Kinds of volumes whose mounts are always read-only, but in which the kubelet creates folders for mounts below them.
const PROJECTED: [&str; 4] = ["configMap", "downwardAPI", "projected", "secret"];

/// The values of `hostPath.type` that are not folders.
const FILES: [&str; 5] = ["BlockDevice", "CharDevice", "File", "FileOrCreate", "Socket"];

/// The maximum number of a container's mounts that are checked for blocking mounts below them.
const MOST_BLOCKING: usize = 100;

/// The pod's volumes by name.
pub(super) struct Volumes<'a>(HashMap<&'a str, &'a Value>);

impl<'a> Volumes<'a> {
    pub(super) fn of(list: &'a [Value]) -> Self {
        Self(list.iter().filter_map(|volume| Some((text(volume, &["name"])?, volume))).collect())
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether no volume has a name as bindery's volumes have.
    pub(super) fn are_none_of_bindery(&self) -> bool {
        !self.0.keys().any(|name| name.starts_with(VOLUME_PREFIX))
    }

    fn of_mount(&self, mount: &Value) -> Option<&'a Value> {
        self.0.get(text(mount, &["name"])?).copied()
    }

    /// Whether no folder can be created in the mount, so that a container with a mount below it cannot start.
    fn takes_no_folder(&self, mount: &Value) -> bool {
        if mount.get("devicePath").is_some() {
            return true;
        }
        let volume = self.of_mount(mount).and_then(Value::as_object);
        let source =
            volume.into_iter().flatten().find(|(field, source)| *field != "name" && !source.is_null());
        let (kind, source) = source.map_or(("", &Value::Null), |(kind, source)| (kind.as_str(), source));
        if PROJECTED.contains(&kind) {
            return is_of_a_part(mount);
        }
        let is_true = |object: &Value, field: &str| object.get(field) == Some(&Value::Bool(true));
        is_true(mount, "readOnly")
            || is_true(source, "readOnly")
            || kind == "image"
            || text(source, &["type"]).is_some_and(|type_| FILES.contains(&type_))
    }
}

/// Whether the mount is a single folder or file of its volume.
pub(super) fn is_of_a_part(mount: &Value) -> bool {
    ["subPath", "subPathExpr"].iter().any(|field| text(mount, &[field]).is_some_and(|path| !path.is_empty()))
}

/// Mounts in which no folder can be created, so that nothing can be mounted below them.
pub(super) struct Blocking<'m, 'a> {
    present: &'m [(&'a str, &'a Value)],
    paths: Vec<&'a str>,
    root: MountRoot<'m>,
}

impl<'m, 'a> Blocking<'m, 'a> {
    pub(super) fn among(
        present: &'m [(&'a str, &'a Value)],
        volumes: &Volumes<'_>,
        root: MountRoot<'m>,
    ) -> Self {
        let blocking = present.iter().filter(|(_, mount)| volumes.takes_no_folder(mount));
        let paths = blocking.map(|(path, _)| *path).take(MOST_BLOCKING).collect();
        Self { present, paths, root }
    }

    /// The mount that blocks a mount at `path`, unless another mount in between provides the folder.
    pub(super) fn above(&self, path: &str) -> Option<&'a str> {
        let above = self.paths.iter().filter(|above| self.root.is_below(path, above));
        let above = *above.max_by_key(|above| above.len())?;
        let is_between = |other: &str| self.root.is_below(other, above) && self.root.is_below(path, other);
        (!self.present.iter().any(|(other, _)| is_between(other))).then_some(above)
    }
}

/// Warns about parts of bound objects that the pod mounts itself: the kubelet never refreshes these, so new credentials
/// do not arrive (P19).
pub(super) fn never_refreshed(
    container: &Container<'_>,
    volumes: &Volumes<'_>,
    root: MountRoot<'_>,
) -> Result<Vec<Warning>, InjectError> {
    let mut warnings = Vec::new();
    for (path, mount) in container.mounts()?.into_iter().filter(|(_, mount)| is_of_a_part(mount)) {
        let Some(volume) = volumes.of_mount(mount) else { continue };
        // Another warning covers mounts at the binding's own folder.
        let is_it = |object: &Object<'_>| {
            container.is_bound_to(*object) && !root.is_same(path, &root.folder_of(object.name))
        };
        let object = objects_of(volume).find(is_it);
        warnings.extend(object.map(|object| Warning::NeverRefreshed {
            container: container.name.to_owned(),
            path: path.to_owned(),
            object: object.to_string(),
        }));
    }
    Ok(warnings)
}

/// The Secrets and ConfigMaps in a volume.
fn objects_of(volume: &Value) -> impl Iterator<Item = Object<'_>> {
    let sources = volume.pointer("/projected/sources").and_then(Value::as_array);
    let projected = sources.into_iter().flatten().flat_map(|source| {
        let of =
            |kind: ObjectKind| Some(Object { kind, name: text(source, &[kind.volume_field(), "name"])? });
        ObjectKind::ALL.into_iter().filter_map(of).collect::<Vec<_>>()
    });
    let own = |kind: ObjectKind| {
        Some(Object { kind, name: text(volume, &[kind.volume_field(), kind.volume_name_field()])? })
    };
    ObjectKind::ALL.into_iter().filter_map(own).chain(projected)
}
