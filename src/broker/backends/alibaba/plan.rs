//! A plan that the backend offers: its entry in the catalog of the broker, and what it says about parameters.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    bucket_parameters::WantedBucket,
    catalog::{
        BucketDefinition, CredentialKind, Engine, PlanDefinition, Product, ServerDefinition,
        ServiceDefinition,
    },
    grant::{self, AccountGrant, BucketGrant},
    release::Release,
    server_parameters::WantedServer,
    settings::Settings,
};
use crate::{
    broker::{
        backends::{BindingSpec, InstanceSpec, Unacceptable},
        config::DIALECT,
    },
    contract::well_known_variables,
    osb::{self, Object, PlanId},
};

/// The environment variables of bindings of buckets, by the names that the SDKs for OSS read.
const OF_BUCKETS: [(&str, &str); 5] = [
    ("OSS_ACCESS_KEY_ID", "access_key_id"),
    ("OSS_ACCESS_KEY_SECRET", "secret_access_key"),
    ("OSS_BUCKET", "bucket"),
    ("OSS_ENDPOINT", "endpoint"),
    ("OSS_REGION", "region"),
];
const OF_SESSIONS: (&str, &str) = ("OSS_SESSION_TOKEN", "security_token");

/// A plan that the backend offers.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) definition: PlanDefinition,
    pub(super) release: Release,
    settings: Arc<Settings>,
}

/// The plans of these services by id.
pub(super) fn plans(services: &[ServiceDefinition], settings: &Arc<Settings>) -> BTreeMap<PlanId, Plan> {
    let plans = services.iter().flat_map(|service| &service.plans);
    plans.map(|plan| (plan.id.clone(), Plan::new(plan, settings))).collect()
}

/// The catalog entry of a service.
pub(super) fn catalog_entry(service: &ServiceDefinition, settings: &Arc<Settings>) -> osb::Service {
    let name = service.display_name.clone().unwrap_or_else(|| service.name.clone());
    osb::Service {
        id: service.id.clone(),
        name: service.name.clone(),
        description: service.description.clone(),
        bindable: true,
        tags: service.tags.clone(),
        requires: Vec::new(),
        instances_retrievable: true,
        bindings_retrievable: true,
        allow_context_updates: true,
        plan_updateable: true,
        metadata: Some(Object::from_iter([("displayName".to_owned(), name.into())])),
        plans: service.plans.iter().map(|plan| Plan::new(plan, settings).catalog_entry()).collect(),
    }
}

impl Plan {
    fn new(definition: &PlanDefinition, settings: &Arc<Settings>) -> Self {
        let release = definition.release.clone().unwrap_or_else(|| settings.release.clone());
        Self { definition: definition.clone(), release, settings: settings.clone() }
    }

    fn catalog_entry(&self) -> osb::Plan {
        let definition = &self.definition;
        osb::Plan {
            id: definition.id.clone(),
            name: definition.name.clone(),
            description: definition.description.clone(),
            metadata: Some(Object::from_iter([("bindery".to_owned(), json!({"env": self.variables()}))])),
            free: Some(false),
            bindable: None,
            binding_rotatable: Some(true),
            plan_updateable: None,
            schemas: Some(self.schemas()),
            maximum_polling_duration: None,
            maintenance_info: None,
        }
    }

    fn variables(&self) -> Map<String, Value> {
        let pairs: Vec<(&str, &str)> = match &self.definition.product {
            Product::Rds(server) => match server.engine {
                Engine::MySQL => well_known_variables("mysql").to_vec(),
                Engine::PostgreSQL => well_known_variables("postgresql").to_vec(),
            },
            Product::Oss(bucket) => {
                OF_BUCKETS.into_iter().chain(bucket.offers_sessions().then_some(OF_SESSIONS)).collect()
            }
        };
        pairs.into_iter().map(|(name, key)| (name.to_owned(), key.into())).collect()
    }

    fn schemas(&self) -> Value {
        let access = &self.definition.access;
        let (instance, binding) = match &self.definition.product {
            Product::Rds(server) => (server.properties(&self.release), grant::account_properties(access)),
            Product::Oss(bucket) => {
                (bucket.properties(&self.release), grant::bucket_properties(bucket, access))
            }
        };
        let object = |properties: Map<String, Value>| {
            json!({"parameters": {"$schema": DIALECT, "type": "object", "additionalProperties": false,
                "properties": properties}})
        };
        let instance = object(instance);
        // A platform may send all parameters with an update; what cannot change is refused with the reason.
        json!({
            "service_instance": {"create": instance.clone(), "update": instance},
            "service_binding": {"create": object(binding)},
        })
    }

    /// Refuses parameters that the plan does not allow.
    pub(super) fn check(&self, parameters: &Object) -> Result<(), Unacceptable> {
        match &self.definition.product {
            Product::Rds(server) => self.server(server, parameters).map(drop),
            Product::Oss(bucket) => self.bucket(bucket, parameters).map(drop),
        }
    }

    /// Refuses a change of an instance of this plan that needs another server or bucket. Parameters that a former
    /// configuration allowed do not prevent a correction.
    pub(super) fn check_change(
        &self,
        from: &InstanceSpec,
        to: &Self,
        parameters: &Object,
    ) -> Result<(), Unacceptable> {
        match (&self.definition.product, &to.definition.product) {
            (Product::Rds(had), Product::Rds(wanted)) => {
                let wanted = to.server(wanted, parameters)?;
                self.server(had, &from.parameters).map_or(Ok(()), |had| had.check_change(&wanted))
            }
            (Product::Oss(had), Product::Oss(wanted)) => {
                let wanted = to.bucket(wanted, parameters)?;
                self.bucket(had, &from.parameters).map_or(Ok(()), |had| had.check_change(wanted))
            }
            _ => {
                let problem =
                    "plan_id cannot be changed to a plan of another product; provision another instance";
                Err(Unacceptable::Unsupported(problem.to_owned()))
            }
        }
    }

    /// The server that these parameters ask for.
    pub(super) fn server(
        &self,
        definition: &ServerDefinition,
        parameters: &Object,
    ) -> Result<WantedServer, Unacceptable> {
        definition.wanted(parameters, &self.settings.network, &self.release)
    }

    /// The bucket that these parameters ask for.
    pub(super) fn bucket(
        &self,
        definition: &BucketDefinition,
        parameters: &Object,
    ) -> Result<WantedBucket, Unacceptable> {
        definition.wanted(parameters, self.settings.account.region.as_deref(), &self.release)
    }

    /// The account that a binding with these parameters gets.
    pub(super) fn account(
        &self,
        definition: &ServerDefinition,
        parameters: &Object,
    ) -> Result<AccountGrant, Unacceptable> {
        grant::account(definition.engine, &self.definition.access, parameters)
    }

    /// The access to a bucket that a binding gets.
    pub(super) fn bucket_grant(
        &self,
        definition: &BucketDefinition,
        binding: &BindingSpec,
    ) -> Result<BucketGrant, Unacceptable> {
        grant::bucket(definition, &self.definition.access, &binding.parameters, &binding.context)
    }

    /// Refuses a binding with parameters that the plan does not allow.
    pub(super) fn check_binding(&self, binding: &BindingSpec) -> Result<(), Unacceptable> {
        match &self.definition.product {
            Product::Rds(server) => self.account(server, &binding.parameters).map(drop),
            Product::Oss(bucket) => self.bucket_grant(bucket, binding).map(drop),
        }
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self.definition.product, Product::Rds(_))
    }
}

impl BucketDefinition {
    /// Whether bindings may be sessions, so that they have a token.
    pub(super) fn offers_sessions(&self) -> bool {
        self.credentials.allowed.contains(&CredentialKind::Session)
    }

    /// Whether bindings may be roles for service accounts.
    pub(super) fn offers_roles(&self) -> bool {
        self.credentials.allowed.contains(&CredentialKind::Rrsa)
    }
}
