//! Warnings: problems that the owner of an admitted pod should know about.

use std::fmt;

use crate::contract::pod;

/// Something that was left out or is hidden because of the pod's own fields. The texts stay within the 120 characters
/// that Kubernetes recommends for a warning, as long as the names in them are short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The container already has a mount at the binding's folder.
    MountTaken {
        /// The container.
        container: String,
        /// The path for the binding's files.
        path: String,
    },
    /// The container already defines a variable of the annotation.
    VariableTaken {
        /// The container.
        container: String,
        /// The variable.
        variable: String,
    },
    /// The container's `envFrom` has another order than the annotation.
    OtherOrder {
        /// The container.
        container: String,
        /// The Secret or ConfigMap that loses, although the annotation names its binding earlier.
        object: String,
    },
    /// The pod has its own reference to the object, which lets the container start without it.
    Optional {
        /// The container.
        container: String,
        /// The Secret or ConfigMap.
        object: String,
    },
    /// The pod has its own reference to the object, which is required although the annotation makes it optional.
    Needed {
        /// The container.
        container: String,
        /// The Secret or ConfigMap.
        object: String,
    },
    /// The folder of a binding lies below one of the pod's own mounts, in which no folder can be created.
    BelowReadOnly {
        /// The container.
        container: String,
        /// The path of the mount.
        path: String,
    },
    /// The pod mounts a part of a bound object itself, which the kubelet never refreshes.
    NeverRefreshed {
        /// The container.
        container: String,
        /// The path of the mount.
        path: String,
        /// The Secret or ConfigMap.
        object: String,
    },
    /// Something that bindery added for a binding that the pod does not ask for any more.
    Leftover {
        /// The container that still mounts the volume, if one does.
        container: Option<String>,
        /// The volume.
        volume: String,
        /// The Secret or ConfigMap in the volume.
        object: String,
    },
    /// The installation excludes all containers.
    NothingBound,
    /// The annotation is unknown, and similar to a known one.
    Misspelt {
        /// The annotation.
        annotation: String,
        /// The similar known annotation.
        meant: String,
    },
    /// The annotation is on a workload instead of its pod template.
    Misplaced {
        /// The annotation.
        annotation: String,
        /// The fields from the object to its template.
        template_path: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Warning {
    fn text(&self) -> String {
        match self {
            Self::MountTaken { container, path } => format!(
                "container {container}: {path} is mounted by the pod itself; its binding is not mounted"
            ),
            Self::VariableTaken { container, variable } => {
                format!("container {container}: its own variable {variable} hides that of {}", pod::ENV)
            }
            Self::OtherOrder { container, object } => format!(
                "container {container}: envFrom keeps its order, so {object} loses to what it should win over"
            ),
            Self::Optional { container, object } => format!(
                "container {container}: its own reference to {object} is optional, so it does not wait for it"
            ),
            Self::Needed { container, object } => format!(
                "container {container}: its own reference to {object} is not optional, so it waits for it"
            ),
            Self::BelowReadOnly { container, path } => format!(
                "container {container} may not start: {path} above its binding is read-only or a file; set {}",
                pod::MOUNT_ROOT
            ),
            Self::NeverRefreshed { container, path, object } => format!(
                "container {container}: {path}, a subPath of {object}, never gets new values; mount the whole volume"
            ),
            Self::Leftover { container: Some(container), volume, object } => format!(
                "container {container} still mounts {object}, which it does not ask for; remove {volume}"
            ),
            Self::Leftover { container: None, volume, object } => {
                format!("the volume {volume} of {object}, which nothing asks for, is left; remove it")
            }
            Self::NothingBound => format!(
                "{} binds no container: all are excluded; name some in {}",
                pod::BIND,
                pod::CONTAINERS
            ),
            Self::Misspelt { annotation, meant } => {
                format!("{annotation} means nothing to bindery; did you mean {meant}?")
            }
            Self::Misplaced { annotation, template_path } => format!(
                "{annotation} in metadata.annotations binds nothing; move it to {template_path}.metadata.annotations"
            ),
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
