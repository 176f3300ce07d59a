//! Bindery's own configuration file in YAML, and its conversion to settings. Unknown fields are rejected.
//!
//! ```yaml
//! backends:
//!   main: {type: postgresql, host: db.example, port: 26257, user: bindery,
//!     passwordFile: /etc/bindery/password, caFile: /etc/bindery/ca.crt}
//! services:
//!   - id: e2e250b5-73f8-45fd-9a7f-93c8dddc5f00
//!     name: cockroachdb
//!     type: cockroachdb
//!     description: A database per instance, a user per binding.
//!     plans: [{name: default, description: Default, backend: main}]
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
    BackendSettings, Backing, ConfigError, LoadedConfig, Login, Offering, PartialSettings, PasswordSource,
    RawSettings, ServiceSettings, StoreKey, TlsFiles,
    offering::{self, MaintenanceInfo, Permission},
    plan_id,
    raw::parse as read,
};
use crate::osb::{self, Object};

/// The fields of every backend.
const OF_BACKENDS: &[&str] = &["type", "limits"];
/// The fields of every plan; must match [`Plan`].
const OF_PLANS: &[&str] = &[
    "id",
    "name",
    "description",
    "backend",
    "metadata",
    "free",
    "bindable",
    "plan_updateable",
    "binding_rotatable",
    "maximum_polling_duration",
    "schemas",
    "maintenance_info",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    backends: BTreeMap<String, Object>,
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
#[serde(deny_unknown_fields)]
struct Service {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
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
    plans: Vec<Object>,
}

#[expect(clippy::struct_field_names, reason = "the specification's fields")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    id: Option<String>,
    name: String,
    description: String,
    backend: String,
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

/// `auth` as one object or as a list. Deserialized by hand, because errors of an untagged enum name no field.
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
        if field == "servers" {
            return renamed("servers", "backends");
        }
        // The parser's default messages are for programmers.
        let error = error.render_with_formatter(&UserMessageFormatter);
        ConfigError::invalid(field, format!("cannot be read: {error}"))
    })?;

    let backends = file
        .backends
        .into_iter()
        .map(|(name, settings)| backend(&name, settings))
        .collect::<Result<Vec<_>, _>>()?;
    let offerings = file
        .services
        .into_iter()
        .enumerate()
        .map(|(index, service)| service.offering(&format!("services[{index}]")))
        .collect::<Result<Vec<_>, _>>()?;
    offering::check(&offerings, &backends)?;
    let auth = file.auth.map(OneOrSeveral::logins).transpose()?;
    Ok(LoadedConfig {
        services: ServiceSettings { offerings, backends },
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

/// The error for a field that was renamed.
fn renamed(field: &str, name: &str) -> ConfigError {
    ConfigError::invalid(field, format!("is called `{name}` now; rename it"))
}

/// Parses a backend: the fields that every type has; the backend itself parses the rest.
fn backend(name: &str, mut settings: Object) -> Result<BackendSettings, ConfigError> {
    let field = format!("backends.{name}");
    if settings.contains_key("protocol") {
        return Err(renamed(&format!("{field}.protocol"), "type"));
    }
    let kind = settings.remove("type").ok_or_else(|| {
        ConfigError::missing(format!("{field}.type"), "name the type of the backend, such as `postgresql`")
    })?;
    let limits = settings.remove("limits").unwrap_or_else(|| Object::new().into());
    Ok(BackendSettings {
        name: name.into(),
        kind: read(kind, &format!("{field}.type"), &[])?,
        limits: read(limits, &format!("{field}.limits"), &[])?,
        settings: RawSettings::new(field, settings).beside(OF_BACKENDS),
    })
}

/// Parses a plan: the fields that every plan has; its backend parses the rest.
fn plan(field: &str, settings: Object) -> Result<(Plan, RawSettings), ConfigError> {
    if settings.contains_key("server") {
        return Err(renamed(&format!("{field}.server"), "backend"));
    }
    let (of_every_plan, of_its_backend): (Object, Object) =
        settings.into_iter().partition(|(name, _)| OF_PLANS.contains(&name.as_str()));
    let plan = read(of_every_plan.into(), field, &[])?;
    Ok((plan, RawSettings::new(field, of_its_backend).beside(OF_PLANS)))
}

impl Service {
    fn offering(self, field: &str) -> Result<Offering, ConfigError> {
        let mut backings = BTreeMap::new();
        let mut plans = Vec::new();
        for (index, settings) in self.plans.into_iter().enumerate() {
            let (plan, own) = plan(&format!("{field}.plans[{index}]"), settings)?;
            let id = plan.id.map_or_else(|| plan_id(&self.name, &plan.name), Into::into);
            let backing = Backing { backend: plan.backend.into(), plan: own };
            backings.insert(id.clone(), backing);
            plans.push(osb::Plan {
                id,
                name: plan.name,
                description: plan.description,
                metadata: plan.metadata,
                free: plan.free,
                bindable: plan.bindable,
                // Every plan that can be bound also supports rotation.
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
        Ok(Offering { kind: self.kind, service, plans: backings })
    }
}

#[cfg(test)]
mod tests;
