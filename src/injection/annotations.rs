//! Parses the annotations of a pod, or those that apply from its Namespace, into a [`Request`].

use serde_json::{Map, Value};

use super::{
    entries::{Bound, NotFound, read_files, read_variables},
    error::{InjectError, MOST_ENTRIES, Problem, shown},
    folder::{MountRoot, System},
    names::nearest,
    request::{Optional, Own, Request},
    warning::Warning,
};
use crate::contract::{GROUP, pod};

impl<'a> Request<'a> {
    /// Parses the annotations; `None` when the pod asks for nothing, or opts out with an empty `bindery.dev/bind`.
    ///
    /// # Errors
    /// Fails when an annotation is invalid.
    pub fn parse(annotations: &'a Map<String, Value>, system: System) -> Result<Option<Self>, InjectError> {
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
        let mut request = Self { own, mount_root: MountRoot::default_on(system), ..Self::new(bound) };
        if let Some(delivery) = text(annotations, pod::AS)? {
            (request.env, request.files) = within(pod::AS, read_delivery(delivery))?;
        }
        if let Some(variables) = text(annotations, pod::ENV)? {
            (request.variables, request.all_keys) = within(pod::ENV, read_variables(variables, &every))?;
        }
        if let Some(files) = text(annotations, pod::FILES)? {
            request.selected = within(pod::FILES, read_files(files, &every))?;
        }
        if let Some(containers) = text(annotations, pod::CONTAINERS)? {
            request.containers = Some(within(pod::CONTAINERS, list(containers))?);
        }
        if let Some(root) = text(annotations, pod::MOUNT_ROOT)? {
            request.mount_root = within(pod::MOUNT_ROOT, MountRoot::read(root, system))?;
        }
        if let Some(optional) = text(annotations, pod::OPTIONAL)? {
            request.optional = within(pod::OPTIONAL, Optional::read(optional, &every))?;
        }
        within(pod::AS, request.refuse_what_gives_nothing())?;
        Ok(Some(request))
    }
}

/// Warns about unknown annotations with bindery's prefix: a misspelt one may be why a container gets no credentials.
pub(super) fn misspelt(annotations: &Map<String, Value>) -> Vec<Warning> {
    const READ: [&str; 7] =
        [pod::BIND, pod::AS, pod::ENV, pod::FILES, pod::CONTAINERS, pod::MOUNT_ROOT, pod::OPTIONAL];
    // More warnings would not help.
    const MOST: usize = 10;
    let of_bindery = |name: &'_ str| name.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'));
    let is_read = |name: &str| READ.contains(&name) || name.starts_with(pod::BIND_CONTAINER);
    let own_name = |name: &'static str| &name[GROUP.len() + 1..];
    let meant = |name: &str| {
        let nearest = nearest(&name[GROUP.len() + 1..], &READ.map(own_name))?;
        Some(Warning::Misspelt { annotation: name.to_owned(), meant: format!("{GROUP}/{nearest}") })
    };
    let unread = annotations
        .keys()
        .map(String::as_str)
        .filter(|name| of_bindery(name) && !is_read(name) && *name != pod::BOUND_BY.0);
    unread.take(MOST).filter_map(meant).collect()
}

impl<'a> Optional<'a> {
    fn read(value: &str, bound: &[Bound<'a>]) -> Result<Self, Problem> {
        match value {
            "true" => return Ok(Self::All),
            "false" => return Ok(Self::Only(Vec::new())),
            _ => {}
        }
        let found = |entry: &str| {
            Bound::find(entry, bound).map_err(|why| match why {
                NotFound::NotBound => Problem::NotOptional(shown(entry)),
                NotFound::Ambiguous => Problem::Ambiguous(shown(entry)),
            })
        };
        list(value)?.into_iter().map(found).collect::<Result<_, _>>().map(Self::Only)
    }
}

/// The trimmed value of an annotation. Kubernetes treats `null` as an empty string.
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

/// The entries of a comma-separated list. A duplicate entry is an error.
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
        let bound = Bound::read(entry)?;
        // A binding and the Secret of the same name would be the same volume at the same path.
        if all.iter().any(|other| other.object() == bound.object()) {
            return Err(Problem::Twice(shown(bound.name)));
        }
        all.push(bound);
    }
    Ok(all)
}

/// Parses `bindery.dev/bind.CONTAINER` of every container. An empty annotation asks for nothing.
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
        // A container may repeat an object that all containers get, but not from another source.
        let is_otherwise = |other: &Bound<'_>| {
            for_all.iter().any(|bound| bound.object() == other.object() && bound.source != other.source)
        };
        if let Some(other) = bound.iter().find(|bound| is_otherwise(bound)) {
            return Err(InjectError::annotation(name, Problem::Twice(shown(other.name))));
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
