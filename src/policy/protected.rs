//! Which objects only bindery and administrators may change, and who counts as one of them. Requests of others are judged by
//! what they change: foreign labels of a Secret, for example, are free.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use super::{allowed::is_among, namespace::Namespace, subject::Subject};
use crate::{
    apis::bindery::credential_policy::ProtectedObjects,
    contract::{binding, branch, namespace, pod},
};

/// The group of the cluster's own administrators, which every API server has.
pub(super) const ADMINISTRATORS: &str = "system:masters";

/// The controllers of Kubernetes that delete objects with their owners and with their namespaces, and remove finalizers for
/// that. The last is their common name in clusters whose controllers have no accounts of their own.
pub(super) const CONTROLLERS: [&str; 3] = [
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:kube-controller-manager",
];

/// The beginning of the names of a namespace's service accounts.
pub(super) fn accounts_of(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:")
}

/// The fields of a Secret that are protected, beside bindery's own labels and annotations.
pub(super) const SECRET_FIELDS: [&str; 5] =
    ["data", "type", "immutable", "metadata.ownerReferences", "metadata.finalizers"];

/// The fields of an ExternalResource that are protected.
pub(super) const RECORD_FIELDS: [&str; 6] = [
    "spec",
    "status",
    "metadata.labels",
    "metadata.annotations",
    "metadata.ownerReferences",
    "metadata.finalizers",
];

/// The annotations of a Namespace that only bindery writes.
pub(super) const NAMESPACE_ANNOTATIONS: [&str; 2] = [branch::BOUND_BY, branch::LAST_POD_AT];

/// The beginning of bindery's own labels and annotations.
pub(super) const OWN_PREFIX: &str = "bindery.dev/";

/// A user who sends a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Author<'a> {
    /// The name.
    pub name: &'a str,
    /// The groups.
    pub groups: &'a [String],
}

/// A request that creates, changes or deletes an object.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The object's Namespace, or the Namespace that is the object itself. `None` for other objects without a namespace.
    pub namespace: Option<&'a Namespace>,
    /// The object before; `None` when it is created.
    pub before: Option<&'a Value>,
    /// The object after; `None` when it is deleted.
    pub after: Option<&'a Value>,
    /// The author.
    pub author: Author<'a>,
}

/// A kind of object with something that is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Secret,
    Record,
    Namespace,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Secret, Self::Record, Self::Namespace];

    /// The name of the resource in the API.
    pub(super) const fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Record => "externalresources",
            Self::Namespace => "namespaces",
        }
    }

    /// What is protected, for messages.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Secret => "the Secret of a binding",
            Self::Record => "the record of what an external system holds",
            Self::Namespace => "a label or annotation of the Namespace that bindery wrote",
        }
    }

    fn of(object: &Value) -> Option<Self> {
        let text = |field| object.get(field).and_then(Value::as_str).unwrap_or_default();
        match (text("apiVersion"), text("kind")) {
            ("v1", "Secret") => Some(Self::Secret),
            ("v1", "Namespace") => Some(Self::Namespace),
            (version, "ExternalResource") if version.starts_with(OWN_PREFIX) => Some(Self::Record),
            _ => None,
        }
    }
}

impl<'a> Change<'a> {
    /// What the change touches that is protected.
    pub(super) fn touches(&self) -> Option<Kind> {
        let kind = Kind::of(self.after.or(self.before)?)?;
        let is_touched = match kind {
            Kind::Secret => {
                let is_claimed = [self.before, self.after].into_iter().flatten().any(is_of_binding);
                is_claimed
                    && (!self.is_update()
                        || self.differs(&SECRET_FIELDS)
                        || self.differs_in("labels", is_own)
                        || self.differs_in("annotations", is_own))
            }
            Kind::Record => !self.is_update() || self.differs(&RECORD_FIELDS),
            Kind::Namespace => self.after.is_some() && self.touches_namespace(),
        };
        is_touched.then_some(kind)
    }

    fn is_update(&self) -> bool {
        self.before.is_some() && self.after.is_some()
    }

    fn touches_namespace(&self) -> bool {
        let before = |name| entries(self.before, "annotations").and_then(|all| all.get(name));
        // A default for pods that differs from what bindery wrote is the user's own.
        let bound_by = before(branch::BOUND_BY);
        let is_default_own = bound_by.is_some() && before(pod::BIND) == bound_by;
        self.differs_in("annotations", |name| {
            NAMESPACE_ANNOTATIONS.contains(&name) || is_default_own && name == pod::BIND
        }) || is_default_own && self.differs_in("labels", |name| name == namespace::INJECT.0)
    }

    fn differs(&self, fields: &[&str]) -> bool {
        let at = |object: Option<&'a Value>, field: &str| {
            field.split('.').try_fold(object?, |value, name| value.get(name))
        };
        fields.iter().any(|field| at(self.before, field) != at(self.after, field))
    }

    /// Whether labels or annotations differ whose name fulfils the test.
    fn differs_in(&self, map: &str, test: impl Fn(&str) -> bool) -> bool {
        let (before, after) = (entries(self.before, map), entries(self.after, map));
        let of = |map: Option<&'a Map<String, Value>>, name: &str| map.and_then(|map| map.get(name));
        let mut names = [before, after].into_iter().flatten().flat_map(Map::keys);
        names.any(|name| test(name) && of(before, name) != of(after, name))
    }

    /// The subject whose namespace and name count for overrides and exceptions.
    pub(super) fn subject(&self, namespace: &'a Namespace, template: &'a Value) -> Subject<'a> {
        let name = self.after.or(self.before).and_then(|object| object.pointer("/metadata/name")?.as_str());
        Subject { name: name.unwrap_or_default(), namespace, template, only_ephemeral: false }
    }

    /// A time at which no exception holds: a deletion carries no time that the API server could compare.
    pub(super) fn time(&self, now: Timestamp) -> Timestamp {
        if self.after.is_some() { now } else { Timestamp::MAX }
    }
}

/// Whether the author may change what is protected. `excluded` are the namespaces of the installation and of the system's own
/// parts, for which no policy holds.
pub(super) fn may_change(author: &Author<'_>, settings: &ProtectedObjects, excluded: &[String]) -> bool {
    let Author { name, groups } = author;
    CONTROLLERS.contains(name)
        || is_among(name, &settings.allow_users)
        || excluded.iter().any(|namespace| name.starts_with(&accounts_of(namespace)))
        || groups.iter().any(|group| group == ADMINISTRATORS || is_among(group, &settings.allow_groups))
}

fn entries<'a>(object: Option<&'a Value>, map: &str) -> Option<&'a Map<String, Value>> {
    object?.get("metadata")?.get(map)?.as_object()
}

fn is_own(name: &str) -> bool {
    name == binding::MANAGED_BY.0 || name.starts_with(OWN_PREFIX)
}

/// Whether a Secret says that it is a binding's. A `ServiceBinding` that owns it makes bindery write into it.
fn is_of_binding(secret: &Value) -> bool {
    let is_labelled =
        entries(Some(secret), "labels").is_some_and(|labels| labels.contains_key(binding::BINDING));
    let owners = secret.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let owns = |owner: &Value| {
        let text = |field| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        text("kind") == "ServiceBinding"
            && text("apiVersion").starts_with("servicecatalog.k8s.io/")
            && owner.get("controller") == Some(&Value::Bool(true))
    };
    is_labelled || owners.into_iter().flatten().any(owns)
}
