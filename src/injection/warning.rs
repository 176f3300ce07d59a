//! What the owner of a pod should know although the pod is admitted.

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
    /// The container names the bindings' Secrets in another order than the annotation.
    OtherOrder {
        /// The container.
        container: String,
        /// The Secret that loses, although its binding is named earlier.
        secret: String,
    },
    /// The container has the Secret from the pod itself, in a way that lets it start without.
    Optional {
        /// The container.
        container: String,
        /// The Secret.
        secret: String,
    },
    /// The container has the Secret from the pod itself, in a way that does not let it start without, which the pod asks for.
    Needed {
        /// The container.
        container: String,
        /// The Secret.
        secret: String,
    },
    /// The folder of a binding lies below a mount of the pod's own in which no folder can be made.
    BelowReadOnly {
        /// The container.
        container: String,
        /// Where the mount is.
        path: String,
    },
    /// The pod itself mounts a part of a bound Secret, which the kubelet never refreshes.
    NeverRefreshed {
        /// The container.
        container: String,
        /// Where it is mounted.
        path: String,
        /// The Secret.
        secret: String,
    },
    /// Something that bindery added for a binding that is not asked for any more.
    Leftover {
        /// The container that still mounts it, if one does.
        container: Option<String>,
        /// The volume.
        volume: String,
        /// Its Secret.
        secret: String,
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
            Self::OtherOrder { container, secret } => {
                write!(
                    f,
                    "container {container}: envFrom keeps its order, so {secret} loses to what it should win over"
                )
            }
            Self::Optional { container, secret } => {
                write!(
                    f,
                    "container {container}: its own reference to {secret} is optional, so it does not wait for it"
                )
            }
            Self::Needed { container, secret } => {
                write!(
                    f,
                    "container {container}: its own reference to {secret} is not optional, so it waits for it"
                )
            }
            Self::BelowReadOnly { container, path } => {
                write!(
                    f,
                    "container {container} may not start: {path} above its binding is read-only or a file; set {}",
                    pod::MOUNT_ROOT
                )
            }
            Self::NeverRefreshed { container, path, secret } => {
                write!(
                    f,
                    "container {container}: {path}, a subPath of {secret}, never gets new credentials; mount the whole volume"
                )
            }
            Self::Leftover { container: Some(container), volume, secret } => {
                write!(
                    f,
                    "container {container} still mounts {secret}, which it does not ask for; remove {volume}"
                )
            }
            Self::Leftover { container: None, volume, secret } => {
                write!(f, "the volume {volume} of {secret}, which nothing asks for, is left; remove it")
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
            Warning::OtherOrder { container: container(), secret: "mydb01-binding-env".to_owned() },
            Warning::Optional { container: container(), secret: "mydb01-binding-env".to_owned() },
            Warning::Needed { container: container(), secret: "mydb01-binding-env".to_owned() },
            Warning::BelowReadOnly { container: container(), path: "/var/secrets".to_owned() },
            Warning::NeverRefreshed {
                container: container(),
                path: "/etc/app/db.key".to_owned(),
                secret: "mydb01-binding".to_owned(),
            },
            Warning::Leftover {
                container: Some(container()),
                volume: "bindery-ad3894d3d5b3d5cb".to_owned(),
                secret: "mydb01-binding".to_owned(),
            },
            Warning::Leftover {
                container: None,
                volume: "bindery-ad3894d3d5b3d5cb".to_owned(),
                secret: "mydb01-binding".to_owned(),
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
