//! Backend types by name. A type is a constructor that parses the settings of a backend and of its plans and returns a
//! [`Backend`]. [`Registry::builtin`] registers the built-in types; no other part of the broker names them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Administrator, Backend, BackendLimits, PlanSettings, Provider, alibaba, aws, sql};
use crate::{
    broker::config::{
        BackendName, BackendSettings, Backing, ConfigError, Offering, RawSettings, ServiceSettings,
        check_offerings,
    },
    osb::PlanId,
};

/// The provider of each backend that plans name.
pub type Providers = BTreeMap<BackendName, Arc<dyn Provider>>;

/// The limits of each backend that has limits.
pub type Limits = BTreeMap<BackendName, BackendLimits>;

/// Parses the settings of a backend and of its plans.
type Constructor =
    dyn Fn(&BackendSettings, &[PlanSettings]) -> Result<Box<dyn Backend>, ConfigError> + Send + Sync;

/// Constructors by backend type.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<String, Arc<Constructor>>);

impl Registry {
    /// The built-in types.
    #[must_use]
    pub fn builtin() -> Self {
        Self::default()
            .with("alibaba", alibaba::configure)
            .with("aws", aws::configure)
            .with("mysql", sql::mysql::configure)
            .with("postgresql", sql::postgresql::configure)
    }

    /// Adds a type.
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

    /// Adds a type whose backends all use `provider` and ignore their settings.
    #[must_use]
    pub fn with_provider(self, kind: &str, provider: Arc<dyn Provider>) -> Self {
        self.with(kind, move |_, _| Ok(Box::new(provider.clone())))
    }

    /// Parses the settings of all backends and plans.
    ///
    /// # Errors
    /// When a type is not registered or a backend rejects its settings; the error names the field.
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

/// The configured backends by name.
pub struct Backends(BTreeMap<BackendName, Configured>);

impl Backends {
    /// The offered services: those of the configuration and those that backends discover.
    ///
    /// # Errors
    /// When a backend's services cannot be read, or a name or an id is used twice.
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

    /// The provider of each backend, for one installation.
    #[must_use]
    pub fn providers(&self, installation: &str) -> Providers {
        let provider = |configured: &Configured| configured.backend.provider(installation);
        self.0.iter().map(|(name, configured)| (name.clone(), provider(configured))).collect()
    }

    /// The limits of each backend.
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
