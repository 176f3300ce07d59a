//! An in-memory service for tests of the broker, used by the library's own tests and by the integration suites. It
//! creates everything in two steps, so that an interruption can leave half; tests set its latency and its faults.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{
    BindingSpec, Bound, Described, ExecutionMode, InstanceSpec, Pending, Progress, Provider, Resource,
    ServiceError, Unacceptable, Verb,
};
use crate::osb::{BindingId, Endpoint, InstanceId, InstanceMetadata, Object, PlanId};

/// Plans whose id contains this are asynchronous for every verb.
pub const LASTING: &str = "lasting";
/// Plans with this id are asynchronous for operations on instances.
pub const SLOW_INSTANCE: &str = "slow-instance";
/// Plans with this id are asynchronous for operations on bindings.
pub const SLOW_BINDING: &str = "slow-binding";

/// Allows a number of steps and fails every later one: the effect of a kill, seen from outside.
#[derive(Clone)]
pub struct Fuse(Arc<AtomicUsize>);

impl Fuse {
    /// Allows this many steps.
    #[must_use]
    pub fn after(steps: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(steps)))
    }

    /// Allows all steps.
    #[must_use]
    pub fn never() -> Self {
        Self::after(usize::MAX)
    }

    /// Takes one step; returns whether the step is allowed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    /// Whether all steps are used up.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// The fault that a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails before it changes anything; a retry does not help.
    Before,
    /// Completes the work, then fails; a retry does not help.
    After,
    /// Completes half of the work, then fails; a retry does not help.
    Half,
    /// Fails before it changes anything; a retry may succeed.
    Passing,
    /// Never answers and changes nothing.
    Silence,
    /// Completes half of the work, then fails because of the instance's state.
    State,
}

/// An instance on the backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// The plan of the last provision or update.
    pub plan: PlanId,
    /// The parameters of the last provision or update.
    pub parameters: Object,
    /// The maintenance version of the last provision or update.
    pub maintenance_version: Option<String>,
}

/// The backend's contents. They outlive the brokers that use the backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Created in the first step of a provision.
    pub roles: BTreeSet<InstanceId>,
    /// Created in the second step of a provision.
    pub databases: BTreeMap<InstanceId, Database>,
    /// Passwords by binding.
    pub logins: BTreeMap<(InstanceId, BindingId), String>,
    /// The number of calls of each method.
    pub calls: BTreeMap<&'static str, usize>,
    /// The number of passwords generated so far; makes the next password unique.
    made: usize,
    /// How many of the next calls return `Progress::Pending`.
    pending: usize,
    faults: VecDeque<(&'static str, Fault)>,
}

impl World {
    /// Whether no instance has left anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.databases.is_empty() && self.logins.is_empty()
    }
}

/// The fake service. Clones share all state.
#[derive(Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    fuse: Fuse,
    /// Every call holds one permit while it runs.
    pub permits: Arc<Semaphore>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new(Arc::default(), Fuse::never())
    }
}

impl Fake {
    /// A backend with the same contents that works until `fuse` is used up.
    #[must_use]
    pub fn new(world: Arc<Mutex<World>>, fuse: Fuse) -> Self {
        Self { world, fuse, permits: Arc::new(Semaphore::new(1000)) }
    }

    /// The backend's contents, for tests to read and change.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next call of this method meet `fault`. Each call uses up one fault.
    pub fn fail(&self, call: &'static str, fault: Fault) {
        self.world().faults.push_back((call, fault));
    }

    /// Makes the next `times` calls return `Progress::Pending`.
    pub fn be_at_it(&self, times: usize) {
        self.world().pending = times;
    }

    /// Removes all pending faults.
    pub fn clear(&self) {
        let mut world = self.world();
        world.faults.clear();
        world.pending = 0;
    }

    fn step<T>(&self, change: impl FnOnce(&mut World) -> T) -> Result<T, ServiceError> {
        if self.fuse.holds() {
            Ok(change(&mut self.world()))
        } else {
            Err(ServiceError::new("fake", "killed"))
        }
    }

    /// Counts the call and applies its fault.
    async fn enter(&self, call: &'static str) -> Result<Option<Fault>, ServiceError> {
        let fault = {
            let mut world = self.world();
            *world.calls.entry(call).or_default() += 1;
            let at = world.faults.iter().position(|(of, _)| *of == call);
            at.and_then(|at| world.faults.remove(at)).map(|(_, fault)| fault)
        };
        match fault {
            Some(Fault::Before) => {
                Err(ServiceError::new("fake", format!("{call} was told to fail")).detailed("CODE42"))
            }
            Some(Fault::Passing) => {
                Err(ServiceError::new("fake", format!("{call} was told to fail for now")).passing())
            }
            Some(Fault::Silence) => std::future::pending().await,
            other => Ok(other),
        }
    }

    /// `Progress::Pending` while calls are set to be pending.
    fn at_it<T>(&self) -> Option<Progress<T>> {
        let mut world = self.world();
        world.pending = world.pending.checked_sub(1)?;
        let description = format!("{} to go", world.pending);
        Some(Progress::Pending(Pending { description, again_after: Duration::from_millis(5) }))
    }

    /// Runs two steps, with a fault between or after them.
    async fn work<T>(
        &self,
        call: &'static str,
        first: impl FnOnce(&mut World),
        second: impl FnOnce(&mut World) -> T,
    ) -> Result<Progress<T>, ServiceError> {
        let _permit = self.permits.acquire().await;
        let fault = self.enter(call).await?;
        self.step(first)?;
        if fault == Some(Fault::Half) {
            return Err(ServiceError::new("fake", format!("{call} was told to fail half-way")));
        }
        if fault == Some(Fault::State) {
            return Err(
                ServiceError::new("fake", format!("{call} is kept from it by what is there")).refusal()
            );
        }
        if let Some(pending) = self.at_it() {
            return Ok(pending);
        }
        let done = self.step(second)?;
        if fault == Some(Fault::After) {
            return Err(ServiceError::new("fake", format!("{call} was told to fail in the end")));
        }
        self.step(|_| Progress::Done(done))
    }
}

fn database(spec: &InstanceSpec) -> Database {
    Database {
        plan: spec.plan_id.clone(),
        parameters: spec.parameters.clone(),
        maintenance_version: spec.maintenance_version.clone(),
    }
}

fn refuse(parameters: &Object) -> Result<(), Unacceptable> {
    match parameters.get("bad") {
        Some(_) => Err(Unacceptable::Invalid("parameter \"bad\" is bad; leave it out".to_owned())),
        None => Ok(()),
    }
}

#[async_trait]
impl Provider for Fake {
    fn execution_mode(&self, plan: &PlanId, verb: Verb) -> ExecutionMode {
        let is_of_binding = matches!(verb, Verb::Bind | Verb::Unbind);
        let is_slow = match plan.as_str() {
            SLOW_INSTANCE => !is_of_binding,
            SLOW_BINDING => is_of_binding,
            other => other.contains(LASTING),
        };
        if is_slow { ExecutionMode::Asynchronous } else { ExecutionMode::Synchronous }
    }

    fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
        refuse(&wanted.parameters)
    }

    fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        refuse(&to.parameters)?;
        if from.parameters.get("fixed") == to.parameters.get("fixed") {
            Ok(())
        } else {
            Err(Unacceptable::Unsupported("parameter \"fixed\" cannot be changed".to_owned()))
        }
    }

    fn check_binding(&self, _on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
        refuse(&wanted.parameters)?;
        if wanted.parameters.contains_key("for_app") && !wanted.bind_resource.contains_key("app_guid") {
            return Err(Unacceptable::RequiresApp("send bind_resource.app_guid".to_owned()));
        }
        Ok(())
    }

    fn described(&self, instance: &InstanceSpec) -> Described {
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Described {
            dashboard_url: Some(format!("https://dashboard.example/{}", instance.space_guid)),
            metadata: Some(InstanceMetadata { labels: pair("l", "1"), attributes: pair("a", "2") }),
        }
    }

    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let (role, made) = (instance.id.clone(), database(instance));
        let first = |world: &mut World| {
            world.roles.insert(role);
        };
        self.work("provision", first, |world| drop(world.databases.insert(instance.id.clone(), made))).await
    }

    async fn update(&self, _from: &InstanceSpec, to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let made = database(to);
        let first = |world: &mut World| {
            if let Some(database) = world.databases.get_mut(&to.id) {
                database.parameters.clone_from(&to.parameters);
            }
        };
        self.work("update", first, |world| drop(world.databases.insert(to.id.clone(), made))).await
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let first = |world: &mut World| drop(world.databases.remove(&instance.id));
        self.work("deprovision", first, |world| {
            world.logins.retain(|(on, _), _| *on != instance.id);
            world.roles.remove(&instance.id);
        })
        .await
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        let key = (on.id.clone(), binding.id.clone());
        let given = |key: &str| binding.parameters.get(key).cloned();
        let text = |key: &str| given(key)?.as_str().map(ToOwned::to_owned);
        let expires_at = given("expires_in").and_then(|seconds| seconds.as_i64());
        let first = |world: &mut World| {
            assert!(world.databases.contains_key(&on.id), "bound on nothing");
        };
        self.work("bind", first, |world| {
            world.made += 1;
            let password = format!("password-{}", world.made);
            world.logins.insert(key, password.clone());
            let after = |seconds| jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            Bound {
                credentials: Object::from_iter([
                    ("username".to_owned(), binding.id.as_str().into()),
                    ("password".to_owned(), password.into()),
                ])
                .into(),
                endpoints: vec![Endpoint {
                    host: "fake.example".to_owned(),
                    ports: vec!["1".to_owned()],
                    protocol: Some("tcp".to_owned()),
                }],
                expires_at: expires_at.map(after),
                renew_before: expires_at.map(|seconds| after(seconds / 2)),
                syslog_drain_url: text("syslog_drain_url"),
                route_service_url: text("route_service_url"),
                volume_mounts: given("volume_mounts"),
            }
        })
        .await
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let key = (on.id.clone(), binding.id.clone());
        self.work("unbind", |_| (), |world| drop(world.logins.remove(&key))).await
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        let world = self.world();
        let made = |kind: &str, name| Resource { kind: kind.to_owned(), name, ours: true, exists: true };
        let databases = world.databases.keys().map(|id| made("database", format!("database-{id}")));
        let roles = world.roles.iter().map(|id| made("owner role", format!("role-{id}")));
        let logins = world.logins.keys().map(|(on, id)| made("login", format!("login-{on}-{id}")));
        Ok(databases.chain(logins).chain(roles).collect())
    }

    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
        let logins = bindings.iter().map(|id| format!("login-{instance}-{id}"));
        [format!("database-{instance}"), format!("role-{instance}")].into_iter().chain(logins).collect()
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        let mut world = self.world();
        let has = |prefix: &str, id: &str| resource.name == format!("{prefix}-{id}");
        world.databases.retain(|id, _| !has("database", id.as_str()));
        world.roles.retain(|id| !has("role", id.as_str()));
        world.logins.retain(|(on, id), _| !has("login", &format!("{on}-{id}")));
        Ok(())
    }

    async fn check(&self) -> Result<String, ServiceError> {
        Ok("fake".to_owned())
    }
}
