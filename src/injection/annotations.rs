//! What a pod asks for: its annotations, read into types. Whether the pod can have it is for `pod` to say.

use serde_json::{Map, Value};

use super::{
    defaults::leave_it_to_the_namespace,
    entries::{AllKeys, File, Variable, read_files, read_variables},
    error::{InjectError, MOST_ENTRIES, Problem, shown},
    folder::{MountRoot, System},
    names::{LONGEST_NAME, is_object_name, nearest},
    warning::Warning,
};
use crate::contract::{GROUP, env_secret_name, pod};

/// The prefix by which `bindery.dev/bind` names a plain Secret.
pub(super) const PLAIN_SECRET: &str = "secret/";

/// What the annotations of a pod ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask<'a> {
    /// For every container that is chosen. In the order of the annotation: the first wins over later ones.
    pub(super) bound: Vec<Bound<'a>>,
    /// For single containers, whether they are chosen or not. They win over [`Ask::bound`].
    pub(super) own: Vec<Own<'a>>,
    /// Whether all variables of each binding are wanted.
    env: bool,
    /// Whether the files of each binding are wanted.
    files: bool,
    /// The variables that are named one by one; wanted whatever [`Ask::env`] says.
    variables: Vec<Variable<'a>>,
    /// The Secrets all keys of which are wanted as variables, whatever [`Ask::env`] says.
    all_keys: Vec<AllKeys<'a>>,
    /// The only files of their Secrets; wanted whatever [`Ask::files`] says.
    selected: Vec<File<'a>>,
    /// The only containers to choose, if any are named.
    pub(super) containers: Option<Vec<&'a str>>,
    /// The folder of all bindings.
    pub(super) mount_root: MountRoot<'a>,
    optional: Optional<'a>,
}

/// What the pod starts without as well.
#[derive(Debug, PartialEq, Eq)]
enum Optional<'a> {
    All,
    Only(Vec<&'a str>),
}

/// Something to bind: a ServiceBinding, or a plain Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound<'a> {
    /// The name of the Secret, and of the binding if it is one.
    pub(super) secret: &'a str,
    pub(super) is_binding: bool,
}

impl Bound<'_> {
    /// The Secret of its variables; bindings alone have one.
    pub(super) fn env_secret(&self) -> Option<String> {
        self.is_binding.then(|| env_secret_name(self.secret))
    }
}

/// What one container alone is bound to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Own<'a> {
    pub(super) container: &'a str,
    pub(super) bound: Vec<Bound<'a>>,
}

impl<'a> Ask<'a> {
    /// Reads the annotations; `None` when the pod asks for nothing, or opts out by an empty `bindery.dev/bind`.
    pub(super) fn read(
        annotations: &'a Map<String, Value>,
        system: System,
    ) -> Result<Option<Self>, InjectError> {
        let bound = match text(annotations, pod::BIND)?.unwrap_or_default() {
            "" => Vec::new(),
            bind => within(pod::BIND, read_bound(bind))?,
        };
        let own = read_own(annotations, &bound)?;
        let every: Vec<Bound<'a>> =
            bound.iter().chain(own.iter().flat_map(|own| &own.bound)).copied().collect();
        if every.is_empty() {
            return Ok(None);
        }
        let (env, files) = match text(annotations, pod::AS)? {
            Some(delivery) => within(pod::AS, read_delivery(delivery))?,
            None => (true, true),
        };
        let (variables, all_keys) = match text(annotations, pod::ENV)? {
            Some(variables) => within(pod::ENV, read_variables(variables, &every))?,
            None => (Vec::new(), Vec::new()),
        };
        let selected = match text(annotations, pod::FILES)? {
            Some(files) => within(pod::FILES, read_files(files, &every))?,
            None => Vec::new(),
        };
        let containers = match text(annotations, pod::CONTAINERS)? {
            Some(containers) => Some(within(pod::CONTAINERS, list(containers))?),
            None => None,
        };
        let mount_root = match text(annotations, pod::MOUNT_ROOT)? {
            Some(root) => within(pod::MOUNT_ROOT, MountRoot::read(root, system))?,
            None => MountRoot::default_on(system),
        };
        let optional = match text(annotations, pod::OPTIONAL)? {
            Some(optional) => within(pod::OPTIONAL, Optional::read(optional, &every))?,
            None => Optional::Only(Vec::new()),
        };
        let ask =
            Self { bound, own, env, files, variables, all_keys, selected, containers, mount_root, optional };
        within(pod::AS, ask.refuse_secrets_that_give_nothing(&every))?;
        Ok(Some(ask))
    }

    fn refuse_secrets_that_give_nothing(&self, every: &[Bound<'_>]) -> Result<(), Problem> {
        let gives_nothing = |bound: &&Bound<'_>| {
            !bound.is_binding
                && !self.wants_files_of(bound.secret)
                && !self.variables.iter().any(|variable| variable.secret == bound.secret)
                && !self.all_keys.iter().any(|all| all.secret == bound.secret)
        };
        match every.iter().find(gives_nothing) {
            Some(bound) => Err(Problem::NothingOfSecret(bound.secret.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether the pod starts also without this Secret, or that of its variables.
    pub(super) fn is_optional(&self, secret: &str) -> bool {
        match &self.optional {
            Optional::All => true,
            Optional::Only(secrets) => secrets.contains(&secret),
        }
    }

    /// What a container is bound to, the winner first.
    pub(super) fn bound_to(&self, container: &str, is_chosen: bool) -> Vec<Bound<'a>> {
        let own = self.own.iter().find(|own| own.container == container);
        let mut bound = own.map(|own| own.bound.clone()).unwrap_or_default();
        if is_chosen {
            let others = self.bound.iter().filter(|other| !bound.contains(other)).copied();
            bound.extend(others.collect::<Vec<_>>());
        }
        bound
    }

    /// The Secrets the files of which are wanted, each once.
    pub(super) fn mounted(&self) -> Vec<&'a str> {
        let mut secrets = Vec::new();
        for bound in self.bound.iter().chain(self.own.iter().flat_map(|own| &own.bound)) {
            if self.wants_files_of(bound.secret) && !secrets.contains(&bound.secret) {
                secrets.push(bound.secret);
            }
        }
        secrets
    }

    /// How many variables, or prefixes, are named.
    pub(super) fn named(&self) -> usize {
        self.variables.len() + self.all_keys.len()
    }

    fn wants_files_of(&self, secret: &str) -> bool {
        self.files || self.selected.iter().any(|file| file.secret == secret)
    }

    /// The only files of the Secret that are wanted; all of them if none are named.
    pub(super) fn selected(&self, secret: &str) -> Vec<&File<'a>> {
        self.selected.iter().filter(|file| file.secret == secret).collect()
    }

    /// The variables that are named one by one, for a container that is bound to these.
    pub(super) fn variables(&self, bound: &[Bound<'_>]) -> Vec<&Variable<'a>> {
        let is_bound = |secret: &str| bound.iter().any(|bound| bound.secret == secret);
        self.variables.iter().filter(|variable| is_bound(variable.secret)).collect()
    }

    /// The prefixes and Secrets of `envFrom` for a container that is bound to these, the winner last. What the pod
    /// itself names wins over what a binding gives by itself.
    pub(super) fn env_from(&self, bound: &[Bound<'_>]) -> Vec<EnvFrom<'a>> {
        let is_bound = |secret: &str| bound.iter().any(|bound| bound.secret == secret);
        let bindings = bound.iter().filter(|_| self.env).filter_map(|bound| {
            let optional = self.is_optional(bound.secret);
            bound.env_secret().map(|secret| EnvFrom { prefix: "", secret, optional })
        });
        let named = self.all_keys.iter().filter(|all| is_bound(all.secret)).map(|all| {
            let optional = self.is_optional(all.secret);
            EnvFrom { prefix: all.prefix, secret: all.secret.to_owned(), optional }
        });
        let mut entries: Vec<EnvFrom<'a>> = Vec::new();
        for entry in named.chain(bindings) {
            // A plain Secret may be called like the Secret of a binding's variables.
            if !entries.iter().any(|other| (other.prefix, &other.secret) == (entry.prefix, &entry.secret)) {
                entries.push(entry);
            }
        }
        entries.reverse();
        entries
    }
}

/// Whether [`Ask::variables`] may name any for a pod with these annotations, its own or the Namespace's. Otherwise the
/// variables that the pod has do not matter.
pub(crate) fn may_name_variables(annotations: &Map<String, Value>) -> bool {
    annotations.contains_key(pod::ENV) || leave_it_to_the_namespace(annotations)
}

/// What is called nearly like an annotation that bindery reads, and not read: it may be what keeps credentials from a container.
pub(super) fn misspelt(annotations: &Map<String, Value>) -> Vec<Warning> {
    const READ: [&str; 7] =
        [pod::BIND, pod::AS, pod::ENV, pod::FILES, pod::CONTAINERS, pod::MOUNT_ROOT, pod::OPTIONAL];
    // Whoever misspells more has been told enough.
    const MOST: usize = 10;
    let of_bindery = |name: &'_ str| name.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'));
    let is_read = |name: &str| READ.contains(&name) || name.starts_with(pod::BIND_CONTAINER);
    let own_name = |name: &'static str| &name[GROUP.len() + 1..];
    let meant = |name: &str| {
        let nearest = nearest(&name[GROUP.len() + 1..], &READ.map(own_name))?;
        Some(Warning::Misspelt { annotation: name.to_owned(), meant: format!("{GROUP}/{nearest}") })
    };
    let unread = annotations.keys().map(String::as_str).filter(|name| of_bindery(name) && !is_read(name));
    unread.take(MOST).filter_map(meant).collect()
}

/// An entry of `envFrom`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EnvFrom<'a> {
    pub(super) prefix: &'a str,
    pub(super) secret: String,
    pub(super) optional: bool,
}

impl<'a> Optional<'a> {
    fn read(value: &'a str, bound: &[Bound<'_>]) -> Result<Self, Problem> {
        match value {
            "true" => return Ok(Self::All),
            "false" => return Ok(Self::Only(Vec::new())),
            _ => {}
        }
        let secret = |entry: &'a str| {
            let plain = entry.strip_prefix(PLAIN_SECRET);
            let secret = plain.unwrap_or(entry);
            let is_it = |bound: &&Bound<'_>| bound.secret == secret && (plain.is_none() || !bound.is_binding);
            bound.iter().find(is_it).map(|_| secret).ok_or_else(|| Problem::NotOptional(shown(entry)))
        };
        list(value)?.into_iter().map(secret).collect::<Result<_, _>>().map(Self::Only)
    }
}

/// The trimmed value of an annotation. Kubernetes reads `null` as an empty string.
fn text<'a>(annotations: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, InjectError> {
    match annotations.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some("")),
        Some(Value::String(value)) => Ok(Some(value.trim())),
        Some(_) => Err(InjectError::annotation(name, Problem::Shape("a string; put the value in quotes"))),
    }
}

fn within<T>(annotation: &str, result: Result<T, Problem>) -> Result<T, InjectError> {
    result.map_err(|problem| InjectError::annotation(annotation, problem))
}

/// The entries of a comma-separated list, each there once.
fn list(value: &str) -> Result<Vec<&str>, Problem> {
    if value.is_empty() {
        return Err(Problem::Empty);
    }
    let mut entries = Vec::new();
    for entry in value.split(',').map(str::trim) {
        if entry.is_empty() {
            return Err(Problem::EmptyEntry(shown(value)));
        }
        if entries.contains(&entry) {
            return Err(Problem::Twice(shown(entry)));
        }
        if entries.len() == MOST_ENTRIES {
            return Err(Problem::TooManyEntries);
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_bound(value: &str) -> Result<Vec<Bound<'_>>, Problem> {
    let mut all: Vec<Bound<'_>> = Vec::new();
    for entry in list(value)? {
        let bound = match entry.strip_prefix(PLAIN_SECRET) {
            Some(secret) if is_object_name(secret) => Bound { secret, is_binding: false },
            Some(_) => return Err(Problem::SecretName(shown(entry))),
            None if is_object_name(entry) && env_secret_name(entry).len() <= LONGEST_NAME => {
                Bound { secret: entry, is_binding: true }
            }
            None => return Err(Problem::BindingName(shown(entry))),
        };
        // A binding and the Secret of its name would be the same volume at the same path.
        if all.iter().any(|other| other.secret == bound.secret) {
            return Err(Problem::Twice(shown(bound.secret)));
        }
        all.push(bound);
    }
    Ok(all)
}

/// Reads `bindery.dev/bind.CONTAINER` of every container. One that is empty asks for nothing.
fn read_own<'a>(
    annotations: &'a Map<String, Value>,
    for_all: &[Bound<'a>],
) -> Result<Vec<Own<'a>>, InjectError> {
    let mut all = Vec::new();
    let mut count = for_all.len();
    for name in annotations.keys() {
        let Some(container) = name.strip_prefix(pod::BIND_CONTAINER) else { continue };
        let bind = text(annotations, name)?.unwrap_or_default();
        if bind.is_empty() {
            continue;
        }
        let bound = within(name, read_bound(bind))?;
        count += bound.len();
        if count > MOST_ENTRIES {
            return Err(InjectError::annotation(name, Problem::TooManyEntries));
        }
        // Saying again what holds for all is no mistake; saying it otherwise is one.
        let is_otherwise = |other: &Bound<'_>| {
            for_all.iter().any(|bound| bound.secret == other.secret && bound.is_binding != other.is_binding)
        };
        if let Some(other) = bound.iter().find(|bound| is_otherwise(bound)) {
            return Err(InjectError::annotation(name, Problem::Twice(shown(other.secret))));
        }
        all.push(Own { container, bound });
    }
    Ok(all)
}

fn read_delivery(value: &str) -> Result<(bool, bool), Problem> {
    let (mut env, mut files) = (false, false);
    for way in list(value)? {
        match way {
            "env" => env = true,
            "files" => files = true,
            _ => return Err(Problem::Delivery(shown(way))),
        }
    }
    Ok((env, files))
}

#[cfg(test)]
mod tests;
