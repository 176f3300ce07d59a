//! The option of commands that judge pods as the installation's webhook does.

use crate::injection::InjectSettings;

/// What the installation's `admission.excludeContainers` says.
#[derive(Debug, clap::Args)]
pub(super) struct ExcludedContainers {
    /// Containers that are bound only when a pod's bindery.dev/containers names them, as the installation has them.
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
