//! The sources of a pod's bindings, their prefixes in annotations, and the Kubernetes object that holds their keys.

use std::fmt;

/// The source of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A ServiceBinding: the catalog writes a Secret of its name, and another Secret with its variables.
    ServiceBinding,
    /// A Secret that another owner writes.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl Source {
    /// The sources that have a prefix in annotations.
    const PREFIXED: [Self; 2] = [Self::Secret, Self::ConfigMap];

    /// The prefix of the name in annotations.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ServiceBinding => "",
            Self::Secret => "secret/",
            Self::ConfigMap => "configmap/",
        }
    }

    /// The kind of the object that holds the keys.
    #[must_use]
    pub const fn holder(self) -> ObjectKind {
        match self {
            Self::ServiceBinding | Self::Secret => ObjectKind::Secret,
            Self::ConfigMap => ObjectKind::ConfigMap,
        }
    }

    /// Splits an annotation's text into the source and the name.
    #[must_use]
    pub fn split(written: &str) -> (Self, &str) {
        Self::PREFIXED
            .into_iter()
            .find_map(|source| Some((source, written.strip_prefix(source.prefix())?)))
            .unwrap_or((Self::ServiceBinding, written))
    }
}

/// The kinds of objects from which a pod gets variables and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `v1` Secret.
    Secret,
    /// `v1` ConfigMap.
    ConfigMap,
}

impl ObjectKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Secret, Self::ConfigMap];

    /// The kind's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// The field that refers to such an object in a volume, or in a source of a projected volume.
    #[must_use]
    pub const fn volume_field(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::ConfigMap => "configMap",
        }
    }

    /// The field with the object's name inside a volume's [`ObjectKind::volume_field`]. A projected volume uses `name`.
    #[must_use]
    pub const fn volume_name_field(self) -> &'static str {
        match self {
            Self::Secret => "secretName",
            Self::ConfigMap => "name",
        }
    }

    /// The field that refers to such an object in an entry of `envFrom`.
    #[must_use]
    pub const fn env_from_field(self) -> &'static str {
        match self {
            Self::Secret => "secretRef",
            Self::ConfigMap => "configMapRef",
        }
    }

    /// The field that refers to a key of such an object in a variable's `valueFrom`.
    #[must_use]
    pub const fn key_field(self) -> &'static str {
        match self {
            Self::Secret => "secretKeyRef",
            Self::ConfigMap => "configMapKeyRef",
        }
    }
}

/// An object in the pod's namespace to which the pod refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object<'a> {
    /// The object's kind.
    pub kind: ObjectKind,
    /// The object's name.
    pub name: &'a str,
}

impl Object<'_> {
    /// The object with its kind, for errors.
    pub(super) fn described(&self) -> String {
        format!("{} `{}`", self.kind.name(), self.name)
    }
}

/// The object for warnings, which name Secrets without their kind.
impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ObjectKind::Secret => f.write_str(self.name),
            ObjectKind::ConfigMap => write!(f, "{}{}", Source::ConfigMap.prefix(), self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_tells_the_source() {
        for (written, source, name) in [
            ("db", Source::ServiceBinding, "db"),
            ("secret", Source::ServiceBinding, "secret"),
            ("configmap", Source::ServiceBinding, "configmap"),
            ("secret/db", Source::Secret, "db"),
            ("configmap/db", Source::ConfigMap, "db"),
            ("configmap/", Source::ConfigMap, ""),
        ] {
            assert_eq!(Source::split(written), (source, name));
            assert_eq!(format!("{}{name}", source.prefix()), written);
        }
    }
}
