//! Rebuilds a lost store from what a platform knows and what the backends hold. On a backend, a restore completes what
//! an interruption left half-done and changes nothing else; it changes no existing record. Backends hold no passwords
//! in the clear, so a restored binding's credentials cannot be fetched: it can be deleted, or bound again with new
//! credentials.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    BrokerError,
    assembly::{Parts, lock},
    backends::{BindingSpec, InstanceSpec, Past, Progress, Provider, Registry},
    engine::Offer,
    store::{
        Change, Key, State, Then,
        cipher::Cipher,
        records::{Binding, Instance, Operation, Outcome, Records, Verb},
    },
};
use crate::{
    broker::config::{BackendName, BrokerConfig, ConfigError},
    osb::{BindingId, Object},
};

/// How often to check whether another broker has released an instance.
const POLL: Duration = Duration::from_millis(200);

/// An instance that a platform knows, and its bindings.
#[derive(Clone, Debug)]
pub struct Held {
    /// The instance as the platform requested it.
    pub instance: InstanceSpec,
    /// Whether the platform still knows the instance's parameters. If not, those that protect data count as requested.
    pub are_parameters_known: bool,
    /// The instance's bindings.
    pub bindings: Vec<HeldBinding>,
}

/// A binding that a platform knows.
#[derive(Clone, Debug)]
pub struct HeldBinding {
    /// The id under which the platform requested it.
    pub id: BindingId,
    /// Its parameters, unless the platform no longer knows them.
    pub parameters: Option<Object>,
    /// The binding that it replaced.
    pub predecessor: Option<BindingId>,
}

/// The result of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Instances and bindings that have a record again.
    pub restored: Vec<String>,
    /// Instances and bindings that the platform knows but the backend does not hold. They are recorded as failed, so
    /// that the platform can delete them or request them again.
    pub missing: Vec<String>,
    /// Instances and bindings that this broker does not offer, or that it is using at present.
    pub left_out: Vec<String>,
    /// The number of instances and bindings that already had a record.
    pub recorded: usize,
}

/// Adds a record for each instance and binding that has none. Completes what an interruption left half-done.
///
/// # Errors
/// When the store or a backend is unusable. What was already restored stays, and the restore can be repeated.
pub async fn restore(config: &BrokerConfig, held: &[Held]) -> Result<RestoreReport, BrokerError> {
    let backends = Registry::builtin().configure(&config.services)?;
    let offerings = backends.offerings(&config.services).await?;
    let _lock = lock(config).await?;
    let cipher = Cipher::load(&config.settings.store_key, &config.settings.former_store_keys, true)?;
    let parts = Parts::open(config, &backends).await?;
    let offer = Offer::new(offerings).map_err(|error| ConfigError::invalid(error.path, error.problem))?;
    let records = Records::new(parts.store.clone(), cipher);
    let mut present = BTreeMap::new();
    for (name, provider) in &parts.providers {
        present.insert(name.clone(), marked(provider.as_ref()).await?);
    }
    let mut restore = Restore { parts: &parts, records, offer, present, report: RestoreReport::default() };
    for held in held {
        restore.one(held).await?;
    }
    Ok(restore.report)
}

struct Restore<'a> {
    parts: &'a Parts,
    records: Records,
    offer: Offer,
    /// The names of everything on each backend that carries this installation's mark.
    present: BTreeMap<BackendName, BTreeSet<String>>,
    report: RestoreReport,
}

impl Restore<'_> {
    async fn one(&mut self, held: &Held) -> Result<(), BrokerError> {
        let id = &held.instance.id;
        let Some(server) = self.server(&held.instance) else {
            self.report.left_out.push(format!("service instance {id}: its plan is not of this broker"));
            return Ok(());
        };
        // The lease of a broker that was killed expires within this time.
        let end = Instant::now() + 2 * self.parts.store.lease_duration().unwrap_or_default();
        let lease = loop {
            match self.parts.store.acquire(id).await? {
                Some(lease) => break lease,
                None if Instant::now() >= end => {
                    let busy = format!("service instance {id}: a broker is at work on it; restore again");
                    self.report.left_out.push(busy);
                    return Ok(());
                }
                None => sleep(POLL).await,
            }
        };
        let changes = self.changes(held, &server).await;
        if changes.is_err() {
            self.parts.store.release(&lease).await?;
        }
        Ok(self.parts.store.commit(&lease, changes?, Then::Release).await?)
    }

    async fn changes(
        &mut self,
        Held { instance, are_parameters_known, bindings }: &Held,
        server: &BackendName,
    ) -> Result<Vec<Change>, BrokerError> {
        let id = &instance.id;
        let Some(provider) = self.parts.providers.get(server).cloned() else { return Ok(Vec::new()) };
        let mut changes = Vec::new();
        let is_there = self.holds(server, &provider.names(id, &[]));
        if self.is_missing(&Key::instance(id), is_there).await? {
            if is_there {
                // The last step may be missing, and the engine would not resume it.
                while let Progress::Pending(pending) = provider.provision(instance).await? {
                    sleep(pending.again_after).await;
                }
            }
            let state = if is_there { State::Ready } else { State::Failed };
            let past = if *are_parameters_known { Past::None } else { Past::Unknown };
            let settled = provider.settled(past, instance);
            changes.push(self.records.put(&Instance {
                spec: InstanceSpec { settled, ..instance.clone() },
                server: server.clone(),
                state,
                change: None,
                operation: restored(Verb::Provision, is_there),
                former: None,
                was_never_ready: !is_there,
                past: Vec::new(),
            }));
        }
        for binding in bindings {
            let is_there = self.holds(server, &provider.names(id, std::slice::from_ref(&binding.id)));
            if self.is_missing(&Key::binding(id, &binding.id), is_there).await? {
                changes.push(self.put_binding(instance, server, binding));
            }
        }
        Ok(changes)
    }

    /// The instance's server: the one that holds the instance, even if its plan now names another; otherwise the
    /// plan's.
    fn server(&self, instance: &InstanceSpec) -> Option<BackendName> {
        let planned = self.offer.server(&instance.service_id, &instance.plan_id)?;
        let others = self.parts.providers.keys().filter(|server| *server != planned);
        let mut servers = [planned].into_iter().chain(others);
        let is_on = |server: &&BackendName| {
            let provider = self.parts.providers.get(*server);
            provider.is_some_and(|provider| self.holds(server, &provider.names(&instance.id, &[])))
        };
        let found = servers.find(is_on).unwrap_or(planned);
        self.parts.providers.contains_key(found).then(|| found.clone())
    }

    fn holds(&self, server: &BackendName, names: &[String]) -> bool {
        let present = self.present.get(server);
        present.is_some_and(|present| names.iter().all(|name| present.contains(name)))
    }

    /// Whether there is no record. Adds the result to the report.
    async fn is_missing(&mut self, key: &Key, is_there: bool) -> Result<bool, BrokerError> {
        if self.parts.store.row(key).await?.is_some() {
            self.report.recorded += 1;
            return Ok(false);
        }
        let list = if is_there { &mut self.report.restored } else { &mut self.report.missing };
        list.push(key.to_string());
        Ok(true)
    }

    /// A record without credentials: marked as failed, so that the binding can be deleted or bound again.
    fn put_binding(&self, on: &InstanceSpec, server: &BackendName, held: &HeldBinding) -> Change {
        let spec = BindingSpec {
            id: held.id.clone(),
            parameters: held.parameters.clone().unwrap_or_default(),
            context: Object::new(),
            bind_resource: Object::new(),
        };
        self.records.put(&Binding {
            instance: on.id.clone(),
            spec,
            service_id: on.service_id.clone(),
            plan_id: on.plan_id.clone(),
            predecessor: held.predecessor.clone(),
            are_parameters_lost: held.parameters.is_none(),
            server: server.clone(),
            state: State::Failed,
            bound: None,
            operation: restored(Verb::Bind, false),
            former: None,
            past: Vec::new(),
            is_queued: false,
        })
    }
}

async fn marked(provider: &dyn Provider) -> Result<BTreeSet<String>, BrokerError> {
    let resources = provider.resources().await?;
    Ok(resources.into_iter().filter(|resource| resource.ours).map(|resource| resource.name).collect())
}

fn restored(verb: Verb, is_there: bool) -> Operation {
    let lost = "its record was lost and restored; delete it, or ask for it again".to_owned();
    let outcome = if is_there { Outcome::Succeeded } else { Outcome::Failed(lost) };
    Operation { outcome, ..Operation::begin(verb, None) }
}

impl RestoreReport {
    /// Whether everything that this broker can restore was restored.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.left_out.iter().any(|left_out| left_out.ends_with("restore again"))
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("restored", &self.restored),
            ("known to the platform, but not on the backend", &self.missing),
            ("left out", &self.left_out),
        ];
        for (word, names) in parts {
            for name in names {
                writeln!(f, "{word}: {name}")?;
            }
        }
        let [restored, missing, left_out] = parts.map(|(_, names)| names.len());
        write!(
            f,
            "{restored} restored, {missing} not on the backend, {left_out} left out, {} had a record",
            self.recorded
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_ends_with_its_counts() {
        let report = RestoreReport {
            restored: vec!["service instance a".to_owned()],
            missing: vec!["service instance b".to_owned()],
            left_out: Vec::new(),
            recorded: 3,
        };
        assert_eq!(
            report.to_string(),
            "restored: service instance a\nknown to the platform, but not on the backend: service instance b\n\
             1 restored, 1 not on the backend, 0 left out, 3 had a record"
        );
    }
}
