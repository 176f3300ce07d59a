//! The volume of an object whose files containers get: its name, its mount path, and which of the pod's own volumes
//! contain the same files.

use serde_json::{Value, json};

use super::{
    entries::File,
    error::{InjectError, Problem},
    existing_mounts::Volumes,
    fields::text,
    names::{hashed_volume_name, volume_name},
    request::Request,
    source::Object,
};

/// An object whose files containers get.
pub(super) struct Mounted<'a> {
    pub(super) object: Object<'a>,
    /// The name of bindery's volume.
    pub(super) volume: String,
    pub(super) path: String,
    /// The selected files of the object; empty if containers get all of them.
    selected: Vec<&'a File<'a>>,
    /// Whether a container mounts bindery's volume.
    pub(super) is_needed: bool,
    pub(super) optional: bool,
}

impl<'a> Mounted<'a> {
    pub(super) fn of(object: Object<'a>, request: &'a Request<'a>, own: &Volumes<'_>) -> Self {
        let (volume, path) = (volume_of(object, own), request.mount_root.folder_of(object.name));
        let (selected, optional) = (request.selected(object), request.is_optional(object));
        Self { object, volume, path, selected, is_needed: false, optional }
    }

    /// Whether a volume contains the files of the object.
    fn is_in(&self, volume: &Value) -> bool {
        let kind = self.object.kind;
        text(volume, &[kind.volume_field(), kind.volume_name_field()]) == Some(self.object.name)
    }

    /// Whether the volume of this name contains the wanted files. An older version may have used another name for
    /// bindery's volume, or the pod mounts the object itself.
    pub(super) fn is_given_by(&self, name: &str, volumes: &[Value]) -> bool {
        let gives = |volume: &Value| {
            text(volume, &["name"]) == Some(name) && self.is_in(volume) && self.gives_just_selected(volume)
        };
        // The check of bindery's own volume is where the volume is added.
        name == self.volume || volumes.iter().any(gives)
    }

    /// Whether the volume contains exactly the selected files of the object; all of them if none are selected.
    fn gives_just_selected(&self, volume: &Value) -> bool {
        match volume.get(self.object.kind.volume_field()).and_then(|source| source.get("items")) {
            None | Some(Value::Null) => self.selected.is_empty(),
            Some(Value::Array(items)) => {
                items.len() == self.selected.len()
                    && self.selected.iter().all(|file| items.iter().any(|item| file.is(item)))
            }
            Some(_) => false,
        }
    }

    /// The volume to add; `None` if the pod has it.
    pub(super) fn missing_volume(&self, volumes: &[Value]) -> Result<Option<Value>, InjectError> {
        let Some(present) = volumes.iter().find(|volume| text(volume, &["name"]) == Some(&self.volume))
        else {
            let kind = self.object.kind;
            let mut source = json!({kind.volume_name_field(): self.object.name});
            if !self.selected.is_empty() {
                source["items"] = self.selected.iter().map(|file| file.item()).collect();
            }
            if self.optional {
                source["optional"] = Value::Bool(true);
            }
            return Ok(Some(json!({"name": self.volume, kind.volume_field(): source})));
        };
        let problem = if !self.is_in(present) {
            Problem::VolumeTaken(self.object.described())
        } else if self.gives_just_selected(present) {
            // Its other fields, such as the default mode that the API server fills in, do not matter.
            return Ok(None);
        } else {
            // A patch removes nothing, and the container must not see a file that is not selected.
            Problem::OtherFiles(self.object.described())
        };
        Err(InjectError::new(format!("spec.volumes[{}]", self.volume), problem))
    }
}

/// The name of bindery's volume. A pod that an older version has patched keeps the volume with the former name.
fn volume_of(object: Object<'_>, own: &Volumes<'_>) -> String {
    if own.are_none_of_bindery() {
        return volume_name(object);
    }
    let former = hashed_volume_name(object);
    if own.contains(&former) { former } else { volume_name(object) }
}

impl File<'_> {
    fn item(&self) -> Value {
        let mut item = json!({"key": self.key, "path": self.path});
        if let Some(mode) = self.mode {
            item["mode"] = Value::from(mode);
        }
        item
    }

    fn is(&self, item: &Value) -> bool {
        let mode = item.get("mode").filter(|mode| !mode.is_null());
        text(item, &["key"]) == Some(self.key)
            && text(item, &["path"]) == Some(self.path)
            && mode.map(Value::as_u64) == self.mode.map(|mode| Some(mode.into()))
    }
}
