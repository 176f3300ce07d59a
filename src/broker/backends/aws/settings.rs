//! The settings of a backend of type `aws`: the account, the roles, and the services that it offers.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::{
    built_in::NOT_OFFERED,
    definition::{Definition, ServerKind},
    naming,
    offered::{CredentialKind, Eks, OfferedService},
    overrides::Overrides,
    placement::Placement,
    rules::Rules,
    templates::{Definitions, TemplateFields, TemplateSource},
};
use crate::{
    broker::{
        backends::{access::Access, choice::Choice, validity::Validity},
        config::{BackendSettings, ConfigError, Kinds},
    },
    cloud::aws::{AccountSettings, AssumedRole, Credentials, KeyId, policy::check_arn},
    osb::Object,
};

/// The settings of a backend as written in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fields {
    region: Option<String>,
    endpoint: Option<String>,
    access_key_id: Option<String>,
    access_key_id_file: Option<PathBuf>,
    secret_access_key_file: Option<PathBuf>,
    role: Option<RoleFields>,
    /// The alias is the name in the AWS Service Broker's own configuration.
    #[serde(alias = "aws_cloudformation_role_arn")]
    cloudformation_role_arn: Option<String>,
    permissions_boundary_arn: Option<String>,
    api_calls_per_second: Option<NonZeroU32>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// The certificates of Amazon RDS, PEM: without them, databases are not offered.
    rds_ca_file: Option<PathBuf>,
    /// The certificates of the CA of Amazon MQ, PEM, if it is not one of the system's.
    mq_ca_file: Option<PathBuf>,
    #[serde(default)]
    eks: Eks,
    #[serde(default)]
    user_tags: Vec<String>,
    broker_id: Option<String>,
    #[serde(default)]
    prescribe_overrides: bool,
    templates: Option<TemplateFields>,
    #[serde(default)]
    services: BTreeMap<String, ServiceFields>,
}

/// The id of the broker in variables with overrides, as the AWS Service Broker's default.
const BROKER_ID: &str = "awsservicebroker";

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
    access: Option<Choice<Access>>,
    credentials: Choice<CredentialKind>,
    valid_for: Validity,
    /// Parameters with these values if the user sets none.
    defaults: Object,
    /// Parameters with these values, whatever the user sets.
    values: Object,
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
    /// The certificates of Amazon RDS, PEM.
    pub(super) rds_ca_file: Option<PathBuf>,
    /// The certificates of the CA of Amazon MQ, PEM; none, if it is one of the system's.
    pub(super) mq_ca_file: Option<PathBuf>,
    /// The cluster whose service accounts get roles.
    eks: Eks,
    pub(super) rules: Arc<Rules>,
    /// Where more templates are.
    pub(super) templates: TemplateSource,
    /// The services as written in the configuration; empty: those that need no setting.
    services: BTreeMap<String, ServiceFields>,
    /// The path of `services` in the configuration, for errors.
    field: String,
}

impl Settings {
    /// Parses the settings. Overrides are in the environment.
    ///
    /// # Errors
    /// Names the invalid field or variable.
    pub(super) fn read(
        backend: &BackendSettings,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let raw = &backend.settings;
        let fields: Fields = raw.parse()?;
        let id = match (fields.access_key_id, fields.access_key_id_file) {
            (Some(id), None) => Some(KeyId::Given(id)),
            (None, Some(file)) => Some(KeyId::File(file)),
            (None, None) => None,
            (Some(_), Some(_)) => {
                let problem = "and accessKeyIdFile are the same; set one of them";
                return Err(ConfigError::invalid(raw.at("accessKeyId"), problem));
            }
        };
        let credentials = match (id, fields.secret_access_key_file) {
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
            ("eks.oidcProviderArn", fields.eks.oidc_provider_arn.as_ref()),
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
        let role_arn = role.as_ref().map(|role| role.arn.as_str());
        let rules = Rules {
            overrides: Overrides::read(fields.broker_id.as_deref().unwrap_or(BROKER_ID), environment),
            prescribes_overrides: fields.prescribe_overrides,
            placement: Placement::new(fields.region.as_deref(), role_arn, &fields.user_tags),
        };
        let templates = fields.templates.map(TemplateSource::try_from).transpose();
        let templates = templates.map_err(|problem| ConfigError::invalid(raw.at("templates"), problem))?;
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
            rds_ca_file: fields.rds_ca_file,
            mq_ca_file: fields.mq_ca_file,
            eks: fields.eks,
            rules: Arc::new(rules),
            templates: templates.unwrap_or_default(),
            services: fields.services,
            field: raw.at("services"),
        })
    }

    /// The services that are offered with these definitions.
    ///
    /// # Errors
    /// Names the invalid field or variable.
    pub(super) fn services(&self, definitions: &Definitions) -> Result<Vec<OfferedService>, ConfigError> {
        let services =
            if self.services.is_empty() { self.unasked(definitions) } else { self.services.clone() };
        let offered = |(name, fields): (String, ServiceFields)| {
            let field = format!("{}.{name}", self.field);
            fields.offered(name, &field, definitions, self).transpose()
        };
        let services = services.into_iter().filter_map(offered).collect::<Result<Vec<_>, _>>()?;
        let templates: Vec<_> =
            services.iter().map(|service| (service.name.as_str(), &service.definition.template)).collect();
        self.rules.check(&templates)?;
        Ok(services)
    }

    /// The services that are offered if none is named: those whose bindings have credentials of their own, and that need
    /// no more settings.
    fn unasked(&self, definitions: &Definitions) -> BTreeMap<String, ServiceFields> {
        let is_ready = |name: &&str| {
            let fields = ServiceFields::default();
            let is_shared = definitions.named(name).is_some_and(|definition| definition.service.shared);
            !is_shared && fields.offered((*name).to_owned(), "", definitions, self).is_ok()
        };
        let names = definitions.names().into_iter().filter(is_ready);
        names.map(|name| (name.to_owned(), ServiceFields::default())).collect()
    }
}

impl ServiceFields {
    /// The service; none if its template may be one that was left out.
    fn offered(
        self,
        name: String,
        field: &str,
        definitions: &Definitions,
        settings: &Settings,
    ) -> Result<Option<OfferedService>, ConfigError> {
        let kind = self.kind.unwrap_or_else(|| name.clone());
        let Some(definition) = definitions.named(&kind).cloned() else {
            if !definitions.rejected.is_empty() {
                tracing::error!(service = name, template = kind, "a service without a template is left out");
                return Ok(None);
            }
            let known = definitions.names().join(", ");
            let why = NOT_OFFERED.iter().find(|(name, _)| *name == kind);
            let why = why.map_or("bindery has no template for it", |(_, why)| *why);
            let problem = format!("is {kind:?}, which is not offered: {why}; take one of {known}");
            return Err(ConfigError::invalid(format!("{field}.type"), problem));
        };
        // The first binding of a server makes its tables or queues.
        let server = definition.service.server;
        let default = if server.is_some() { Access::Owner } else { Access::default() };
        let mut access = self.access.unwrap_or_else(|| Choice { default, ..Choice::default() });
        if server.is_none() && !definition.service.shared {
            access.allowed.retain(|level| definition.service.access.contains_key(level));
        }
        access.check(&format!("{field}.access"))?;
        if server.is_some_and(ServerKind::is_of_rds) && settings.rds_ca_file.is_none() {
            let problem = "is a database of Amazon RDS, and the backend has no rdsCaFile to verify it with; set rdsCaFile to the \
                           bundle of certificates from https://truststore.pki.rds.amazonaws.com";
            return Err(ConfigError::invalid(field, problem));
        }
        check_cluster(&self.credentials, &settings.eks, &format!("{field}.credentials"))?;
        self.credentials.check(&format!("{field}.credentials"))?;
        self.valid_for.check(&format!("{field}.validFor"))?;
        for (of, values) in [("defaults", &self.defaults), ("values", &self.values)] {
            for (name, value) in values {
                check_value(&definition, name, value)
                    .map_err(|problem| ConfigError::invalid(format!("{field}.{of}.{name}"), problem))?;
            }
        }
        let service = OfferedService {
            name,
            kind,
            definition,
            access,
            credentials: self.credentials,
            valid_for: self.valid_for,
            eks: settings.eks.clone(),
            defaults: self.defaults,
            values: self.values,
        };
        if service.plans(&settings.rules).next().is_none() {
            let parameters = service.definition.service.operator_parameters.join(", ");
            let problem = format!("lacks parameters that only the operator sets; set them: {parameters}");
            return Err(ConfigError::invalid(format!("{field}.values"), problem));
        }
        Ok(Some(service))
    }
}

/// Roles for service accounts need a cluster.
fn check_cluster(allowed: &Choice<CredentialKind>, eks: &Eks, field: &str) -> Result<(), ConfigError> {
    let needs = [
        (CredentialKind::Irsa, "oidcProviderArn", eks.oidc_provider_arn.is_none()),
        (CredentialKind::PodIdentity, "clusterName", eks.cluster_name.is_none()),
    ];
    match needs.into_iter().find(|(kind, _, is_missing)| *is_missing && allowed.allowed.contains(kind)) {
        None => Ok(()),
        Some((kind, setting, _)) => {
            let problem = format!("has {}, which needs eks.{setting} of the backend; set it", kind.as_str());
            Err(ConfigError::invalid(field, problem))
        }
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
