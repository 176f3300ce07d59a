//! A plan of an offered service: its catalog entry, the parameters that users may set, and their values for a stack.
//! `grant` has those of a binding.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    credentials::{self, Offers},
    definition::{Naming, Obsolete, PlanMetadata, ServerKind},
    grant,
    offered::{CredentialKind, OfferedService},
    overrides::Place,
    placement,
    rules::Rules,
};
use crate::{
    broker::{
        backends::Unacceptable,
        config::{DIALECT, plan_id},
    },
    contract::well_known_variables,
    osb::{self, Object, PlanId},
};

/// The namespace of service ids that derive from names.
const SERVICE_IDS: Uuid = Uuid::from_u128(0x9e5f_6f0c_51b7_4c7e_a0ad_6f1d_2a7d_4c11);
/// Parameters that every template of the AWS Service Broker took, beside those of `placement`.
const OF_THE_ACCOUNT: [&str; 5] = [
    "SBArtifactS3Bucket",
    "SBArtifactS3KeyPrefix",
    "aws_access_key",
    "aws_cloudformation_role_arn",
    "aws_secret_key",
];

/// A plan of an offered service.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) service: OfferedService,
    /// The plan's name.
    pub(super) name: String,
    metadata: PlanMetadata,
    rules: Arc<Rules>,
}

/// The plans of these services by id.
pub(super) fn plans(services: &[OfferedService], rules: &Arc<Rules>) -> BTreeMap<PlanId, Plan> {
    let with_id = |plan: Plan| (plan_id(&plan.service.name, &plan.name), plan);
    services.iter().flat_map(|service| of_service(service, rules)).map(with_id).collect()
}

fn of_service(service: &OfferedService, rules: &Arc<Rules>) -> impl Iterator<Item = Plan> {
    let plan = |(name, metadata): (&String, &PlanMetadata)| Plan {
        service: service.clone(),
        name: name.clone(),
        metadata: metadata.clone(),
        rules: rules.clone(),
    };
    service.plans(rules).map(plan)
}

/// The catalog entry of a service.
pub(super) fn catalog_entry(service: &OfferedService, rules: &Arc<Rules>) -> osb::Service {
    let metadata = &service.definition.service;
    let plans = of_service(service, rules).map(|plan| plan.catalog_entry());
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
        let metadata = &self.service.definition.service;
        let variables: Map<String, Value> = match metadata.server {
            Some(kind) => variables_of(kind),
            None => {
                let offers = self.offers();
                let variables = credentials::variables(self.naming(), &metadata.variables, offers);
                variables.into_iter().map(|(name, key)| (name, key.into())).collect()
            }
        };
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

    /// The kinds of credentials that bindings may have, as far as keys depend on it.
    pub(super) fn offers(&self) -> Offers {
        let is_shared = self.service.definition.service.shared;
        let allowed = &self.service.credentials.allowed;
        let has_keys = allowed.contains(&CredentialKind::User) || allowed.contains(&CredentialKind::Session);
        Offers { keys: has_keys && !is_shared, roles: self.service.offers_roles() && !is_shared }
    }

    /// The names of the keys of the credentials.
    pub(super) fn naming(&self) -> &Naming {
        &self.service.definition.service.names[&self.service.kind]
    }

    /// Why users may not set a parameter, if they may not.
    fn closed(&self, name: &str) -> Option<&'static str> {
        let is_listed = |names: &[String]| names.iter().any(|listed| listed == name);
        let is_overridden =
            self.rules.prescribes_overrides && self.rules.overrides.is_prescribed(&self.service.name, name);
        if is_listed(&self.service.definition.service.operator_parameters) {
            Some("is set by the operator; leave it out")
        } else if self.metadata.values.contains_key(name)
            || is_listed(&self.metadata.hidden)
            || self.service.values.contains_key(name)
            || is_overridden
        {
            Some("is fixed by the plan; leave it out")
        } else {
            None
        }
    }

    fn is_updatable(&self, name: &str) -> bool {
        self.service.definition.service.updatable_parameters.iter().any(|updatable| updatable == name)
    }

    /// The default of a parameter: the backend's, the plan's, or the template's.
    fn default_of(&self, name: &str) -> Option<&Value> {
        let of_backend = self.service.defaults.get(name).or_else(|| self.metadata.defaults.get(name));
        of_backend.or_else(|| self.service.definition.template.parameters[name].default.as_ref())
    }

    fn schemas(&self) -> Value {
        let parameters = &self.service.definition.template.parameters;
        let schema = |name: &String| {
            let mut parameter = parameters[name].clone();
            parameter.default = self.default_of(name).cloned();
            parameter.schema()
        };
        let open = || parameters.keys().filter(|name| self.closed(name).is_none());
        // An obsolete parameter is in the schema, so that the refusal says why.
        let obsolete = self.service.definition.service.obsolete.iter();
        let obsolete = obsolete.map(|(name, Obsolete { reason, .. })| {
            (name.clone(), json!({"deprecated": true, "description": format!("Refused: {reason}.")}))
        });
        let create: Map<String, Value> =
            open().map(|name| (name.clone(), schema(name))).chain(obsolete).collect();
        let update: Map<String, Value> =
            open().filter(|name| self.is_updatable(name)).map(|name| (name.clone(), schema(name))).collect();
        let required: Vec<_> = open()
            .filter(|name| {
                self.default_of(name).is_none()
                    && !self.rules.overrides.is_prescribed(&self.service.name, name)
            })
            .collect();
        let bind = grant::schema(&self.service);
        let object = |properties: Value, required: &[&String]| {
            let mut schema = json!({"$schema": DIALECT, "type": "object", "additionalProperties": false,
                "properties": properties});
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            json!({"parameters": schema})
        };
        // The schema lets these parameters through without listing them, so that their refusal can say what to do.
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

    /// The values of the template's parameters. Each of these overrides those before it: the defaults of template, plan
    /// and backend, what the user sets, overrides, and what backend and plan prescribe.
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
        for (name, value) in given.iter().filter(|(name, _)| !placement::has(name)) {
            match self.service.definition.service.obsolete.get(name) {
                Some(obsolete) if obsolete.accepts(value) => continue,
                Some(obsolete) => {
                    return refuse(name, format!("is refused: {}; leave it out", obsolete.reason));
                }
                None => {}
            }
            if !parameters.contains_key(name) {
                let problem = if OF_THE_ACCOUNT.contains(&name.as_str()) {
                    "is refused: account, region and roles are settings of the backend; leave it out"
                } else {
                    "is unknown; leave it out"
                };
                return refuse(name, problem.to_owned());
            }
            if let Some(problem) = self.closed(name) {
                return refuse(name, problem.to_owned());
            }
        }
        let mut values = BTreeMap::new();
        for (name, parameter) in parameters {
            let prescribed = self.metadata.values.get(name).or_else(|| self.service.values.get(name));
            let chosen = given.get(name).filter(|value| !value.is_null());
            let overridden = self.rules.overrides.value(place, &self.service.name, name).map(Value::from);
            let prescribed = prescribed.or(overridden.as_ref());
            let Some(value) = prescribed.or(chosen).or_else(|| self.default_of(name)) else {
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
}

/// The environment variables of a server's users.
fn variables_of(kind: ServerKind) -> Map<String, Value> {
    let variables = well_known_variables(kind.service_type());
    variables.iter().map(|(name, key)| ((*name).to_owned(), (*key).into())).collect()
}
