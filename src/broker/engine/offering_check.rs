//! The offered services and plans, and checks of requests against them.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    super::{
        backends::{Bound, ServiceError},
        store::records::Binding,
    },
    Refusal,
};
use crate::{
    broker::config::{BackendName, Offering, SchemaError, Schemas},
    osb::{Catalog, Plan, PlanId, Service, ServiceId},
};

/// The offered services and plans.
pub(crate) struct Offer {
    offerings: Vec<Offering>,
    schemas: HashMap<PlanId, Schemas>,
}

/// An offered plan with its service, its server and the schemas of its parameters.
#[derive(Clone, Copy)]
pub(super) struct Offered<'a> {
    pub(super) service: &'a Service,
    pub(super) plan: &'a Plan,
    pub(super) server: &'a BackendName,
    pub(super) schemas: &'a Schemas,
}

impl Offer {
    /// Compiles the schemas. Those of a provider are checked here; the configuration has already checked its own.
    pub(crate) fn new(offerings: Vec<Offering>) -> Result<Self, SchemaError> {
        let mut schemas = HashMap::new();
        for Offering { service, .. } in &offerings {
            for plan in &service.plans {
                let compiled = Schemas::of(plan).map_err(|SchemaError { path, problem }| {
                    let path = format!("service {:?}, plan {:?}: {path}", service.name, plan.name);
                    SchemaError { path, problem }
                })?;
                schemas.insert(plan.id.clone(), compiled);
            }
        }
        Ok(Self { offerings, schemas })
    }

    pub(super) fn catalog(&self) -> Catalog {
        Catalog { services: self.offerings.iter().map(|offering| offering.service.clone()).collect() }
    }

    pub(super) fn service(&self, service_id: &ServiceId) -> Result<&Service, Refusal> {
        Ok(&self.offering(service_id)?.service)
    }

    fn offering(&self, service_id: &ServiceId) -> Result<&Offering, Refusal> {
        required("service_id", service_id.as_str())?;
        self.offerings.iter().find(|offering| offering.service.id == *service_id).ok_or_else(|| {
            Refusal::Invalid(format!(
                "service_id {service_id:?} is not in the catalog",
                service_id = service_id.as_str()
            ))
        })
    }

    /// The server of a plan, if the plan is offered.
    pub(crate) fn server(&self, service_id: &ServiceId, plan_id: &PlanId) -> Option<&BackendName> {
        self.plan(service_id, plan_id).ok().map(|offered| offered.server)
    }

    /// Returns the binding if the service declares all of its contents in `requires`. Platforms may reject a binding
    /// with an undeclared permission, so the operator gets an error instead.
    pub(super) fn permitted(&self, binding: &Binding, bound: Bound) -> Result<Bound, ServiceError> {
        let Ok(service) = self.service(&binding.service_id) else { return Ok(bound) };
        let given = [
            ("syslog_drain_url", "syslog_drain", bound.syslog_drain_url.is_some()),
            ("route_service_url", "route_forwarding", bound.route_service_url.is_some()),
            ("volume_mounts", "volume_mount", bound.volume_mounts.is_some()),
        ];
        let is_required = |permission: &str| service.requires.iter().any(|required| required == permission);
        match given.into_iter().find(|(_, permission, is_given)| *is_given && !is_required(permission)) {
            None => Ok(bound),
            Some((field, permission, _)) => Err(ServiceError::new(
                &binding.server,
                format!("gives a {field}; add {permission} to `requires` of service {}", service.name),
            )),
        }
    }

    /// The plan that a request names.
    pub(super) fn plan(&self, service_id: &ServiceId, plan_id: &PlanId) -> Result<Offered<'_>, Refusal> {
        required("service_id", service_id.as_str())?;
        required("plan_id", plan_id.as_str())?;
        let Offering { service, plans, .. } = self.offering(service_id)?;
        let found = service.plan(plan_id).zip(plans.get(plan_id)).zip(self.schemas.get(plan_id));
        let ((plan, backing), schemas) = found.ok_or_else(|| {
            let (plan, service) = (plan_id.as_str(), &service.name);
            Refusal::Invalid(format!("plan_id {plan:?} is no plan of service {service}"))
        })?;
        Ok(Offered { service, plan, server: &backing.backend, schemas })
    }
}

impl Offered<'_> {
    pub(super) fn is_bindable(&self) -> bool {
        self.plan.bindable.unwrap_or(self.service.bindable)
    }

    pub(super) fn is_updateable(&self) -> bool {
        self.plan.plan_updateable.unwrap_or(self.service.plan_updateable)
    }

    /// The maintenance version of the plan's instances.
    pub(super) fn maintenance_version(&self) -> Option<String> {
        self.plan.maintenance_info.as_ref().and_then(version)
    }

    /// The maintenance version in a request, if any, must match the catalog.
    pub(super) fn check_maintenance_info(&self, given: Option<&Value>) -> Result<(), Refusal> {
        let Some(given) = given else { return Ok(()) };
        let (given, offered) = (version(given), self.maintenance_version());
        if given.is_some() && given == offered {
            return Ok(());
        }
        let shown = |version: Option<String>| version.unwrap_or_else(|| "none".to_owned());
        Err(Refusal::MaintenanceInfo { given: shown(given), offered: shown(offered) })
    }
}

fn version(info: &Value) -> Option<String> {
    info.get("version")?.as_str().map(ToOwned::to_owned)
}

/// Rejects an empty value like a missing one.
pub(super) fn required(field: &str, value: &str) -> Result<(), Refusal> {
    if value.is_empty() { Err(Refusal::Invalid(format!("{field} is missing or empty"))) } else { Ok(()) }
}

/// The ids in a request must match the record; a mismatch is a mistake of the platform.
pub(super) fn same_ids(
    what: &str,
    record: (&ServiceId, &PlanId),
    request: (&ServiceId, &PlanId),
) -> Result<(), Refusal> {
    if record == request {
        return Ok(());
    }
    Err(Refusal::Invalid(format!("{what} is of service_id {} and plan_id {}", record.0, record.1)))
}
