//! The settings of a backend of type `alibaba`: the account, the network, and the services that it offers.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf};

use serde::Deserialize;
use url::Url;

use super::{
    catalog::{BUILT_IN, Catalog, CredentialKind, Engine, PlanDefinition, Product, ServiceDefinition},
    naming,
    placement::{Network, check_security_ips},
    release::Release,
};
use crate::{
    broker::{
        backends::access::Access,
        config::{BackendSettings, ConfigError, Kinds, RawSettings},
    },
    cloud::alibaba::{AccountSettings, AssumedRole, Credentials, Endpoints, Environment, KeyId},
};

/// Alibaba Cloud takes at most 20 tags, of which bindery's own are five.
const MOST_TAGS: usize = 15;

/// The settings as written in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fields {
    region: Option<String>,
    access_key_id: Option<String>,
    access_key_id_file: Option<PathBuf>,
    access_key_secret_file: Option<PathBuf>,
    role: Option<RoleFields>,
    #[serde(default)]
    endpoints: EndpointFields,
    #[serde(default)]
    network: Network,
    #[serde(default)]
    security_ips: Vec<String>,
    resource_group_id: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    api_calls_per_second: Option<NonZeroU32>,
    #[serde(default)]
    release: Release,
    catalog_file: Option<PathBuf>,
    services: Option<Vec<String>>,
    rrsa: Option<Rrsa>,
    rds_ca_file: Option<PathBuf>,
}

/// The provider of the cluster's tokens, by which pods get RAM roles (RRSA).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Rrsa {
    pub(super) oidc_provider_arn: String,
    /// The URL of the issuer, as it is in the tokens.
    pub(super) issuer: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RoleFields {
    arn: String,
    external_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EndpointFields {
    rds: Option<String>,
    ram: Option<String>,
    sts: Option<String>,
    oss: Option<String>,
    metadata: Option<String>,
}

/// The parsed settings of a backend.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The backend's name, for errors.
    pub(super) name: String,
    pub(super) account: AccountSettings,
    pub(super) network: Network,
    /// The addresses that may connect to database servers; empty: those of the machine's VPC.
    pub(super) security_ips: Vec<String>,
    pub(super) resource_group: Option<String>,
    /// More tags of servers and buckets.
    pub(super) tags: BTreeMap<String, String>,
    /// What happens to data, for plans without rules of their own.
    pub(super) release: Release,
    pub(super) services: Vec<ServiceDefinition>,
    pub(super) rrsa: Option<Rrsa>,
    /// The certificates of the CA of RDS; without them, servers have no TLS.
    pub(super) rds_ca_file: Option<PathBuf>,
}

impl Settings {
    /// Parses the settings. The environment has the credentials of the chain.
    ///
    /// # Errors
    /// Names the invalid field.
    pub(super) fn read(
        backend: &BackendSettings,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let raw = &backend.settings;
        let fields: Fields = raw.parse()?;
        if let Some(region) = &fields.region {
            check_region(region, &raw.at("region"))?;
        }
        let credentials =
            credentials(raw, fields.access_key_id, fields.access_key_id_file, fields.access_key_secret_file)?;
        if let Some(role) = &fields.role
            && !(role.arn.starts_with("acs:ram::") && role.arn.contains(":role/"))
        {
            let problem = format!("is {:?}; write it as acs:ram::1234567890123456:role/NAME", role.arn);
            return Err(ConfigError::invalid(raw.at("role.arn"), problem));
        }
        check_security_ips(&fields.security_ips, &raw.at("securityIps"))?;
        check_tags(&fields.tags, &raw.at("tags"))?;
        fields.release.check(&raw.at("release"))?;
        let mut services = services(raw, fields.catalog_file.as_ref(), fields.services.as_deref())?;
        if let Some(rrsa) = &fields.rrsa {
            rrsa.check(raw)?;
        }
        offer_roles(&mut services, fields.rrsa.is_some(), raw)?;
        let role = fields.role.map(|RoleFields { arn, external_id }| AssumedRole { arn, external_id });
        Ok(Self {
            name: backend.name.to_string(),
            account: AccountSettings {
                region: fields.region,
                endpoints: fields.endpoints.read(raw)?,
                credentials,
                environment: Environment::new(environment),
                role,
                requests_per_second: fields.api_calls_per_second,
            },
            network: fields.network,
            security_ips: fields.security_ips,
            resource_group: fields.resource_group_id,
            tags: fields.tags,
            release: fields.release,
            services,
            rrsa: fields.rrsa,
            rds_ca_file: fields.rds_ca_file,
        })
    }
}

impl Rrsa {
    fn check(&self, raw: &RawSettings) -> Result<(), ConfigError> {
        let Self { oidc_provider_arn, issuer } = self;
        if !(oidc_provider_arn.starts_with("acs:ram::") && oidc_provider_arn.contains(":oidc-provider/")) {
            let problem =
                format!("is {oidc_provider_arn:?}; write it as acs:ram::1234567890123456:oidc-provider/NAME");
            return Err(ConfigError::invalid(raw.at("rrsa.oidcProviderArn"), problem));
        }
        if !issuer.starts_with("https://") {
            let problem = format!("is {issuer:?}; write the URL of the issuer, which begins with https://");
            return Err(ConfigError::invalid(raw.at("rrsa.issuer"), problem));
        }
        Ok(())
    }
}

/// Where pods can get roles, plans that do not limit the kinds of credentials offer roles.
fn offer_roles(
    services: &mut [ServiceDefinition],
    has_provider: bool,
    raw: &RawSettings,
) -> Result<(), ConfigError> {
    for plan in services.iter_mut().flat_map(|service| &mut service.plans) {
        let Product::Oss(bucket) = &mut plan.product else { continue };
        let allowed = &mut bucket.credentials.allowed;
        if has_provider && *allowed == CredentialKind::ALLOWED {
            allowed.push(CredentialKind::Rrsa);
        }
        if !has_provider && allowed.contains(&CredentialKind::Rrsa) {
            let problem = format!("is missing, and plan {:?} allows credentials: rrsa; set it", plan.name);
            return Err(ConfigError::invalid(raw.at("rrsa"), problem));
        }
    }
    Ok(())
}

fn credentials(
    raw: &RawSettings,
    id: Option<String>,
    id_file: Option<PathBuf>,
    secret_file: Option<PathBuf>,
) -> Result<Credentials, ConfigError> {
    let id = match (id, id_file) {
        (Some(id), None) => Some(KeyId::Given(id)),
        (None, Some(file)) => Some(KeyId::File(file)),
        (None, None) => None,
        (Some(_), Some(_)) => {
            let problem = "and accessKeyIdFile are the same; set one of them";
            return Err(ConfigError::invalid(raw.at("accessKeyId"), problem));
        }
    };
    match (id, secret_file) {
        (None, None) => Ok(Credentials::Chain),
        (Some(id), Some(secret_file)) => Ok(Credentials::AccessKey { id, secret_file }),
        _ => {
            let problem = "and accessKeySecretFile belong together; set both, or neither for RRSA or the role of the machine";
            Err(ConfigError::invalid(raw.at("accessKeyId"), problem))
        }
    }
}

/// A region is part of host names.
fn check_region(region: &str, field: &str) -> Result<(), ConfigError> {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if region.starts_with(|first: char| first.is_ascii_lowercase())
        && region.chars().all(fits)
        && !region.starts_with("oss-")
    {
        return Ok(());
    }
    Err(ConfigError::invalid(field, format!("is {region:?}; write it as cn-hangzhou")))
}

fn check_tags(tags: &BTreeMap<String, String>, field: &str) -> Result<(), ConfigError> {
    let is_taken =
        |key: &String| key.starts_with("bindery:") || key.starts_with("acs:") || key.starts_with("aliyun");
    for (key, value) in tags {
        let fits = |text: &String| naming::tag_value(text) == *text;
        if key.is_empty() || key.len() > 64 || !fits(key) || !fits(value) || is_taken(key) {
            let problem = format!(
                "has {key:?}: {value:?}, which Alibaba Cloud or bindery does not take; use letters, digits and ` +-=._:/@`"
            );
            return Err(ConfigError::invalid(field, problem));
        }
    }
    if tags.len() > MOST_TAGS {
        return Err(ConfigError::invalid(
            field,
            format!("has {} tags; take {MOST_TAGS} at most", tags.len()),
        ));
    }
    Ok(())
}

impl EndpointFields {
    fn read(self, raw: &RawSettings) -> Result<Endpoints, ConfigError> {
        let url = |name: &str, text: Option<String>| {
            let Some(text) = text else { return Ok(None) };
            match Url::parse(&text) {
                Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(Some(url)),
                _ => {
                    let problem =
                        format!("is {text:?}; write it as https://{name}-vpc.cn-hangzhou.aliyuncs.com");
                    Err(ConfigError::invalid(raw.at(&format!("endpoints.{name}")), problem))
                }
            }
        };
        Ok(Endpoints {
            rds: url("rds", self.rds)?,
            ram: url("ram", self.ram)?,
            sts: url("sts", self.sts)?,
            oss: url("oss", self.oss)?,
            metadata: url("metadata", self.metadata)?,
        })
    }
}

/// The services of the catalog file that the backend offers.
fn services(
    raw: &RawSettings,
    file: Option<&PathBuf>,
    wanted: Option<&[String]>,
) -> Result<Vec<ServiceDefinition>, ConfigError> {
    let field = raw.at("catalogFile");
    let text = match file {
        None => BUILT_IN.to_owned(),
        Some(file) => std::fs::read_to_string(file).map_err(|error| {
            let problem = format!("cannot be read: {}: {error}; name a file with services", file.display());
            ConfigError::invalid(field.clone(), problem)
        })?,
    };
    let catalog = Catalog::parse(&text)
        .map_err(|problem| ConfigError::invalid(field.clone(), format!("is no catalog: {problem}")))?;
    for service in &catalog.services {
        for plan in &service.plans {
            check_plan(plan, &format!("{field}: service {:?}, plan {:?}", service.name, plan.name))?;
        }
    }
    let Some(wanted) = wanted else { return Ok(catalog.services) };
    let known: Vec<_> = catalog.services.iter().map(|service| service.name.clone()).collect();
    if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
        let problem =
            format!("has {name:?}, which the catalog does not have; take some of {}", known.join(", "));
        return Err(ConfigError::invalid(raw.at("services"), problem));
    }
    Ok(catalog.services.into_iter().filter(|service| wanted.contains(&service.name)).collect())
}

/// Checks the choices of a plan; `field` is its place.
fn check_plan(plan: &PlanDefinition, field: &str) -> Result<(), ConfigError> {
    plan.access.check(&format!("{field}: access"))?;
    if let Some(release) = &plan.release {
        release.check(&format!("{field}: release"))?;
    }
    match &plan.product {
        Product::Oss(bucket) => {
            bucket.acl.check(&format!("{field}: acl"))?;
            bucket.storage_class.check(&format!("{field}: storageClass"))?;
            bucket.credentials.check(&format!("{field}: credentials"))?;
            bucket.valid_for.check(&format!("{field}: validFor"))
        }
        Product::Rds(server)
            if server.engine == Engine::PostgreSQL && plan.access.allowed != [Access::Owner] =>
        {
            let problem =
                "has more than owner, and the API has no lesser privilege for PostgreSQL; leave it out";
            Err(ConfigError::invalid(format!("{field}: access"), problem))
        }
        Product::Rds(_) => Ok(()),
    }
}
