//! The engine killed before and after every write to its store and every step of a backend, opened again, and asked again.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    broker::{
        services::fake::{Fake, Fuse, World},
        store::{BegunDelete, Binding, Instance, State, StoreError, sqlite::Sqlite},
    },
    config::{LoadedConfig, StoreKey},
    osb::{BindRequest, BindingId, InstanceId, ProvisionRequest},
};

/// The real store, until the fuse is gone.
struct Fragile {
    store: Sqlite,
    fuse: Fuse,
}

impl Fragile {
    async fn write(&self, write: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
        let killed = || Err(StoreError::Failed { store: "test".to_owned(), problem: "killed".to_owned() });
        if !self.fuse.holds() {
            return killed();
        }
        write.await?;
        if self.fuse.holds() { Ok(()) } else { killed() }
    }
}

#[async_trait]
impl Store for Fragile {
    async fn installation(&self, proposed: &str) -> Result<String, StoreError> {
        self.store.installation(proposed).await
    }

    async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, StoreError> {
        self.store.instance(id).await
    }

    async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        self.store.instances().await
    }

    async fn put_instance(&self, instance: &Instance) -> Result<(), StoreError> {
        self.write(self.store.put_instance(instance)).await
    }

    async fn remove_instance(&self, id: &InstanceId) -> Result<(), StoreError> {
        self.write(self.store.remove_instance(id)).await
    }

    async fn binding(&self, instance: &InstanceId, id: &BindingId) -> Result<Option<Binding>, StoreError> {
        self.store.binding(instance, id).await
    }

    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Binding>, StoreError> {
        self.store.bindings(instance).await
    }

    async fn put_binding(&self, binding: &Binding) -> Result<(), StoreError> {
        self.write(self.store.put_binding(binding)).await
    }

    async fn remove_binding(&self, instance: &InstanceId, id: &BindingId) -> Result<(), StoreError> {
        self.write(self.store.remove_binding(instance, id)).await
    }

    async fn begun_deletes(&self) -> Result<Vec<BegunDelete>, StoreError> {
        self.store.begun_deletes().await
    }
}

/// A store and a world that outlive the engines opened on them.
struct Bench {
    folder: TempDir,
    world: Arc<Mutex<World>>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), world: Arc::default() }
    }

    fn open(&self, fuse: &Fuse) -> Engine {
        self.open_with(Fake::new(self.world.clone(), fuse.clone()))
    }

    fn open_with(&self, fake: Fake) -> Engine {
        let store = Sqlite::open(&self.folder.path().join("broker.db")).unwrap();
        let store = Fragile { store, fuse: fake.fuse.clone() };
        let provider: Arc<dyn Provider> = Arc::new(fake);
        Engine::new(
            offerings(),
            [("main".into(), provider)].into(),
            Arc::new(store),
            cipher(self.folder.path()),
        )
    }

    fn world(&self) -> World {
        self.world.lock().unwrap().clone()
    }
}

fn cipher(folder: &Path) -> Cipher {
    let key = folder.join("key");
    Cipher::load(&StoreKey::FileOrNew(key.clone()), key.exists()).unwrap()
}

fn offerings() -> Vec<Offering> {
    let text = "{servers: {main: {host: h, port: 1, user: u, sslmode: require}},
        services: [{id: s, name: s, type: cockroachdb, description: d, plans: [{id: p, name: p, description: d, server: main}]}]}";
    LoadedConfig::from_yaml(text).unwrap().services.offerings
}

async fn provision(engine: &Engine) -> Result<bool, Refusal> {
    let request =
        serde_json::json!({"service_id": "s", "plan_id": "p", "organization_guid": "o", "space_guid": "n"});
    let request: ProvisionRequest = serde_json::from_value(request).unwrap();
    engine.provision(Caller::default(), "i".into(), request).await
}

async fn bind(engine: &Engine) -> Result<bindings::Bound, Refusal> {
    let request: BindRequest =
        serde_json::from_value(serde_json::json!({"service_id": "s", "plan_id": "p"})).unwrap();
    engine.bind(Caller::default(), "i".into(), "b".into(), request).await
}

async fn unbind(engine: &Engine) -> Result<(), Refusal> {
    engine.unbind(Caller::default(), "i".into(), "b".into(), "s".into(), "p".into()).await
}

async fn deprovision(engine: &Engine) -> Result<(), Refusal> {
    engine.deprovision(Caller::default(), "i".into(), "s".into(), "p".into()).await
}

/// For each number of steps after which `operation` can be cut off: a bench that `prepare` made ready and on which it was.
async fn cut_off(
    prepare: impl AsyncFn(&Engine),
    operation: impl AsyncFn(&Engine) -> bool,
    then: impl AsyncFn(&Bench, usize),
) {
    for steps in 0.. {
        let bench = Bench::new();
        prepare(&bench.open(&Fuse::never())).await;
        if operation(&bench.open(&Fuse::after(steps))).await {
            assert!(steps > 5, "the fuse interrupts nothing");
            return;
        }
        then(&bench, steps).await;
    }
}

async fn nothing(_: &Engine) {}

async fn an_instance(engine: &Engine) {
    provision(engine).await.unwrap();
}

async fn a_binding(engine: &Engine) {
    provision(engine).await.unwrap();
    bind(engine).await.unwrap();
}

/// Whether a delete was answered as done, now or before.
fn is_done(outcome: &Result<(), Refusal>) -> bool {
    matches!(outcome, Ok(()) | Err(Refusal::Gone(_)))
}

#[tokio::test]
async fn an_interrupted_provision_is_continued() {
    cut_off(
        nothing,
        async |engine| provision(engine).await.is_ok(),
        async |bench, steps| {
            let engine = bench.open(&Fuse::never());
            provision(&engine).await.unwrap();
            assert!(!provision(&engine).await.unwrap(), "after {steps} steps");
            assert_eq!(
                (bench.world().roles.len(), bench.world().databases.len()),
                (1, 1),
                "after {steps} steps"
            );
            assert!(engine.instance(&"i".into()).await.is_ok());
        },
    )
    .await;
}

#[tokio::test]
async fn an_interrupted_provision_can_be_deleted() {
    cut_off(
        nothing,
        async |engine| provision(engine).await.is_ok(),
        async |bench, steps| {
            let engine = bench.open(&Fuse::never());
            assert!(is_done(&deprovision(&engine).await), "after {steps} steps");
            assert!(bench.world().is_empty(), "after {steps} steps: {:?}", bench.world());
            assert!(matches!(deprovision(&engine).await, Err(Refusal::Gone(_))));
        },
    )
    .await;
}

#[tokio::test]
async fn nothing_is_bound_on_half_an_instance() {
    cut_off(
        nothing,
        async |engine| provision(engine).await.is_ok(),
        async |bench, steps| {
            let engine = bench.open(&Fuse::never());
            let is_ready = engine.instance(&"i".into()).await.is_ok();
            match bind(&engine).await {
                Ok(_) => assert!(is_ready, "after {steps} steps"),
                Err(Refusal::NotFound(_) | Refusal::NotReady(_)) => assert!(bench.world().logins.is_empty()),
                Err(other) => panic!("after {steps} steps: {other}"),
            }
        },
    )
    .await;
}

#[tokio::test]
async fn an_interrupted_bind_is_continued_and_its_credentials_work() {
    cut_off(
        an_instance,
        async |engine| bind(engine).await.is_ok(),
        async |bench, steps| {
            let engine = bench.open(&Fuse::never());
            let answered = bind(&engine).await.unwrap().credentials;
            let recorded = bind(&engine).await.unwrap();
            assert!(!recorded.created && recorded.credentials == answered, "after {steps} steps");
            let works = bench.world().logins.into_values().collect::<Vec<_>>();
            assert_eq!(works, [answered.expose()["password"].as_str().unwrap()], "after {steps} steps");
        },
    )
    .await;
}

#[tokio::test]
async fn an_interrupted_bind_can_be_deleted() {
    cut_off(
        an_instance,
        async |engine| bind(engine).await.is_ok(),
        async |bench, steps| {
            let engine = bench.open(&Fuse::never());
            assert!(is_done(&unbind(&engine).await), "after {steps} steps");
            assert!(bench.world().logins.is_empty(), "after {steps} steps");
            assert!(deprovision(&engine).await.is_ok() && bench.world().is_empty(), "after {steps} steps");
        },
    )
    .await;
}

#[tokio::test]
async fn an_interrupted_delete_is_continued_by_the_next_request() {
    cut_off(
        a_binding,
        async |engine| unbind(engine).await.is_ok(),
        async |bench, steps| {
            assert!(is_done(&unbind(&bench.open(&Fuse::never())).await), "after {steps} steps");
            assert!(bench.world().logins.is_empty(), "after {steps} steps");
        },
    )
    .await;
    cut_off(
        a_binding,
        async |engine| deprovision(engine).await.is_ok(),
        async |bench, steps| {
            assert!(is_done(&deprovision(&bench.open(&Fuse::never())).await), "after {steps} steps");
            assert!(bench.world().is_empty(), "after {steps} steps");
        },
    )
    .await;
}

#[tokio::test]
async fn a_start_finishes_the_deletes_that_were_begun() {
    cut_off(
        a_binding,
        async |engine| deprovision(engine).await.is_ok(),
        async |bench, steps| {
            // Before its first write a delete was not begun.
            let is_begun = steps > 0;
            let engine = bench.open(&Fuse::never());
            assert_eq!(engine.finish_deletes(&CancellationToken::new()).await.unwrap(), 0);
            assert_eq!(bench.world().is_empty(), is_begun, "after {steps} steps");
            assert_eq!(
                matches!(deprovision(&engine).await, Err(Refusal::Gone(_))),
                is_begun,
                "after {steps} steps"
            );
        },
    )
    .await;
    cut_off(
        a_binding,
        async |engine| unbind(engine).await.is_ok(),
        async |bench, steps| {
            let engine = bench.open(&Fuse::never());
            assert_eq!(engine.finish_deletes(&CancellationToken::new()).await.unwrap(), 0);
            assert_eq!(bench.world().logins.is_empty(), steps > 0, "after {steps} steps");
        },
    )
    .await;
}

#[tokio::test]
async fn a_start_leaves_what_cannot_be_deleted_for_later() {
    let bench = Bench::new();
    a_binding(&bench.open(&Fuse::never())).await;
    // The intent is recorded (two steps), the backend does nothing any more.
    deprovision(&bench.open(&Fuse::after(2))).await.unwrap_err();
    assert_eq!(bench.open(&Fuse::after(0)).finish_deletes(&CancellationToken::new()).await.unwrap(), 1);
    assert_eq!(bench.open(&Fuse::never()).finish_deletes(&CancellationToken::new()).await.unwrap(), 0);
    assert!(bench.world().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_later_is_tried_again() {
    let bench = Bench::new();
    let stop = CancellationToken::new();
    // It sees nothing to finish at its start.
    let recovering = bench.open(&Fuse::never());
    tokio::spawn({
        let (recovering, stop) = (recovering.clone(), stop.clone());
        async move { recovering.recover(stop).await }
    });
    tokio::time::sleep(std::time::Duration::from_mins(10)).await;
    a_binding(&recovering).await;
    deprovision(&bench.open(&Fuse::after(2))).await.unwrap_err();
    assert!(!bench.world().is_empty());
    let finished = async {
        while !bench.world().is_empty() {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(2), finished).await.unwrap();
    stop.cancel();
}

#[tokio::test]
async fn what_a_request_has_in_hand_is_not_finished_yet_and_a_stop_is_heeded() {
    let bench = Bench::new();
    a_binding(&bench.open(&Fuse::never())).await;
    deprovision(&bench.open(&Fuse::after(2))).await.unwrap_err();
    let (engine, stop) = (bench.open(&Fuse::never()), CancellationToken::new());
    let held = engine.0.locks.try_hold(&"i".into());
    assert_eq!(engine.finish_deletes(&stop).await.unwrap(), 1);
    drop(held);
    stop.cancel();
    assert_eq!(engine.finish_deletes(&stop).await.unwrap(), 1);
    assert!(!bench.world().is_empty(), "deleted after the stop");
}

#[tokio::test]
async fn an_operation_outlives_its_request_and_keeps_others_out() {
    let bench = Bench::new();
    let fake = Fake::new(bench.world.clone(), Fuse::never());
    let permits = fake.permits.clone();
    let engine = bench.open_with(fake);
    let held = permits.acquire_many(100).await.unwrap();

    let mut request = Box::pin(provision(&engine));
    // Until the operation holds the lock, which is when others are kept out.
    while !engine.0.locks.is_held(&"i".into()) {
        assert!(futures::poll!(&mut request).is_pending());
        tokio::task::yield_now().await;
    }
    drop(request);
    assert!(matches!(provision(&engine).await, Err(Refusal::Concurrency(_))));
    assert!(matches!(deprovision(&engine).await, Err(Refusal::Concurrency(_))));
    assert!(matches!(bind(&engine).await, Err(Refusal::Concurrency(_))));
    drop(held);
    engine.drain().await;
    assert!(engine.instance(&"i".into()).await.is_ok());
}

#[tokio::test]
async fn a_binding_sealed_with_another_key_is_told() {
    let bench = Bench::new();
    a_binding(&bench.open(&Fuse::never())).await;
    std::fs::remove_file(bench.folder.path().join("key")).unwrap();
    let error = bind(&bench.open(&Fuse::never())).await.unwrap_err().to_string();
    assert!(error.contains("restore the former key") && !error.contains("password-"), "{error}");
}

#[tokio::test]
async fn a_record_on_a_server_that_is_no_longer_configured_is_told() {
    let bench = Bench::new();
    let engine = bench.open(&Fuse::never());
    an_instance(&engine).await;
    let mut record = engine.0.store.instance(&"i".into()).await.unwrap().unwrap();
    assert_eq!(record.state, State::Ready);
    record.server = "old".into();
    engine.0.store.put_instance(&record).await.unwrap();
    let error = deprovision(&engine).await.unwrap_err().to_string();
    assert!(error.contains("server old is no longer configured"), "{error}");
}
