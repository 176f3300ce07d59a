//! The environment variables of the CockroachDB broker that bindery replaces (cockroachdb/pcf-crdb-service-broker at
//! 90b9186, `README.md` and `config.go`): `SERVICES`, `PRECONFIGURED_PLANS`, `CUSTOM_PLANS`, `SECURITY_USER_NAME`,
//! `SECURITY_USER_PASSWORD`, `PGSSLCERT`, `PGSSLKEY`, with libpq's `PGSSLROOTCERT` and `PGPASSWORD`. As in that
//! broker, unknown members of the JSON are ignored; its fatal errors are errors here, too. The addresses in plans
//! become settings of a backend, which only the backend parses.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    BackendLimits, BackendName, BackendSettings, Backing, ConfigError, LoadedConfig, Login, Offering,
    PartialSettings, PasswordSource, RawSettings, ServiceSettings, StoreKey, offering, plan_id,
};
use crate::osb::{self, null::as_absent};

/// The store unless `BINDERY_STORE` names another; the key is beside it, with `.key` added.
const DEFAULT_STORE: &str = "bindery-broker.db";

/// The type of the former broker's services and of their backends.
const SERVICE_TYPE: &str = "cockroachdb";
const BACKEND_TYPE: &str = "postgresql";

#[derive(Deserialize)]
struct Service {
    #[serde(default, deserialize_with = "as_absent")]
    id: String,
    #[serde(default, deserialize_with = "as_absent")]
    name: String,
    #[serde(default, deserialize_with = "as_absent")]
    description: String,
    #[serde(default, deserialize_with = "as_absent")]
    bindable: bool,
    #[serde(default, deserialize_with = "as_absent")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "as_absent")]
    plan_updateable: bool,
    metadata: Option<osb::Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    #[serde(default, deserialize_with = "as_absent")]
    id: String,
    #[serde(default, deserialize_with = "as_absent")]
    name: String,
    #[serde(default, deserialize_with = "as_absent")]
    description: String,
    metadata: Option<osb::Object>,
    free: Option<bool>,
    #[serde(default, deserialize_with = "as_absent", rename = "serviceID")]
    service_id: String,
    #[serde(default, deserialize_with = "as_absent")]
    crdb_host: String,
    #[serde(default, deserialize_with = "as_absent")]
    crdb_port: String,
    crdb_admin_user: Option<String>,
    /// The host that applications connect to. The former broker has neither this field nor the next.
    crdb_client_host: Option<String>,
    crdb_client_port: Option<String>,
}

/// A plan as the Pivotal tile writes it, in a map with arbitrary keys.
#[derive(Deserialize)]
struct CustomPlan {
    guid: String,
    name: String,
    #[serde(default, deserialize_with = "as_absent")]
    display_name: String,
    #[serde(default, deserialize_with = "as_absent")]
    description: String,
    service: String,
    host: String,
    port: u16,
}

pub(super) fn parse(variable: &impl Fn(&str) -> Option<String>) -> Result<LoadedConfig, ConfigError> {
    let services: Vec<Service> = json(variable, "SERVICES")?.ok_or_else(|| {
        ConfigError::missing("SERVICES", "set it to the JSON array of services, or give a configuration file")
    })?;
    let mut plans: Vec<Plan> = json(variable, "PRECONFIGURED_PLANS")?.unwrap_or_default();
    let custom: BTreeMap<String, CustomPlan> = json(variable, "CUSTOM_PLANS")?.unwrap_or_default();
    plans.extend(custom.into_values().map(Plan::from));

    let username = required(variable, "SECURITY_USER_NAME", "set the user that the platform calls as")?;
    let password =
        required(variable, "SECURITY_USER_PASSWORD", "set the password that the platform calls with")?;
    let login = Login::basic(username, PasswordSource::Given(password.into()), "SECURITY_USER_NAME")?;

    let mut offerings: Vec<Offering> = services.into_iter().map(Service::offering).collect();
    let mut backends: BTreeMap<BackendName, BackendSettings> = BTreeMap::new();
    for plan in plans {
        let field = format!("plan {:?}", plan.name);
        plan.check_address(&field)?;
        let offering = plan.offering(&mut offerings, &field)?;
        let backend = plan.backend(variable, &offering.service.name, &field)?;
        let plan = plan.offered(&offering.service);
        // Two plans with the same id are reported by the check below, which needs both.
        let backing =
            Backing { backend: backend.name.clone(), plan: RawSettings::new(field, osb::Object::new()) };
        offering.plans.insert(plan.id.clone(), backing);
        offering.service.plans.push(plan);
        backends.insert(backend.name.clone(), backend);
    }
    let backends: Vec<_> = backends.into_values().collect();
    offering::check(&offerings, &backends)?;

    let store = non_empty(variable, "BINDERY_STORE").unwrap_or_else(|| format!("sqlite:{DEFAULT_STORE}"));
    Ok(LoadedConfig {
        services: ServiceSettings { offerings, backends },
        stated: PartialSettings {
            auth: vec![login],
            store: Some(store.parse()?),
            store_key: non_empty(variable, "BINDERY_STORE_KEY_FILE").map(|path| StoreKey::File(path.into())),
            installation: non_empty(variable, "BINDERY_INSTALLATION"),
            ..PartialSettings::default()
        },
        key_beside_store: true,
    })
}

impl Service {
    fn offering(self) -> Offering {
        let service = osb::Service {
            id: self.id.into(),
            name: self.name,
            description: self.description,
            bindable: self.bindable,
            tags: self.tags,
            plan_updateable: self.plan_updateable,
            metadata: self.metadata,
            plans: Vec::new(),
            ..offering::abilities()
        };
        Offering { kind: SERVICE_TYPE.to_owned(), service, plans: BTreeMap::new() }
    }
}

impl Plan {
    fn offering<'a>(
        &self,
        offerings: &'a mut [Offering],
        field: &str,
    ) -> Result<&'a mut Offering, ConfigError> {
        if self.service_id.is_empty() {
            return Err(ConfigError::missing(
                format!("{field}: serviceID"),
                "name the id of the plan's service",
            ));
        }
        offerings.iter_mut().find(|offering| offering.service.id.as_str() == self.service_id).ok_or_else(
            || {
                let problem = format!("{:?} is the id of no service in SERVICES", self.service_id);
                ConfigError::invalid(format!("{field}: serviceID"), problem)
            },
        )
    }

    fn check_address(&self, field: &str) -> Result<(), ConfigError> {
        if self.crdb_host.is_empty() {
            return Err(ConfigError::missing(format!("{field}: crdbHost"), "name the cluster's host"));
        }
        if self.crdb_port.is_empty() {
            return Err(ConfigError::missing(
                format!("{field}: crdbPort"),
                "name the cluster's port, such as \"26257\"",
            ));
        }
        Ok(())
    }

    /// The backend of the plan, named after the plan, so that records still refer to it after its address or
    /// administrator changes.
    fn backend(
        &self,
        variable: &impl Fn(&str) -> Option<String>,
        service_name: &str,
        field: &str,
    ) -> Result<BackendSettings, ConfigError> {
        let port_of = |name: &str, text: &str| {
            let invalid =
                |_| ConfigError::invalid(format!("{field}: {name}"), format!("{text:?} is no TCP port"));
            text.parse::<u16>().map_err(invalid)
        };
        let port = port_of("crdbPort", &self.crdb_port)?;
        let client_port =
            self.crdb_client_port.as_deref().map(|text| port_of("crdbClientPort", text)).transpose()?;
        let [certificate, key] = ["PGSSLCERT", "PGSSLKEY"].map(|name| non_empty(variable, name));
        if certificate.is_some() != key.is_some() {
            return Err(ConfigError::invalid(
                "PGSSLCERT",
                "and PGSSLKEY belong together; set both or neither",
            ));
        }
        let user = self.crdb_admin_user.as_deref().filter(|user| !user.is_empty()).unwrap_or("root");
        let settings = json!({
            "host": self.crdb_host,
            "port": port,
            "clientHost": self.crdb_client_host,
            "clientPort": client_port,
            "user": user,
            "sslmode": "require",
            "caFile": non_empty(variable, "PGSSLROOTCERT"),
            "certFile": certificate,
            "keyFile": key,
        });
        let settings = match settings {
            serde_json::Value::Object(settings) => RawSettings::new(field, settings),
            _ => RawSettings::default(),
        };
        let settings = match non_empty(variable, "PGPASSWORD") {
            Some(password) => settings.with_secret("password", password.into()),
            None => settings,
        };
        Ok(BackendSettings {
            name: format!("{service_name}/{}", self.name).into(),
            kind: BACKEND_TYPE.to_owned(),
            limits: BackendLimits::default(),
            settings,
        })
    }

    fn offered(self, service: &osb::Service) -> osb::Plan {
        let id = if self.id.is_empty() { plan_id(&service.name, &self.name) } else { self.id.into() };
        osb::Plan {
            id,
            name: self.name,
            description: self.description,
            metadata: self.metadata,
            free: self.free,
            bindable: None,
            binding_rotatable: Some(service.bindable),
            plan_updateable: None,
            schemas: None,
            maximum_polling_duration: None,
            maintenance_info: None,
        }
    }
}

impl From<CustomPlan> for Plan {
    fn from(plan: CustomPlan) -> Self {
        let display_name = (!plan.display_name.is_empty())
            .then(|| osb::Object::from_iter([("displayName".to_owned(), plan.display_name.into())]));
        Self {
            id: plan.guid,
            name: plan.name,
            description: plan.description,
            metadata: display_name,
            free: None,
            service_id: plan.service,
            crdb_host: plan.host,
            crdb_port: plan.port.to_string(),
            crdb_admin_user: None,
            crdb_client_host: None,
            crdb_client_port: None,
        }
    }
}

fn non_empty(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.is_empty())
}

fn required(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
    remedy: &str,
) -> Result<String, ConfigError> {
    non_empty(variable, name).ok_or_else(|| ConfigError::missing(name, remedy))
}

fn json<T: DeserializeOwned>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<T>, ConfigError> {
    let Some(text) = non_empty(variable, name) else { return Ok(None) };
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&text)).map(Some).map_err(
        |error| {
            let path = error.path().to_string();
            let field = if path == "." { name.to_owned() } else { format!("{name}: {path}") };
            ConfigError::invalid(field, format!("cannot be read as JSON: {}", error.into_inner()))
        },
    )
}

#[cfg(test)]
mod tests;
