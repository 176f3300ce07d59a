//! The option of commands that evaluate pods as the installation's webhook does.

use crate::injection::InjectSettings;

/// The installation's `admission.excludeContainers`.
#[derive(Debug, clap::Args)]
pub(super) struct ExcludedContainers {
    /// Containers that are bound only if a pod's bindery.dev/containers names them; the value must match the
    /// installation's.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_values_t = InjectSettings::default().exclude_containers
    )]
    exclude_containers: Vec<String>,
}

impl ExcludedContainers {
    pub(super) fn settings(&self) -> InjectSettings {
        InjectSettings { exclude_containers: self.exclude_containers.clone() }
    }
}
