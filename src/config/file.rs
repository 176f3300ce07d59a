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

use std::{collections::BTreeMap, fmt, num::NonZeroU64, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::Value;

use super::{
    ConfigError, LoadedConfig, Login, Offering, PartialSettings, PasswordSource, ServerName, ServerSettings,
    ServiceKind, ServiceSettings, SslMode, StoreKey, TlsFiles, offering,
    offering::{MaintenanceInfo, Permission},
    plan_id,
};
use crate::osb;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    servers: BTreeMap<String, Server>,
    services: Vec<Service>,
    auth: Option<OneOrSeveral>,
    tls: Option<Tls>,
    store: Option<String>,
    store_password_file: Option<PathBuf>,
    store_key_file: Option<PathBuf>,
    #[serde(default)]
    former_store_key_files: Vec<PathBuf>,
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
    #[serde(default)]
    requires: Vec<Permission>,
    #[serde(default)]
    plan_updateable: bool,
    #[serde(default = "yes")]
    allow_context_updates: bool,
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
    plan_updateable: Option<bool>,
    binding_rotatable: Option<bool>,
    maximum_polling_duration: Option<NonZeroU64>,
    schemas: Option<Value>,
    maintenance_info: Option<MaintenanceInfo>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    client_ca_file: Option<PathBuf>,
}

/// A user with a password, or a file of tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Auth {
    username: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

/// `auth` as one object or as a list of them. By hand, because errors of an untagged enum name no field.
enum OneOrSeveral {
    One(Auth),
    Several(Vec<Auth>),
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
    let auth = file.auth.map(OneOrSeveral::logins).transpose()?;
    Ok(LoadedConfig {
        services: ServiceSettings { offerings, servers },
        stated: PartialSettings {
            auth: auth.unwrap_or_default(),
            store: file.store.map(|url| url.parse()).transpose()?,
            store_password: file.store_password_file.map(PasswordSource::File),
            store_key: file.store_key_file.map(StoreKey::File),
            former_store_keys: file.former_store_key_files,
            tls: file.tls.map(TlsFiles::from),
            installation: file.installation,
        },
        key_beside_store: false,
    })
}

impl<'de> Deserialize<'de> for OneOrSeveral {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = OneOrSeveral;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`username` with `passwordFile`, or `tokenFile`, or a list of these")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrSeveral, A::Error> {
                Auth::deserialize(MapAccessDeserializer::new(map)).map(OneOrSeveral::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrSeveral, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrSeveral::Several)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl OneOrSeveral {
    fn logins(self) -> Result<Vec<Login>, ConfigError> {
        match self {
            Self::One(auth) => Ok(vec![auth.login("auth")?]),
            Self::Several(several) => several
                .into_iter()
                .enumerate()
                .map(|(index, auth)| auth.login(&format!("auth[{index}]")))
                .collect(),
        }
    }
}

impl Auth {
    fn login(self, field: &str) -> Result<Login, ConfigError> {
        let username = format!("{field}.username");
        match (self.username, self.password_file, self.token_file) {
            (Some(name), Some(file), None) => Login::basic(name, PasswordSource::File(file), &username),
            (None, None, Some(file)) => Ok(Login::Bearer { tokens: PasswordSource::File(file) }),
            (Some(_), None, None) => Err(ConfigError::missing(
                format!("{field}.passwordFile"),
                "name the file with the user's password",
            )),
            (None, Some(_), None) => {
                Err(ConfigError::missing(username, "name the user that the platform calls as"))
            }
            (None, None, None) => Err(ConfigError::missing(
                field,
                "give a `username` with its `passwordFile`, or a `tokenFile`",
            )),
            (_, _, Some(_)) => Err(ConfigError::invalid(
                format!("{field}.tokenFile"),
                "stands beside `username` or `passwordFile`; give each an entry of its own in the list `auth`",
            )),
        }
    }
}

impl From<Tls> for TlsFiles {
    fn from(tls: Tls) -> Self {
        Self { cert_file: tls.cert_file, key_file: tls.key_file, client_ca_file: tls.client_ca_file }
    }
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
                // Whatever can be bound can be bound anew.
                binding_rotatable: plan.binding_rotatable.or(plan.bindable).or(Some(self.bindable)),
                plan_updateable: plan.plan_updateable,
                schemas: plan.schemas,
                maximum_polling_duration: plan.maximum_polling_duration.map(NonZeroU64::get),
                maintenance_info: plan.maintenance_info.map(Value::from),
            });
        }
        let service = osb::Service {
            id: self.id.into(),
            name: self.name,
            description: self.description,
            bindable: self.bindable,
            tags: self.tags,
            requires: self.requires.into_iter().map(|permission| permission.as_str().to_owned()).collect(),
            plan_updateable: self.plan_updateable,
            allow_context_updates: self.allow_context_updates,
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
    #[case::bad_store("sqlite:/data/broker.db", "mongodb://x", &["store", "sqlite:"])]
    #[case::no_semantic_version("free: false", "maintenance_info: {version: v1.0}", &["plans[1].maintenance_info", "v1.0", "MAJOR.MINOR.PATCH"])]
    #[case::no_version("free: false", "maintenance_info: {description: d}", &["plans[1].maintenance_info", "version"])]
    #[case::unknown_maintenance("free: false", "maintenance_info: {version: 1.0.0, x: 1}", &["plans[1].maintenance_info", "x"])]
    #[case::no_polling("free: false", "maximum_polling_duration: 0", &["plans[1].maximum_polling_duration"])]
    #[case::unknown_permission("tags: [sql]", "requires: [root]", &["services[0].requires", "root", "syslog_drain"])]
    #[case::bad_schema("free: false", "schemas: {service_instance: {create: {parameters: {type: object}}}}",
        &["service \"cockroachdb\"", "plan \"lab\"", "schemas.service_instance.create.parameters", "$schema"])]
    #[case::half_a_login("passwordFile: /auth", "passwordFile: null", &["auth.passwordFile"])]
    #[case::colon_in_user("username: catalog", "username: 'a:b'", &["auth.username", "a:b"])]
    #[case::no_user("username: catalog, ", "", &["auth.username"])]
    #[case::both_kinds("passwordFile: /auth", "passwordFile: /auth, tokenFile: /t", &["auth.tokenFile"])]
    #[case::unknown_in_list("auth: {username: catalog, passwordFile: /auth}", "auth: [{tokenFile: /t}, {pasword: x}]", &["auth[1]", "pasword"])]
    #[case::empty_in_list("auth: {username: catalog, passwordFile: /auth}", "auth: [{tokenFile: /t}, {}]", &["auth[1]"])]
    #[case::no_login("auth: {username: catalog, passwordFile: /auth}", "auth: catalog", &["auth", "tokenFile"])]
    #[case::half_a_certificate("installation: here", "tls: {certFile: /c}", &["tls", "keyFile"])]
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
    fn several_may_call() {
        let several = "auth:\n- {username: catalog, passwordFile: /new}\n- {username: catalog, passwordFile: /old}\n\
                       - {tokenFile: /tokens}";
        let text = GOOD.replace("auth: {username: catalog, passwordFile: /auth}", several);
        let auth = parse(&text).unwrap().stated.auth;
        let files: Vec<_> = auth.iter().map(|login| format!("{:?}", login.source())).collect();
        assert_eq!(files, [r#"File("/new")"#, r#"File("/old")"#, r#"File("/tokens")"#]);
        assert!(matches!(auth[2], Login::Bearer { .. }));
    }

    #[test]
    fn what_the_specification_lets_a_service_say_reaches_the_catalog() {
        let text =
            GOOD.replace("tags: [sql]", "requires: [syslog_drain]\n    plan_updateable: true").replace(
                "free: false",
                "plan_updateable: false, binding_rotatable: false, maximum_polling_duration: 60, \
                 maintenance_info: {version: 1.2.3-rc.1+b, description: new}",
            );
        let loaded = parse(&text).unwrap();
        let service = serde_json::to_value(&loaded.services.offerings[0].service).unwrap();
        assert_eq!(service["requires"], serde_json::json!(["syslog_drain"]));
        assert_eq!(
            (&service["plan_updateable"], &service["allow_context_updates"]),
            (&true.into(), &true.into())
        );
        assert_eq!(service["plans"][0]["binding_rotatable"], true, "the default");
        let plan = &service["plans"][1];
        assert_eq!((&plan["plan_updateable"], &plan["binding_rotatable"]), (&false.into(), &false.into()));
        assert_eq!(plan["maximum_polling_duration"], 60);
        assert_eq!(
            plan["maintenance_info"],
            serde_json::json!({"version": "1.2.3-rc.1+b", "description": "new"})
        );
    }

    #[test]
    fn what_cannot_be_bound_is_not_rotated() {
        let text = GOOD.replace("free: false", "bindable: false");
        let loaded = parse(&text).unwrap();
        let plans = &loaded.services.offerings[0].service.plans;
        assert_eq!((plans[0].binding_rotatable, plans[1].binding_rotatable), (Some(true), Some(false)));
    }

    #[test]
    fn names_have_255_characters_at_most() {
        for (length, fits) in [(255, true), (256, false)] {
            for name in ["name: cockroachdb", "name: lab"] {
                let text = GOOD.replace(name, &format!("name: {}", "\u{fc}".repeat(length)));
                assert_eq!(parse(&text).is_ok(), fits, "{name} of {length}");
            }
        }
    }

    #[test]
    fn the_files_of_store_and_tls_are_taken_over() {
        let more = "here\nformerStoreKeyFiles: [/k1, /k2]\nstorePasswordFile: /spw\n\
                    tls: {certFile: /c, keyFile: /k, clientCaFile: /ca}";
        let text = GOOD.replace("here", more).replace("sqlite:/data/broker.db", "postgres://u@h/bindery");
        let settings = parse(&text).unwrap().complete(PartialSettings::default()).unwrap().settings;
        assert_eq!(settings.former_store_keys, [PathBuf::from("/k1"), PathBuf::from("/k2")]);
        assert!(matches!(settings.store_password, Some(PasswordSource::File(path)) if path.ends_with("spw")));
        let tls = settings.tls.unwrap();
        assert_eq!((tls.cert_file, tls.client_ca_file), ("/c".into(), Some("/ca".into())));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let message = LoadedConfig::from_file("/nowhere/bindery.yaml".as_ref()).unwrap_err().to_string();
        assert!(message.starts_with("/nowhere/bindery.yaml: "), "{message}");
    }
}
