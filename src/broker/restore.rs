//! Rebuilding a lost store from what a platform claims and what the backends hold. Nothing on a backend is changed, and
//! no record that is there. Passwords are not on the backends in clear: a restored binding can be deleted, and bound again
//! with new credentials, but its credentials cannot be fetched.

use std::{collections::BTreeSet, fmt};

use super::{
    BrokerError,
    engine::Offer,
    parts::{Parts, databases, lock},
    services::{BindingSpec, InstanceSpec, Provider},
    store::{
        Change, Key, State, Then,
        cipher::Cipher,
        records::{Binding, Instance, Operation, Outcome, Records, Verb},
    },
};
use crate::{
    config::{BrokerConfig, ConfigError, ServerName},
    osb::{BindingId, Object},
};

/// An instance that a platform holds, and its bindings.
#[derive(Clone, Debug)]
pub struct Held {
    /// As the platform asked for it.
    pub instance: InstanceSpec,
    /// The ids of its bindings.
    pub bindings: Vec<BindingId>,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Instances and bindings that have a record again.
    pub restored: Vec<String>,
    /// Claimed, but not on the backend: recorded as failed, so that the platform can delete them or ask again.
    pub missing: Vec<String>,
    /// Not of this broker, or in use by it just now.
    pub left_out: Vec<String>,
    /// How many had a record.
    pub recorded: usize,
}

/// Adds a record for each instance and binding that has none.
///
/// # Errors
/// When the store or a backend cannot be used. What was restored before stays, and the restore can be repeated.
pub async fn restore(config: &BrokerConfig, held: &[Held]) -> Result<RestoreReport, BrokerError> {
    let _lock = lock(config).await?;
    let cipher = Cipher::load(&config.settings.store_key, &config.settings.former_store_keys, true)?;
    let parts = Parts::open(config, |installation| databases(config, installation)).await?;
    let offer = Offer::new(config.services.offerings.clone())
        .map_err(|error| ConfigError::invalid(error.path, error.problem))?;
    let records = Records::new(parts.store.clone(), cipher);
    let mut restore = Restore { parts: &parts, records, offer, report: RestoreReport::default() };
    for held in held {
        restore.one(held).await?;
    }
    Ok(restore.report)
}

struct Restore<'a> {
    parts: &'a Parts,
    records: Records,
    offer: Offer,
    report: RestoreReport,
}

impl Restore<'_> {
    async fn one(&mut self, Held { instance, bindings }: &Held) -> Result<(), BrokerError> {
        let id = &instance.id;
        let Some((server, provider)) = self.backend(instance) else {
            self.report.left_out.push(format!("service instance {id}: its plan is not of this broker"));
            return Ok(());
        };
        let Some(hold) = self.parts.store.hold(id).await? else {
            self.report
                .left_out
                .push(format!("service instance {id}: a broker is at work on it; restore again"));
            return Ok(());
        };
        let present = present(provider.as_ref()).await?;
        let mut changes = Vec::new();
        let is_there = provider.names(id, &[]).iter().all(|name| present.contains(name));
        if self.is_missing(&Key::instance(id), is_there).await? {
            let state = if is_there { State::Ready } else { State::Failed };
            changes.push(self.records.put_instance(&Instance {
                spec: instance.clone(),
                server: server.clone(),
                state,
                change: None,
                operation: restored(Verb::Provision, is_there),
                former: None,
            }));
        }
        for binding in bindings {
            let key = Key::binding(id, binding);
            let names = provider.names(id, std::slice::from_ref(binding));
            let is_there = names.iter().all(|name| present.contains(name));
            if self.is_missing(&key, is_there).await? {
                changes.push(self.put_binding(instance, &server, binding));
            }
        }
        Ok(self.parts.store.commit(&hold, changes, Then::Release).await?)
    }

    fn backend(&self, instance: &InstanceSpec) -> Option<(ServerName, std::sync::Arc<dyn Provider>)> {
        let server = self.offer.server(&instance.service_id, &instance.plan_id)?.clone();
        let provider = self.parts.providers.get(&server)?.clone();
        Some((server, provider))
    }

    /// Whether there is no record, which the report says.
    async fn is_missing(&mut self, key: &Key, is_there: bool) -> Result<bool, BrokerError> {
        if self.parts.store.row(key).await?.is_some() {
            self.report.recorded += 1;
            return Ok(false);
        }
        let list = if is_there { &mut self.report.restored } else { &mut self.report.missing };
        list.push(key.to_string());
        Ok(true)
    }

    /// Without credentials: failed, so that it can be deleted or bound again.
    fn put_binding(&self, on: &InstanceSpec, server: &ServerName, id: &BindingId) -> Change {
        let spec = BindingSpec {
            id: id.clone(),
            parameters: Object::new(),
            context: Object::new(),
            bind_resource: Object::new(),
        };
        self.records.put_binding(&Binding {
            instance: on.id.clone(),
            spec,
            service_id: on.service_id.clone(),
            plan_id: on.plan_id.clone(),
            predecessor: None,
            server: server.clone(),
            state: State::Failed,
            bound: None,
            operation: restored(Verb::Bind, false),
            former: None,
        })
    }
}

/// The names of what the backend holds with this installation's mark.
async fn present(provider: &dyn Provider) -> Result<BTreeSet<String>, BrokerError> {
    let resources = provider.resources().await?;
    Ok(resources.into_iter().filter(|resource| resource.ours).map(|resource| resource.name).collect())
}

fn restored(verb: Verb, is_there: bool) -> Operation {
    let lost = "its record was lost and restored; delete it, or ask for it again".to_owned();
    let outcome = if is_there { Outcome::Succeeded } else { Outcome::Failed(lost) };
    Operation { outcome, ..Operation::begin(verb, None) }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("restored", &self.restored),
            ("claimed, but not on the server", &self.missing),
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
            "{restored} restored, {missing} not on the server, {left_out} left out, {} had a record",
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
            "restored: service instance a\nclaimed, but not on the server: service instance b\n\
             1 restored, 1 not on the server, 0 left out, 3 had a record"
        );
    }
}
