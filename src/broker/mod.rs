//! The Open Service Broker: `routes` (HTTP) → `engine` (durable operations) → `store` (records) and `services` (backends).
//! [`Broker`] puts them together; serving its router, with or without TLS, is the caller's.

mod engine;
mod routes;
mod services;
mod store;
mod sweep;
mod tls;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    engine::Engine,
    routes::{Gate, Logins},
    services::{Provider, cockroachdb::Databases},
    store::{Store as _, cipher::Cipher, lock::StoreLock, sqlite::Sqlite},
};
pub use self::{
    services::{Resource, ResourceKind, ServiceError},
    store::{StoreError, cipher::CipherError},
    sweep::{Claimed, SweepReport, sweep},
};
use crate::{
    config::{BrokerConfig, ConfigError, ServerName, StoreUrl},
    osb::InstanceId,
    telemetry::Metrics,
};

/// A predecessor that drains, as in a rolling restart, is given so long to leave the store.
const PREDECESSOR_ENDS: Duration = Duration::from_secs(30);

/// A broker with its store open. Servers are connected to when they are needed.
pub struct Broker {
    engine: Engine,
    gate: Gate,
    providers: Providers,
    stop: CancellationToken,
    /// Nobody else has the store, until this is drained.
    lock: Mutex<Option<StoreLock>>,
}

/// Why a broker or a sweep could not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's key cannot be used.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// There is no store to compare servers with.
    #[error("the broker's store {} does not exist or was never used, so everything would seem left over; name the store that the broker uses", path.display())]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Somebody's instance is on a server that nobody looks at.
    #[error(
        "service instance {instance} is on server {server}, which is not configured, so what is left over cannot be told; \
         add the server under that name again"
    )]
    UnconfiguredServer {
        /// What its record calls the server.
        server: ServerName,
        /// The instance.
        instance: InstanceId,
    },
    /// The store holds the records of another installation.
    #[error(
        "the store belongs to installation {recorded:?} and the configuration says {configured:?}; name the right store, or that installation"
    )]
    OtherInstallation {
        /// Whose records the store holds.
        recorded: String,
        /// What the configuration says.
        configured: String,
    },
}

/// What a server is, or why it cannot be used.
#[derive(Debug)]
pub struct ServerCheck {
    /// Which server.
    pub server: ServerName,
    /// Its engine, such as `CockroachDB v25.2`.
    pub result: Result<String, ServiceError>,
}

type Providers = BTreeMap<ServerName, Arc<dyn Provider>>;

/// What a broker and a sweep share.
struct Parts {
    store: Sqlite,
    providers: Providers,
}

impl Parts {
    /// For a broker: makes the store if need be.
    async fn open(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let StoreUrl::Sqlite(path) = &config.settings.store;
        let store = Sqlite::open(path)?;
        let proposed = config.settings.installation.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let recorded = store.installation(&proposed).await?;
        Self::of(config, store, recorded)
    }

    /// For a sweep: the store must be there, and is not written to.
    async fn open_existing(config: &BrokerConfig, delete: bool) -> Result<Self, BrokerError> {
        let StoreUrl::Sqlite(path) = &config.settings.store;
        let no_store = || BrokerError::NoStore { path: path.clone() };
        if !path.exists() {
            return Err(no_store());
        }
        let store = Sqlite::open_existing(path, delete)?;
        let recorded = store.recorded_installation().await?.ok_or_else(no_store)?;
        Self::of(config, store, recorded)
    }

    fn of(config: &BrokerConfig, store: Sqlite, recorded: String) -> Result<Self, BrokerError> {
        match &config.settings.installation {
            Some(configured) if *configured != recorded => {
                return Err(BrokerError::OtherInstallation { recorded, configured: configured.clone() });
            }
            _ => {}
        }
        let provider = |server: &crate::config::ServerSettings| {
            let provider: Arc<dyn Provider> = Arc::new(Databases::new(server.clone(), &recorded));
            (server.name.clone(), provider)
        };
        let providers = config.services.servers.iter().map(provider).collect();
        Ok(Self { store, providers })
    }
}

impl Broker {
    /// Opens the store and takes up deletes that the last run did not finish. Servers need not be reachable. Waits a
    /// while for another broker on the same store to end.
    ///
    /// # Errors
    /// When passwords or the store's key cannot be read, or the store cannot be opened or is in use.
    pub async fn open(config: BrokerConfig, metrics: Arc<Metrics>) -> Result<Self, BrokerError> {
        let logins = Arc::new(Logins::read(&config.settings.auth).await?);
        let StoreUrl::Sqlite(path) = &config.settings.store;
        let lock = StoreLock::take(path, PREDECESSOR_ENDS).await?;
        let cipher = Cipher::load(&config.settings.store_key, path.exists())?;
        let Parts { store, providers } = Parts::open(&config).await?;
        let engine = Engine::new(config.services.offerings, providers.clone(), Arc::new(store), cipher);
        let stop = CancellationToken::new();
        let (recovering, stopped) = (engine.clone(), stop.clone());
        engine.spawn(async move { recovering.recover(stopped).await });
        let lock = Mutex::new(Some(lock));
        Ok(Self { engine, gate: Gate { logins, metrics }, providers, stop, lock })
    }

    /// The routes of the Open Service Broker API.
    pub fn router(&self) -> Router {
        routes::router(self.engine.clone(), self.gate.clone())
    }

    /// Connects to each server, and logs what it is or why it cannot be used.
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

    /// Waits for the operations that were begun, and gives the store up; call it when no more requests are served.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.engine.drain().await;
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
