//! What bindery has created on an account, for `bindery sweep`: accounts and users first, since their removal revokes
//! credentials, then buckets and servers. A role shows by its policy, which is there as long as the role.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Services, naming, pending};
use crate::{
    broker::backends::{Progress, Resource, ServiceError},
    cloud::alibaba::db_instances::KeptBackups,
};

const ACCOUNT: &str = "account";
const USER: &str = "user";
const POLICY: &str = "policy";
const BUCKET: &str = "bucket";
const SERVER: &str = "server";

/// How long a sweep waits for a deletion. Brokers cannot write to their store meanwhile.
const DELETION: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

impl Services {
    pub(super) async fn inventory(&self) -> Result<Vec<Resource>, ServiceError> {
        let failed = |error| self.failed(&error);
        let servers =
            self.account.tagged_db_instances(naming::INSTANCE_TAG, naming::ROOT).await.map_err(failed)?;
        let mut found = Vec::new();
        for (id, name) in servers.iter().filter(|(_, name)| self.is_ours(name)) {
            let marks = naming::bindings_of(name);
            let accounts = self.account.db_accounts(id).await.map_err(failed)?;
            let of_bindings = accounts.into_iter().filter(|account| account.description.starts_with(&marks));
            found.extend(of_bindings.map(|account| self.resource(ACCOUNT, account.description)));
        }
        let users = self.account.users(naming::ROOT).await.map_err(failed)?;
        found.extend(users.into_iter().map(|name| self.resource(USER, name)));
        let policies = self.account.policies(naming::ROOT).await.map_err(failed)?;
        found.extend(policies.into_iter().map(|name| self.resource(POLICY, name)));
        for name in self.account.buckets(naming::ROOT).await.map_err(failed)? {
            let mut bucket = self.resource(BUCKET, name);
            bucket.ours = bucket.ours && !self.is_retained_bucket(&bucket.name).await?;
            found.push(bucket);
        }
        found.extend(servers.into_values().map(|name| self.resource(SERVER, name)));
        Ok(found)
    }

    fn resource(&self, kind: &str, name: String) -> Resource {
        Resource { kind: kind.to_owned(), ours: self.is_ours(&name), name, exists: true }
    }

    /// Removes a resource of this installation. The deletion of a server takes minutes; the error then says so.
    pub(super) async fn remove_resource(&self, resource: &Resource) -> Result<(), ServiceError> {
        let name = resource.name.as_str();
        match resource.kind.as_str() {
            USER | POLICY => self.remove_principal(name).await,
            BUCKET => self.within_time(|| self.remove_bucket(name, false)).await,
            ACCOUNT => self.within_time(|| self.remove_named_account(name)).await,
            SERVER => self.within_time(|| self.remove_named_server(name)).await,
            kind => Err(ServiceError::new(&self.name, format!("holds no {kind}"))),
        }
    }

    /// Repeats a removal until it is done, for a short time.
    async fn within_time<F>(&self, remove: impl Fn() -> F) -> Result<(), ServiceError>
    where
        F: Future<Output = Result<Progress<()>, ServiceError>>,
    {
        let deadline = Instant::now() + DELETION;
        loop {
            match remove().await? {
                Progress::Done(()) => return Ok(()),
                Progress::Pending(pending) if Instant::now() >= deadline => {
                    let problem = format!("{}; sweep again in some minutes", pending.description);
                    return Err(ServiceError::new(&self.name, problem));
                }
                Progress::Pending(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn remove_named_account(&self, mark: &str) -> Result<Progress<()>, ServiceError> {
        let servers = self.server_ids(naming::instance_of(mark)).await?;
        for id in servers {
            if let Progress::Pending(waiting) = self.remove_accounts(&id, mark).await? {
                return Ok(Progress::Pending(waiting));
            }
        }
        Ok(Progress::Done(()))
    }

    async fn remove_named_server(&self, name: &str) -> Result<Progress<()>, ServiceError> {
        let mut removed = Progress::Done(());
        for id in self.server_ids(name).await? {
            let Some(server) = self.account.db_instance(&id).await.map_err(|error| self.failed(&error))?
            else {
                continue;
            };
            if server.status == "Released" {
                continue;
            }
            removed = pending("Alibaba Cloud deletes the database server");
            if server.is_leaving() {
                continue;
            }
            // What a lost record said about backups is unknown, so they are kept.
            if let Err(error) = self.account.delete_db_instance(&id, KeptBackups::Last).await {
                return self.waiting(&error);
            }
        }
        Ok(removed)
    }
}
