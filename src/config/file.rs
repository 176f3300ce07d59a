//! The shape of bindery's own configuration file, YAML, and its way into settings. Unknown fields are refused.
//!
//! ```yaml
//! servers:
//!   main: {host: db.example, port: 26257, user: bindery, passwordFile: /etc/bindery/password, caFile: /etc/bindery/ca.crt}
//! services:
//!   - id: e2e250b5-73f8-45fd-9a7f-93c8dddc5f00
//!     name: cockroachdb
//!     type: cockroachdb
//!     description: A database per instance, a user per binding.
//!     plans: [{name: default, description: Default, server: main}]
//! auth: {username: catalog, passwordFile: /etc/bindery/broker-password}
//! store: sqlite:/data/broker.db
//! storeKeyFile: /etc/bindery/store-key
//! installation: production
//! ```

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{
    ConfigError, LoadedConfig, Login, Offering, PartialSettings, PasswordSource, ServerName, ServerSettings,
    ServiceKind, ServiceSettings, SslMode, StoreKey, offering, plan_id,
};
use crate::osb;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    servers: BTreeMap<String, Server>,
    services: Vec<Service>,
    auth: Option<Auth>,
    store: Option<String>,
    store_key_file: Option<PathBuf>,
    installation: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Server {
    host: String,
    port: u16,
    user: String,
    password_file: Option<PathBuf>,
    database: Option<String>,
    #[serde(default)]
    sslmode: SslMode,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: ServiceKind,
    description: String,
    #[serde(default = "yes")]
    bindable: bool,
    #[serde(default)]
    tags: Vec<String>,
    metadata: Option<osb::Object>,
    plans: Vec<Plan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    id: Option<String>,
    name: String,
    description: String,
    server: String,
    metadata: Option<osb::Object>,
    free: Option<bool>,
    bindable: Option<bool>,
    schemas: Option<Value>,
    maintenance_info: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Auth {
    username: String,
    password_file: PathBuf,
}

fn yes() -> bool {
    true
}

pub(super) fn parse(text: &str) -> Result<LoadedConfig, ConfigError> {
    let mut path = None;
    let file: Document = serde_saphyr::with_deserializer_from_str(text, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            path = Some(error.path().to_string());
            error.into_inner()
        })
    })
    .map_err(|error| {
        let field = path.filter(|path| path != ".").unwrap_or_else(|| "the file".to_owned());
        ConfigError::invalid(field, format!("cannot be read: {error}"))
    })?;

    let servers = file
        .servers
        .into_iter()
        .map(|(name, server)| server.settings(&name).checked(&format!("servers.{name}")))
        .collect::<Result<Vec<_>, _>>()?;
    let offerings: Vec<_> = file.services.into_iter().map(Service::offering).collect();
    offering::check(&offerings, &servers)?;
    let auth = file
        .auth
        .map(|auth| {
            if auth.username.is_empty() {
                return Err(ConfigError::missing(
                    "auth.username",
                    "name the user that the platform calls as",
                ));
            }
            Ok(Login { username: auth.username, password: PasswordSource::File(auth.password_file) })
        })
        .transpose()?;
    Ok(LoadedConfig {
        services: ServiceSettings { offerings, servers },
        stated: PartialSettings {
            auth: auth.into_iter().collect(),
            store: file.store.map(|url| url.parse()).transpose()?,
            store_key: file.store_key_file.map(StoreKey::File),
            installation: file.installation,
        },
        key_beside_store: false,
    })
}

impl Server {
    fn settings(self, name: &str) -> ServerSettings {
        ServerSettings {
            name: name.into(),
            host: self.host,
            port: self.port,
            user: self.user,
            password: self.password_file.map(PasswordSource::File),
            database: self.database.unwrap_or_else(|| ServerSettings::DEFAULT_DATABASE.to_owned()),
            sslmode: self.sslmode,
            ca_file: self.ca_file,
            cert_file: self.cert_file,
            key_file: self.key_file,
        }
    }
}

impl Service {
    fn offering(self) -> Offering {
        let mut servers = BTreeMap::new();
        let mut plans = Vec::new();
        for plan in self.plans {
            let id = plan.id.map_or_else(|| plan_id(&self.name, &plan.name), Into::into);
            servers.insert(id.clone(), ServerName::from(plan.server));
            plans.push(osb::Plan {
                id,
                name: plan.name,
                description: plan.description,
                metadata: plan.metadata,
                free: plan.free,
                bindable: plan.bindable,
                binding_rotatable: None,
                plan_updateable: None,
                schemas: plan.schemas,
                maximum_polling_duration: None,
                maintenance_info: plan.maintenance_info,
            });
        }
        let service = osb::Service {
            id: self.id.into(),
            name: self.name,
            description: self.description,
            bindable: self.bindable,
            tags: self.tags,
            metadata: self.metadata,
            plans,
            ..offering::abilities()
        };
        Offering { kind: self.kind, service, servers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r"
servers:
  main: {host: db.example, port: 26257, user: bindery, passwordFile: /pw, caFile: /ca.crt}
  lab: {host: lab.example, port: 5432, user: bindery, sslmode: require, database: admin}
services:
  - id: svc
    name: cockroachdb
    type: cockroachdb
    description: Databases.
    tags: [sql]
    metadata: {bindery: {env: {COCKROACH_URL: uri}}}
    plans:
      - {name: default, description: Default, server: main}
      - {id: own, name: lab, description: Lab, server: lab, free: false}
auth: {username: catalog, passwordFile: /auth}
store: sqlite:/data/broker.db
storeKeyFile: /key
installation: here
";

    #[test]
    fn a_whole_file_is_understood() {
        let loaded = parse(GOOD).unwrap();
        let offering = &loaded.services.offerings[0];
        assert_eq!(offering.service.plans[0].id.as_str(), "d9a19cc6-fbae-597e-af9d-2c3fc640e42c");
        assert_eq!(offering.servers[&"own".into()].as_str(), "lab");
        assert_eq!(
            serde_json::to_value(&offering.service.metadata).unwrap(),
            serde_json::json!({"bindery": {"env": {"COCKROACH_URL": "uri"}}}),
            "metadata passes through untouched"
        );
        let main = loaded.services.servers.iter().find(|server| server.name.as_str() == "main").unwrap();
        assert_eq!((main.sslmode, main.database.as_str()), (SslMode::VerifyFull, "postgres"));
        assert!(loaded.complete(PartialSettings::default()).is_ok());
    }

    #[rstest::rstest]
    #[case::unknown_field("port: 26257", "prot: 26257", &["servers.main", "prot"])]
    #[case::wrong_type("port: 26257", "port: many", &["servers.main.port"])]
    #[case::no_ca(", caFile: /ca.crt", "", &["servers.main.caFile", "require", "verify-full"])]
    #[case::key_without_certificate("sslmode: require", "sslmode: require, keyFile: /k", &["servers.lab.certFile"])]
    #[case::unknown_server("server: lab", "server: nowhere", &["plan \"lab\"", "nowhere", "servers"])]
    #[case::duplicate_plan("name: lab", "name: default", &["plan name", "default", "twice"])]
    #[case::no_plan_name("name: lab", "name: ''", &["plan name", "missing"])]
    #[case::unknown_kind("type: cockroachdb", "type: oracle", &["services[0].type", "oracle"])]
    #[case::bad_store("sqlite:/data/broker.db", "postgres://x", &["store", "sqlite:"])]
    #[case::unknown_sslmode("sslmode: require", "sslmode: prefer", &["servers.lab.sslmode", "prefer", "verify-full"])]
    fn what_is_wrong_is_named(#[case] right: &str, #[case] wrong: &str, #[case] named: &[&str]) {
        let text = GOOD.replace(right, wrong);
        assert_ne!(text, GOOD);
        let message = parse(&text).unwrap_err().to_string();
        for word in named {
            assert!(message.contains(word), "{word} is not in: {message}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let message = LoadedConfig::from_file("/nowhere/bindery.yaml".as_ref()).unwrap_err().to_string();
        assert!(message.starts_with("/nowhere/bindery.yaml: "), "{message}");
    }
}
