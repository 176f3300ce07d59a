//! What a pod lacks of what it asks for, found by comparing its content. No mark on the pod is trusted: whether
//! something has been injected is seen from the pod itself, container by container (P1).

use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Value, json};

use super::{
    InjectSettings, Injection, Warning,
    annotations::{Ask, EnvFrom},
    container::{Container, bound_containers},
    entries::{File, Variable},
    error::{InjectError, Problem},
    fields::{list, text, variable_name},
    leftovers::leftovers,
    mounts::{Blocking, Volumes, is_of_a_part, never_refreshed},
    names::volume_name,
};

/// Finds everything that `pod` lacks of `ask`.
pub(super) fn bind(pod: &Value, ask: &Ask<'_>, settings: &InjectSettings) -> Result<Injection, InjectError> {
    let Some(Value::Object(spec)) = pod.get("spec") else {
        return Err(InjectError::new("spec", Problem::Shape("an object; it holds the containers")));
    };
    let containers = bound_containers(spec, ask, settings)?;
    let mut injection = Injection::default();
    if !ask.bound.is_empty() && !containers.iter().any(|container| container.is_chosen) {
        injection.warnings.push(Warning::NothingBound);
    }
    let volumes = list(spec, "volumes", || "spec.volumes".to_owned())?;
    let mut mounted: Vec<Mounted<'_>> =
        ask.mounted().into_iter().map(|secret| Mounted::of(secret, ask)).collect();
    let own = volumes.unwrap_or_default();
    let by_name = Volumes::of(own);
    for container in &containers {
        injection.add_mounts(container, &mut mounted, own, &by_name, ask)?;
        injection.warnings.extend(never_refreshed(container, &by_name, ask.mount_root)?);
        injection.add_env_from(container, &ask.env_from(&container.bound))?;
        injection.add_variables(container, ask)?;
    }
    let mut missing = Vec::new();
    for mounted in mounted.iter().filter(|mounted| mounted.is_needed) {
        missing.extend(mounted.missing_volume(own)?);
    }
    injection.append(PointerBuf::from_tokens(["spec", "volumes"]), volumes.is_some(), missing);
    injection.warnings.extend(leftovers(pod, &containers, &ask.mounted()));
    injection.bindings = needed_bindings(&containers, ask);
    Ok(injection)
}

/// The bindings of all containers that are not optional, each once.
fn needed_bindings(containers: &[Container<'_>], ask: &Ask<'_>) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for bound in containers.iter().flat_map(|container| &container.bound).filter(|bound| bound.is_binding) {
        if !names.contains(&bound.secret) && !ask.is_optional(bound.secret) {
            names.push(bound.secret);
        }
    }
    names.into_iter().map(str::to_owned).collect()
}

/// A Secret the files of which are wanted.
struct Mounted<'a> {
    secret: &'a str,
    /// What bindery calls its volume.
    volume: String,
    path: String,
    /// Its only files that are wanted; all of them if there are none.
    selected: Vec<&'a File<'a>>,
    /// Whether a container mounts bindery's volume.
    is_needed: bool,
    optional: bool,
}

impl<'a> Mounted<'a> {
    fn of(secret: &'a str, ask: &'a Ask<'a>) -> Self {
        let (volume, path) = (volume_name(secret), ask.mount_root.folder_of(secret));
        let (selected, optional) = (ask.selected(secret), ask.is_optional(secret));
        Self { secret, volume, path, selected, is_needed: false, optional }
    }

    /// Whether the volume of this name gives what is wanted. An older version may have called bindery's otherwise, or the
    /// user mounts the Secret himself.
    fn is_given_by(&self, name: &str, volumes: &[Value]) -> bool {
        let gives = |volume: &Value| {
            text(volume, &["name"]) == Some(name)
                && text(volume, &["secret", "secretName"]) == Some(self.secret)
                && gives_just(volume, &self.selected)
        };
        // Whether bindery's own does is said where it is added.
        name == self.volume || volumes.iter().any(gives)
    }

    /// The volume, if the pod lacks it.
    fn missing_volume(&self, volumes: &[Value]) -> Result<Option<Value>, InjectError> {
        let Some(present) = volumes.iter().find(|volume| text(volume, &["name"]) == Some(&self.volume))
        else {
            let mut volume = json!({"name": self.volume, "secret": {"secretName": self.secret}});
            if !self.selected.is_empty() {
                volume["secret"]["items"] = self.selected.iter().map(|file| file.item()).collect();
            }
            if self.optional {
                volume["secret"]["optional"] = Value::Bool(true);
            }
            return Ok(Some(volume));
        };
        let problem = if text(present, &["secret", "secretName"]) != Some(self.secret) {
            Problem::VolumeTaken(self.secret.to_owned())
        } else if gives_just(present, &self.selected) {
            // Its other fields, such as the default mode that the API server fills in, are not bindery's.
            return Ok(None);
        } else {
            // Nothing can be taken away from it, and a file that is not selected must not be seen.
            Problem::OtherFiles(self.secret.to_owned())
        };
        Err(InjectError::new(format!("spec.volumes[{}]", self.volume), problem))
    }
}

impl Injection {
    /// Mounts the Secrets that the container is bound to read-only, each unless something else is at its path.
    fn add_mounts(
        &mut self,
        container: &Container<'_>,
        mounted: &mut [Mounted<'_>],
        volumes: &[Value],
        by_name: &Volumes<'_>,
        ask: &Ask<'_>,
    ) -> Result<(), InjectError> {
        let present = container.mounts()?;
        let blocking = Blocking::among(&present, by_name, ask.mount_root);
        let mut missing = Vec::new();
        for mounted in mounted.iter_mut().filter(|mounted| container.is_bound_to(mounted.secret)) {
            let path = &mounted.path;
            let Some((_, mount)) = present.iter().find(|(taken, _)| ask.mount_root.is_same(taken, path))
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
                self.compare_optional(container, mounted.secret, mounted.optional, volume, "/secret");
            }
            mounted.is_needed |= user == mounted.volume;
        }
        let is_there = container.list("volumeMounts")?.is_some();
        self.append(container.pointer("volumeMounts"), is_there, missing);
        Ok(())
    }

    /// Adds the variables of whole Secrets. In `envFrom` the last one wins, so the winner goes last, and all of them
    /// before what the container has.
    fn add_env_from(&mut self, container: &Container<'_>, wanted: &[EnvFrom<'_>]) -> Result<(), InjectError> {
        let present = container.list("envFrom")?;
        let is = |entry: &Value, wanted: &EnvFrom<'_>| wanted.is(entry);
        let missing = Missing::of(wanted, present.unwrap_or_default(), is, is);
        if let Some(loser) = missing.loser {
            let (container, secret) = (container.name.to_owned(), loser.secret.clone());
            self.warnings.push(Warning::OtherOrder { container, secret });
        }
        for (entry, wanted) in missing.present {
            self.compare_optional(container, &wanted.secret, wanted.optional, entry, "/secretRef");
        }
        let entries = missing.places.into_iter().map(|(at, wanted)| (at, wanted.entry()));
        self.insert(container.pointer("envFrom"), present.is_some(), entries.collect());
        Ok(())
    }

    /// Adds single variables before the container's own, so that those can refer to them as `$(NAME)` (P17).
    fn add_variables(&mut self, container: &Container<'_>, ask: &Ask<'_>) -> Result<(), InjectError> {
        let variables = &ask.variables(&container.bound)[..];
        let present = container.list("env")?;
        // The webhook has read the list only if some may be wanted: `may_name_variables`, in `lean`.
        if variables.is_empty() {
            return Ok(());
        }
        let entries = present.unwrap_or_default();
        let is = |entry: &Value, variable: &&Variable<'_>| variable_name(entry) == Some(variable.name);
        for variable in variables {
            let Some(in_effect) = entries.iter().rfind(|entry| is(entry, variable)) else { continue };
            if variable.is_defined_by(in_effect) {
                let (optional, path) = (ask.is_optional(variable.secret), "/valueFrom/secretKeyRef");
                self.compare_optional(container, variable.secret, optional, in_effect, path);
            } else {
                let (container, variable) = (container.name.to_owned(), variable.name.to_owned());
                self.warnings.push(Warning::VariableTaken { container, variable });
            }
        }
        let missing = Missing::of(variables, entries, is, |entry, variable| variable.is_defined_by(entry));
        let entry = |variable: &Variable<'_>| variable.entry(ask.is_optional(variable.secret));
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

    /// Warns if the pod refers to a Secret itself, and otherwise than it asks for: nothing of it is changed.
    fn compare_optional(
        &mut self,
        container: &Container<'_>,
        secret: &str,
        is_wanted: bool,
        entry: &Value,
        path: &str,
    ) {
        if is_optional(entry, path) == is_wanted {
            return;
        }
        let (container, secret) = (container.name.to_owned(), secret.to_owned());
        let warning = if is_wanted {
            Warning::Needed { container, secret }
        } else {
            Warning::Optional { container, secret }
        };
        // Single variables mostly come from the same few Secrets.
        if !self.warnings.iter().rev().take(20).any(|known| *known == warning) {
            self.warnings.push(warning);
        }
    }

    /// Adds to the end of a list, which is made if it is not there (P7).
    fn append(&mut self, list: PointerBuf, is_there: bool, entries: Vec<Value>) {
        if is_there {
            for entry in entries {
                self.add(list.with_trailing_token("-"), entry);
            }
        } else if !entries.is_empty() {
            self.add(list, entries.into());
        }
    }

    /// Adds entries to a list, each before the entry that now has its index. The indices do not fall.
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
        let mut reference = json!({"name": self.secret, "key": self.key});
        if optional {
            reference["optional"] = Value::Bool(true);
        }
        json!({"name": self.name, "valueFrom": {"secretKeyRef": reference}})
    }

    fn is_defined_by(&self, entry: &Value) -> bool {
        let reference = |field| text(entry, &["valueFrom", "secretKeyRef", field]);
        text(entry, &["name"]) == Some(self.name)
            && reference("name") == Some(self.secret)
            && reference("key") == Some(self.key)
    }
}

impl EnvFrom<'_> {
    fn entry(&self) -> Value {
        let mut entry = json!({"secretRef": {"name": self.secret}});
        if !self.prefix.is_empty() {
            entry["prefix"] = Value::from(self.prefix);
        }
        if self.optional {
            entry["secretRef"]["optional"] = Value::Bool(true);
        }
        entry
    }

    fn is(&self, entry: &Value) -> bool {
        text(entry, &["secretRef", "name"]) == Some(&self.secret)
            && text(entry, &["prefix"]).unwrap_or_default() == self.prefix
    }
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

/// Whether a container may start although the Secret that is referred to at `path` is not there.
fn is_optional(entry: &Value, path: &str) -> bool {
    entry.pointer(path).and_then(|reference| reference.get("optional")) == Some(&Value::Bool(true))
}

/// Whether the volume of a Secret gives these files and no others; all of them if none are selected.
fn gives_just(volume: &Value, selected: &[&File<'_>]) -> bool {
    match volume.pointer("/secret/items") {
        None | Some(Value::Null) => selected.is_empty(),
        Some(Value::Array(items)) => {
            items.len() == selected.len()
                && selected.iter().all(|file| items.iter().any(|item| file.is(item)))
        }
        Some(_) => false,
    }
}

/// Which of the wanted entries a list lacks, and where they belong.
struct Missing<'w, 'p, W> {
    /// The index of the entry to stand before, and what is wanted there.
    places: Vec<(usize, &'w W)>,
    /// The entries that are there, and what they stand for.
    present: Vec<(&'p Value, &'w W)>,
    /// A wanted entry that is there, but before one that it should follow.
    loser: Option<&'w W>,
}

impl<'w, 'p, W> Missing<'w, 'p, W> {
    /// The wanted entries belong at the start of the list, in their order. Those that are there stay where they are;
    /// the others are put between them, but never behind an entry that is the pod's own. `is` tells whether an entry
    /// takes the place of what is wanted, `is_same` whether it is just what bindery would add.
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
