//! A plan of an offered service: its catalog entry, the parameters that users may set, and their values for a stack and
//! for a binding.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    credentials,
    definition::{Access, Naming, PlanMetadata},
    overrides::Place,
    placement,
    rules::Rules,
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
    rules: Arc<Rules>,
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
pub(super) fn plans(services: &[OfferedService], rules: &Arc<Rules>) -> BTreeMap<PlanId, Plan> {
    let of_service = |service: &OfferedService| {
        let plans = service.definition.service.plans.iter();
        let plans = plans.map(|(name, metadata)| {
            let (name_of_plan, metadata, rules) = (name.clone(), metadata.clone(), rules.clone());
            let plan = Plan { service: service.clone(), name: name_of_plan, metadata, rules };
            (plan_id(&service.name, name), plan)
        });
        plans.collect::<Vec<_>>()
    };
    services.iter().flat_map(of_service).collect()
}

/// The catalog entry of a service.
pub(super) fn catalog_entry(service: &OfferedService, rules: &Arc<Rules>) -> osb::Service {
    let metadata = &service.definition.service;
    let plans = metadata.plans.iter().map(|(name, plan)| {
        let (name, metadata, rules) = (name.clone(), plan.clone(), rules.clone());
        Plan { service: service.clone(), name, metadata, rules }.catalog_entry()
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
        let is_overridden =
            self.rules.prescribes_overrides && self.rules.overrides.is_prescribed(&self.service.name, name);
        let is_hidden = self.metadata.hidden.iter().any(|hidden| hidden == name);
        let is_prescribed = self.metadata.values.contains_key(name) || self.service.values.contains_key(name);
        !(is_overridden || is_hidden || is_prescribed)
    }

    fn is_updatable(&self, name: &str) -> bool {
        self.service.definition.service.updatable_parameters.iter().any(|updatable| updatable == name)
    }

    fn schemas(&self) -> Value {
        let parameters = &self.service.definition.template.parameters;
        let schema = |name: &String| {
            let mut parameter = parameters[name].clone();
            if let Some(default) =
                self.service.defaults.get(name).or_else(|| self.metadata.defaults.get(name))
            {
                parameter.default = Some(default.clone());
            }
            parameter.schema()
        };
        let open = || parameters.keys().filter(|name| self.is_open(name));
        let create: Map<String, Value> = open().map(|name| (name.clone(), schema(name))).collect();
        let update: Map<String, Value> =
            open().filter(|name| self.is_updatable(name)).map(|name| (name.clone(), schema(name))).collect();
        let required: Vec<_> = open()
            .filter(|name| {
                let is_given = self.service.defaults.contains_key(*name)
                    || self.metadata.defaults.contains_key(*name)
                    || self.rules.overrides.is_prescribed(&self.service.name, name);
                parameters[*name].default.is_none() && !is_given
            })
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
        // Taken, and not offered: their refusal says what to do.
        let with_placement = |mut schema: Value| {
            schema["parameters"]["patternProperties"] = json!({placement::pattern(): {}});
            schema
        };
        let create = with_placement(object(create.into(), &required));
        let update = with_placement(object(update.into(), &[]));
        json!({
            "service_instance": {"create": create, "update": update},
            "service_binding": {"create": object(bind, &[])},
        })
    }

    /// The values of the template's parameters: the template's defaults, those of the backend, what the user sets,
    /// overrides, and what backend and plan prescribe. The last one counts.
    ///
    /// # Errors
    /// Names the parameter that is unknown, prescribed, wrong or missing.
    pub(super) fn stack_parameters(
        &self,
        place: &Place<'_>,
        given: &Object,
    ) -> Result<BTreeMap<String, String>, Unacceptable> {
        self.rules.placement.user_tags(given)?;
        let parameters = &self.service.definition.template.parameters;
        let refuse =
            |name: &str, problem: String| Err(Unacceptable::Invalid(format!("parameter {name}: {problem}")));
        for name in given.keys().filter(|name| !placement::has(name)) {
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
            let overridden = self.rules.overrides.value(place, &self.service.name, name).map(Value::from);
            let prescribed = prescribed.or(overridden.as_ref());
            let defaults = self.service.defaults.get(name).or_else(|| self.metadata.defaults.get(name));
            let value = prescribed.or(chosen).or(defaults);
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

    /// The tags of a stack that the user and overrides set.
    ///
    /// # Errors
    /// Names the parameter that is not allowed.
    pub(super) fn tags(
        &self,
        place: &Place<'_>,
        given: &Object,
    ) -> Result<BTreeMap<String, String>, Unacceptable> {
        let mut tags = self.rules.placement.user_tags(given)?;
        tags.extend(placement::overridden_tags(&self.rules.overrides, place, &self.service.name));
        Ok(tags)
    }

    /// Keeps the present values of parameters whose change would replace the resource, whatever defaults and overrides
    /// say now.
    pub(super) fn keep(&self, present: &BTreeMap<String, String>, wanted: &mut BTreeMap<String, String>) {
        for (name, value) in wanted.iter_mut().filter(|(name, _)| !self.is_updatable(name)) {
            if let Some(present) = present.get(name) {
                value.clone_from(present);
            }
        }
    }

    /// Refuses a change of a parameter that would replace the resource, and of tags.
    pub(super) fn check_change(
        &self,
        place: &Place<'_>,
        from: &Object,
        to: &Object,
    ) -> Result<(), Unacceptable> {
        let (before, after) = (self.stack_parameters(place, from), self.stack_parameters(place, to)?);
        if self.tags(place, from).is_ok_and(|before| self.tags(place, to).is_ok_and(|after| before != after))
        {
            let problem = "parameter user_tags cannot be changed; provision another instance";
            return Err(Unacceptable::Unsupported(problem.to_owned()));
        }
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
