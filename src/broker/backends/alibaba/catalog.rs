//! The catalog file: which services and plans are offered, and what each plan is made of.

use serde::Deserialize;

use super::{
    bucket_kinds::{Acl, StorageClass},
    release::Release,
};
use crate::{
    broker::{
        backends::{access::Access, choice::Choice, validity::Validity},
        config::Kinds,
    },
    osb::{PlanId, ServiceId},
};

/// The catalog that bindery comes with.
pub(super) const BUILT_IN: &str = include_str!("catalog.yaml");

/// A catalog file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalog {
    pub(super) services: Vec<ServiceDefinition>,
}

/// A service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ServiceDefinition {
    /// The id, which never changes.
    pub(super) id: ServiceId,
    /// The name, unique among all services of the broker.
    pub(super) name: String,
    /// The name for people.
    pub(super) display_name: Option<String>,
    /// The description for people.
    pub(super) description: String,
    /// Words to find the service by.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    pub(super) plans: Vec<PlanDefinition>,
}

/// A plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "StatedPlan")]
pub(super) struct PlanDefinition {
    /// The id, which never changes.
    pub(super) id: PlanId,
    /// The name, unique within the service.
    pub(super) name: String,
    /// The description for people.
    pub(super) description: String,
    /// The access of bindings.
    pub(super) access: Choice<Access>,
    /// What happens to data; absent: the rules of the backend.
    pub(super) release: Option<Release>,
    pub(super) product: Product,
}

/// A plan as the file states it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StatedPlan {
    id: PlanId,
    name: String,
    description: String,
    access: Option<Choice<Access>>,
    release: Option<Release>,
    rds: Option<ServerDefinition>,
    oss: Option<BucketDefinition>,
}

impl TryFrom<StatedPlan> for PlanDefinition {
    type Error = String;

    fn try_from(stated: StatedPlan) -> Result<Self, String> {
        let StatedPlan { id, name, description, access, release, rds, oss } = stated;
        let product = match (rds, oss) {
            (Some(server), None) => Product::Rds(server),
            (None, Some(bucket)) => Product::Oss(bucket),
            _ => return Err(format!("plan {name:?} needs either `rds` or `oss`")),
        };
        let access = access.unwrap_or_else(|| product.access());
        Ok(Self { id, name, description, access, release, product })
    }
}

/// What an instance is.
#[derive(Clone, Debug)]
pub(super) enum Product {
    /// A database server.
    Rds(ServerDefinition),
    /// A bucket.
    Oss(BucketDefinition),
}

impl Product {
    /// The access of bindings, unless the plan says another.
    fn access(&self) -> Choice<Access> {
        match self {
            Self::Oss(_) => Choice::default(),
            // The first binding of a database makes its tables.
            Self::Rds(server) => match server.engine {
                Engine::MySQL => Choice { default: Access::Owner, ..Choice::default() },
                // The API has no lesser privilege for PostgreSQL.
                Engine::PostgreSQL => Choice { default: Access::Owner, allowed: vec![Access::Owner] },
            },
        }
    }
}

/// An engine of RDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Engine {
    MySQL,
    PostgreSQL,
}

impl Engine {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::MySQL => "MySQL",
            Self::PostgreSQL => "PostgreSQL",
        }
    }
}

/// A parameter that a plan may leave to its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Open {
    EngineVersion,
    Class,
    Storage,
}

/// A database server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ServerDefinition {
    pub(super) engine: Engine,
    pub(super) engine_version: String,
    pub(super) class: String,
    /// In GB.
    pub(super) storage: u32,
    pub(super) category: Option<String>,
    pub(super) storage_type: Option<String>,
    /// Whether connections are encrypted if the backend has a CA. Not every edition of every engine can do it.
    #[serde(default = "yes")]
    pub(super) tls: bool,
    /// The parameters that users may set.
    #[serde(default)]
    pub(super) open: Vec<Open>,
}

fn yes() -> bool {
    true
}

/// A bucket.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct BucketDefinition {
    pub(super) acl: Choice<Acl>,
    pub(super) storage_class: Choice<StorageClass>,
    /// What a binding's credentials are.
    pub(super) credentials: Choice<CredentialKind>,
    /// How long sessions last.
    pub(super) valid_for: Validity,
}

/// What a binding's credentials are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CredentialKind {
    /// The access key of a RAM user, which lasts until the binding ends.
    #[default]
    User,
    /// Temporary credentials of a RAM role, which end by themselves.
    Session,
    /// A RAM role for the pods of a service account (RRSA). Nothing of it is secret.
    Rrsa,
}

impl Kinds for CredentialKind {
    const ALL: &'static [Self] = &[Self::User, Self::Session, Self::Rrsa];
    const ALLOWED: &'static [Self] = &[Self::User, Self::Session];

    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
            Self::Rrsa => "rrsa",
        }
    }
}

impl Catalog {
    /// Parses a catalog file.
    ///
    /// # Errors
    /// Names the place and the problem.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalog_has_the_names_and_ids_of_the_former_broker() {
        let catalog = Catalog::parse(BUILT_IN).unwrap();
        let found: Vec<_> = catalog
            .services
            .iter()
            .flat_map(|service| {
                service.plans.iter().map(|plan| (service.name.as_str(), plan.name.as_str(), plan.id.as_str()))
            })
            .collect();
        for expected in [
            ("alibaba-cloud-rds-mysqldb", "rds-mysql-t1-small", "rds-427559f1-bf2a-45d3-8844-32374a3e58aa"),
            ("alibaba-cloud-rds-mysqldb", "rds-mysql-s1-small", "rds-edc2badc-d93b-4d9c-9d8e-da2f1c8c3e1c"),
            ("alibaba-cloud-rds-mysqldb", "rds-mysql-s2-large", "rds-edc2badc-d93b-4d9c-9d8e-da2f1c8c3e1d"),
            ("alibaba-cloud-rds-mysqldb", "rds-self-define", "rds-edc2badc-d93b-4d9c-9d8e-da2f1c8c3e1e"),
            ("alibaba-cloud-oss", "default", "oss-edc2badc-d93b-4d9c-9d8e-da2f1c8c2221"),
            ("alibaba-cloud-oss", "oss-self-define", "oss-edc2badc-d93b-4d9c-9d8e-da2f1c8c2222"),
        ] {
            assert!(found.contains(&expected), "{expected:?}");
        }
    }

    #[test]
    fn a_mistake_is_named() {
        let error = Catalog::parse(&BUILT_IN.replace("engine: MySQL", "engine: Oracle")).unwrap_err();
        assert!(error.contains("Oracle") || error.contains("engine"), "{error}");
    }
}
