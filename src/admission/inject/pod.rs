//! What a pod lacks of what it asks for, found by comparing its content. No mark on the pod is trusted: whether
//! something has been injected is seen from the pod itself, container by container (P1).

use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value, json};

use super::{
    InjectSettings, Injection, Warning,
    annotations::{Ask, Bound, Variable},
    error::{InjectError, Problem, shown},
    names::volume_name,
};
use crate::contract::pod;

/// Finds everything that `pod` lacks of `ask`.
pub(super) fn bind(pod: &Value, ask: &Ask<'_>, settings: &InjectSettings) -> Result<Injection, InjectError> {
    let Some(Value::Object(spec)) = pod.get("spec") else {
        return Err(InjectError::new("spec", Problem::Shape("an object; it holds the containers")));
    };
    let chosen = chosen_containers(spec, ask, settings)?;
    let mut injection = Injection::default();
    if chosen.is_empty() {
        injection.warnings.push(Warning::NothingBound);
    }
    if ask.files {
        for bound in &ask.bound {
            injection.mount(spec, &chosen, ask.mount_root, bound)?;
        }
    }
    for container in &chosen {
        if ask.env {
            injection.add_env_from(container, &ask.bound)?;
        }
        injection.add_variables(container, &ask.variables)?;
    }
    Ok(injection)
}

impl Injection {
    /// Mounts the Secret read-only in every container that has nothing else at its path.
    fn mount(
        &mut self,
        spec: &Map<String, Value>,
        containers: &[Container<'_>],
        root: &str,
        bound: &Bound<'_>,
    ) -> Result<(), InjectError> {
        let volume = volume_name(bound.secret);
        let path = format!("{root}/{}", bound.secret);
        let mut is_needed = false;
        for container in containers {
            match container.user_of(&path)? {
                Some(user) if user == volume => is_needed = true,
                Some(_) => self
                    .warnings
                    .push(Warning::MountTaken { container: container.name.to_owned(), path: path.clone() }),
                None => {
                    is_needed = true;
                    let mounts = container.list("volumeMounts")?;
                    let mount = json!({"name": volume, "mountPath": path, "readOnly": true});
                    self.append(container.pointer("volumeMounts"), mounts.is_some(), mount);
                }
            }
        }
        if is_needed { self.add_volume(spec, &volume, bound) } else { Ok(()) }
    }

    fn add_volume(
        &mut self,
        spec: &Map<String, Value>,
        name: &str,
        bound: &Bound<'_>,
    ) -> Result<(), InjectError> {
        let volumes = list(spec, "volumes", || "spec.volumes".to_owned())?;
        let present = volumes.unwrap_or_default().iter().find(|volume| text(volume, &["name"]) == Some(name));
        match present {
            // Its other fields, such as the default mode that the API server fills in, are not bindery's.
            Some(volume) if text(volume, &["secret", "secretName"]) == Some(bound.secret) => Ok(()),
            Some(_) => Err(InjectError::new(
                format!("spec.volumes[{name}]"),
                Problem::VolumeTaken(bound.secret.to_owned()),
            )),
            None => {
                let volume = json!({"name": name, "secret": {"secretName": bound.secret}});
                self.append(PointerBuf::from_tokens(["spec", "volumes"]), volumes.is_some(), volume);
                Ok(())
            }
        }
    }

    /// Adds the variables of each binding. In `envFrom` the last one wins, so the binding named first goes last, and
    /// all of them before what the container has.
    fn add_env_from(&mut self, container: &Container<'_>, bound: &[Bound<'_>]) -> Result<(), InjectError> {
        let secrets: Vec<String> = bound.iter().rev().filter_map(Bound::env_secret).collect();
        let present = container.list("envFrom")?;
        let is = |entry: &Value, secret: &String| {
            text(entry, &["secretRef", "name"]) == Some(secret)
                && text(entry, &["prefix"]).is_none_or(str::is_empty)
        };
        let missing = Missing::of(&secrets, present.unwrap_or_default(), is, is);
        if let Some(secret) = missing.loser {
            let (container, secret) = (container.name.to_owned(), secret.clone());
            self.warnings.push(Warning::OtherOrder { container, secret });
        }
        let entries =
            missing.places.into_iter().map(|(at, secret)| (at, json!({"secretRef": {"name": secret}})));
        self.insert(container.pointer("envFrom"), present.is_some(), entries.collect());
        Ok(())
    }

    /// Adds single variables before the container's own, so that those can refer to them as `$(NAME)` (P17).
    fn add_variables(
        &mut self,
        container: &Container<'_>,
        variables: &[Variable<'_>],
    ) -> Result<(), InjectError> {
        let present = container.list("env")?;
        let entries = present.unwrap_or_default();
        let is = |entry: &Value, variable: &Variable<'_>| text(entry, &["name"]) == Some(variable.name);
        for variable in variables {
            let in_effect = entries.iter().rfind(|entry| is(entry, variable));
            if in_effect.is_some_and(|entry| !variable.is_defined_by(entry)) {
                let (container, variable) = (container.name.to_owned(), variable.name.to_owned());
                self.warnings.push(Warning::VariableTaken { container, variable });
            }
        }
        let missing = Missing::of(variables, entries, is, |entry, variable| variable.is_defined_by(entry));
        let entries = missing.places.into_iter().map(|(at, variable)| (at, variable.entry()));
        self.insert(container.pointer("env"), present.is_some(), entries.collect());
        Ok(())
    }

    /// Adds to the end of a list, which is made if it is not there (P7).
    fn append(&mut self, list: PointerBuf, is_there: bool, entry: Value) {
        // A list that an earlier addition made is there as well.
        let is_made = || self.patch.iter().any(|operation| *operation.path() == *list);
        if is_there || is_made() {
            let end = list.with_trailing_token("-");
            self.add(end, entry);
        } else {
            self.add(list, Value::Array(vec![entry]));
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
    fn entry(&self) -> Value {
        json!({"name": self.name, "valueFrom": {"secretKeyRef": {"name": self.secret, "key": self.key}}})
    }

    fn is_defined_by(&self, entry: &Value) -> bool {
        let reference = |field| text(entry, &["valueFrom", "secretKeyRef", field]);
        text(entry, &["name"]) == Some(self.name)
            && reference("name") == Some(self.secret)
            && reference("key") == Some(self.key)
    }
}

/// Which of the wanted entries a list lacks, and where they belong.
struct Missing<'w, W> {
    /// The index of the entry to stand before, and what is wanted there.
    places: Vec<(usize, &'w W)>,
    /// A wanted entry that is there, but before one that it should follow.
    loser: Option<&'w W>,
}

impl<'w, W> Missing<'w, W> {
    /// The wanted entries belong at the start of the list, in their order. Those that are there stay where they are;
    /// the others are put between them, but never behind an entry that is the pod's own. `is` tells whether an entry
    /// takes the place of what is wanted, `is_same` whether it is just what bindery would add.
    fn of(
        wanted: &'w [W],
        present: &[Value],
        is: impl Fn(&Value, &W) -> bool,
        is_same: impl Fn(&Value, &W) -> bool,
    ) -> Self {
        let is_bindery = |entry: &&Value| wanted.iter().any(|wanted| is_same(entry, wanted));
        let leading = present.iter().take_while(is_bindery).count();
        let mut missing = Self { places: Vec::new(), loser: None };
        let mut next = 0;
        for wanted in wanted {
            match present.iter().rposition(|entry| is(entry, wanted)) {
                Some(at) if at >= leading => {}
                Some(at) if at < next => missing.loser = Some(wanted),
                Some(at) => next = at + 1,
                None => missing.places.push((next, wanted)),
            }
        }
        missing
    }
}

/// A container or init container of the pod.
struct Container<'a> {
    /// `containers` or `initContainers`.
    kind: &'static str,
    index: usize,
    name: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Container<'a> {
    fn field(&self, name: &str) -> String {
        format!("spec.{}[{}].{name}", self.kind, self.index)
    }

    fn pointer(&self, name: &str) -> PointerBuf {
        let mut pointer = PointerBuf::from_tokens(["spec", self.kind]);
        pointer.push_back(self.index);
        pointer.push_back(name);
        pointer
    }

    fn list(&self, name: &str) -> Result<Option<&'a [Value]>, InjectError> {
        list(self.fields, name, || self.field(name))
    }

    /// The volume that is mounted, or attached as a device, at this path. Kubernetes refuses a second one.
    fn user_of(&self, path: &str) -> Result<Option<&'a str>, InjectError> {
        for (list, field) in [("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")] {
            for entry in self.list(list)?.unwrap_or_default() {
                let taken = text(entry, &[field]).is_some_and(|taken| taken.trim_end_matches('/') == path);
                if taken {
                    return Ok(Some(text(entry, &["name"]).unwrap_or_default()));
                }
            }
        }
        Ok(None)
    }
}

/// All containers and init containers; ephemeral ones cannot be changed in this way.
fn containers(spec: &Map<String, Value>) -> Result<Vec<Container<'_>>, InjectError> {
    let mut containers = Vec::new();
    for kind in ["initContainers", "containers"] {
        let entries = list(spec, kind, || format!("spec.{kind}"))?.unwrap_or_default();
        for (index, entry) in entries.iter().enumerate() {
            let (Some(fields), Some(name)) = (entry.as_object(), text(entry, &["name"])) else {
                let shape = Problem::Shape("an object with a name");
                return Err(InjectError::new(format!("spec.{kind}[{index}]"), shape));
            };
            containers.push(Container { kind, index, name, fields });
        }
    }
    Ok(containers)
}

fn chosen_containers<'a>(
    spec: &'a Map<String, Value>,
    ask: &Ask<'_>,
    settings: &InjectSettings,
) -> Result<Vec<Container<'a>>, InjectError> {
    let mut containers = containers(spec)?;
    let Some(named) = &ask.containers else {
        containers.retain(|container| !settings.exclude_containers.iter().any(|name| name == container.name));
        return Ok(containers);
    };
    if let Some(unknown) =
        named.iter().find(|name| !containers.iter().any(|container| container.name == **name))
    {
        let present: Vec<&str> = containers.iter().map(|container| container.name).collect();
        let problem = Problem::NoContainer { name: shown(unknown), present: present.join(", ") };
        return Err(InjectError::annotation(pod::CONTAINERS, problem));
    }
    containers.retain(|container| named.contains(&container.name));
    Ok(containers)
}

/// A list of the object; `null` counts as absent, as it does for Kubernetes.
fn list<'a>(
    object: &'a Map<String, Value>,
    name: &str,
    field: impl Fn() -> String,
) -> Result<Option<&'a [Value]>, InjectError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(entries)) => Ok(Some(entries)),
        Some(_) => Err(InjectError::new(field(), Problem::Shape("a list"))),
    }
}

/// The text at a path of fields.
fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, field| value.get(field))?.as_str()
}
