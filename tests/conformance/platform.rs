//! The broker under test: a catalog with a plan for each case, a service in memory, and a socket.

use std::{net::SocketAddr, ops::Deref, sync::Arc, time::Duration};

use bindery::{
    broker::{
        Broker, Provider, Registry, Timing,
        config::{LoadedConfig, PartialSettings},
    },
    telemetry::Metrics,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::OwnedSemaphorePermit};

use crate::{
    client::Client,
    fake::Fake,
    stores::{Cloud, Place, Store},
};

/// Longer than anything takes, also beside a compiler.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nothing is waited for in vain, and what was left is looked for when the broker is opened only.
pub(crate) const TIMING: Timing = Timing {
    queue: PATIENCE,
    answer: PATIENCE,
    call: PATIENCE,
    halt: Duration::from_millis(20),
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(20),
    give_up: PATIENCE,
    idle: Duration::from_hours(1),
    expiry: Duration::from_secs(5),
    remember: Duration::from_hours(1),
};

/// Who finds an instance in use is told at once.
pub(crate) const IMPATIENT: Timing = Timing { queue: Duration::from_millis(20), ..TIMING };

const SERVICES: &str = r#"
backends:
  main: {type: fake}
  second: {type: fake}
services:
  - id: s
    name: one
    type: cockroachdb
    description: The service of most tests
    tags: [sql]
    plan_updateable: true
    metadata: {displayName: One}
    plans:
      - {id: p, name: prompt, description: At once, backend: main, free: false, metadata: {bullets: [fast]}}
      - {id: p2, name: prompt-too, description: At once, backend: main}
      - {id: q, name: maintained, description: Versioned, backend: main, maintenance_info: {version: 1.0.0+a, description: first}}
      - {id: lasting, name: lasting, description: Takes long, backend: main, maximum_polling_duration: 600}
      - {id: lasting-too, name: lasting-too, description: Takes long, backend: main}
      - {id: unbindable, name: unbindable, description: Without bindings, backend: main, bindable: false}
      - {id: stiff, name: stiff, description: Stays what it is, backend: main, plan_updateable: false}
      - {id: unrotatable, name: unrotatable, description: Without rotation, backend: main, binding_rotatable: false}
      - {id: elsewhere, name: elsewhere, description: On the other server, backend: second}
      - {id: "odd/ü &=", name: odd, description: With an id that needs encoding, backend: main}
      - id: strict
        name: strict
        description: With schemas
        backend: main
        schemas:
          service_instance:
            create: {parameters: {$schema: "http://json-schema.org/draft-04/schema#", type: object, properties: {size: {type: integer}}}}
            update: {parameters: {$schema: "http://json-schema.org/draft-04/schema#", type: object, properties: {size: {type: integer}}}}
          service_binding:
            create: {parameters: {$schema: "http://json-schema.org/draft-04/schema#", type: object, properties: {role: {type: string}}}}
  - id: t
    name: two
    type: cockroachdb
    description: Needs everything of the platform, and takes no context
    requires: [syslog_drain, route_forwarding, volume_mount]
    allow_context_updates: false
    plans: [{id: t1, name: only, description: The only plan, backend: main}]
"#;

/// See the module. Requests are made with [`Client`], which it derefs to.
pub(crate) struct Platform {
    client: Client,
    pub(crate) fake: Fake,
    broker: Broker,
    timing: Timing,
    folder: TempDir,
    place: Place,
}

impl Deref for Platform {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Platform {
    pub(crate) async fn on(store: Store) -> Self {
        Self::with(store, TIMING).await
    }

    pub(crate) async fn with(store: Store, timing: Timing) -> Self {
        Self::of(store, timing, SERVICES).await
    }

    /// With a catalog of the test's own.
    pub(crate) async fn of(store: Store, timing: Timing, services: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("password"), "pass\n").unwrap();
        std::fs::write(at("tokens"), "token-1\ntoken-2\n").unwrap();
        std::fs::write(at("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let place = store(folder.path());
        let services = place.cloud.as_ref().map_or(services, |cloud| &cloud.configuration);
        let fake = Fake::default();
        let broker = open(&folder, &place, &fake, timing, services).await;
        let client = Client::new(serve(&broker).await);
        Self { client, fake, broker, timing, folder, place }
    }

    /// The broker again after a restart, with the catalog changed.
    pub(crate) async fn restarted(self, change: impl FnOnce(String) -> String) -> Self {
        let Self { fake, broker, timing, folder, place, .. } = self;
        broker.drain().await;
        let broker = open(&folder, &place, &fake, timing, &change(SERVICES.to_owned())).await;
        let client = Client::new(serve(&broker).await);
        Self { client, fake, broker, timing, folder, place }
    }

    /// Lets no call to the service begin until this is dropped.
    pub(crate) async fn hold(&self) -> OwnedSemaphorePermit {
        let permits = self.fake.permits.clone();
        let all = u32::try_from(permits.available_permits()).unwrap();
        permits.acquire_many_owned(all).await.unwrap()
    }

    /// What the broker says of an operation.
    pub(crate) async fn state(&self, path: &str, operation: &str) -> Value {
        self.get(&format!("{path}/last_operation?operation={operation}")).await.must(200)["state"].clone()
    }

    /// Whether the service has nothing at all.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.place.cloud.as_ref().map_or_else(|| self.fake.world().is_empty(), Cloud::is_empty)
    }

    /// Whether the service has the instance; a cloud, anything.
    pub(crate) fn has(&self, instance: &str) -> bool {
        let has = || self.fake.world().databases.contains_key(&instance.into());
        self.place.cloud.as_ref().map_or_else(has, |cloud| !cloud.is_empty())
    }

    /// How many bindings the service has.
    pub(crate) fn bindings(&self) -> usize {
        self.place.cloud.as_ref().map_or_else(|| self.fake.world().logins.len(), Cloud::bindings)
    }

    /// How often the service was called so.
    pub(crate) fn calls(&self, call: &str) -> usize {
        self.fake.world().calls.get(call).copied().unwrap_or_default()
    }
}

/// A broker over this service, with the records of this place.
async fn open(folder: &TempDir, place: &Place, fake: &Fake, timing: Timing, services: &str) -> Broker {
    let at = |name: &str| folder.path().join(name);
    let text = format!(
        "{services}\nauth: [{{username: user, passwordFile: {}}}, {{tokenFile: {}}}]\nstore: {}\nstoreKeyFile: {}\n",
        at("password").display(),
        at("tokens").display(),
        place.url,
        at("key").display(),
    );
    let config = LoadedConfig::from_yaml(&text).unwrap().complete(PartialSettings::default()).unwrap();
    let provider: Arc<dyn Provider> = Arc::new(fake.clone());
    let registry = Registry::builtin().with_provider("fake", provider);
    Broker::open_with(config, Arc::new(Metrics::new()), timing, &registry).await.unwrap()
}

async fn serve(broker: &Broker) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = broker.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// `of` with some members changed; `null` takes one away.
pub(crate) fn but(mut of: Value, changes: &Value) -> Value {
    let members = of.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => members.remove(key),
            value => members.insert(key.clone(), value.clone()),
        };
    }
    of
}
