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
use serde_saphyr::UserMessageFormatter;

use super::{
    Backing, ClientCa, ConfigError, DatabasePlan, LoadedConfig, Login, Offering, PartialSettings,
    PasswordSource, Protocol, ServerSettings, ServiceKind, ServiceSettings, SslMode, StoreKey, TlsFiles,
    offering::{self, MaintenanceInfo, Permission},
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
    tls: Option<TlsFiles>,
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
    #[serde(default)]
    protocol: Protocol,
    host: String,
    port: u16,
    client_host: Option<String>,
    client_port: Option<u16>,
    user: String,
    password_file: Option<PathBuf>,
    database: Option<String>,
    #[serde(default)]
    sslmode: SslMode,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    max_connections: Option<usize>,
    client_ca: Option<ClientCa>,
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

#[expect(clippy::struct_field_names, reason = "the specification's fields")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    id: Option<String>,
    name: String,
    description: String,
    server: String,
    #[serde(default)]
    database: DatabasePlan,
    metadata: Option<osb::Object>,
    free: Option<bool>,
    bindable: Option<bool>,
    plan_updateable: Option<bool>,
    binding_rotatable: Option<bool>,
    maximum_polling_duration: Option<NonZeroU64>,
    schemas: Option<Value>,
    maintenance_info: Option<MaintenanceInfo>,
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
        // What the parser says by itself is for programmers.
        let error = error.render_with_formatter(&UserMessageFormatter);
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
            tls: file.tls,
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

impl Server {
    fn settings(self, name: &str) -> ServerSettings {
        ServerSettings {
            name: name.into(),
            protocol: self.protocol,
            host: self.host,
            port: self.port,
            client_host: self.client_host,
            client_port: self.client_port,
            user: self.user,
            password: self.password_file.map(PasswordSource::File),
            database: self.database.unwrap_or_else(|| ServerSettings::DEFAULT_DATABASE.to_owned()),
            sslmode: self.sslmode,
            ca_file: self.ca_file,
            cert_file: self.cert_file,
            key_file: self.key_file,
            max_connections: self.max_connections.unwrap_or(ServerSettings::DEFAULT_CONNECTIONS),
            client_ca: self.client_ca,
        }
    }
}

impl Service {
    fn offering(self) -> Offering {
        let mut backings = BTreeMap::new();
        let mut plans = Vec::new();
        for plan in self.plans {
            let id = plan.id.map_or_else(|| plan_id(&self.name, &plan.name), Into::into);
            let backing = Backing { backend: plan.server.into(), database: plan.database };
            backings.insert(id.clone(), backing);
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
        Offering { kind: self.kind, service, plans: backings }
    }
}

#[cfg(test)]
mod tests;
