//! The request: what a pod is to get. Annotations are one way to write it. `pod` decides whether the pod can get it.

use super::{
    entries::{AllKeys, Bound, File, Variable},
    error::Problem,
    folder::MountRoot,
    source::{Object, ObjectKind, Source},
};

/// What a pod is to get, and in which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The objects for every chosen container. The first wins over later ones.
    pub bound: Vec<Bound<'a>>,
    /// The objects for single containers, chosen or not. These win over [`Request::bound`].
    pub own: Vec<Own<'a>>,
    /// Whether containers get all variables of each ServiceBinding.
    pub env: bool,
    /// Whether containers get the files of all bound objects.
    pub files: bool,
    /// Variables that are named one by one; containers get these independently of [`Request::env`].
    pub variables: Vec<Variable<'a>>,
    /// Objects all keys of which become variables, independently of [`Request::env`].
    pub all_keys: Vec<AllKeys<'a>>,
    /// The selected files of their objects; containers get these independently of [`Request::files`].
    pub selected: Vec<File<'a>>,
    /// The chosen containers; `None` for all that the installation does not exclude.
    pub containers: Option<Vec<&'a str>>,
    /// The folder that contains the folder of each bound object.
    pub mount_root: MountRoot<'a>,
    /// The objects without which the pod can start.
    pub optional: Optional<'a>,
}

/// The objects without which the pod can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Optional<'a> {
    /// All bound objects.
    All,
    /// Only these objects.
    Only(Vec<Bound<'a>>),
}

/// The objects to which a single container is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own<'a> {
    /// The container's name.
    pub container: &'a str,
    /// The objects. The first wins over later ones.
    pub bound: Vec<Bound<'a>>,
}

/// An entry of `envFrom`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EnvFrom<'a> {
    pub(super) prefix: &'a str,
    pub(super) kind: ObjectKind,
    pub(super) name: String,
    pub(super) optional: bool,
}

impl EnvFrom<'_> {
    pub(super) fn object(&self) -> Object<'_> {
        Object { kind: self.kind, name: &self.name }
    }
}

impl<'a> Request<'a> {
    /// A request for variables and files of `bound` in all containers that the installation does not exclude, in a pod
    /// for Linux.
    #[must_use]
    pub fn new(bound: Vec<Bound<'a>>) -> Self {
        Self {
            bound,
            own: Vec::new(),
            env: true,
            files: true,
            variables: Vec::new(),
            all_keys: Vec::new(),
            selected: Vec::new(),
            containers: None,
            mount_root: MountRoot::default(),
            optional: Optional::Only(Vec::new()),
        }
    }

    /// All bound objects, those for all containers and those for single ones.
    fn every(&self) -> impl Iterator<Item = &Bound<'a>> {
        self.bound.iter().chain(self.own.iter().flat_map(|own| &own.bound))
    }

    /// Refuses a Secret or ConfigMap of which no container would get anything.
    pub(super) fn refuse_what_gives_nothing(&self) -> Result<(), Problem> {
        let gives_nothing = |bound: &&Bound<'_>| {
            let object = bound.object();
            bound.source != Source::ServiceBinding
                && !self.wants_files_of(object)
                && !self.variables.iter().any(|variable| variable.object == object)
                && !self.all_keys.iter().any(|all| all.object == object)
        };
        match self.every().find(gives_nothing) {
            Some(bound) => Err(Problem::NothingOf { written: bound.to_string(), origin: bound.source }),
            None => Ok(()),
        }
    }

    /// Whether the pod can start without this object, which may be the Secret with a binding's variables.
    pub(super) fn is_optional(&self, object: Object<'_>) -> bool {
        match &self.optional {
            Optional::All => true,
            Optional::Only(bound) => bound.iter().any(|bound| bound.object() == object),
        }
    }

    /// The objects to which a container is bound, the winner first.
    pub(super) fn bound_to(&self, container: &str, is_chosen: bool) -> Vec<Bound<'a>> {
        let own = self.own.iter().find(|own| own.container == container);
        let mut bound = own.map(|own| own.bound.clone()).unwrap_or_default();
        if is_chosen {
            let others = self.bound.iter().filter(|other| !bound.contains(other)).copied();
            bound.extend(others.collect::<Vec<_>>());
        }
        bound
    }

    /// The objects whose files containers get, without duplicates.
    pub(super) fn mounted(&self) -> Vec<Object<'a>> {
        let mut objects = Vec::new();
        for object in self.every().map(Bound::object) {
            if self.wants_files_of(object) && !objects.contains(&object) {
                objects.push(object);
            }
        }
        objects
    }

    /// The number of named variables and prefixes.
    pub(super) fn named(&self) -> usize {
        self.variables.len() + self.all_keys.len()
    }

    pub(super) fn wants_files_of(&self, object: Object<'_>) -> bool {
        self.files || self.selected.iter().any(|file| file.object == object)
    }

    /// The selected files of the object; empty if containers get all of them.
    pub(super) fn selected(&self, object: Object<'_>) -> Vec<&File<'a>> {
        self.selected.iter().filter(|file| file.object == object).collect()
    }

    /// The variables that are named one by one, for a container with these objects.
    pub(super) fn variables(&self, bound: &[Bound<'_>]) -> Vec<&Variable<'a>> {
        self.variables.iter().filter(|variable| is_bound(bound, variable.object)).collect()
    }

    /// The entries of `envFrom` for a container with these objects, the winner last. Entries that the pod names win
    /// over a ServiceBinding's own variables.
    pub(super) fn env_from(&self, bound: &[Bound<'_>]) -> Vec<EnvFrom<'a>> {
        let bindings = bound.iter().filter(|_| self.env).filter_map(|bound| {
            let (kind, optional) = (ObjectKind::Secret, self.is_optional(bound.object()));
            bound.env_secret().map(|name| EnvFrom { prefix: "", kind, name, optional })
        });
        let named = self.all_keys.iter().filter(|all| is_bound(bound, all.object)).map(|all| {
            let Object { kind, name } = all.object;
            let optional = self.is_optional(all.object);
            EnvFrom { prefix: all.prefix, kind, name: name.to_owned(), optional }
        });
        let mut entries: Vec<EnvFrom<'a>> = Vec::new();
        for entry in named.chain(bindings) {
            // A plain Secret may have the name of the Secret with a binding's variables.
            let is_same =
                |other: &EnvFrom<'_>| (other.prefix, other.object()) == (entry.prefix, entry.object());
            if !entries.iter().any(is_same) {
                entries.push(entry);
            }
        }
        entries.reverse();
        entries
    }
}

/// Whether the object belongs to a member of `bound`.
pub(super) fn is_bound(bound: &[Bound<'_>], object: Object<'_>) -> bool {
    bound.iter().any(|bound| bound.object() == object)
}
