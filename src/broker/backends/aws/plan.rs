//! A plan of an offered service: its catalog entry, the parameters that users may set, and their values for a stack and
//! for a binding.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    credentials,
    definition::{Access, Naming, PlanMetadata},
    settings::{CredentialKind, OfferedService},
};
use crate::{
    broker::{
        backends::Unacceptable,
        config::{DIALECT, Lifetime, plan_id},
    },
    cloud::aws::sessions::LONGEST_CHAINED,
    osb::{self, Object, PlanId},
};

/// The namespace of service ids that derive from names.
const SERVICE_IDS: Uuid = Uuid::from_u128(0x9e5f_6f0c_51b7_4c7e_a0ad_6f1d_2a7d_4c11);
/// How long sessions last in STS.
const SESSIONS: (Duration, Duration) = (Duration::from_mins(15), Duration::from_hours(12));

/// A plan of an offered service.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) service: OfferedService,
    /// The plan's name.
    pub(super) name: String,
    metadata: PlanMetadata,
}

/// The parameters of a binding.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct BindingParameters {
    access: Option<Access>,
    credentials: Option<CredentialKind>,
    valid_for: Option<Lifetime>,
}

/// The credentials that a binding gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    /// The access key of a user.
    User(Access),
    /// A session of this duration.
    Session(Access, Duration),
}

impl Granted {
    pub(super) fn access(self) -> Access {
        match self {
            Self::User(access) | Self::Session(access, _) => access,
        }
    }
}

/// The plans of these services by id.
pub(super) fn plans(services: &[OfferedService]) -> BTreeMap<PlanId, Plan> {
    let of_service = |service: &OfferedService| {
        let plans = service.definition.service.plans.iter();
        let plans = plans.map(|(name, metadata)| {
            let plan = Plan { service: service.clone(), name: name.clone(), metadata: metadata.clone() };
            (plan_id(&service.name, name), plan)
        });
        plans.collect::<Vec<_>>()
    };
    services.iter().flat_map(of_service).collect()
}

/// The catalog entry of a service.
pub(super) fn catalog_entry(service: &OfferedService) -> osb::Service {
    let metadata = &service.definition.service;
    let plans = metadata.plans.iter().map(|(name, plan)| {
        Plan { service: service.clone(), name: name.clone(), metadata: plan.clone() }.catalog_entry()
    });
    osb::Service {
        id: Uuid::new_v5(&SERVICE_IDS, service.name.as_bytes()).to_string().into(),
        name: service.name.clone(),
        description: metadata.description.clone(),
        bindable: true,
        tags: vec!["aws".to_owned(), service.kind.clone()],
        requires: Vec::new(),
        instances_retrievable: true,
        bindings_retrievable: true,
        allow_context_updates: true,
        plan_updateable: false,
        metadata: Some(Object::from_iter([("displayName".to_owned(), metadata.display_name.clone().into())])),
        plans: plans.collect(),
    }
}

impl Plan {
    fn catalog_entry(&self) -> osb::Plan {
        let variables: Map<String, Value> =
            credentials::variables(self.naming(), &self.service.definition.service.variables)
                .into_iter()
                .map(|(name, key)| (name, key.into()))
                .collect();
        osb::Plan {
            id: plan_id(&self.service.name, &self.name),
            name: self.name.clone(),
            description: self.metadata.description.clone(),
            metadata: Some(Object::from_iter([("bindery".to_owned(), json!({"env": variables}))])),
            free: Some(false),
            bindable: None,
            binding_rotatable: Some(true),
            plan_updateable: None,
            schemas: Some(self.schemas()),
            maximum_polling_duration: None,
            maintenance_info: None,
        }
    }

    /// How the credentials are called.
    pub(super) fn naming(&self) -> &Naming {
        &self.service.definition.service.names[&self.service.kind]
    }

    /// Whether users may set a parameter.
    fn is_open(&self, name: &str) -> bool {
        !self.metadata.values.contains_key(name)
            && !self.metadata.hidden.iter().any(|hidden| hidden == name)
            && !self.service.values.contains_key(name)
    }

    fn is_updatable(&self, name: &str) -> bool {
        self.service.definition.service.updatable_parameters.iter().any(|updatable| updatable == name)
    }

    fn schemas(&self) -> Value {
        let parameters = &self.service.definition.template.parameters;
        let schema = |name: &String| {
            let mut parameter = parameters[name].clone();
            if let Some(default) = self.service.defaults.get(name) {
                parameter.default = Some(default.clone());
            }
            parameter.schema()
        };
        let open = || parameters.keys().filter(|name| self.is_open(name));
        let create: Map<String, Value> = open().map(|name| (name.clone(), schema(name))).collect();
        let update: Map<String, Value> =
            open().filter(|name| self.is_updatable(name)).map(|name| (name.clone(), schema(name))).collect();
        let required: Vec<_> = open()
            .filter(|name| parameters[*name].default.is_none() && !self.service.defaults.contains_key(*name))
            .collect();
        let bind = json!({
            "access": self.service.access.schema("What the binding may do with the resource."),
            "credentials": self.service.credentials.schema(
                "An access key that lasts until the binding ends (user), or temporary credentials (session)."),
            "validFor": self.service.valid_for.schema(),
        });
        let object = |properties: Value, required: &[&String]| {
            let mut schema = json!({"$schema": DIALECT, "type": "object", "additionalProperties": false,
                "properties": properties});
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            json!({"parameters": schema})
        };
        json!({
            "service_instance": {"create": object(create.into(), &required), "update": object(update.into(), &[])},
            "service_binding": {"create": object(bind, &[])},
        })
    }

    /// The values of the template's parameters: the template's defaults, those of the backend, what the user sets, and
    /// what backend and plan prescribe. The last one counts.
    ///
    /// # Errors
    /// Names the parameter that is unknown, prescribed, wrong or missing.
    pub(super) fn stack_parameters(&self, given: &Object) -> Result<BTreeMap<String, String>, Unacceptable> {
        let parameters = &self.service.definition.template.parameters;
        let refuse =
            |name: &str, problem: String| Err(Unacceptable::Invalid(format!("parameter {name}: {problem}")));
        for name in given.keys() {
            if !parameters.contains_key(name) {
                return refuse(name, "is unknown; leave it out".to_owned());
            }
            if !self.is_open(name) {
                return refuse(name, "is fixed by the plan; leave it out".to_owned());
            }
        }
        let mut values = BTreeMap::new();
        for (name, parameter) in parameters {
            let prescribed = self.metadata.values.get(name).or_else(|| self.service.values.get(name));
            let chosen = given.get(name).filter(|value| !value.is_null());
            let value = prescribed.or(chosen).or_else(|| self.service.defaults.get(name));
            let Some(value) = value.or(parameter.default.as_ref()) else {
                return refuse(name, "is missing; give it a value".to_owned());
            };
            match parameter.text(value) {
                Ok(text) => values.insert(name.clone(), text),
                Err(problem) => return refuse(name, problem),
            };
        }
        Ok(values)
    }

    /// Refuses a change of a parameter that would replace the resource.
    pub(super) fn check_change(&self, from: &Object, to: &Object) -> Result<(), Unacceptable> {
        let (before, after) = (self.stack_parameters(from), self.stack_parameters(to)?);
        // Parameters that a former configuration allowed do not prevent a correction.
        let before = before.unwrap_or_default();
        let changed = after.iter().find(|(name, value)| {
            !self.is_updatable(name) && before.get(*name).is_some_and(|before| before != *value)
        });
        match changed {
            None => Ok(()),
            Some((name, _)) => Err(Unacceptable::Unsupported(format!(
                "parameter {name} cannot be changed, because AWS would replace the resource and lose what it holds; \
                 provision another instance"
            ))),
        }
    }

    /// The credentials of a binding with these parameters.
    ///
    /// # Errors
    /// Names the parameter that is unknown or not allowed.
    pub(super) fn grant(&self, given: &Object) -> Result<Granted, Unacceptable> {
        let parameters: BindingParameters = serde_path_to_error::deserialize(Value::Object(given.clone()))
            .map_err(|error| {
                Unacceptable::Invalid(format!(
                    "parameter {} is not understood: {}",
                    error.path(),
                    error.inner()
                ))
            })?;
        let access = refusing("access", self.service.access.take(parameters.access))?;
        match refusing("credentials", self.service.credentials.take(parameters.credentials))? {
            CredentialKind::User => match parameters.valid_for {
                None => Ok(Granted::User(access)),
                Some(_) => {
                    let problem =
                        "the access key of a user has no end; ask for credentials: session, or leave it out";
                    refusing("validFor", Err(problem.to_owned()))
                }
            },
            CredentialKind::Session => {
                let asked = refusing("validFor", self.service.valid_for.take(parameters.valid_for))?;
                let duration = asked.map_or(LONGEST_CHAINED, Lifetime::duration);
                let (shortest, longest) = SESSIONS;
                if !(shortest..=longest).contains(&duration) {
                    let problem = "AWS has sessions of 15m to 12h; ask for such a time".to_owned();
                    return refusing("validFor", Err(problem));
                }
                Ok(Granted::Session(access, duration))
            }
        }
    }
}

fn refusing<T>(name: &str, taken: Result<T, String>) -> Result<T, Unacceptable> {
    taken.map_err(|problem| Unacceptable::Invalid(format!("parameter {name}: {problem}")))
}
