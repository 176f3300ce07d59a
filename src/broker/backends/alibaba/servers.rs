//! Instances that are database servers. Every call finds the server by its tag, starts what is missing, and says how far
//! RDS is; the engine calls again.

use std::{sync::PoisonError, time::Duration};

use tokio::time::Instant;

use super::{
    Services,
    catalog::{Engine, ServerDefinition},
    is_retained, naming, pending,
    server_parameters::WantedServer,
};
use crate::{
    broker::backends::{
        BindingSpec, Confirmed, InstanceSpec, Progress, ServiceError, outcome::MISCONFIGURED,
    },
    cloud::alibaba::{
        ErrorKind,
        db_instances::{DbInstance, DbInstanceRequest},
        digest,
    },
    osb::InstanceId,
};

/// How long lists may lack a new server. A deletion that comes meanwhile must not miss it.
const LISTING_LAG: Duration = Duration::from_secs(10);
/// How long a change may take to show, before it is asked for again.
const CHANGE_LAG: Duration = Duration::from_mins(15);

/// A change of a server that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Another class, or more storage.
    Size { class: String, storage: u32 },
    /// A certificate.
    Certificate,
}

/// What this process has seen of a server that is to be deleted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sighting {
    /// The server was there.
    Seen,
    /// No list has had the server since.
    AbsentSince(Instant),
}

impl Services {
    /// The ids of the servers of an instance. There is one, unless somebody has copied the tag.
    pub(super) async fn server_ids(&self, name: &str) -> Result<Vec<String>, ServiceError> {
        let listed = self.account.db_instances_with_tag(naming::INSTANCE_TAG, name).await;
        listed.map_err(|error| self.failed(&error))
    }

    /// The server of an instance.
    pub(super) async fn server_of(&self, instance: &InstanceId) -> Result<Option<DbInstance>, ServiceError> {
        for id in self.server_ids(&self.instance_name(instance)).await? {
            let server = self.account.db_instance(&id).await.map_err(|error| self.failed(&error))?;
            if server.is_some() {
                return Ok(server);
            }
        }
        Ok(None)
    }

    pub(super) async fn provision_server(
        &self,
        instance: &InstanceSpec,
        definition: &ServerDefinition,
        wanted: &WantedServer,
    ) -> Result<Progress<()>, ServiceError> {
        let Some(server) = self.server_of(&instance.id).await? else {
            return self.create_server(instance, wanted).await;
        };
        if let Some(waiting) = self.until_usable(&server)? {
            return Ok(waiting);
        }
        if let Progress::Pending(waiting) = self.certify(&server, definition).await? {
            return Ok(Progress::Pending(waiting));
        }
        let database = naming::database(&instance.id);
        let status = match self.account.database_status(&server.id, &database).await {
            Ok(status) => status,
            Err(error) => return self.waiting(&error),
        };
        match status.as_deref() {
            Some("Running") => Ok(Progress::Done(())),
            Some(_) => Ok(pending("Alibaba Cloud creates the database")),
            None => {
                let created =
                    self.account.create_database(&server.id, &database, character_set(wanted.engine)).await;
                match created {
                    // An earlier call has created the database meanwhile.
                    Err(error) if error.kind() != ErrorKind::Exists => self.waiting(&error),
                    _ => Ok(pending("Alibaba Cloud creates the database")),
                }
            }
        }
    }

    async fn create_server(
        &self,
        instance: &InstanceSpec,
        wanted: &WantedServer,
    ) -> Result<Progress<()>, ServiceError> {
        let name = self.instance_name(&instance.id);
        let placement = self.placement(&wanted.network).await?;
        let request = DbInstanceRequest {
            token: &digest(&["server", &name], 32),
            description: &name,
            engine: wanted.engine.as_str(),
            engine_version: &wanted.engine_version,
            class: &wanted.class,
            storage: wanted.storage,
            storage_type: wanted.storage_type.as_deref(),
            category: wanted.category.as_deref(),
            security_ips: &placement.security_ips,
            vpc: placement.network.vpc.as_deref(),
            vswitch: placement.network.vswitch.as_deref(),
            zone: placement.network.zone.as_deref(),
            resource_group: self.settings.resource_group.as_deref(),
            deletion_protection: wanted.deletion_protection,
            tags: &self.tags(instance),
        };
        match self.account.create_db_instance(&request).await {
            Ok(_) => Ok(pending("Alibaba Cloud creates the database server")),
            // The configuration has changed since an earlier call, whose server is not listed yet.
            Err(error) if error.code() == "IdempotentParameterMismatch" => {
                Ok(pending("Alibaba Cloud creates the database server"))
            }
            Err(error) => self.waiting(&error),
        }
    }

    /// Nothing if the server can be used and changed; else what it waits for.
    ///
    /// # Errors
    /// When waiting does not help.
    pub(super) fn until_usable<T>(&self, server: &DbInstance) -> Result<Option<Progress<T>>, ServiceError> {
        let (id, status) = (&server.id, &server.status);
        if let Some(lock) = &server.lock {
            let problem = format!("server {id} is locked: {lock}; pay for it, or make room");
            return Err(ServiceError::new(&self.name, MISCONFIGURED).detailed(problem));
        }
        if server.is_stopped() {
            let problem = format!("the database server is {status}; ask the operator to start it");
            return Err(ServiceError::new(&self.name, problem).detailed(format!("server {id} is {status}")));
        }
        Ok((!server.is_running()).then(|| pending(format!("the database server is {status}"))))
    }

    pub(super) async fn update_server(
        &self,
        to: &InstanceSpec,
        definition: &ServerDefinition,
        wanted: &WantedServer,
    ) -> Result<Progress<()>, ServiceError> {
        let Some(server) = self.server_of(&to.id).await?.filter(|server| !server.is_leaving()) else {
            let problem = "the database server is missing; delete the instance and provision it again";
            return Err(ServiceError::new(&self.name, problem));
        };
        if let Some(waiting) = self.until_usable(&server)? {
            return Ok(waiting);
        }
        if server.deletion_protection != wanted.deletion_protection
            && let Err(error) = self.account.protect_db_instance(&server.id, wanted.deletion_protection).await
        {
            return self.waiting(&error);
        }
        if let Progress::Pending(waiting) = self.certify(&server, definition).await? {
            return Ok(Progress::Pending(waiting));
        }
        // Storage never shrinks, so what somebody has added in the console stays.
        if server.class == wanted.class && server.storage >= wanted.storage {
            self.forget_change(&server.id, |_| true);
            return Ok(Progress::Done(()));
        }
        let change = Change::Size { class: wanted.class.clone(), storage: wanted.storage };
        if !self.has_asked_for(&server.id, &change) {
            let storage = wanted.storage.max(server.storage);
            if let Err(error) = self.account.resize_db_instance(&server.id, &wanted.class, storage).await {
                return self.waiting(&error);
            }
            self.note_change(&server.id, change);
        }
        Ok(pending("Alibaba Cloud changes class and storage"))
    }

    /// Whether this process has asked for the change lately: the server looks unchanged until RDS begins.
    pub(super) fn has_asked_for(&self, server: &str, change: &Change) -> bool {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.get(server).is_some_and(|(asked, at)| asked == change && at.elapsed() < CHANGE_LAG)
    }

    /// Remembers the change that was asked for last.
    pub(super) fn note_change(&self, server: &str, change: Change) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.insert(server.to_owned(), (change, Instant::now()));
    }

    /// Forgets the change that was asked for last, if it is one of these.
    pub(super) fn forget_change(&self, server: &str, is_done: impl Fn(&Change) -> bool) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.get(server).is_some_and(|(change, _)| is_done(change)) {
            changes.remove(server);
        }
    }

    pub(super) async fn deprovision_server(
        &self,
        instance: &InstanceSpec,
    ) -> Result<Progress<()>, ServiceError> {
        let name = self.instance_name(&instance.id);
        let mut is_there = false;
        for id in self.server_ids(&name).await? {
            let server = self.account.db_instance(&id).await.map_err(|error| self.failed(&error))?;
            let Some(server) = server.filter(|server| server.status != "Released") else { continue };
            is_there = true;
            if server.is_leaving() {
                continue;
            }
            let removed = if is_retained(instance) {
                self.retain_server(&server, &name).await?
            } else {
                self.delete_server(instance, &server).await?
            };
            if let Progress::Pending(waiting) = removed {
                return Ok(Progress::Pending(waiting));
            }
        }
        Ok(self.until_gone(&name, is_there))
    }

    async fn delete_server(
        &self,
        instance: &InstanceSpec,
        server: &DbInstance,
    ) -> Result<Progress<()>, ServiceError> {
        if server.deletion_protection {
            let problem = "the database server is protected against deletion; once its deletion protection is switched off in the \
                           console of Alibaba Cloud, the deletion goes on";
            return Err(ServiceError::new(&self.name, problem));
        }
        let kept =
            self.plans.get(&instance.plan_id).map(|plan| plan.release.keep_backups).unwrap_or_default();
        match self.account.delete_db_instance(&server.id, kept).await {
            Ok(()) => Ok(Progress::Done(())),
            Err(error) => self.waiting(&error),
        }
    }

    /// Leaves a server to its users: without accounts of bindings, and without bindery's tags.
    async fn retain_server(&self, server: &DbInstance, name: &str) -> Result<Progress<()>, ServiceError> {
        if let Progress::Pending(waiting) =
            self.remove_accounts(&server.id, &naming::bindings_of(name)).await?
        {
            return Ok(Progress::Pending(waiting));
        }
        let failed = |error| self.failed(&error);
        self.account.tag_db_instance(&server.id, naming::RETAINED_TAG, name).await.map_err(failed)?;
        // At once: the broker may change only servers with these tags.
        let tags = [naming::INSTANCE_TAG, naming::INSTALLATION_TAG];
        self.account.untag_db_instance(&server.id, &tags).await.map_err(failed)?;
        tracing::info!(
            server = server.id,
            "a database server is kept and does not belong to bindery any more"
        );
        Ok(Progress::Done(()))
    }

    /// Whether a server is gone. One that this process has never seen may be too new for lists.
    fn until_gone(&self, name: &str, is_there: bool) -> Progress<()> {
        let mut sightings = self.sightings.lock().unwrap_or_else(PoisonError::into_inner);
        if is_there {
            sightings.insert(name.to_owned(), Sighting::Seen);
            return pending("Alibaba Cloud deletes the database server");
        }
        let absent = Sighting::AbsentSince(Instant::now());
        match *sightings.entry(name.to_owned()).or_insert(absent) {
            Sighting::AbsentSince(since) if since.elapsed() < LISTING_LAG => {
                pending("looking whether Alibaba Cloud still creates a database server")
            }
            Sighting::AbsentSince(_) | Sighting::Seen => {
                sightings.remove(name);
                Progress::Done(())
            }
        }
    }

    pub(super) async fn confirm_server(
        &self,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        let Some(server) = self.server_of(&on.id).await?.filter(|server| !server.is_leaving()) else {
            let problem = "the database server is missing; delete the instance and provision it again";
            return Ok(Confirmed::Differs(problem.to_owned()));
        };
        let Some(binding) = binding else { return Ok(Confirmed::There) };
        let mark = self.binding_name(&on.id, &binding.id);
        let accounts = self.account.db_accounts(&server.id).await.map_err(|error| self.failed(&error))?;
        Ok(if accounts.iter().any(|account| account.description == mark) {
            Confirmed::There
        } else {
            let problem = "the account of the database is missing; delete the binding and bind again";
            Confirmed::Differs(problem.to_owned())
        })
    }
}

/// The character set of a new database, as the API calls it.
fn character_set(engine: Engine) -> &'static str {
    match engine {
        Engine::MySQL => "utf8mb4",
        Engine::PostgreSQL => "UTF8",
    }
}
