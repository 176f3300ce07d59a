//! The settings of a backend of type `aws`: the account, the roles, and the services that it offers.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{
    definition::{self, Access, Definition},
    naming,
};
use crate::{
    broker::{
        backends::{choice::Choice, validity::Validity},
        config::{BackendSettings, ConfigError, Kinds},
    },
    cloud::aws::{AccountSettings, AssumedRole, Credentials, policy::check_arn},
    osb::Object,
};

/// The settings of a backend as written in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fields {
    region: Option<String>,
    endpoint: Option<String>,
    access_key_id: Option<String>,
    secret_access_key_file: Option<PathBuf>,
    role: Option<RoleFields>,
    /// The alias is the name in the AWS Service Broker's own configuration.
    #[serde(alias = "aws_cloudformation_role_arn")]
    cloudformation_role_arn: Option<String>,
    permissions_boundary_arn: Option<String>,
    api_calls_per_second: Option<NonZeroU32>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    services: BTreeMap<String, ServiceFields>,
}

/// A role to assume.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RoleFields {
    arn: String,
    external_id: Option<String>,
}

/// The settings of one service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct ServiceFields {
    #[serde(rename = "type")]
    kind: Option<String>,
    access: Choice<Access>,
    credentials: Choice<CredentialKind>,
    valid_for: Validity,
    /// Parameters with these values if the user sets none.
    defaults: Object,
    /// Parameters with these values, whatever the user sets.
    values: Object,
}

/// What a binding's credentials are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CredentialKind {
    /// The access key of an IAM user, which lasts until the binding ends.
    #[default]
    User,
    /// Temporary credentials of a role, which end by themselves.
    Session,
}

impl Kinds for CredentialKind {
    const ALL: &'static [Self] = &[Self::User, Self::Session];

    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
        }
    }
}

/// A service that the backend offers.
#[derive(Clone, Debug)]
pub(super) struct OfferedService {
    /// The name in the catalog.
    pub(super) name: String,
    /// The name of the definition.
    pub(super) kind: String,
    pub(super) definition: &'static Definition,
    pub(super) access: Choice<Access>,
    pub(super) credentials: Choice<CredentialKind>,
    pub(super) valid_for: Validity,
    pub(super) defaults: Object,
    pub(super) values: Object,
}

/// The parsed settings of a backend.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The backend's name, for errors.
    pub(super) name: String,
    pub(super) account: AccountSettings,
    /// The role under which CloudFormation works.
    pub(super) deploy_role: Option<String>,
    /// The permissions boundary of users and roles.
    pub(super) boundary: Option<String>,
    /// More tags of stacks, users and roles.
    pub(super) tags: BTreeMap<String, String>,
    pub(super) services: Vec<OfferedService>,
}

impl Settings {
    /// Parses the settings.
    ///
    /// # Errors
    /// Names the invalid field.
    pub(super) fn read(backend: &BackendSettings) -> Result<Self, ConfigError> {
        let raw = &backend.settings;
        let fields: Fields = raw.parse()?;
        let credentials = match (fields.access_key_id, fields.secret_access_key_file) {
            (None, None) => Credentials::Chain,
            (Some(id), Some(secret_file)) => Credentials::AccessKey { id, secret_file },
            _ => {
                let problem =
                    "and secretAccessKeyFile belong together; set both, or neither for the SDK's own chain";
                return Err(ConfigError::invalid(raw.at("accessKeyId"), problem));
            }
        };
        let role = fields.role.map(|RoleFields { arn, external_id }| AssumedRole { arn, external_id });
        let arns = [
            ("role.arn", role.as_ref().map(|role| &role.arn)),
            ("cloudformationRoleArn", fields.cloudformation_role_arn.as_ref()),
            ("permissionsBoundaryArn", fields.permissions_boundary_arn.as_ref()),
        ];
        for (name, arn) in arns {
            if let Some(arn) = arn {
                check_arn(arn)
                    .map_err(|error| ConfigError::invalid(raw.at(name), format!("is wrong: {error}")))?;
            }
        }
        for (key, value) in &fields.tags {
            if key.is_empty() || naming::tag_value(key) != *key || naming::tag_value(value) != *value {
                let problem = format!(
                    "has {key:?}: {value:?}, which AWS does not take; use letters, digits and ` +-=._:/@`"
                );
                return Err(ConfigError::invalid(raw.at("tags"), problem));
            }
        }
        let services = if fields.services.is_empty() {
            definition::names().into_iter().map(|name| (name.to_owned(), ServiceFields::default())).collect()
        } else {
            fields.services
        };
        let offered = |(name, fields): (String, ServiceFields)| {
            let field = raw.at(&format!("services.{name}"));
            fields.offered(name, &field)
        };
        Ok(Self {
            name: backend.name.to_string(),
            account: AccountSettings {
                region: fields.region,
                endpoint: fields.endpoint,
                credentials,
                role,
                requests_per_second: fields.api_calls_per_second,
            },
            deploy_role: fields.cloudformation_role_arn,
            boundary: fields.permissions_boundary_arn,
            tags: fields.tags,
            services: services.into_iter().map(offered).collect::<Result<_, _>>()?,
        })
    }
}

impl ServiceFields {
    fn offered(self, name: String, field: &str) -> Result<OfferedService, ConfigError> {
        let kind = self.kind.unwrap_or_else(|| name.clone());
        let Some(definition) = definition::named(&kind) else {
            let known = definition::names().join(", ");
            let problem = format!("is {kind:?}, which bindery has no template for; take one of {known}");
            return Err(ConfigError::invalid(format!("{field}.type"), problem));
        };
        self.access.check(&format!("{field}.access"))?;
        self.credentials.check(&format!("{field}.credentials"))?;
        self.valid_for.check(&format!("{field}.validFor"))?;
        for (of, values) in [("defaults", &self.defaults), ("values", &self.values)] {
            for (name, value) in values {
                check_value(definition, name, value)
                    .map_err(|problem| ConfigError::invalid(format!("{field}.{of}.{name}"), problem))?;
            }
        }
        Ok(OfferedService {
            name,
            kind,
            definition,
            access: self.access,
            credentials: self.credentials,
            valid_for: self.valid_for,
            defaults: self.defaults,
            values: self.values,
        })
    }
}

fn check_value(definition: &Definition, name: &str, value: &Value) -> Result<(), String> {
    match definition.template.parameters.get(name) {
        Some(parameter) => parameter.text(value).map(drop),
        None => {
            let known: Vec<_> = definition.template.parameters.keys().map(String::as_str).collect();
            Err(format!("is no parameter of the template; it has {}", known.join(", ")))
        }
    }
}
