//! A database server as a backend: parses its settings and those of its plans. Opens no connection.

use std::sync::Arc;

use serde::Deserialize;

use super::{parameters::Plans, plan::DatabasePlan, service_kind::ServiceKind, settings::ServerSettings};
use crate::broker::{
    backends::{Administrator, Backend, PlanSettings, Provider, password},
    config::{BackendSettings, ConfigError, Schemas},
};

/// Creates the provider of a server for an installation. Opens no connection.
type MakeProvider = fn(ServerSettings, Plans, &str) -> Arc<dyn Provider>;

/// A database server whose settings are parsed.
pub(super) struct DatabaseServer {
    settings: ServerSettings,
    plans: Plans,
    make_provider: MakeProvider,
}

impl DatabaseServer {
    pub(super) fn new(settings: ServerSettings, plans: Plans, make_provider: MakeProvider) -> Self {
        Self { settings, plans, make_provider }
    }
}

impl Backend for DatabaseServer {
    fn provider(&self, installation: &str) -> Arc<dyn Provider> {
        (self.make_provider)(self.settings.clone(), self.plans.clone(), installation)
    }

    fn administrator(&self) -> Option<Administrator> {
        let ServerSettings { host, port, user, password, .. } = &self.settings;
        Some(Administrator {
            account: format!("{user}@{host}:{port}"),
            password: password.clone(),
            new_password: || password::of_every_kind(&password::generate()),
        })
    }
}

/// The settings of a plan on a database server.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields {
    database: DatabasePlan,
}

/// Parses the plans of a server that provides these types of services.
///
/// # Errors
/// When the server does not provide a plan's type of service, or a field is unknown or invalid.
pub(super) fn plans(
    backend: &BackendSettings,
    plans: &[PlanSettings],
    provides: &[ServiceKind],
) -> Result<Plans, ConfigError> {
    let read = |plan: &PlanSettings| {
        let kind = kind(backend, plan, provides)?;
        let Fields { database } = plan.settings.parse()?;
        let field = plan.settings.at("database");
        database.check(kind, &field)?;
        if !plan.has_schemas {
            Schemas::parse(&database.schemas()).map_err(|error| {
                let problem =
                    format!("gives a schema that cannot be published: {} {}", error.path, error.problem);
                ConfigError::invalid(field, problem)
            })?;
        }
        Ok::<_, ConfigError>((plan.id.clone(), (kind, database)))
    };
    Ok(Plans::new(plans.iter().map(read).collect::<Result<_, _>>()?))
}

fn kind(
    backend: &BackendSettings,
    plan: &PlanSettings,
    provides: &[ServiceKind],
) -> Result<ServiceKind, ConfigError> {
    let found = provides.iter().find(|kind| kind.as_str() == plan.service_type);
    found.copied().ok_or_else(|| {
        let provided: Vec<_> = provides.iter().map(|kind| kind.as_str()).collect();
        let problem = format!(
            "is {:?} of type {}, which provides services of type {} and none of type {:?}; name another backend, or change the \
             service's type",
            backend.name.as_str(),
            backend.kind,
            provided.join(" or "),
            plan.service_type
        );
        ConfigError::invalid(plan.settings.at("backend"), problem)
    })
}

#[cfg(test)]
mod tests;
