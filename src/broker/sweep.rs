//! Compares the backends with the records. A leftover carries this installation's mark and has no record in the store;
//! a sweep removes nothing else. The report also lists what a record names but the backend lacks or holds with a
//! foreign mark. A broker may run at the same time: its writes wait while a leftover is removed; if that takes long,
//! they fail and the platform retries.

use std::{collections::BTreeSet, fmt};

use super::{
    BrokerError,
    assembly::Parts,
    backends::{Provider, Registry, Resource},
    store::{Key, Row, State, Store},
};
use crate::{
    broker::config::{BackendName, BrokerConfig},
    osb::{BindingId, InstanceId},
};

/// The results of a sweep, by backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Resources with this installation's mark and without a record.
    pub leftover: Vec<(BackendName, Resource)>,
    /// Whether the leftovers were removed.
    pub removed: bool,
    /// What could not be read or removed; each text names the resource and the cause.
    pub failed: Vec<String>,
    /// Resources with a name like bindery's but without this installation's mark. A sweep never changes them.
    pub foreign: Vec<(BackendName, Resource)>,
    /// Drift between the records and the backend. A sweep never changes it.
    pub differing: Vec<(BackendName, Difference)>,
}

/// A resource that a record names, but that is missing on the backend or carries a foreign mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The resource's name on the backend.
    pub name: String,
    /// The instance or binding of the record.
    pub of: String,
    /// Whether a resource of that name exists without this installation's mark.
    pub is_foreign: bool,
}

/// An instance and those of its bindings that a platform knows, although the store may have lost them.
#[derive(Clone, Debug)]
pub struct PlatformInstance {
    /// The instance.
    pub instance: InstanceId,
    /// The bindings that the platform knows.
    pub bindings: Vec<BindingId>,
}

/// Compares each backend with the broker's store and, with `delete`, removes the leftovers. What the platform knows is
/// never a leftover, so that a lost store causes no data loss.
///
/// # Errors
/// When the store does not exist or cannot be read; with `delete` also when a record names a backend that is not
/// configured. Errors of a backend are in the report.
pub async fn sweep(
    config: &BrokerConfig,
    on_platform: &[PlatformInstance],
    delete: bool,
) -> Result<SweepReport, BrokerError> {
    sweep_with(config, &Registry::builtin(), on_platform, delete).await
}

/// Sweeps with other backend types.
///
/// # Errors
/// As [`sweep`].
pub async fn sweep_with(
    config: &BrokerConfig,
    registry: &Registry,
    on_platform: &[PlatformInstance],
    delete: bool,
) -> Result<SweepReport, BrokerError> {
    let backends = registry.configure(&config.services)?;
    sweep_parts(&Parts::open_existing(config, &backends, delete).await?, on_platform, delete).await
}

async fn sweep_parts(
    parts: &Parts,
    on_platform: &[PlatformInstance],
    delete: bool,
) -> Result<SweepReport, BrokerError> {
    if delete {
        refuse_unconfigured(parts).await?;
    }
    let mut report = SweepReport { removed: delete, ..SweepReport::default() };
    for (name, provider) in &parts.providers {
        let on_platform: BTreeSet<String> = on_platform
            .iter()
            .flat_map(|on_platform| {
                all_names(provider.as_ref(), &on_platform.instance, &on_platform.bindings)
            })
            .collect();
        let resources = match provider.resources().await {
            Ok(resources) => resources,
            Err(error) => {
                report.failed.push(format!("cannot look at {error}"));
                continue;
            }
        };
        let differing = differing(parts, name, provider.as_ref(), &resources).await;
        match differing {
            Ok(found) => report.differing.extend(found.into_iter().map(|found| (name.clone(), found))),
            Err(error) => report.failed.push(format!("cannot compare the records with {error}")),
        }
        let known = known(parts.store.as_ref(), provider.as_ref()).await?;
        let is_owned =
            |resource: &Resource| on_platform.contains(&resource.name) || known.contains(&resource.name);
        for resource in resources.into_iter().filter(|resource| !is_owned(resource)) {
            if !resource.ours {
                report.foreign.push((name.clone(), resource));
                continue;
            }
            let removed = if delete { remove(parts, provider.as_ref(), &resource).await } else { Ok(true) };
            match removed {
                Ok(true) => report.leftover.push((name.clone(), resource)),
                Ok(false) => {}
                Err(problem) => report.failed.push(format!("not removed: {resource}: {problem}")),
            }
        }
    }
    Ok(report)
}

/// The drift of this backend. Checks apparent drift twice, so that concurrent changes are not reported.
async fn differing(
    parts: &Parts,
    server: &BackendName,
    provider: &dyn Provider,
    resources: &[Resource],
) -> Result<BTreeSet<Difference>, String> {
    let first = differences(parts, server, provider, resources).await.map_err(|error| error.to_string())?;
    if first.is_empty() {
        return Ok(first);
    }
    let resources = provider.resources().await.map_err(|error| error.to_string())?;
    let second = differences(parts, server, provider, &resources).await.map_err(|error| error.to_string())?;
    Ok(first.intersection(&second).cloned().collect())
}

async fn differences(
    parts: &Parts,
    server: &BackendName,
    provider: &dyn Provider,
    resources: &[Resource],
) -> Result<BTreeSet<Difference>, BrokerError> {
    let difference = |name: String, of: &Key| {
        let found = resources.iter().find(|resource| resource.name == name && resource.exists);
        let is_foreign = found.is_some_and(|resource| !resource.ours);
        (found.is_none() || is_foreign).then(|| Difference { name, of: of.to_string(), is_foreign })
    };
    let is_made = |row: &Row| matches!(row.state, State::Ready | State::Updating);
    let mut found = BTreeSet::new();
    for row in parts.store.instances().await?.iter().filter(|row| row.server == *server && is_made(row)) {
        let instance = &row.key.instance;
        let names = provider.names(instance, &[]);
        for binding in parts.store.bindings(instance).await?.iter().filter(|row| is_made(row)) {
            let Some(id) = &binding.key.binding else { continue };
            let all = provider.names(instance, std::slice::from_ref(id));
            let logins = all.into_iter().filter(|name| !names.contains(name));
            found.extend(logins.filter_map(|name| difference(name, &binding.key)));
        }
        found.extend(names.into_iter().filter_map(|name| difference(name, &row.key)));
    }
    Ok(found)
}

/// Removes a resource, unless it has a record by now. A broker writes the record before it creates the resource. So a
/// resource without a record is unused, and it cannot get a record while the store is frozen.
async fn remove(parts: &Parts, provider: &dyn Provider, resource: &Resource) -> Result<bool, String> {
    let frozen = parts.store.freeze().await.map_err(|error| error.to_string())?;
    let known = known(parts.store.as_ref(), provider).await.map_err(|error| error.to_string())?;
    if known.contains(&resource.name) {
        return Ok(false);
    }
    if frozen.is_lost() {
        return Err("the store did not answer in time; sweep again".to_owned());
    }
    provider.remove(resource).await.map_err(|error| error.to_string())?;
    Ok(true)
}

/// A record on a server that is not configured may belong to a configured server, under its former name or address.
async fn refuse_unconfigured(parts: &Parts) -> Result<(), BrokerError> {
    let instances = parts.store.instances().await?;
    match instances.into_iter().find(|row| !parts.providers.contains_key(&row.server)) {
        Some(row) => {
            Err(BrokerError::UnconfiguredBackend { backend: row.server, instance: row.key.instance })
        }
        None => Ok(()),
    }
}

/// The names of everything with a record in the store, on any server: names derive from ids alone, and two configured
/// servers may be the same one.
async fn known(store: &dyn Store, provider: &dyn Provider) -> Result<BTreeSet<String>, BrokerError> {
    let mut names = BTreeSet::new();
    for Row { key: Key { instance, .. }, .. } in store.instances().await? {
        let bindings = store.bindings(&instance).await?;
        let bindings: Vec<_> = bindings.into_iter().filter_map(|row| row.key.binding).collect();
        names.extend(all_names(provider, &instance, &bindings));
    }
    Ok(names)
}

fn all_names(provider: &dyn Provider, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
    let mut names = provider.names(instance, bindings);
    names.extend(provider.other_names(instance));
    names
}

impl SweepReport {
    /// Whether the sweep checked everything and, if requested, removed it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (backend, resource) in &self.foreign {
            writeln!(f, "foreign, left alone: {resource} on backend {backend}")?;
        }
        for (backend, Difference { name, of, is_foreign }) in &self.differing {
            let what = if *is_foreign {
                "on record, but owned by somebody else on the backend"
            } else {
                "on record, not on the backend"
            };
            writeln!(f, "{what}: {name} of {of} on backend {backend}")?;
        }
        if !self.differing.is_empty() {
            writeln!(
                f,
                "{} on record and not so on the backend; docs/operate.md tells what to do",
                self.differing.len()
            )?;
        }
        let word = if self.removed { "removed" } else { "left over" };
        for (backend, resource) in &self.leftover {
            writeln!(f, "{word}: {resource} on backend {backend}")?;
        }
        for failed in &self.failed {
            writeln!(f, "{failed}")?;
        }
        if !self.is_complete() {
            let (count, what) = (self.leftover.len(), if self.removed { "removed" } else { "left over" });
            return write!(f, "{count} {what}, {} failed; mend that and sweep again", self.failed.len());
        }
        match (self.leftover.len(), self.removed) {
            (0, _) => write!(f, "nothing left over"),
            (count, true) => write!(f, "{count} removed"),
            (count, false) => write!(f, "{count} left over; remove with --delete"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::broker::{
        BindingSpec, Bound, InstanceSpec, Progress, ServiceError, Unacceptable, backends::fake::Fake,
        store::sqlite::Sqlite,
    };

    /// A backend with two leftovers. While one of them is removed, a broker tries to write a record.
    struct TwoLeft {
        broker: Mutex<rusqlite::Connection>,
        writes: Mutex<Vec<bool>>,
        fake: Fake,
    }

    impl TwoLeft {
        fn write(&self) -> bool {
            self.broker.lock().unwrap().execute("UPDATE installation SET id = id", []).is_ok()
        }
    }

    #[async_trait]
    impl Provider for TwoLeft {
        fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
            self.fake.check_instance(wanted)
        }

        fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
            self.fake.check_binding(on, wanted)
        }

        async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
            self.fake.provision(instance).await
        }

        async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
            self.fake.deprovision(instance).await
        }

        async fn bind(
            &self,
            on: &InstanceSpec,
            binding: &BindingSpec,
        ) -> Result<Progress<Bound>, ServiceError> {
            self.fake.bind(on, binding).await
        }

        async fn unbind(
            &self,
            on: &InstanceSpec,
            binding: &BindingSpec,
        ) -> Result<Progress<()>, ServiceError> {
            self.fake.unbind(on, binding).await
        }

        async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
            Ok(["one", "two"]
                .map(|name| Resource {
                    kind: "login".to_owned(),
                    name: name.to_owned(),
                    ours: true,
                    exists: true,
                })
                .into())
        }

        fn names(&self, _: &InstanceId, _: &[BindingId]) -> Vec<String> {
            Vec::new()
        }

        async fn remove(&self, _: &Resource) -> Result<(), ServiceError> {
            let written = self.write();
            self.writes.lock().unwrap().push(written);
            Ok(())
        }

        async fn check(&self) -> Result<String, ServiceError> {
            self.fake.check().await
        }
    }

    /// Without a freeze, the sweep could remove what a broker has just created under a reused id.
    #[tokio::test]
    async fn nobody_records_anything_while_a_leftover_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        let store = Arc::new(Sqlite::open(&path).unwrap());
        let broker = rusqlite::Connection::open(&path).unwrap();
        broker.busy_timeout(std::time::Duration::ZERO).unwrap();
        let left = TwoLeft { broker: Mutex::new(broker), writes: Mutex::default(), fake: Fake::default() };
        let left = Arc::new(left);
        let provider: Arc<dyn Provider> = left.clone();
        let parts = Parts { store, providers: [("main".into(), provider)].into() };

        let report = sweep_parts(&parts, &[], true).await.unwrap();
        assert_eq!(report.leftover.len(), 2);
        assert_eq!(*left.writes.lock().unwrap(), [false, false]);
        assert!(left.write(), "the store is free again");
    }

    #[test]
    fn the_report_ends_with_its_result() {
        let item = (
            "main".into(),
            Resource { kind: "login".to_owned(), name: "abc".to_owned(), ours: true, exists: true },
        );
        let mut report = SweepReport { foreign: vec![item.clone()], ..SweepReport::default() };
        assert_eq!(report.to_string(), "foreign, left alone: login abc on backend main\nnothing left over");
        let difference =
            Difference { name: "cf_d".to_owned(), of: "service instance i".to_owned(), is_foreign: false };
        report.differing.push(("main".into(), difference));
        let shown = report.to_string();
        assert!(
            shown.contains(
                "\non record, not on the backend: cf_d of service instance i on backend main\n1 on record"
            ),
            "{shown}"
        );
        report.leftover.push(item);
        assert!(
            report
                .to_string()
                .ends_with("left over: login abc on backend main\n1 left over; remove with --delete")
        );
        report.removed = true;
        assert!(report.is_complete() && report.to_string().ends_with("\n1 removed"));
        report.failed.push("not removed: login b: why".to_owned());
        let shown = report.to_string();
        assert!(!report.is_complete() && shown.contains("\nnot removed: login b: why\n"), "{shown}");
        assert!(shown.ends_with("\n1 removed, 1 failed; mend that and sweep again"), "{shown}");
    }
}
