//! The environment of the CockroachDB broker that bindery replaces (cockroachdb/pcf-crdb-service-broker at 90b9186,
//! `README.md` and `config.go`): `SERVICES`, `PRECONFIGURED_PLANS`, `CUSTOM_PLANS`, `SECURITY_USER_NAME`,
//! `SECURITY_USER_PASSWORD`, `PGSSLCERT`, `PGSSLKEY`, with libpq's `PGSSLROOTCERT` and `PGPASSWORD`. Like there, unknown
//! members of the JSON are ignored, and what was fatal there is an error here.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    BackendName, Backing, ConfigError, DatabasePlan, LoadedConfig, Login, Offering, PartialSettings,
    PasswordSource, Protocol, ServerSettings, ServiceKind, ServiceSettings, SslMode, StoreKey, offering,
    plan_id,
};
use crate::osb::{self, null::as_absent};

/// Where records are kept unless `BINDERY_STORE` says otherwise; the key lies beside it, with `.key` added.
const DEFAULT_STORE: &str = "bindery-broker.db";

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
    /// Where applications connect to; this and the next are not the former broker's.
    crdb_client_host: Option<String>,
    crdb_client_port: Option<String>,
}

/// A plan as the Pivotal tile writes it: a map of these by arbitrary keys.
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
    let mut servers: BTreeMap<BackendName, ServerSettings> = BTreeMap::new();
    for plan in plans {
        let field = format!("plan {:?}", plan.name);
        plan.check_address(&field)?;
        let offering = plan.offering(&mut offerings, &field)?;
        let server = plan.server(variable, &offering.service.name, &field)?;
        let plan = plan.offered(&offering.service);
        // Two plans of one id are found by the check below, which wants to see both.
        let backing = Backing { backend: server.name.clone(), database: DatabasePlan::default() };
        offering.plans.insert(plan.id.clone(), backing);
        offering.service.plans.push(plan);
        servers.insert(server.name.clone(), server);
    }
    let servers: Vec<_> = servers.into_values().collect();
    offering::check(&offerings, &servers)?;

    let store = non_empty(variable, "BINDERY_STORE").unwrap_or_else(|| format!("sqlite:{DEFAULT_STORE}"));
    Ok(LoadedConfig {
        services: ServiceSettings { offerings, servers },
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
        Offering { kind: ServiceKind::CockroachDb, service, plans: BTreeMap::new() }
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

    /// The server behind the plan. It is named after the plan, so that records find it again when its address or
    /// administrator changes.
    fn server(
        &self,
        variable: &impl Fn(&str) -> Option<String>,
        service_name: &str,
        field: &str,
    ) -> Result<ServerSettings, ConfigError> {
        let port_of = |name: &str, text: &str| {
            let invalid =
                |_| ConfigError::invalid(format!("{field}: {name}"), format!("{text:?} is no TCP port"));
            text.parse::<u16>().map_err(invalid)
        };
        let port = port_of("crdbPort", &self.crdb_port)?;
        let client_port =
            self.crdb_client_port.as_deref().map(|text| port_of("crdbClientPort", text)).transpose()?;
        let user =
            self.crdb_admin_user.clone().filter(|user| !user.is_empty()).unwrap_or_else(|| "root".to_owned());
        let settings = ServerSettings {
            name: format!("{service_name}/{}", self.name).into(),
            protocol: Protocol::PostgreSql,
            host: self.crdb_host.clone(),
            port,
            client_host: self.crdb_client_host.clone(),
            client_port,
            user,
            password: non_empty(variable, "PGPASSWORD")
                .map(|password| PasswordSource::Given(password.into())),
            database: ServerSettings::DEFAULT_DATABASE.to_owned(),
            sslmode: SslMode::Require,
            ca_file: non_empty(variable, "PGSSLROOTCERT").map(Into::into),
            cert_file: non_empty(variable, "PGSSLCERT").map(Into::into),
            key_file: non_empty(variable, "PGSSLKEY").map(Into::into),
            max_connections: ServerSettings::DEFAULT_CONNECTIONS,
            client_ca: None,
        };
        if settings.cert_file.is_some() != settings.key_file.is_some() {
            return Err(ConfigError::invalid(
                "PGSSLCERT",
                "and PGSSLKEY belong together; set both or neither",
            ));
        }
        settings.checked(field)
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
mod tests {
    use super::*;

    const SERVICES: &str = r#"[{"id": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "name": "cockroachdb", "description": "d",
        "bindable": true, "plan_updateable": false, "metadata": {"displayName": "CockroachDB"}, "tags": ["SQL"]}]"#;
    const PLANS: &str = r#"[{"name": "default", "description": "Default", "metadata": {"displayName": "Default"},
        "serviceID": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00",
        "crdbHost": "cockroachdb-public.default.svc.cluster.local", "crdbPort": "26257"}]"#;

    fn load(changes: &[(&str, &str)]) -> Result<LoadedConfig, ConfigError> {
        let mut variables = BTreeMap::from([
            ("SERVICES", SERVICES),
            ("PRECONFIGURED_PLANS", PLANS),
            ("SECURITY_USER_NAME", "user"),
            ("SECURITY_USER_PASSWORD", "pass"),
        ]);
        variables.extend(changes.iter().copied());
        parse(&|name: &str| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn the_seeds_deployment_is_understood() {
        let config = load(&[]).unwrap().complete(PartialSettings::default()).unwrap();
        let offering = &config.services.offerings[0];
        assert_eq!(offering.service.plans[0].id.as_str(), "d9a19cc6-fbae-597e-af9d-2c3fc640e42c");
        let server = &config.services.servers[0];
        assert_eq!((server.user.as_str(), server.port, server.sslmode), ("root", 26257, SslMode::Require));
        assert!(matches!(&config.settings.auth[0], Login::Basic { username, .. } if username == "user"));
        assert!(!format!("{config:?}").contains("\"pass\""), "a password in Debug output");
    }

    #[test]
    fn null_counts_as_absent() {
        let services = SERVICES
            .replace("[\"SQL\"]", "null")
            .replace("\"plan_updateable\": false", "\"plan_updateable\": null");
        let plans = PLANS
            .replace("\"description\": \"Default\"", "\"description\": null, \"id\": null, \"free\": null");
        let config = load(&[("SERVICES", &services), ("PRECONFIGURED_PLANS", &plans)]).unwrap();
        let service = &config.services.offerings[0].service;
        assert!(service.tags.is_empty() && !service.plan_updateable && service.plans[0].free.is_none());
        assert_eq!(service.plans[0].id.as_str(), "d9a19cc6-fbae-597e-af9d-2c3fc640e42c");
    }

    #[test]
    fn applications_may_have_another_address() {
        let plans = PLANS
            .replace("\"crdbPort\"", r#""crdbClientHost": "pooler", "crdbClientPort": "6432", "crdbPort""#);
        let loaded = load(&[("PRECONFIGURED_PLANS", &plans)]).unwrap();
        assert_eq!(loaded.services.servers[0].for_clients(), ("pooler", 6432));
        let host = "cockroachdb-public.default.svc.cluster.local";
        assert_eq!(load(&[]).unwrap().services.servers[0].for_clients(), (host, 26257));
    }

    #[test]
    fn the_key_lies_beside_the_store_wherever_that_is() {
        let key = |changes: &[(&str, &str)], store: Option<&str>| {
            let caller = PartialSettings {
                store: store.map(|store| store.parse().unwrap()),
                ..PartialSettings::default()
            };
            match load(changes).unwrap().complete(caller).unwrap().settings.store_key {
                StoreKey::FileOrNew(path) => format!("new {}", path.display()),
                StoreKey::File(path) => path.display().to_string(),
                StoreKey::Given(_) => panic!("nobody gave one"),
            }
        };
        assert_eq!(key(&[], None), "new bindery-broker.db.key");
        assert_eq!(key(&[("BINDERY_STORE", "sqlite:/a/b.db")], None), "new /a/b.db.key");
        assert_eq!(key(&[("BINDERY_STORE", "sqlite:/a/b.db")], Some("sqlite:/c/d.db")), "new /c/d.db.key");
        assert_eq!(key(&[("BINDERY_STORE_KEY_FILE", "/k")], Some("sqlite:/c/d.db")), "/k");
    }

    #[test]
    fn whether_plans_can_change_is_taken_over() {
        for updateable in [true, false] {
            let services = SERVICES.replace("e\": false", &format!("e\": {updateable}"));
            let loaded = load(&[("SERVICES", &services)]).unwrap();
            let service = &loaded.services.offerings[0].service;
            assert_eq!(service.plan_updateable, updateable);
            assert!(service.allow_context_updates);
            assert_eq!(service.plans[0].binding_rotatable, Some(true));
        }
    }

    #[test]
    fn the_tiles_plans_are_added() {
        let custom = r#"{"k": {"guid": "g", "name": "big", "display_name": "Big", "description": "b",
            "service": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "host": "other", "port": 26258}}"#;
        let config =
            load(&[("CUSTOM_PLANS", custom), ("PGSSLCERT", "/c"), ("PGSSLKEY", "/k"), ("PGPASSWORD", "x")])
                .unwrap();
        let plan = &config.services.offerings[0].service.plans[1];
        assert_eq!((plan.id.as_str(), plan.name.as_str()), ("g", "big"));
        assert_eq!(plan.metadata.as_ref().unwrap()["displayName"], "Big");
        let server = config.services.servers.iter().find(|server| server.host == "other").unwrap();
        assert!(server.password.is_some() && server.cert_file.is_some() && server.port == 26258);
    }

    #[rstest::rstest]
    #[case::no_user(&[("SECURITY_USER_NAME", "")], &["SECURITY_USER_NAME"])]
    #[case::colon_in_user(&[("SECURITY_USER_NAME", "a:b")], &["SECURITY_USER_NAME", "colon"])]
    #[case::no_password(&[("SECURITY_USER_PASSWORD", "")], &["SECURITY_USER_PASSWORD"])]
    #[case::no_services(&[("SERVICES", "")], &["SERVICES"])]
    #[case::broken(&[("SERVICES", "[{")], &["SERVICES", "line 1"])]
    #[case::wrong_type(&[("SERVICES", r#"[{"bindable": 1}]"#)], &["SERVICES: [0].bindable"])]
    #[case::no_service_id(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "crdbHost": "h", "crdbPort": "1"}]"#)], &["\"p\"", "serviceID"])]
    #[case::unknown_service(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "x", "crdbHost": "h", "crdbPort": "1"}]"#)], &["serviceID", "\"x\""])]
    #[case::no_host(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "x", "crdbPort": "1"}]"#)], &["\"p\"", "crdbHost"])]
    #[case::no_port(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "x", "crdbHost": "h"}]"#)], &["\"p\"", "crdbPort"])]
    #[case::bad_client_port(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "crdbHost": "h", "crdbPort": "1", "crdbClientPort": "x"}]"#)], &["crdbClientPort", "\"x\""])]
    #[case::bad_port(&[("PRECONFIGURED_PLANS", r#"[{"name": "p", "serviceID": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "crdbHost": "h", "crdbPort": "99999"}]"#)], &["crdbPort", "99999"])]
    #[case::no_plans(&[("PRECONFIGURED_PLANS", "[]")], &["cockroachdb", "at least one plan"])]
    #[case::half_a_certificate(&[("PGSSLCERT", "/c")], &["PGSSLCERT", "PGSSLKEY"])]
    fn what_was_fatal_is_named(#[case] changes: &[(&str, &str)], #[case] named: &[&str]) {
        let message = load(changes).unwrap_err().to_string();
        for word in named {
            assert!(message.contains(word), "{word} is not in: {message}");
        }
    }

    #[test]
    fn names_and_ids_may_be_used_once() {
        let twice =
            SERVICES.replace("[{", r#"[{"id": "other", "name": "cockroachdb", "description": "d"}, {"#);
        let message = load(&[("SERVICES", &twice)]).unwrap_err().to_string();
        assert!(message.contains("plan") || message.contains("twice"), "{message}");
        let same_id = format!("[{0}, {0}]", &PLANS[1..PLANS.len() - 1]);
        let message = load(&[("PRECONFIGURED_PLANS", &same_id)]).unwrap_err().to_string();
        assert!(message.contains("\"default\"") && message.contains("twice"), "{message}");
    }
}
