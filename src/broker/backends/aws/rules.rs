//! What the administrator decides for all services of a backend: overrides, and where the services are.

use super::{
    overrides::Overrides,
    placement::{self, Placement},
};
use crate::{broker::config::ConfigError, cloud::aws::template::Template};

/// The rules of a backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) overrides: Overrides,
    /// Whether parameters with an override for all instances are not offered.
    pub(super) prescribes_overrides: bool,
    pub(super) placement: Placement,
}

impl Rules {
    /// Checks the overrides against the services: their names and templates.
    ///
    /// # Errors
    /// Names the variable.
    pub(super) fn check(&self, services: &[(&str, &Template)]) -> Result<(), ConfigError> {
        for one in self.overrides.iter() {
            let invalid = |problem: String| ConfigError::invalid(one.variable.clone(), problem);
            if placement::has(&one.parameter) {
                self.placement.check_override(one).map_err(invalid)?;
                continue;
            }
            let mut is_used = false;
            for (_, template) in services.iter().filter(|(name, _)| one.is_for_service(name)) {
                if let Some(parameter) = template.parameters.get(&one.parameter) {
                    parameter.text(&one.value.as_str().into()).map_err(invalid)?;
                    is_used = true;
                }
            }
            if !is_used {
                tracing::warn!(
                    variable = one.variable,
                    "no service of the backend has the parameter of the override"
                );
            }
        }
        Ok(())
    }
}
