//! Types of backends by name. A type is a constructor that parses the settings of a backend and of the plans on it; what it makes is
//! a [`Backend`]. The built-in types are registered in [`Registry::builtin`], and nothing else of the broker names them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Administrator, Backend, BackendLimits, PlanSettings, Provider, sql};
use crate::{
    broker::config::{
        BackendName, BackendSettings, Backing, ConfigError, Offering, RawSettings, ServiceSettings,
        check_offerings,
    },
    osb::PlanId,
};

/// The provider for each backend that plans name.
pub type Providers = BTreeMap<BackendName, Arc<dyn Provider>>;

/// The limits of each backend that has some.
pub type Limits = BTreeMap<BackendName, BackendLimits>;

/// Parses the settings of a backend and those of the plans on it.
type Constructor =
    dyn Fn(&BackendSettings, &[PlanSettings]) -> Result<Box<dyn Backend>, ConfigError> + Send + Sync;

/// See the module.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<String, Arc<Constructor>>);

impl Registry {
    /// The types that bindery has built in.
    #[must_use]
    pub fn builtin() -> Self {
        Self::default().with("mysql", sql::mysql::configure).with("postgresql", sql::postgresql::configure)
    }

    /// The same types and another one.
    #[must_use]
    pub fn with<F>(mut self, kind: &str, constructor: F) -> Self
    where
        F: Fn(&BackendSettings, &[PlanSettings]) -> Result<Box<dyn Backend>, ConfigError>
            + Send
            + Sync
            + 'static,
    {
        self.0.insert(kind.to_owned(), Arc::new(constructor));
        self
    }

    /// The same types and one whose backends are all this provider, whatever their settings say.
    #[must_use]
    pub fn with_provider(self, kind: &str, provider: Arc<dyn Provider>) -> Self {
        self.with(kind, move |_, _| Ok(Box::new(provider.clone())))
    }

    /// Reads the settings of all backends and plans.
    ///
    /// # Errors
    /// When a type is not registered, or a backend cannot use its settings; the error names the field.
    pub fn configure(&self, services: &ServiceSettings) -> Result<Backends, ConfigError> {
        let configured = services.backends.iter().map(|settings| {
            let constructor = self.0.get(&settings.kind).ok_or_else(|| {
                let known: Vec<_> = self.0.keys().map(String::as_str).collect();
                let problem =
                    format!("is {:?}, which is unknown; take {}", settings.kind, known.join(" or "));
                ConfigError::invalid(settings.settings.at("type"), problem)
            })?;
            let backend = constructor(settings, &plans_on(&settings.name, &services.offerings))?;
            Ok::<_, ConfigError>((settings.name.clone(), Configured { backend, limits: settings.limits }))
        });
        Ok(Backends(configured.collect::<Result<_, _>>()?))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn plans_on(backend: &BackendName, offerings: &[Offering]) -> Vec<PlanSettings> {
    let plans = offerings.iter().flat_map(|Offering { kind, service, plans }| {
        service.plans.iter().filter_map(move |plan| {
            let backing = plans.get(&plan.id).filter(|backing| backing.backend == *backend)?;
            Some(PlanSettings {
                id: plan.id.clone(),
                service_type: kind.clone(),
                has_schemas: plan.schemas.is_some(),
                settings: backing.plan.clone(),
            })
        })
    });
    plans.collect()
}

struct Configured {
    backend: Box<dyn Backend>,
    limits: BackendLimits,
}

/// The backends of a configuration by name.
pub struct Backends(BTreeMap<BackendName, Configured>);

impl Backends {
    /// What is offered: the services of the configuration, and those of the backends.
    ///
    /// # Errors
    /// When a backend's services cannot be read, or one has a name or an id that is used already.
    pub async fn offerings(&self, services: &ServiceSettings) -> Result<Vec<Offering>, ConfigError> {
        let mut offerings = services.offerings.clone();
        for (name, configured) in &self.0 {
            let kind = services.backends.iter().find(|settings| settings.name == *name);
            for service in configured.backend.services().await? {
                let backing =
                    |plan: PlanId| (plan, Backing { backend: name.clone(), plan: RawSettings::default() });
                offerings.push(Offering {
                    kind: kind.map(|settings| settings.kind.clone()).unwrap_or_default(),
                    plans: service.plans.iter().map(|plan| backing(plan.id.clone())).collect(),
                    service,
                });
            }
        }
        check_offerings(&offerings, &services.backends)?;
        Ok(offerings)
    }

    /// What makes instances and bindings on each backend, for an installation.
    #[must_use]
    pub fn providers(&self, installation: &str) -> Providers {
        let provider = |configured: &Configured| configured.backend.provider(installation);
        self.0.iter().map(|(name, configured)| (name.clone(), provider(configured))).collect()
    }

    /// How much each backend may be asked.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.iter().map(|(name, configured)| (name.clone(), configured.limits)).collect()
    }

    /// The account of each backend that has a password.
    pub(in crate::broker) fn administrators(&self) -> BTreeMap<BackendName, Administrator> {
        let of = |configured: &Configured| configured.backend.administrator();
        self.0.iter().filter_map(|(name, configured)| Some((name.clone(), of(configured)?))).collect()
    }
}

#[cfg(test)]
mod tests;
