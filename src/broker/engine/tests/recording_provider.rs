//! A provider that observes its calls: whether the engine keeps its promises to providers, and where a broker was
//! killed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::faulty_store::Fate;
use crate::{
    broker::backends::{
        BackendLimits, BindingSpec, Bound, Confirmed, Described, ExecutionMode, InstanceSpec, Progress,
        Provider, Resource, ServiceError, Unacceptable, Verb,
        fake::{Fake, Fuse},
    },
    osb::{BindingId, InstanceId, PlanId},
};

/// Observations of all brokers of a test. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    next: usize,
    /// The start of each call, with its instance.
    begun: Vec<(Instant, InstanceId)>,
    /// The start of each call outside of operations.
    outside_operations: Vec<Instant>,
    most_at_once: usize,
    under_way: Vec<(usize, InstanceId, Fuse, &'static str)>,
    complaints: Vec<String>,
}

impl Witness {
    pub(super) fn complaints(&self) -> Vec<String> {
        self.0.lock().unwrap().complaints.clone()
    }

    /// The start of each call, with its instance.
    pub(super) fn begun(&self) -> Vec<(Instant, InstanceId)> {
        self.0.lock().unwrap().begun.clone()
    }

    /// The start of each call, also of those outside of operations, in order.
    pub(super) fn all_begun(&self) -> Vec<Instant> {
        let seen = self.0.lock().unwrap();
        let of_operations = seen.begun.iter().map(|(at, _)| *at);
        let mut all: Vec<_> = of_operations.chain(seen.outside_operations.iter().copied()).collect();
        all.sort();
        all
    }

    fn enter_outside_operations(&self) {
        self.0.lock().unwrap().outside_operations.push(Instant::now());
    }

    /// The maximum number of concurrent calls.
    pub(super) fn most_at_once(&self) -> usize {
        self.0.lock().unwrap().most_at_once
    }

    fn complain(&self, complaint: String) {
        self.0.lock().unwrap().complaints.push(complaint);
    }

    fn enter(&self, instance: &InstanceId, fate: &Fate, call: &'static str) -> Leaving {
        let mut seen = self.0.lock().unwrap();
        let other = seen.under_way.iter().find(|(_, of, fuse, _)| of == instance && !fuse.is_gone());
        if let Some((_, _, _, other)) = other {
            let complaint = format!("{call} was called on {instance} during {other}");
            seen.complaints.push(complaint);
        }
        seen.begun.push((Instant::now(), instance.clone()));
        seen.most_at_once = seen.most_at_once.max(seen.under_way.len() + 1);
        seen.next += 1;
        let number = seen.next;
        seen.under_way.push((number, instance.clone(), fate.fuse.clone(), call));
        Leaving(self.clone(), number)
    }
}

/// Records the end of a call, even when the call is dropped.
struct Leaving(Witness, usize);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().under_way.retain(|(number, ..)| *number != self.1);
    }
}

/// A provider with observed calls.
pub(super) struct Watched {
    pub(super) fake: Fake,
    pub(super) fate: Fate,
    pub(super) witness: Witness,
    /// The duration of each call.
    pub(super) latency: Duration,
    pub(super) limits: BackendLimits,
}

impl Watched {
    async fn call<T>(
        &self,
        instance: &InstanceId,
        call: &'static str,
        work: impl Future<Output = Result<Progress<T>, ServiceError>>,
    ) -> Result<Progress<T>, ServiceError> {
        let killed = || ServiceError::new("fake", "killed");
        let _leaving = self.witness.enter(instance, &self.fate, call);
        if !self.fate.step(|| format!("before the call to {call}")) {
            return Err(killed());
        }
        sleep(self.latency / 2).await;
        let answer = work.await;
        sleep(self.latency / 2).await;
        if self.fate.step(|| format!("after the call to {call}")) { answer } else { Err(killed()) }
    }
}

#[async_trait]
impl Provider for Watched {
    fn execution_mode(&self, plan: &PlanId, verb: Verb) -> ExecutionMode {
        self.fake.execution_mode(plan, verb)
    }

    fn limits(&self) -> BackendLimits {
        self.limits
    }

    fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
        self.fake.check_instance(wanted)
    }

    fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        self.fake.check_update(from, to)
    }

    fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
        self.fake.check_binding(on, wanted)
    }

    fn described(&self, instance: &InstanceSpec) -> Described {
        self.fake.described(instance)
    }

    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.call(&instance.id, "provision", self.fake.provision(instance)).await
    }

    async fn update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.call(&to.id, "update", self.fake.update(from, to)).await
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.call(&instance.id, "deprovision", self.fake.deprovision(instance)).await
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        if !self.fake.world().databases.contains_key(&on.id) && !self.fate.fuse.is_gone() {
            self.witness.complain(format!("{} was bound on nothing", binding.id));
            return Err(ServiceError::new("fake", "there is no such database"));
        }
        self.call(&on.id, "bind", self.fake.bind(on, binding)).await
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        self.call(&on.id, "unbind", self.fake.unbind(on, binding)).await
    }

    async fn confirm(
        &self,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        self.witness.enter_outside_operations();
        self.fake.confirm(on, binding).await
    }

    async fn expire(&self) -> Result<(), ServiceError> {
        self.witness.enter_outside_operations();
        self.fake.expire().await
    }

    async fn settle(&self) -> Result<(), ServiceError> {
        self.witness.enter_outside_operations();
        self.fake.settle().await
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        self.fake.resources().await
    }

    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
        self.fake.names(instance, bindings)
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        self.fake.remove(resource).await
    }

    async fn check(&self) -> Result<String, ServiceError> {
        self.fake.check().await
    }
}
