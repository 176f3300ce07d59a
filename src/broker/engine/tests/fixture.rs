//! A store and a backend that outlive the brokers that use them, and requests to these brokers.

use std::{
    ops::Deref,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{
    super::*,
    faulty_store::{Fate, Fragile},
    memory_store::Memory,
    recording_provider::{Watched, Witness},
};
use crate::{
    broker::{
        backends::{
            BackendLimits, Limits,
            fake::{Fake, Fuse, World},
        },
        config::{LoadedConfig, Offering, StoreKey},
        store::{
            Key, State, Store,
            cipher::Cipher,
            records::{Binding, Record},
            sqlite::Sqlite,
        },
    },
    osb::{LastOperation, UpdateRequest},
};

const CONFIG: &str = "
backends: {main: {type: postgresql, host: h, port: 1, user: u, sslmode: require}}
services:
  - {id: s, name: s, type: cockroachdb, description: d, plan_updateable: true, plans: [
      {id: prompt, name: prompt, description: d, backend: main},
      {id: other, name: other, description: d, backend: main},
      {id: lasting, name: lasting, description: d, backend: main},
      {id: slow-instance, name: slow-instance, description: d, backend: main},
      {id: slow-binding, name: slow-binding, description: d, backend: main}]}
";

static OFFERINGS: LazyLock<Vec<Offering>> =
    LazyLock::new(|| LoadedConfig::from_yaml(CONFIG).unwrap().services.offerings);

pub(super) const TIMING: Timing = Timing {
    queue: Duration::from_secs(2),
    answer: Duration::from_secs(3),
    call: Duration::from_secs(20),
    halt: Duration::from_secs(1),
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_secs(1),
    give_up: Duration::from_hours(1),
    idle: Duration::from_secs(5),
    expiry: Duration::from_secs(5),
    remember: Duration::from_hours(1),
};

/// The store of a bench.
enum Kept {
    InFile,
    InMemory(Memory),
}

/// A store and a backend.
pub(super) struct Bench {
    folder: TempDir,
    kept: Kept,
    world: Arc<Mutex<World>>,
    pub(super) witness: Witness,
    pub(super) latency: Duration,
    pub(super) timing: Timing,
    pub(super) limits: BackendLimits,
}

/// A broker on the bench.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) fake: Fake,
    pub(super) fate: Fate,
}

impl Deref for Opened {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Bench {
    fn on(kept: Kept) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            kept,
            world: Arc::default(),
            witness: Witness::default(),
            latency: Duration::ZERO,
            timing: TIMING,
            limits: BackendLimits::default(),
        }
    }

    /// Adds a delay to each call to the backend.
    pub(super) fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// A bench with the embedded store.
    pub(super) fn in_file() -> Self {
        Self::on(Kept::InFile)
    }

    /// A bench with an in-memory store for one broker.
    pub(super) fn in_memory() -> Self {
        Self::on(Kept::InMemory(Memory::new(None)))
    }

    /// A bench with an in-memory store for several brokers.
    pub(super) fn shared(lease: Duration) -> Self {
        Self::on(Kept::InMemory(Memory::new(Some(lease))))
    }

    pub(super) fn memory(&self) -> &Memory {
        match &self.kept {
            Kept::InMemory(memory) => memory,
            Kept::InFile => panic!("the records are in a file"),
        }
    }

    pub(super) fn open(&self) -> Opened {
        self.open_until(Fuse::never())
    }

    /// Opens a broker that lives for a number of steps. Earlier brokers of a store for one broker must be dead.
    pub(super) fn open_until(&self, fuse: Fuse) -> Opened {
        let store: Arc<dyn Store> = match &self.kept {
            Kept::InFile => Arc::new(Sqlite::open(&self.folder.path().join("db")).unwrap()),
            Kept::InMemory(memory) => {
                if memory.lease_duration().is_none() {
                    memory.forget_leases();
                }
                Arc::new(memory.clone())
            }
        };
        let key = self.folder.path().join("key");
        let cipher = Cipher::load(&StoreKey::FileOrNew(key.clone()), &[], key.exists()).unwrap();
        let service = Fake::new(self.world.clone(), fuse.clone());
        let fate = Fate::new(fuse);
        let provider: Arc<dyn Provider> = Arc::new(Watched {
            fake: service.clone(),
            fate: fate.clone(),
            witness: self.witness.clone(),
            latency: self.latency,
            limits: self.limits,
        });
        let store = Arc::new(Fragile { store, fate: fate.clone() });
        let engine = Engine::new(
            Offer::new(OFFERINGS.clone()).unwrap(),
            [("main".into(), provider)].into(),
            &Limits::new(),
            Records::new(store, cipher),
            self.timing,
        );
        Opened { engine, fake: service, fate }
    }

    /// The folder of the store's file.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(super) fn world(&self) -> World {
        self.world.lock().unwrap().clone()
    }

    /// The differences between the backend and the records while nothing is in progress.
    pub(super) async fn discrepancies(&self, broker: &Opened) -> Vec<String> {
        let mut wrong = self.witness.complaints();
        let mut world = self.world();
        for row in broker.0.records.store.instances().await.unwrap() {
            let id = row.key.instance;
            let record = broker.0.records.instance(&id).await.unwrap().unwrap();
            let (role, database) = (world.roles.remove(&id), world.databases.remove(&id));
            let has = database.is_some_and(|made| {
                (&made.plan, &made.parameters) == (&record.spec.plan_id, &record.spec.parameters)
            });
            match record.state {
                State::Ready if !(role && has) => wrong.push(format!("{id} is ready, but not there so")),
                State::Ready | State::Failed => {}
                other => wrong.push(format!("{id} is still {other:?}")),
            }
            if record.operation.is_in_progress() {
                wrong.push(format!("{id} is {:?}, and its operation in progress", record.state));
            }
            let bindings = broker.0.records.bindings_that_open(&id).await.unwrap();
            for binding in bindings.into_iter().filter_map(|(_, binding)| binding) {
                let login = world.logins.remove(&(id.clone(), binding.spec.id.clone()));
                match binding.state {
                    State::Ready if login.is_none() || login != password(&binding) => {
                        wrong.push(format!("the login of {} is {login:?}", binding.key()));
                    }
                    State::Ready | State::Failed => {}
                    other => wrong.push(format!("{} is still {other:?}", binding.key())),
                }
            }
        }
        if !world.is_empty() {
            wrong.push(format!("without a record: {world:?}"));
        }
        wrong
    }

    /// Completes all unfinished operations.
    pub(super) async fn settle(&self, broker: &Opened) {
        for _ in 0..100 {
            if broker.finish_all().await.unwrap() == 0 && broker.finish_all().await.unwrap() == 0 {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
        panic!("not finished: {:?}", broker.0.records.store.unfinished().await);
    }

    pub(super) async fn settle_well(&self, broker: &Opened, after: &str) {
        self.settle(broker).await;
        assert_eq!(self.discrepancies(broker).await, Vec::<String>::new(), "after {after}");
    }
}

pub(super) fn password(binding: &Binding) -> Option<String> {
    password_of(binding.bound.as_ref()?)
}

pub(super) fn password_of(bound: &Bound) -> Option<String> {
    Some(bound.credentials.expose().get("password")?.as_str()?.to_owned())
}

pub(super) fn waits() -> RequestContext {
    RequestContext::default()
}

pub(super) fn polls() -> RequestContext {
    RequestContext { accepts_incomplete: true, ..RequestContext::default() }
}

/// The instance that most tests use.
pub(super) fn i() -> InstanceId {
    "i".into()
}

pub(super) fn b() -> BindingId {
    "b".into()
}

pub(super) fn bind_wanted(plan: &str) -> BindWanted {
    BindWanted::New(serde_json::from_value(json!({"service_id": "s", "plan_id": plan})).unwrap())
}

impl Opened {
    pub(super) async fn provision_as(
        &self,
        context: RequestContext,
        id: &InstanceId,
        plan: &str,
        size: u64,
    ) -> Result<Status, Refusal> {
        let request = json!({
            "service_id": "s", "plan_id": plan, "organization_guid": "o", "space_guid": "n",
            "parameters": {"size": size},
        });
        let request = serde_json::from_value(request).unwrap();
        Ok(self.engine.provision(context, id.clone(), request).await?.status)
    }

    pub(super) async fn provision(&self, context: RequestContext, plan: &str) -> Result<Status, Refusal> {
        self.provision_as(context, &i(), plan, 1).await
    }

    pub(super) async fn update(&self, context: RequestContext, changes: Value) -> Result<Status, Refusal> {
        self.update_of(context, &i(), changes).await
    }

    pub(super) async fn update_of(
        &self,
        context: RequestContext,
        id: &InstanceId,
        mut changes: Value,
    ) -> Result<Status, Refusal> {
        changes["service_id"] = "s".into();
        let request: UpdateRequest = serde_json::from_value(changes).unwrap();
        self.engine.update(context, id.clone(), request).await
    }

    pub(super) async fn bind(&self, context: RequestContext, plan: &str) -> Result<BindResult, Refusal> {
        self.engine.bind(context, i(), b(), bind_wanted(plan)).await
    }

    pub(super) async fn rotate(
        &self,
        context: RequestContext,
        from: &str,
        id: &str,
    ) -> Result<BindResult, Refusal> {
        self.engine.bind(context, i(), id.into(), BindWanted::Successor(from.into())).await
    }

    pub(super) async fn unbind(&self, context: RequestContext, plan: &str) -> Result<Status, Refusal> {
        self.engine.unbind(context, i(), b(), "s".into(), plan.into()).await
    }

    pub(super) async fn deprovision(&self, context: RequestContext, plan: &str) -> Result<Status, Refusal> {
        self.engine.deprovision(context, i(), "s".into(), plan.into()).await
    }

    /// The state of the last operation on the instance.
    pub(super) async fn last(&self) -> Result<LastOperation, Refusal> {
        self.last_operation(&i(), None).await
    }

    pub(super) async fn state(&self) -> Option<State> {
        Some(self.0.records.instance(&i()).await.unwrap()?.state)
    }

    /// Waits until no operation is in progress, or the broker is dead.
    pub(super) async fn at_rest(&self) {
        until(async || {
            self.fate.fuse.is_gone() || self.0.records.store.unfinished().await.unwrap().is_empty()
        })
        .await;
    }

    /// Waits until the backend has received this many calls.
    pub(super) async fn called(&self, call: &str, times: usize) {
        until(async || self.fake.world().calls.get(call).is_some_and(|calls| *calls >= times)).await;
    }

    pub(super) async fn is_recorded(&self, key: &Key) -> bool {
        self.0.records.store.row(key).await.unwrap().is_some()
    }

    /// A handle for requests that run concurrently with the test.
    pub(super) fn beside(&self) -> Self {
        Self { engine: self.engine.clone(), fake: self.fake.clone(), fate: self.fate.clone() }
    }
}

/// Waits for a condition, with a generous timeout.
pub(super) async fn until(holds: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_mins(2);
    while !holds().await {
        assert!(Instant::now() < end, "it never came to be");
        sleep(Duration::from_millis(1)).await;
    }
}
