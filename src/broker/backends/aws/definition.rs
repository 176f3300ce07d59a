//! Definitions of services: a CloudFormation template whose metadata say under which names, with which plans and access
//! levels it is offered. `templates` has those that bindery comes with.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    broker::config::Kinds,
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
    /// The parsed template.
    pub(super) template: Template,
    /// What the metadata say.
    pub(super) service: ServiceMetadata,
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
    /// The outputs that become environment variables.
    #[serde(default)]
    pub(super) variables: Vec<String>,
    /// The policy of each access level. A resource may refer to outputs: `${BucketArn}/*`.
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

/// A plan of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PlanMetadata {
    /// The description for people.
    pub(super) description: String,
    /// The values that the plan prescribes.
    #[serde(default)]
    pub(super) values: BTreeMap<String, Value>,
    /// The parameters without a meaning in this plan.
    #[serde(default)]
    pub(super) hidden: Vec<String>,
}

/// What is allowed, with references to outputs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct StatementTemplate {
    actions: Vec<String>,
    resources: Vec<String>,
}

/// A binding's access to an instance's resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Access {
    /// Read data.
    Read,
    /// Read and change data.
    #[default]
    ReadWrite,
    /// Also change what belongs to the application, such as a topic's subscriptions.
    Owner,
}

impl Kinds for Access {
    const ALL: &'static [Self] = &[Self::ReadWrite, Self::Read, Self::Owner];

    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadWrite => "readwrite",
            Self::Owner => "owner",
        }
    }
}

/// Why a template defines no service.
#[derive(Debug, thiserror::Error)]
pub(super) enum DefinitionError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the template's metadata have no usable {METADATA}: {0}")]
    Metadata(String),
    #[error("{METADATA}: {field} names {name:?}, which is no {kind} of the template")]
    Unknown { field: &'static str, name: String, kind: &'static str },
    #[error("{METADATA}: the access level {0} is missing")]
    NoAccess(&'static str),
}

impl Definition {
    /// Parses a template and checks its metadata against it.
    pub(super) fn parse(text: &str) -> Result<Self, DefinitionError> {
        let template = Template::parse(text)?;
        let metadata = template.metadata.get(METADATA).cloned().unwrap_or_default();
        let service: ServiceMetadata = serde_path_to_error::deserialize(metadata)
            .map_err(|error| DefinitionError::Metadata(error.to_string()))?;
        let definition = Self { text: text.to_owned(), template, service };
        definition.check()?;
        Ok(definition)
    }

    fn check(&self) -> Result<(), DefinitionError> {
        let Self { template, service, .. } = self;
        let refuse =
            |field, name: &str, kind| Err(DefinitionError::Unknown { field, name: name.to_owned(), kind });
        for plan in service.plans.values() {
            let named = plan.values.keys().chain(&plan.hidden);
            if let Some(name) = named.into_iter().find(|name| !template.parameters.contains_key(*name)) {
                return refuse("Plans", name, "parameter");
            }
        }
        for name in &service.updatable_parameters {
            if !template.parameters.contains_key(name) {
                return refuse("UpdatableParameters", name, "parameter");
            }
        }
        for name in &service.variables {
            if !template.outputs.contains_key(name) {
                return refuse("Variables", name, "output");
            }
        }
        for access in Access::ALL {
            let Some(statements) = service.access.get(access) else {
                return Err(DefinitionError::NoAccess(access.as_str()));
            };
            for reference in
                statements.iter().flat_map(|statement| &statement.resources).flat_map(|text| references(text))
            {
                if !template.outputs.contains_key(reference) {
                    return refuse("Access", reference, "output");
                }
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
        });
        filled.filter(|statement| !statement.resources.is_empty()).collect()
    }
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

/// The templates that bindery comes with.
const BUILT_IN: [&str; 4] = [
    include_str!("templates/sqs.yaml"),
    include_str!("templates/sns.yaml"),
    include_str!("templates/s3.yaml"),
    include_str!("templates/dynamodb.yaml"),
];

/// The definitions that bindery comes with.
pub(super) fn built_in() -> &'static [Definition] {
    #[expect(clippy::expect_used, reason = "the templates are part of the program, and a test parses them")]
    static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
        BUILT_IN.iter().map(|text| Definition::parse(text).expect("a built-in template is valid")).collect()
    });
    &DEFINITIONS
}

/// The definition with this name.
pub(super) fn named(name: &str) -> Option<&'static Definition> {
    built_in().iter().find(|definition| definition.service.names.contains_key(name))
}

/// All names, in alphabetical order.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = built_in()
        .iter()
        .flat_map(|definition| definition.service.names.keys().map(String::as_str))
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;
