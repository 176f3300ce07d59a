//! Services of AWS. An instance is a CloudFormation stack made of a template of bindery's own; a binding is an IAM user
//! with an access key, or a role with a session, whose policy is for that instance alone. `definition` has the services,
//! `plan` their plans and parameters, `provision` the stacks, `bind` the users and roles.

mod bind;
mod built_in;
mod credentials;
mod definition;
mod error;
mod grant;
mod inventory;
mod legacy;
mod naming;
mod offered;
mod overrides;
mod placement;
mod plan;
mod provision;
mod roles;
mod rules;
mod servers;
mod settings;
mod templates;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use self::{
    offered::OfferedService,
    overrides::Place,
    plan::Plan,
    settings::Settings,
    templates::{Definitions, TemplateSource},
};
use super::{
    Backend, BindingSpec, Bound, Confirmed, ExecutionMode, InstanceSpec, PlanSettings, Progress, Provider,
    Resource, ServiceError, Unacceptable, Verb,
};
use crate::{
    broker::config::{BackendSettings, ConfigError},
    cloud::aws::{Account, AwsError, buckets::Bucket},
    osb::{BindingId, InstanceId, PlanId, Service},
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
            "is {:?} of type aws, which offers its services by itself; list them under `services` of the backend",
            backend.name.as_str()
        );
        return Err(ConfigError::invalid(plan.settings.at("backend"), problem));
    }
    let mut definitions = Definitions::built_in();
    let services = match &settings.templates {
        // What is in a bucket is read with the catalog.
        TemplateSource::Bucket(_) => Vec::new(),
        TemplateSource::None => settings.services(&definitions)?,
        TemplateSource::Directory(directory) => {
            definitions.add_directory(directory).map_err(|error| {
                let problem = format!("cannot be read: {error}; name a folder with templates");
                ConfigError::invalid(backend.settings.at("templates.directory"), problem)
            })?;
            settings.services(&definitions)?
        }
    };
    Ok(Box::new(AwsAccount {
        account: Account::new(settings.account.clone()),
        field: backend.settings.at("templates.bucket"),
        settings: Arc::new(settings),
        services: Mutex::new(services),
    }))
}

/// An account whose settings are parsed.
struct AwsAccount {
    account: Account,
    settings: Arc<Settings>,
    services: Mutex<Vec<OfferedService>>,
    /// The path of the bucket in the configuration, for errors.
    field: String,
}

impl AwsAccount {
    fn offered(&self) -> MutexGuard<'_, Vec<OfferedService>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, bucket: &Bucket) -> Result<Vec<OfferedService>, ConfigError> {
        let mut definitions = Definitions::built_in();
        definitions.add_bucket(&self.account, bucket).await.map_err(|error| {
            let problem = format!("cannot be read, so that the catalog would lack its services: {error}");
            ConfigError::invalid(self.field.clone(), problem)
        })?;
        self.settings.services(&definitions)
    }
}

#[async_trait]
impl Backend for AwsAccount {
    async fn services(&self) -> Result<Vec<Service>, ConfigError> {
        if let TemplateSource::Bucket(bucket) = &self.settings.templates {
            let services = self.read(bucket).await?;
            *self.offered() = services;
        }
        let rules = &self.settings.rules;
        Ok(self.offered().iter().map(|service| plan::catalog_entry(service, rules)).collect())
    }

    fn provider(&self, installation: &str) -> Arc<dyn Provider> {
        let settings = self.settings.clone();
        Arc::new(Services {
            name: settings.name.clone(),
            account: self.account.clone(),
            plans: plan::plans(&self.offered(), &settings.rules),
            installation: installation.to_owned(),
            settings,
            updates: Mutex::default(),
            deletions: Mutex::default(),
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
    /// The stacks whose update or deletion this process has started, so that a failure of it is news. What failed
    /// earlier is tried again first, also after a restart.
    updates: Mutex<BTreeSet<String>>,
    deletions: Mutex<BTreeSet<String>>,
}

impl Services {
    fn updates(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.updates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deletions(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.deletions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: &AwsError) -> ServiceError {
        error::of_call(&self.name, error)
    }

    fn plan(&self, instance: &InstanceSpec) -> Result<&Plan, ServiceError> {
        self.plans.get(&instance.plan_id).ok_or_else(|| {
            ServiceError::new(&self.name, format!("plan {} is not offered any more", instance.plan_id))
        })
    }

    fn offered(&self, instance: &InstanceSpec) -> Result<&Plan, Unacceptable> {
        self.plan(instance).map_err(|error| Unacceptable::Invalid(error.user_message()))
    }
}

#[async_trait]
impl Provider for Services {
    /// Stacks take minutes. Users and roles take seconds.
    fn execution_mode(&self, _plan: &PlanId, verb: Verb) -> ExecutionMode {
        match verb {
            Verb::Provision | Verb::Update | Verb::Deprovision => ExecutionMode::Asynchronous,
            Verb::Bind | Verb::Unbind => ExecutionMode::Synchronous,
        }
    }

    fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
        self.offered(wanted)?.stack_parameters(&Place::of(wanted), &wanted.parameters).map(drop)
    }

    fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        if from.plan_id != to.plan_id {
            let problem = format!(
                "the plan of service instance {} cannot be changed; provision another instance",
                to.id
            );
            return Err(Unacceptable::Unsupported(problem));
        }
        self.offered(to)?.check_change(&Place::of(to), &from.parameters, &to.parameters)
    }

    fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
        self.offered(on)?.service.grant(&wanted.parameters, &wanted.context).map(drop)
    }

    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.provision_once(instance).await
    }

    async fn update(&self, _from: &InstanceSpec, to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.update_once(to).await
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.deprovision_once(instance).await
    }

    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        self.bind_once(on, binding).await
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        // Without a plan, the stack says whether the binding is a user of a server.
        if self.plans.get(&on.plan_id).is_none_or(|plan| plan.service.has_server())
            && let Progress::Pending(pending) = self.unbind_on_server(on, binding).await?
        {
            return Ok(Progress::Pending(pending));
        }
        self.remove_principal(&on.id, &binding.id).await.map(Progress::Done)
    }

    async fn confirm(
        &self,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        let name = naming::stack(&on.id);
        let stack = self.account.stack(&name).await.map_err(|error| self.failed(&error))?;
        let Some(stack) = stack.filter(|stack| self.is_ours(stack)) else {
            let problem = format!(
                "stack {name} is missing or not of this installation; delete the instance and provision it again"
            );
            return Ok(Confirmed::Differs(problem));
        };
        let plan = self.plans.get(&on.plan_id);
        let is_shared = plan.is_some_and(|plan| plan.service.definition.service.shared);
        let Some(binding) = binding.filter(|_| !is_shared) else { return Ok(Confirmed::There) };
        if plan.is_some_and(|plan| plan.service.has_server()) {
            return self.confirm_on_server(on, binding, &stack).await;
        }
        let principal = naming::principal(&on.id, &binding.id);
        let user = self.account.user(&principal).await.map_err(|error| self.failed(&error))?;
        let found = match user {
            Some(user) => Some(user),
            None => self.account.role(&principal).await.map_err(|error| self.failed(&error))?,
        };
        Ok(match found {
            Some(found) if self.owns(&found) => Confirmed::There,
            _ => Confirmed::Differs(format!(
                "the user or role {principal} is missing; delete the binding and bind again"
            )),
        })
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        self.inventory().await
    }

    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
        let principals = bindings.iter().map(|binding| naming::principal(instance, binding));
        [naming::stack(instance)].into_iter().chain(principals).collect()
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        self.remove_resource(resource).await
    }

    async fn check(&self) -> Result<String, ServiceError> {
        let caller = self.account.caller().await.map_err(|error| self.failed(&error))?;
        let region = self.account.region().await.map_err(|error| self.failed(&error))?;
        // Proves the right to describe stacks, which every operation begins with.
        let name = naming::stack(&InstanceId::from("any"));
        self.account.stack(&name).await.map_err(|error| self.failed(&error))?;
        self.account
            .users(&naming::installation_path(&self.installation))
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(format!("AWS account {} in {region}", caller.account))
    }
}
