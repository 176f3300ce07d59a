//! Finds what a pod lacks of a request by comparing the pod's content, container by container. Marks on the pod are not
//! trusted (P1).

use std::collections::HashMap;

use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Value, json};

use super::{
    InjectSettings, Injection, Warning,
    container::{Container, bound_containers},
    entries::{Bound, Variable},
    error::{InjectError, Problem, SameFolder, shown},
    existing_mounts::{Blocking, Volumes, is_of_a_part, never_refreshed},
    fields::{list, text, variable_name},
    leftovers::leftovers,
    request::{EnvFrom, Request},
    source::{Object, Source},
    volume::Mounted,
};
use crate::contract::pod::{BIND, BIND_CONTAINER};

/// Finds everything that `pod` lacks of `request`.
pub(super) fn bind(
    pod: &Value,
    request: &Request<'_>,
    settings: &InjectSettings,
) -> Result<Injection, InjectError> {
    let Some(Value::Object(spec)) = pod.get("spec") else {
        return Err(InjectError::new("spec", Problem::Shape("an object; it holds the containers")));
    };
    let containers = bound_containers(spec, request, settings)?;
    let mut injection = Injection::default();
    if !request.bound.is_empty() && !containers.iter().any(|container| container.is_chosen) {
        injection.warnings.push(Warning::NothingBound);
    }
    let volumes = list(spec, "volumes", || "spec.volumes".to_owned())?;
    let objects = request.mounted();
    let own = volumes.unwrap_or_default();
    let by_name = Volumes::of(own);
    let mut mounted: Vec<Mounted<'_>> =
        objects.iter().map(|object| Mounted::of(*object, request, &by_name)).collect();
    for container in &containers {
        refuse_shared_folder(container, request)?;
        injection.add_mounts(container, &mut mounted, own, &by_name, request)?;
        injection.warnings.extend(never_refreshed(container, &by_name, request.mount_root)?);
        injection.add_env_from(container, &request.env_from(&container.bound))?;
        injection.add_variables(container, request)?;
    }
    let mut missing = Vec::new();
    for mounted in mounted.iter().filter(|mounted| mounted.is_needed) {
        missing.extend(mounted.missing_volume(own)?);
    }
    injection.append(PointerBuf::from_tokens(["spec", "volumes"]), volumes.is_some(), missing);
    injection.warnings.extend(leftovers(pod, &containers, &objects));
    injection.bindings = needed_bindings(&containers, request);
    Ok(injection)
}

/// The ServiceBindings of all containers that are not optional, without duplicates.
fn needed_bindings(containers: &[Container<'_>], request: &Request<'_>) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for bound in containers.iter().flat_map(|container| &container.bound) {
        let is_needed = bound.source == Source::ServiceBinding && !request.is_optional(bound.object());
        if is_needed && !names.contains(&bound.name) {
            names.push(bound.name);
        }
    }
    names.into_iter().map(str::to_owned).collect()
}

/// Refuses a Secret and a ConfigMap of the same name in one container: both would be mounted at one path.
fn refuse_shared_folder(container: &Container<'_>, request: &Request<'_>) -> Result<(), InjectError> {
    let mut folders: HashMap<&str, &Bound<'_>> = HashMap::new();
    for bound in container.bound.iter().filter(|bound| request.wants_files_of(bound.object())) {
        let Some(other) = folders.insert(bound.name, bound).filter(|other| other.object() != bound.object())
        else {
            continue;
        };
        let is_own = request.own.iter().any(|own| own.container == container.name);
        let annotation = if is_own { format!("{BIND_CONTAINER}{}", container.name) } else { BIND.to_owned() };
        let problem = Problem::SameFolder(Box::new(SameFolder {
            one: other.to_string(),
            other: bound.to_string(),
            container: shown(container.name),
            folder: shown(&request.mount_root.folder_of(bound.name)),
        }));
        return Err(InjectError::annotation(&annotation, problem));
    }
    Ok(())
}

impl Injection {
    /// Mounts the objects to which the container is bound, read-only. Skips an object if another mount is at its path.
    fn add_mounts(
        &mut self,
        container: &Container<'_>,
        mounted: &mut [Mounted<'_>],
        volumes: &[Value],
        by_name: &Volumes<'_>,
        request: &Request<'_>,
    ) -> Result<(), InjectError> {
        let present = container.mounts()?;
        let blocking = Blocking::among(&present, by_name, request.mount_root);
        let mut missing = Vec::new();
        for mounted in mounted.iter_mut().filter(|mounted| container.is_bound_to(mounted.object)) {
            let path = &mounted.path;
            let Some((_, mount)) = present.iter().find(|(taken, _)| request.mount_root.is_same(taken, path))
            else {
                mounted.is_needed = true;
                self.warn_of_blocked(container, blocking.above(path));
                missing.push(json!({"name": mounted.volume, "mountPath": path, "readOnly": true}));
                continue;
            };
            let user = text(mount, &["name"]).unwrap_or_default();
            if !mounted.is_given_by(user, volumes) || is_of_a_part(mount) {
                let (container, path) = (container.name.to_owned(), path.clone());
                self.warnings.push(Warning::MountTaken { container, path });
            } else if let Some(volume) = volumes.iter().find(|volume| text(volume, &["name"]) == Some(user)) {
                self.warn_of_blocked(container, blocking.above(path));
                let reference = volume.get(mounted.object.kind.volume_field());
                self.compare_optional(container, mounted.object, mounted.optional, reference);
            }
            mounted.is_needed |= user == mounted.volume;
        }
        let is_there = container.list("volumeMounts")?.is_some();
        self.append(container.pointer("volumeMounts"), is_there, missing);
        Ok(())
    }

    /// Adds the variables of whole objects. In `envFrom` the last entry wins, so the winner is added last, and all
    /// entries before the container's own.
    fn add_env_from(&mut self, container: &Container<'_>, wanted: &[EnvFrom<'_>]) -> Result<(), InjectError> {
        let present = container.list("envFrom")?;
        let is = |entry: &Value, wanted: &EnvFrom<'_>| wanted.is(entry);
        let missing = Missing::of(wanted, present.unwrap_or_default(), is, is);
        if let Some(loser) = missing.loser {
            let (container, object) = (container.name.to_owned(), loser.object().to_string());
            self.warnings.push(Warning::OtherOrder { container, object });
        }
        for (entry, wanted) in missing.present {
            let reference = entry.get(wanted.kind.env_from_field());
            self.compare_optional(container, wanted.object(), wanted.optional, reference);
        }
        let entries = missing.places.into_iter().map(|(at, wanted)| (at, wanted.entry()));
        self.insert(container.pointer("envFrom"), present.is_some(), entries.collect());
        Ok(())
    }

    /// Adds single variables before the container's own, so that the container's variables can refer to them as
    /// `$(NAME)` (P17).
    fn add_variables(&mut self, container: &Container<'_>, request: &Request<'_>) -> Result<(), InjectError> {
        let variables = &request.variables(&container.bound)[..];
        let present = container.list("env")?;
        // The webhook has decoded the list only if it matters (`may_name_variables`).
        if variables.is_empty() {
            return Ok(());
        }
        let entries = present.unwrap_or_default();
        let is = |entry: &Value, variable: &&Variable<'_>| variable_name(entry) == Some(variable.name);
        for variable in variables {
            let Some(in_effect) = entries.iter().rfind(|entry| is(entry, variable)) else { continue };
            if variable.is_defined_by(in_effect) {
                let object = variable.object;
                let reference = in_effect.get("valueFrom").and_then(|from| from.get(object.kind.key_field()));
                self.compare_optional(container, object, request.is_optional(object), reference);
            } else {
                let (container, variable) = (container.name.to_owned(), variable.name.to_owned());
                self.warnings.push(Warning::VariableTaken { container, variable });
            }
        }
        let missing = Missing::of(variables, entries, is, |entry, variable| variable.is_defined_by(entry));
        let entry = |variable: &Variable<'_>| variable.entry(request.is_optional(variable.object));
        let entries = missing.places.into_iter().map(|(at, variable)| (at, entry(variable)));
        self.insert(container.pointer("env"), present.is_some(), entries.collect());
        Ok(())
    }

    fn warn_of_blocked(&mut self, container: &Container<'_>, above: Option<&str>) {
        let container = || container.name.to_owned();
        self.warnings.extend(
            above.map(|path| Warning::BelowReadOnly { container: container(), path: path.to_owned() }),
        );
    }

    /// Warns if the pod has its own reference to an object whose `optional` differs from the request: bindery does not
    /// change the reference.
    fn compare_optional(
        &mut self,
        container: &Container<'_>,
        object: Object<'_>,
        is_wanted: bool,
        reference: Option<&Value>,
    ) {
        let is_optional = reference.and_then(|it| it.get("optional")) == Some(&Value::Bool(true));
        if is_optional == is_wanted {
            return;
        }
        let (container, object) = (container.name.to_owned(), object.to_string());
        let warning = if is_wanted {
            Warning::Needed { container, object }
        } else {
            Warning::Optional { container, object }
        };
        // Single variables mostly come from the same few Secrets.
        if !self.warnings.iter().rev().take(20).any(|known| *known == warning) {
            self.warnings.push(warning);
        }
    }

    /// Appends entries to a list, which is created if it is missing (P7).
    fn append(&mut self, list: PointerBuf, is_there: bool, entries: Vec<Value>) {
        if is_there {
            for entry in entries {
                self.add(list.with_trailing_token("-"), entry);
            }
        } else if !entries.is_empty() {
            self.add(list, entries.into());
        }
    }

    /// Inserts entries into a list, each before the entry that currently has its index. The indices must be in
    /// ascending order.
    fn insert(&mut self, list: PointerBuf, is_there: bool, entries: Vec<(usize, Value)>) {
        if is_there {
            for (earlier, (at, entry)) in entries.into_iter().enumerate() {
                self.add(list.with_trailing_token(at + earlier), entry);
            }
        } else if !entries.is_empty() {
            self.add(list, entries.into_iter().map(|(_, entry)| entry).collect());
        }
    }

    fn add(&mut self, path: PointerBuf, value: Value) {
        self.patch.0.push(PatchOperation::Add(AddOperation { path, value }));
    }
}

impl Variable<'_> {
    fn entry(&self, optional: bool) -> Value {
        let Object { kind, name } = self.object;
        let mut reference = json!({"name": name, "key": self.key});
        if optional {
            reference["optional"] = Value::Bool(true);
        }
        json!({"name": self.name, "valueFrom": {kind.key_field(): reference}})
    }

    fn is_defined_by(&self, entry: &Value) -> bool {
        let Object { kind, name } = self.object;
        let reference = |field| text(entry, &["valueFrom", kind.key_field(), field]);
        text(entry, &["name"]) == Some(self.name)
            && reference("name") == Some(name)
            && reference("key") == Some(self.key)
    }
}

impl EnvFrom<'_> {
    fn entry(&self) -> Value {
        let mut reference = json!({"name": self.name});
        if self.optional {
            reference["optional"] = Value::Bool(true);
        }
        let mut entry = json!({self.kind.env_from_field(): reference});
        if !self.prefix.is_empty() {
            entry["prefix"] = Value::from(self.prefix);
        }
        entry
    }

    fn is(&self, entry: &Value) -> bool {
        text(entry, &[self.kind.env_from_field(), "name"]) == Some(&self.name)
            && text(entry, &["prefix"]).unwrap_or_default() == self.prefix
    }
}

/// The wanted entries that a list lacks, and their positions.
struct Missing<'w, 'p, W> {
    /// The index before which to insert, and the wanted entry.
    places: Vec<(usize, &'w W)>,
    /// The existing entries, and the wanted entries to which they correspond.
    present: Vec<(&'p Value, &'w W)>,
    /// A wanted entry that exists, but before one that should precede it.
    loser: Option<&'w W>,
}

impl<'w, 'p, W> Missing<'w, 'p, W> {
    /// The wanted entries belong at the start of the list, in their order. Existing ones keep their position; the
    /// others are inserted between them, but never after one of the pod's own entries. `is` tells whether an entry
    /// takes the place of a wanted one, `is_same` whether it is exactly what bindery would add.
    fn of(
        wanted: &'w [W],
        present: &'p [Value],
        is: impl Fn(&Value, &W) -> bool,
        is_same: impl Fn(&Value, &W) -> bool,
    ) -> Self {
        let is_bindery = |entry: &&Value| wanted.iter().any(|wanted| is_same(entry, wanted));
        let leading = present.iter().take_while(is_bindery).count();
        let mut missing = Self { places: Vec::new(), present: Vec::new(), loser: None };
        let mut next = 0;
        for wanted in wanted {
            let at = present.iter().rposition(|entry| is(entry, wanted));
            missing.present.extend(at.map(|at| (&present[at], wanted)));
            match at {
                Some(at) if at >= leading => {}
                Some(at) if at < next => missing.loser = Some(wanted),
                Some(at) => next = at + 1,
                None => missing.places.push((next, wanted)),
            }
        }
        missing
    }
}
