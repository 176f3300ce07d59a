//! Warnings: what the owner of a pod should know although the pod is admitted.

use std::fmt;

use crate::contract::pod;

/// Something that was left out, or is hidden, because the pod says otherwise. The texts stay under the 120 characters
/// that Kubernetes recommends for a warning as long as the names in them are short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The container already has something at the binding's folder.
    MountTaken {
        /// The container.
        container: String,
        /// Where the binding's files would have been.
        path: String,
    },
    /// The container already defines a variable that the annotation defines as well.
    VariableTaken {
        /// The container.
        container: String,
        /// The variable.
        variable: String,
    },
    /// The container's `envFrom` has the bindings in another order than the annotation.
    OtherOrder {
        /// The container.
        container: String,
        /// The Secret or ConfigMap that loses, although its binding is named earlier.
        object: String,
    },
    /// The pod itself refers to the object, and lets the container start without it.
    Optional {
        /// The container.
        container: String,
        /// The Secret or ConfigMap.
        object: String,
    },
    /// The pod itself refers to the object, and does not let the container start without it, which the annotation asks for.
    Needed {
        /// The container.
        container: String,
        /// The Secret or ConfigMap.
        object: String,
    },
    /// The folder of a binding lies below a mount of the pod's own in which no folder can be made.
    BelowReadOnly {
        /// The container.
        container: String,
        /// Where the mount is.
        path: String,
    },
    /// The pod itself mounts a part of a bound object, which the kubelet never refreshes.
    NeverRefreshed {
        /// The container.
        container: String,
        /// Where it is mounted.
        path: String,
        /// The Secret or ConfigMap.
        object: String,
    },
    /// Something that bindery added for a binding that is not asked for any more.
    Leftover {
        /// The container that still mounts it, if one does.
        container: Option<String>,
        /// The volume.
        volume: String,
        /// Its Secret or ConfigMap.
        object: String,
    },
    /// All containers are excluded by the installation.
    NothingBound,
    /// The annotation is not known, but one that is called nearly so.
    Misspelt {
        /// The annotation.
        annotation: String,
        /// The one that was meant, most likely.
        meant: String,
    },
    /// The annotation stands on a workload instead of its pod template.
    Misplaced {
        /// The annotation.
        annotation: String,
        /// The fields from the object to its template.
        template_path: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountTaken { container, path } => {
                write!(
                    f,
                    "container {container}: {path} is mounted by the pod itself; its binding is not mounted"
                )
            }
            Self::VariableTaken { container, variable } => {
                write!(f, "container {container}: its own variable {variable} hides that of {}", pod::ENV)
            }
            Self::OtherOrder { container, object } => {
                write!(
                    f,
                    "container {container}: envFrom keeps its order, so {object} loses to what it should win over"
                )
            }
            Self::Optional { container, object } => {
                write!(
                    f,
                    "container {container}: its own reference to {object} is optional, so it does not wait for it"
                )
            }
            Self::Needed { container, object } => {
                write!(
                    f,
                    "container {container}: its own reference to {object} is not optional, so it waits for it"
                )
            }
            Self::BelowReadOnly { container, path } => {
                write!(
                    f,
                    "container {container} may not start: {path} above its binding is read-only or a file; set {}",
                    pod::MOUNT_ROOT
                )
            }
            Self::NeverRefreshed { container, path, object } => {
                write!(
                    f,
                    "container {container}: {path}, a subPath of {object}, never gets new values; mount the whole volume"
                )
            }
            Self::Leftover { container: Some(container), volume, object } => {
                write!(
                    f,
                    "container {container} still mounts {object}, which it does not ask for; remove {volume}"
                )
            }
            Self::Leftover { container: None, volume, object } => {
                write!(f, "the volume {volume} of {object}, which nothing asks for, is left; remove it")
            }
            Self::NothingBound => {
                write!(
                    f,
                    "{} binds no container: all are excluded; name some in {}",
                    pod::BIND,
                    pod::CONTAINERS
                )
            }
            Self::Misspelt { annotation, meant } => {
                write!(f, "{annotation} means nothing to bindery; did you mean {meant}?")
            }
            Self::Misplaced { annotation, template_path } => {
                write!(
                    f,
                    "{annotation} in metadata.annotations binds nothing; move it to {template_path}.metadata.annotations"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_about_short_names_fit_into_120_characters() {
        let container = || "client-app01".to_owned();
        for warning in [
            Warning::MountTaken { container: container(), path: "/var/secrets/mydb01-binding".to_owned() },
            Warning::VariableTaken { container: container(), variable: "COCKROACH_PASSWORD".to_owned() },
            Warning::OtherOrder { container: container(), object: "mydb01-binding-env".to_owned() },
            Warning::Optional { container: container(), object: "mydb01-binding-env".to_owned() },
            Warning::Needed { container: container(), object: "mydb01-binding-env".to_owned() },
            Warning::BelowReadOnly { container: container(), path: "/var/secrets".to_owned() },
            Warning::NeverRefreshed {
                container: container(),
                path: "/etc/app/db.key".to_owned(),
                object: "mydb01-binding".to_owned(),
            },
            Warning::Leftover {
                container: Some(container()),
                volume: "bindery-ad3894d3d5b3d5cb".to_owned(),
                object: "mydb01-binding".to_owned(),
            },
            Warning::Leftover {
                container: None,
                volume: "bindery-ad3894d3d5b3d5cb".to_owned(),
                object: "mydb01-binding".to_owned(),
            },
            Warning::NothingBound,
            Warning::Misspelt {
                annotation: "bindery.dev/container".to_owned(),
                meant: pod::CONTAINERS.to_owned(),
            },
            Warning::Misplaced {
                annotation: pod::BIND.to_owned(),
                template_path: "spec.jobTemplate.spec.template",
            },
        ] {
            let text = warning.to_string();
            assert!(text.len() <= 120, "{} characters: {text}", text.len());
        }
    }
}
