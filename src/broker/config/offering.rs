//! The offered services and plans: their catalog entries, the type of each service, and the backend of each plan. The
//! consistency checks here apply to every source of configuration.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use uuid::Uuid;

use super::{BackendName, BackendSettings, ConfigError, RawSettings, Schemas};
use crate::osb;

/// The length that the specification calls safe everywhere.
const LONGEST_NAME: usize = 255;

/// The namespace of plan ids that derive from names (cockroachdb/pcf-crdb-service-broker, `util.go`).
const PLAN_IDS: Uuid = Uuid::from_u128(0xdab4_2b46_7339_4bf1_af9b_29db_b728_bf52);

/// The id of a plan that is configured without one.
#[must_use]
pub fn plan_id(service_name: &str, plan_name: &str) -> osb::PlanId {
    Uuid::new_v5(&PLAN_IDS, format!("{service_name}/{plan_name}").as_bytes()).to_string().into()
}

/// A permission that a service needs from the platform.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Permission {
    SyslogDrain,
    RouteForwarding,
    VolumeMount,
}

impl Permission {
    /// The permission's name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SyslogDrain => "syslog_drain",
            Self::RouteForwarding => "route_forwarding",
            Self::VolumeMount => "volume_mount",
        }
    }
}

/// The version of a plan's instances.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaintenanceInfo {
    version: SemanticVersion,
    description: Option<String>,
}

/// A version by Semantic Versioning 2.0.0, as the specification requires.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct SemanticVersion(String);

impl TryFrom<String> for SemanticVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match semver::Version::parse(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => {
                Err(format!("{text:?} is no semantic version ({error}); write MAJOR.MINOR.PATCH, as 1.0.0"))
            }
        }
    }
}

impl From<MaintenanceInfo> for serde_json::Value {
    fn from(info: MaintenanceInfo) -> Self {
        let mut value = serde_json::json!({"version": info.version.0});
        if let Some(description) = info.description {
            value["description"] = description.into();
        }
        value
    }
}

/// The backend of a plan and the plan's settings there.
#[derive(Clone, Debug)]
pub struct Backing {
    /// The backend of the plan's instances.
    pub backend: BackendName,
    /// The plan's settings, which only the backend parses.
    pub plan: RawSettings,
}

/// An offered service, with the backend of each plan.
#[derive(Clone, Debug)]
pub struct Offering {
    /// The service's type, which the backends of its plans must provide.
    pub kind: String,
    /// The service's catalog entry.
    pub service: osb::Service,
    /// The backend of each plan.
    pub plans: BTreeMap<osb::PlanId, Backing>,
}

/// Rejects names and ids that are empty or repeated, names that are too long, services without plans, plans with an
/// unknown backend, and invalid schemas.
pub(in crate::broker) fn check(
    offerings: &[Offering],
    backends: &[BackendSettings],
) -> Result<(), ConfigError> {
    let mut names = Unique::new("service name");
    let mut service_ids = Unique::new("service id");
    let mut plan_ids = Unique::new("plan id");
    let mut known = Unique::new("backend name");
    for backend in backends {
        known.add(backend.name.as_str(), "backends")?;
    }
    for Offering { service, plans, .. } in offerings {
        let field = format!("service {:?}", service.name);
        names.add(&service.name, "services")?;
        check_length(&service.name, &field)?;
        service_ids.add(service.id.as_str(), &field)?;
        if service.plans.is_empty() {
            return Err(ConfigError::missing(format!("{field}: plans"), "a service needs at least one plan"));
        }
        let mut plan_names = Unique::new("plan name");
        for plan in &service.plans {
            let field = format!("{field}, plan {:?}", plan.name);
            plan_names.add(&plan.name, &field)?;
            check_length(&plan.name, &field)?;
            plan_ids.add(plan.id.as_str(), &field)?;
            if let Some(backing) = plans.get(&plan.id)
                && !known.contains(backing.backend.as_str())
            {
                let problem =
                    format!("{:?} is not configured; name one of `backends`", backing.backend.as_str());
                return Err(ConfigError::invalid(format!("{field}: backend"), problem));
            }
            check_schemas(plan, &field)?;
        }
    }
    Ok(())
}

fn check_schemas(plan: &osb::Plan, field: &str) -> Result<(), ConfigError> {
    let checked = Schemas::of(plan).map(drop);
    checked.map_err(|error| ConfigError::invalid(format!("{field}: {}", error.path), error.problem))
}

fn check_length(name: &str, field: &str) -> Result<(), ConfigError> {
    let length = name.chars().count();
    if length > LONGEST_NAME {
        let problem = format!("has {length} characters; take {LONGEST_NAME} at most");
        return Err(ConfigError::invalid(format!("{field}: name"), problem));
    }
    Ok(())
}

/// Values that must be unique, and their description.
struct Unique(HashSet<String>, &'static str);

impl Unique {
    fn new(what: &'static str) -> Self {
        Self(HashSet::new(), what)
    }

    fn contains(&self, value: &str) -> bool {
        self.0.contains(value)
    }

    fn add(&mut self, value: &str, field: &str) -> Result<(), ConfigError> {
        if value.is_empty() {
            return Err(ConfigError::missing(format!("{field}: {}", self.1), "give one"));
        }
        if !self.0.insert(value.to_owned()) {
            let problem = format!("{value:?} is used twice; every {} must be different", self.1);
            return Err(ConfigError::invalid(format!("{field}: {}", self.1), problem));
        }
        Ok(())
    }
}

/// The default abilities of a service; the remaining fields are to be filled in.
pub(super) fn abilities() -> osb::Service {
    osb::Service {
        id: String::new().into(),
        name: String::new(),
        description: String::new(),
        bindable: true,
        tags: Vec::new(),
        requires: Vec::new(),
        instances_retrievable: true,
        bindings_retrievable: true,
        allow_context_updates: true,
        plan_updateable: false,
        metadata: None,
        plans: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the former broker's own test, and an id that the seed's cluster had.
    #[test]
    fn plan_ids_are_those_of_the_cockroachdb_broker() {
        assert_eq!(plan_id("cockroachdb", "default").as_str(), "d9a19cc6-fbae-597e-af9d-2c3fc640e42c");
    }
}
