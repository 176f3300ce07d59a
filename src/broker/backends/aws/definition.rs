//! Definitions of services: a CloudFormation template whose metadata say under which names, with which plans and access
//! levels it is offered. `built_in` has those that bindery comes with.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    broker::{backends::access::Access, config::Kinds},
    cloud::aws::{
        policy::Statement,
        template::{Template, TemplateError},
    },
};

/// The key of the template's metadata.
const METADATA: &str = "Bindery::Service";

/// A definition of a service.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    /// The template's text.
    pub(super) text: String,
    /// Where CloudFormation reads the text if it is too long for a request.
    pub(super) url: Option<String>,
    /// The parsed template.
    pub(super) template: Template,
    /// What the metadata say.
    pub(super) service: ServiceMetadata,
    /// The outputs that are not credentials.
    hidden_outputs: BTreeSet<String>,
}

/// The metadata of a template.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ServiceMetadata {
    /// The name for people.
    pub(super) display_name: String,
    /// The description for people.
    pub(super) description: String,
    /// The names under which the service is offered.
    pub(super) names: BTreeMap<String, Naming>,
    /// The plans by name.
    pub(super) plans: BTreeMap<String, PlanMetadata>,
    /// The parameters that an update may change. A change of any other would replace the resource.
    #[serde(default)]
    pub(super) updatable_parameters: Vec<String>,
    /// The parameters that only the backend's settings may set. Plans in which one has no value are not offered.
    #[serde(default)]
    pub(super) operator_parameters: Vec<String>,
    /// The parameters of the AWS Service Broker that have no meaning any more.
    #[serde(default)]
    pub(super) obsolete: BTreeMap<String, Obsolete>,
    /// The kind of server whose users the bindings are.
    #[serde(alias = "Database")]
    pub(super) server: Option<ServerKind>,
    /// Whether the service has no credentials, so that bindings share an address. Such a service must be asked for.
    #[serde(default)]
    pub(super) shared: bool,
    /// The outputs that become environment variables.
    #[serde(default)]
    pub(super) variables: Vec<String>,
    /// The policy of each access level. A resource may refer to outputs: `${BucketArn}/*`.
    #[serde(default)]
    pub(super) access: BTreeMap<Access, Vec<StatementTemplate>>,
}

/// How the credentials are called under a name of the service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Naming {
    /// The keys of the outputs.
    pub(super) keys: Keys,
    /// The prefix under which the AWS Service Broker gave the access key, too.
    pub(super) prefix: Option<String>,
}

/// How outputs become keys of the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Keys {
    /// Unchanged: `QueueURL`.
    AsOutputs,
    /// In upper case: `QUEUE_URL`.
    UpperCase,
}

/// A parameter of the AWS Service Broker without a meaning.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Obsolete {
    /// Why there is no such parameter, and what to do instead.
    pub(super) reason: String,
    /// The values that ask for what bindery does anyway.
    #[serde(default)]
    pub(super) harmless: Vec<String>,
}

impl Obsolete {
    /// Whether the value asks for nothing else than what bindery does.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        value.is_null() || self.harmless.contains(&text)
    }
}

/// A kind of server. Its name is also the value of the output `ServerKind` or `DatabaseEngine` of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum ServerKind {
    PostgreSQL,
    /// Also MariaDB.
    MySQL,
    RabbitMQ,
}

impl ServerKind {
    /// Whether the server has a certificate of Amazon RDS.
    pub(super) fn is_of_rds(self) -> bool {
        matches!(self, Self::PostgreSQL | Self::MySQL)
    }

    /// The type of the service, by which its environment variables are known.
    pub(super) fn service_type(self) -> &'static str {
        match self {
            Self::PostgreSQL => "postgresql",
            Self::MySQL => "mysql",
            Self::RabbitMQ => "rabbitmq",
        }
    }
}

/// A plan of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PlanMetadata {
    /// The description for people.
    pub(super) description: String,
    /// The values that the plan prescribes.
    #[serde(default)]
    pub(super) values: BTreeMap<String, Value>,
    /// The values unless backend or user set them.
    #[serde(default)]
    pub(super) defaults: BTreeMap<String, Value>,
    /// The parameters without a meaning in this plan.
    #[serde(default)]
    pub(super) hidden: Vec<String>,
}

/// What is allowed, with references to outputs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct StatementTemplate {
    pub(super) actions: Vec<String>,
    #[serde(default)]
    pub(super) resources: Vec<String>,
    /// The region in which everything is allowed, for actions that have no resource.
    pub(super) region: Option<String>,
}

/// Why a template defines no service.
#[derive(Debug, thiserror::Error)]
pub(super) enum DefinitionError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the template's metadata have no usable {0}: {1}")]
    Metadata(&'static str, String),
    #[error("the metadata: {field} names {name:?}, which is no {kind} of the template")]
    Unknown { field: &'static str, name: String, kind: &'static str },
    #[error("the metadata: the access level {0} is missing")]
    NoAccess(&'static str),
    #[error(
        "the metadata: {0:?} cannot be the name of a service or plan; use letters, digits, `.`, `_` and `-`"
    )]
    Name(String),
    #[error("the parameter {name}: {problem}")]
    Parameter { name: String, problem: String },
    #[error("{0}")]
    Unsupported(String),
}

impl Definition {
    /// Parses a template and checks its metadata against it.
    pub(super) fn parse(text: &str) -> Result<Self, DefinitionError> {
        let template = Template::parse(text)?;
        let metadata = template.metadata.get(METADATA).cloned().unwrap_or_default();
        let service: ServiceMetadata = serde_path_to_error::deserialize(metadata)
            .map_err(|error| DefinitionError::Metadata(METADATA, error.to_string()))?;
        let (text, hidden_outputs) = (text.to_owned(), BTreeSet::new());
        let definition = Self { text, url: None, template, service, hidden_outputs };
        definition.check(Access::ALL)?;
        Ok(definition)
    }

    /// A definition made of its parts, with these access levels.
    pub(super) fn new(
        text: String,
        service: ServiceMetadata,
        hidden_outputs: BTreeSet<String>,
        levels: &[Access],
    ) -> Result<Self, DefinitionError> {
        let template = Template::parse(&text)?;
        let definition = Self { text, url: None, template, service, hidden_outputs };
        definition.check(levels)?;
        Ok(definition)
    }

    /// The outputs that are credentials.
    pub(super) fn shown(&self, outputs: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let shown = outputs.iter().filter(|(name, _)| !self.hidden_outputs.contains(*name));
        shown.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn check(&self, levels: &[Access]) -> Result<(), DefinitionError> {
        self.check_parameters()?;
        let Self { template, service, .. } = self;
        let names = service.names.keys().chain(service.plans.keys());
        if let Some(name) = names.into_iter().find(|name| !is_name(name)) {
            return Err(DefinitionError::Name(name.clone()));
        }
        let parameters = |field, names: &mut dyn Iterator<Item = &String>| {
            refuse_unknown(field, "parameter", names, |name| template.parameters.contains_key(name))
        };
        for plan in service.plans.values() {
            let mut named = plan.values.keys().chain(plan.defaults.keys()).chain(&plan.hidden);
            parameters("Plans", &mut named)?;
        }
        parameters("UpdatableParameters", &mut service.updatable_parameters.iter())?;
        parameters("OperatorParameters", &mut service.operator_parameters.iter())?;
        let is_output = |name: &str| template.outputs.contains_key(name);
        // The variables of a server's users are those of its kind.
        refuse_unknown("Variables", "output", service.variables.iter(), is_output)?;
        for access in levels {
            let statements = service.access.get(access);
            if statements.is_none() && service.server.is_none() && !service.shared {
                return Err(DefinitionError::NoAccess(access.as_str()));
            }
            for statement in statements.into_iter().flatten() {
                let texts = statement.resources.iter().chain(&statement.region);
                refuse_unknown("Access", "output", texts.flat_map(|text| references(text)), is_output)?;
            }
        }
        Ok(())
    }

    /// Refuses what makes no schema, and values that the parameters do not take.
    fn check_parameters(&self) -> Result<(), DefinitionError> {
        for (name, parameter) in &self.template.parameters {
            let refuse = |problem: String| DefinitionError::Parameter { name: name.clone(), problem };
            jsonschema::validator_for(&parameter.schema()).map_err(|error| refuse(error.to_string()))?;
            let of_plans = self.service.plans.values().flat_map(|plan| [&plan.values, &plan.defaults]);
            for value in of_plans.filter_map(|values| values.get(name)).chain(&parameter.default) {
                parameter.text(value).map_err(refuse)?;
            }
        }
        Ok(())
    }

    /// What a binding with this access may do with the resources that the outputs name. A resource that the stack does
    /// not have, such as an optional second queue, has an empty output and no part in the policy.
    pub(super) fn statements(&self, access: Access, outputs: &BTreeMap<String, String>) -> Vec<Statement> {
        let statements = self.service.access.get(&access).into_iter().flatten();
        let filled = statements.map(|statement| Statement {
            actions: statement.actions.clone(),
            resources: statement.resources.iter().filter_map(|text| fill_in(text, outputs)).collect(),
            region: statement.region.as_ref().and_then(|text| fill_in(text, outputs)),
        });
        filled.filter(|statement| !statement.resources.is_empty() || statement.region.is_some()).collect()
    }
}

/// Refuses a name that the template does not have.
fn refuse_unknown<T: AsRef<str>>(
    field: &'static str,
    kind: &'static str,
    names: impl IntoIterator<Item = T>,
    is_known: impl Fn(&str) -> bool,
) -> Result<(), DefinitionError> {
    match names.into_iter().find(|name| !is_known(name.as_ref())) {
        None => Ok(()),
        Some(name) => Err(DefinitionError::Unknown { field, name: name.as_ref().to_owned(), kind }),
    }
}

/// Whether a text can name a service or a plan.
fn is_name(text: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    (1..=60).contains(&text.len())
        && text.chars().all(fits)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// The names in `${…}`.
fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
}

/// The text with its references replaced; nothing if one of them is missing or empty.
fn fill_in(text: &str, outputs: &BTreeMap<String, String>) -> Option<String> {
    let mut filled = text.to_owned();
    for name in references(text) {
        let value = outputs.get(name).filter(|value| !value.is_empty())?;
        filled = filled.replace(&format!("${{{name}}}"), value);
    }
    Some(filled)
}

#[cfg(test)]
mod tests;
