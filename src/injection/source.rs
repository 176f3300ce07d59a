//! What a pod can be bound to, how annotations write it, and which Kubernetes object holds its keys.

use std::fmt;

/// Where a pod's bindings come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A ServiceBinding: the catalog writes a Secret of its name, and another with its variables.
    ServiceBinding,
    /// A Secret that somebody else writes.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl Source {
    /// The sources that annotations name with a prefix.
    const PREFIXED: [Self; 2] = [Self::Secret, Self::ConfigMap];

    /// What annotations write before the name.
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

    /// The source and the name that an annotation writes as one.
    #[must_use]
    pub fn split(written: &str) -> (Self, &str) {
        Self::PREFIXED
            .into_iter()
            .find_map(|source| Some((source, written.strip_prefix(source.prefix())?)))
            .unwrap_or((Self::ServiceBinding, written))
    }
}

/// The kinds of objects that a pod takes variables and files from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `v1` Secret.
    Secret,
    /// `v1` ConfigMap.
    ConfigMap,
}

impl ObjectKind {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Secret, Self::ConfigMap];

    /// The kind's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// The field of a volume, or of a source of a projected volume, that refers to such an object.
    #[must_use]
    pub const fn volume_field(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::ConfigMap => "configMap",
        }
    }

    /// The field in a volume's [`ObjectKind::volume_field`] that has the object's name. A projected volume has it in `name`.
    #[must_use]
    pub const fn volume_name_field(self) -> &'static str {
        match self {
            Self::Secret => "secretName",
            Self::ConfigMap => "name",
        }
    }

    /// The field of an entry of `envFrom` that refers to such an object.
    #[must_use]
    pub const fn env_from_field(self) -> &'static str {
        match self {
            Self::Secret => "secretRef",
            Self::ConfigMap => "configMapRef",
        }
    }

    /// The field of a variable's `valueFrom` that refers to a key of such an object.
    #[must_use]
    pub const fn key_field(self) -> &'static str {
        match self {
            Self::Secret => "secretKeyRef",
            Self::ConfigMap => "configMapKeyRef",
        }
    }
}

/// An object that a pod refers to, in the pod's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object<'a> {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: &'a str,
}

impl Object<'_> {
    /// The object with its kind, as errors name it.
    pub(super) fn described(&self) -> String {
        format!("{} `{}`", self.kind.name(), self.name)
    }
}

/// Warnings name Secrets without their kind.
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
