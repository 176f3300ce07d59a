//! The Open Service Broker: `routes` (HTTP) → `engine` (durable operations) → `store` (records) and `backends`
//! (providers). [`Broker`] assembles them; the caller serves its router, with or without TLS.

mod assembly;
mod backends;
pub mod config;
mod engine;
mod restore;
mod rotate_admin;
mod routes;
mod store;
mod sweep;
mod tls;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;

#[cfg(any(test, feature = "fake-backend"))]
pub use self::backends::fake;
use self::{
    assembly::{Parts, described, lock},
    engine::{Engine, Offer},
    routes::{Gate, Logins},
    store::{cipher::Cipher, lock::StoreLock, records::Records},
};
pub use self::{
    backends::{
        Administrator, Backend, BackendLimits, Backends, BindingSpec, Bound, Confirmed, Described,
        ExecutionMode, InstanceSpec, Limits, Past, Pending, PlanSettings, Progress, Provider, Providers,
        Registry, Resource, ServiceError, Unacceptable, Verb,
    },
    engine::Timing,
    restore::{Held, HeldBinding, RestoreReport, restore},
    rotate_admin::{PasswordChangeError, PasswordKeeper, change_password, password_file},
    store::{StoreError, cipher::CipherError},
    sweep::{Difference, PlatformInstance, SweepReport, sweep, sweep_with},
};
use crate::{
    broker::config::{BackendName, BrokerConfig, BrokerSettings, ConfigError, ServiceSettings, StoreUrl},
    osb::InstanceId,
    telemetry::Metrics,
};

/// A broker with an open store. It connects to servers on demand.
pub struct Broker {
    engine: Engine,
    gate: Gate,
    providers: Providers,
    /// Locks the store until the broker is drained.
    lock: Mutex<Option<StoreLock>>,
}

/// Why a broker or a sweep failed to start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store is unusable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A backend is unusable.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The store's key is unusable.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// There is no store to compare backends with.
    #[error(
        "the broker's store {store} does not exist or was never used, so everything would seem left over; name the store that the broker uses"
    )]
    NoStore {
        /// The store's address.
        store: String,
    },
    /// A record names a backend that is not configured, so its instance cannot be checked.
    #[error(
        "service instance {instance} is on backend {backend}, which is not configured, so its leftovers are unknown; \
         add the backend under that name again"
    )]
    UnconfiguredBackend {
        /// The backend's name in the record.
        backend: BackendName,
        /// The instance.
        instance: InstanceId,
    },
    /// The store holds the records of another installation.
    #[error(
        "the store belongs to installation {recorded:?} and the configuration says {configured:?}; name the right store, or that installation"
    )]
    OtherInstallation {
        /// The installation in the store.
        recorded: String,
        /// The installation in the configuration.
        configured: String,
    },
}

/// The engine of a server, or why the server is unusable.
#[derive(Debug)]
pub struct ServerCheck {
    /// The server's name.
    pub server: BackendName,
    /// The server's engine, such as `CockroachDB v25.2`.
    pub result: Result<String, ServiceError>,
}

/// Checks the settings of all backends and plans. No IO.
///
/// # Errors
/// Names the invalid field.
pub fn check_services(services: &ServiceSettings) -> Result<(), ConfigError> {
    Registry::builtin().configure(services).map(drop)
}

impl Broker {
    /// Opens the store and resumes unfinished operations. Servers need not be reachable. Waits a while for another
    /// broker to end, if the store supports only one.
    ///
    /// # Errors
    /// When passwords or the store's key cannot be read, or the store cannot be opened or is in use.
    pub async fn open(config: BrokerConfig, metrics: Arc<Metrics>) -> Result<Self, BrokerError> {
        Self::open_with(config, metrics, Timing::default(), &Registry::builtin()).await
    }

    /// Opens a broker with other backend types and time limits.
    ///
    /// # Errors
    /// As [`Broker::open`].
    pub async fn open_with(
        config: BrokerConfig,
        metrics: Arc<Metrics>,
        timing: Timing,
        registry: &Registry,
    ) -> Result<Self, BrokerError> {
        let backends = registry.configure(&config.services)?;
        let offerings = backends.offerings(&config.services).await?;
        let BrokerSettings { auth, store, store_key, former_store_keys, .. } = &config.settings;
        let logins = Arc::new(Logins::read(auth).await?);
        let lock = lock(&config).await?;
        // Only the embedded store can be known to be new; its key is created with it.
        let exists = !matches!(store, StoreUrl::Sqlite(path) if !path.exists());
        let cipher = Cipher::load(store_key, former_store_keys, exists)?;
        let Parts { store, providers } = Parts::open(&config, &backends).await?;
        tracing::info!(store = store.name(), "the broker's store is open");
        let offer = Offer::new(described(offerings, &providers))
            .map_err(|error| ConfigError::invalid(error.path, error.problem))?;
        let records = Records::new(store, cipher);
        let engine = Engine::new(offer, providers.clone(), &backends.limits(), records, timing);
        // Listed before the first request, so that only what was interrupted counts as such.
        let (recovering, interrupted) = (engine.clone(), engine.unfinished().await?);
        engine.spawn(async move { recovering.recover(interrupted).await });
        let expiring = engine.clone();
        engine.spawn(async move { expiring.expire().await });
        let settling = engine.clone();
        engine.spawn(async move { settling.settle().await });
        let (watched, stopped) = (logins.clone(), engine.stopped());
        tokio::spawn(async move { watched.watch(stopped).await });
        Ok(Self { engine, gate: Gate { logins, metrics }, providers, lock: Mutex::new(lock) })
    }

    /// The routes of the Open Service Broker API.
    pub fn router(&self) -> Router {
        routes::router(self.engine.clone(), self.gate.clone())
    }

    /// Connects to each server, and logs its engine or why it is unusable.
    pub async fn check_servers(&self) -> Vec<ServerCheck> {
        let checks = self.providers.iter().map(async |(server, provider)| {
            let result = provider.check().await;
            if let Err(error) = &result {
                tracing::error!(%server, "{error}");
            }
            ServerCheck { server: server.clone(), result }
        });
        futures::future::join_all(checks).await
    }

    /// Waits for running operations and releases the store; call this once no more requests are served.
    pub async fn drain(&self) {
        self.engine.drain().await;
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.engine.stop();
    }
}
