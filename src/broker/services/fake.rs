//! A backend in memory for tests of the engine and the routes. It makes an instance in two steps, so that an interruption
//! can leave half of one, and a [`Fuse`] interrupts at any step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{InvalidParameters, Provider, Resource, ServiceError};
use crate::osb::{BindingId, Credentials, InstanceId, Object};

/// Lets so many steps happen and none after: what a kill does, seen from outside.
#[derive(Clone)]
pub(crate) struct Fuse(Arc<AtomicUsize>);

impl Fuse {
    pub(crate) fn after(steps: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(steps)))
    }

    pub(crate) fn never() -> Self {
        Self::after(usize::MAX)
    }

    /// Whether the next step still happens.
    pub(crate) fn holds(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// What exists. It outlives the brokers that work on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) roles: BTreeSet<InstanceId>,
    pub(crate) databases: BTreeSet<InstanceId>,
    /// Passwords by binding.
    pub(crate) logins: BTreeMap<(InstanceId, BindingId), String>,
    /// How many passwords were made; the next one differs.
    made: usize,
}

impl World {
    pub(crate) fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.databases.is_empty() && self.logins.is_empty()
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) fuse: Fuse,
    /// Each call takes a permit for as long as it runs.
    pub(crate) permits: Arc<Semaphore>,
}

impl Fake {
    pub(crate) fn new(world: Arc<Mutex<World>>, fuse: Fuse) -> Self {
        Self { world, fuse, permits: Arc::new(Semaphore::new(100)) }
    }

    fn step<T>(&self, change: impl FnOnce(&mut World) -> T) -> Result<T, ServiceError> {
        if self.fuse.holds() {
            Ok(change(&mut self.world.lock().unwrap()))
        } else {
            Err(ServiceError::new("fake", "killed"))
        }
    }
}

#[async_trait]
impl Provider for Fake {
    fn check_parameters(&self, parameters: &Object) -> Result<(), InvalidParameters> {
        if parameters.contains_key("bad") {
            Err(InvalidParameters("parameter \"bad\" is bad".to_owned()))
        } else {
            Ok(())
        }
    }

    async fn provision(&self, instance: &InstanceId) -> Result<(), ServiceError> {
        let _permit = self.permits.acquire().await;
        self.step(|world| world.roles.insert(instance.clone()))?;
        self.step(|world| world.databases.insert(instance.clone()))?;
        self.step(|_| ())
    }

    async fn deprovision(&self, instance: &InstanceId) -> Result<(), ServiceError> {
        let _permit = self.permits.acquire().await;
        self.step(|world| world.databases.remove(instance))?;
        self.step(|world| world.roles.remove(instance))?;
        self.step(|_| ())
    }

    async fn bind(&self, instance: &InstanceId, binding: &BindingId) -> Result<Credentials, ServiceError> {
        let _permit = self.permits.acquire().await;
        let password = self.step(|world| {
            assert!(world.databases.contains(instance), "bound on nothing");
            world.made += 1;
            let password = format!("password-{}", world.made);
            world.logins.insert((instance.clone(), binding.clone()), password.clone());
            password
        })?;
        self.step(|_| Object::from_iter([("password".to_owned(), password.into())]).into())
    }

    async fn unbind(&self, instance: &InstanceId, binding: &BindingId) -> Result<(), ServiceError> {
        let _permit = self.permits.acquire().await;
        self.step(|world| world.logins.remove(&(instance.clone(), binding.clone())))?;
        self.step(|_| ())
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        Ok(Vec::new())
    }

    fn names(&self, _instance: &InstanceId, _bindings: &[BindingId]) -> Vec<String> {
        Vec::new()
    }

    async fn remove(&self, _resource: &Resource) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn check(&self) -> Result<String, ServiceError> {
        Ok("fake".to_owned())
    }
}
