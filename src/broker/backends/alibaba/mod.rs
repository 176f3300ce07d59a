//! Services of Alibaba Cloud. An instance is a database server of RDS with one database, or a bucket of OSS; a binding is
//! an account of the database, or a RAM user or role whose policy is for that bucket alone. `catalog` has the services,
//! `plan` what users may set, `servers` and `buckets` the instances, `accounts` and `principals` the bindings, and
//! `binding_policy` the rights of the latter.

mod account_credentials;
mod accounts;
mod binding_policy;
mod bucket_kinds;
mod bucket_parameters;
mod buckets;
mod catalog;
mod error;
mod grant;
mod inventory;
mod naming;
mod placement;
mod plan;
mod principals;
mod read;
mod release;
mod server_parameters;
mod servers;
mod settings;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use self::{
    catalog::Product,
    plan::Plan,
    servers::{Change, Sighting},
    settings::Settings,
};
use super::{
    Backend, BindingSpec, Bound, Confirmed, ExecutionMode, InstanceSpec, Past, Pending, PlanSettings,
    Progress, Provider, Resource, ServiceError, Unacceptable, Verb,
};
use crate::{
    broker::config::{BackendSettings, ConfigError, Kinds, ReclaimPolicy},
    cloud::alibaba::{Account, AlibabaError, ErrorKind},
    osb::{BindingId, InstanceId, Object, PlanId, Service},
};

/// Parses the settings of an account.
///
/// # Errors
/// Names the invalid field.
pub(super) fn configure(
    backend: &BackendSettings,
    plans: &[PlanSettings],
) -> Result<Box<dyn Backend>, ConfigError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = Settings::read(backend, environment)?;
    if let Some(plan) = plans.first() {
        let problem = format!(
            "is {:?} of type alibaba, which offers its services by itself; set `catalogFile` of the backend",
            backend.name.as_str()
        );
        return Err(ConfigError::invalid(plan.settings.at("backend"), problem));
    }
    Ok(Box::new(AlibabaAccount {
        account: Account::new(settings.account.clone()),
        settings: Arc::new(settings),
    }))
}

/// An account whose settings are parsed.
struct AlibabaAccount {
    account: Account,
    settings: Arc<Settings>,
}

#[async_trait]
impl Backend for AlibabaAccount {
    async fn services(&self) -> Result<Vec<Service>, ConfigError> {
        let settings = &self.settings;
        Ok(settings.services.iter().map(|service| plan::catalog_entry(service, settings)).collect())
    }

    fn provider(&self, installation: &str) -> Arc<dyn Provider> {
        Arc::new(Services {
            name: self.settings.name.clone(),
            account: self.account.clone(),
            plans: plan::plans(&self.settings.services, &self.settings),
            settings: self.settings.clone(),
            installation: installation.to_owned(),
            sightings: Mutex::default(),
            changes: Mutex::default(),
        })
    }
}

/// The instances and bindings of one installation on one account.
struct Services {
    /// The backend's name, for errors.
    name: String,
    account: Account,
    settings: Arc<Settings>,
    plans: BTreeMap<PlanId, Plan>,
    installation: String,
    /// What this process has seen of servers that are to be deleted, by the instance's name.
    sightings: Mutex<BTreeMap<String, Sighting>>,
    /// The changes that this process has asked for, by the server's id.
    changes: Mutex<BTreeMap<String, (Change, Instant)>>,
}

impl Services {
    fn failed(&self, error: &AlibabaError) -> ServiceError {
        error::of_call(&self.name, error)
    }

    /// A resource that is being changed is waited for; any other error is one.
    fn waiting<T>(&self, error: &AlibabaError) -> Result<Progress<T>, ServiceError> {
        match error.kind() {
            ErrorKind::Conflict => Ok(soon("Alibaba Cloud still changes the resource")),
            _ => Err(self.failed(error)),
        }
    }

    fn plan(&self, instance: &InstanceSpec) -> Result<&Plan, ServiceError> {
        self.plans.get(&instance.plan_id).ok_or_else(|| {
            ServiceError::new(&self.name, format!("plan {} is not offered any more", instance.plan_id))
        })
    }

    fn offered(&self, instance: &InstanceSpec) -> Result<&Plan, Unacceptable> {
        self.plan(instance).map_err(|error| Unacceptable::Invalid(error.user_message()))
    }

    fn refused(&self, refusal: Unacceptable) -> ServiceError {
        ServiceError::new(&self.name, refusal)
    }

    fn instance_name(&self, instance: &InstanceId) -> String {
        naming::instance(&self.installation, instance)
    }

    fn binding_name(&self, on: &InstanceId, binding: &BindingId) -> String {
        naming::binding(&self.installation, on, binding)
    }

    /// Whether a name is of this installation.
    fn is_ours(&self, name: &str) -> bool {
        name.starts_with(&naming::of_installation(&self.installation))
    }

    /// Whether the instance is a server; nothing if its plan is not offered any more.
    fn is_server(&self, instance: &InstanceSpec) -> Option<bool> {
        self.plans.get(&instance.plan_id).map(Plan::is_server)
    }

    /// The tags of a new server or bucket.
    fn tags(&self, of: &InstanceSpec) -> BTreeMap<String, String> {
        let mut tags = self.settings.tags.clone();
        tags.extend(naming::tags(&self.installation, of));
        tags
    }
}

/// How long Alibaba Cloud is left to itself before it is asked again: for servers, which take minutes, and for what takes
/// seconds.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_millis(500);

fn pending<T>(description: impl Into<String>) -> Progress<T> {
    Progress::Pending(Pending { description: description.into(), again_after: AGAIN_AFTER })
}

fn soon<T>(description: impl Into<String>) -> Progress<T> {
    Progress::Pending(Pending { description: description.into(), again_after: SOON })
}

#[async_trait]
impl Provider for Services {
    /// Servers take minutes. Buckets, accounts and users take seconds.
    fn execution_mode(&self, plan: &PlanId, verb: Verb) -> ExecutionMode {
        let is_server = self.plans.get(plan).is_some_and(Plan::is_server);
        match verb {
            Verb::Provision | Verb::Update | Verb::Deprovision if is_server => ExecutionMode::Asynchronous,
            _ => ExecutionMode::Synchronous,
        }
    }

    fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
        self.offered(wanted)?.check(&wanted.parameters)
    }

    fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        let wanted = self.offered(to)?;
        match self.plans.get(&from.plan_id) {
            Some(had) => had.check_change(from, wanted, &to.parameters),
            None => wanted.check(&to.parameters),
        }
    }

    fn settled(&self, past: Past<'_>, wanted: &InstanceSpec) -> Object {
        self.plans.get(&wanted.plan_id).map(|plan| plan.release.settled(past)).unwrap_or_default()
    }

    fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
        self.offered(on)?.check_binding(wanted)
    }

    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let plan = self.plan(instance)?;
        match &plan.definition.product {
            Product::Rds(server) => {
                let wanted = plan.server(server, &instance.parameters);
                self.provision_server(instance, server, &wanted.map_err(|refusal| self.refused(refusal))?)
                    .await
            }
            Product::Oss(bucket) => {
                let wanted = plan.bucket(bucket, &instance.parameters);
                self.provision_bucket(instance, wanted.map_err(|refusal| self.refused(refusal))?).await
            }
        }
    }

    async fn update(&self, _from: &InstanceSpec, to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let plan = self.plan(to)?;
        match &plan.definition.product {
            Product::Rds(server) => {
                let wanted = plan.server(server, &to.parameters);
                self.update_server(to, server, &wanted.map_err(|refusal| self.refused(refusal))?).await
            }
            // The bucket is brought into the wanted state, whatever its present one.
            Product::Oss(bucket) => {
                let wanted = plan.bucket(bucket, &to.parameters);
                self.provision_bucket(to, wanted.map_err(|refusal| self.refused(refusal))?).await
            }
        }
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let is_server = self.is_server(instance);
        // Without a plan, both are looked for.
        if is_server != Some(true)
            && let Progress::Pending(waiting) = self.deprovision_bucket(instance).await?
        {
            return Ok(Progress::Pending(waiting));
        }
        if is_server == Some(false) {
            return Ok(Progress::Done(()));
        }
        self.deprovision_server(instance).await
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        let plan = self.plan(on)?;
        match &plan.definition.product {
            Product::Rds(server) => {
                let granted = plan.account(server, &binding.parameters);
                let granted = granted.map_err(|refusal| self.refused(refusal))?;
                self.bind_account(on, binding, server, &granted).await
            }
            Product::Oss(bucket) => {
                let granted = plan.bucket_grant(bucket, binding);
                let granted = granted.map_err(|refusal| self.refused(refusal))?;
                self.bind_bucket(on, binding, &granted, bucket).await
            }
        }
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let is_server = self.is_server(on);
        if is_server != Some(true) {
            self.remove_principal(&self.binding_name(&on.id, &binding.id)).await?;
        }
        if is_server == Some(false) {
            return Ok(Progress::Done(()));
        }
        self.unbind_account(on, binding).await
    }

    async fn confirm(
        &self,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        if self.plan(on)?.is_server() {
            self.confirm_server(on, binding).await
        } else {
            self.confirm_bucket(on, binding).await
        }
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        self.inventory().await
    }

    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
        let bindings = bindings.iter().map(|binding| self.binding_name(instance, binding));
        [self.instance_name(instance)].into_iter().chain(bindings).collect()
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        self.remove_resource(resource).await
    }

    async fn check(&self) -> Result<String, ServiceError> {
        let failed = |error| self.failed(&error);
        let caller = self.account.caller().await.map_err(failed)?;
        let region = self.account.region().await.map_err(failed)?;
        // Proves the rights that every operation begins with.
        let any = self.instance_name(&InstanceId::from("any"));
        if self.plans.values().any(Plan::is_server) {
            self.account.db_instances_with_tag(naming::INSTANCE_TAG, &any).await.map_err(failed)?;
        }
        if self.plans.values().any(|plan| !plan.is_server()) {
            self.account.bucket(&any).await.map_err(failed)?;
            self.account.has_user(&any).await.map_err(failed)?;
        }
        Ok(format!("Alibaba Cloud account {} in {region}", caller.account))
    }
}

/// Whether the data of an instance is kept when the instance is deleted.
fn is_retained(instance: &InstanceSpec) -> bool {
    let policy = release::policy_of(instance);
    if policy == ReclaimPolicy::Retain {
        tracing::info!(instance = %instance.id, policy = policy.as_str(), "the data of a deleted instance is kept");
    }
    policy == ReclaimPolicy::Retain
}
