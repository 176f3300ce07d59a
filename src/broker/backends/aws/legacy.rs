//! Templates of the AWS Service Broker (pure): what their metadata say in bindery's own form, and the template without
//! the access key that it would share among all bindings. The policies of the metadata become those of each binding.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::definition::{
    Definition, DefinitionError, Keys, Naming, PlanMetadata, ServiceMetadata, StatementTemplate,
};
use crate::broker::backends::access::Access;

/// The key of the template's metadata.
pub(super) const METADATA: &str = "AWS::ServiceBroker::Specification";
/// The prefix of the resources that make the shared access key.
const INJECTED: &str = "AWSSBInjected";
/// The prefix of outputs with what the policies refer to.
const REFERENCE: &str = "BinderyPolicyResource";
/// The prefix of outputs that are policies to attach, which are not credentials.
const POLICY: &str = "PolicyArn";

/// The metadata. Texts and links for people are not needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Specification {
    name: String,
    display_name: Option<String>,
    long_description: Option<String>,
    service_plans: BTreeMap<String, LegacyPlan>,
    #[serde(default)]
    updatable_parameters: Vec<String>,
    #[serde(default)]
    outputs_as_is: bool,
    #[serde(default)]
    cloud_foundry: bool,
    #[serde(default)]
    bind_via_lambda: bool,
    #[serde(default)]
    bindings: Bindings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LegacyPlan {
    description: Option<String>,
    long_description: Option<String>,
    #[serde(default)]
    parameter_values: BTreeMap<String, Value>,
    #[serde(default)]
    parameter_defaults: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
struct Bindings {
    #[serde(rename = "IAM", default)]
    iam: Iam,
    /// The only outputs that are credentials.
    #[serde(rename = "CFNOutputs")]
    outputs: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Iam {
    #[serde(default)]
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    policy_document: Document,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    statement: Vec<Map<String, Value>>,
}

/// The definition in a template with functions in the long form.
///
/// # Errors
/// Says what bindery cannot do for the template.
pub(super) fn definition(mut template: Value) -> Result<Definition, DefinitionError> {
    let specification =
        template.get_mut("Metadata").and_then(Value::as_object_mut).and_then(|all| all.remove(METADATA));
    let specification: Specification = serde_path_to_error::deserialize(specification.unwrap_or_default())
        .map_err(|error| DefinitionError::Metadata(METADATA, error.to_string()))?;
    if specification.bind_via_lambda {
        let problem = "BindViaLambda: bindery calls no function for a binding; give the template \
                       Bindings.IAM.Policies instead";
        return Err(unsupported(problem));
    }
    remove_shared_key(&mut template)?;
    let statements = statements(&specification.bindings.iam.policies, &mut template)?;
    let outputs = keys(&template["Outputs"]);
    let is_hidden = |name: &&String| {
        let is_listed = specification.bindings.outputs.as_ref().is_none_or(|listed| listed.contains(*name));
        name.starts_with(REFERENCE) || name.starts_with(POLICY) || !is_listed
    };
    let hidden: BTreeSet<String> = outputs.iter().filter(is_hidden).cloned().collect();
    let variables = outputs.into_iter().filter(|name| !hidden.contains(name)).collect();
    let service = specification.into_metadata(statements, variables);
    Definition::new(template.to_string(), service, hidden, &[Access::ReadWrite])
}

impl Specification {
    fn into_metadata(self, statements: Vec<StatementTemplate>, variables: Vec<String>) -> ServiceMetadata {
        let display_name = self.display_name.unwrap_or_else(|| self.name.clone());
        let is_as_is = self.outputs_as_is || self.cloud_foundry;
        let naming = Naming {
            keys: if is_as_is { Keys::AsOutputs } else { Keys::UpperCase },
            prefix: Some(self.name.replace('-', "_").to_uppercase()),
        };
        let plan = |(name, plan): (String, LegacyPlan)| {
            let description = plan.description.or(plan.long_description).unwrap_or_else(|| name.clone());
            let (values, defaults) = (plan.parameter_values, plan.parameter_defaults);
            (name, PlanMetadata { description, values, defaults, hidden: Vec::new() })
        };
        ServiceMetadata {
            description: self.long_description.unwrap_or_else(|| display_name.clone()),
            display_name,
            names: [(self.name, naming)].into(),
            plans: self.service_plans.into_iter().map(plan).collect(),
            updatable_parameters: self.updatable_parameters,
            operator_parameters: Vec::new(),
            obsolete: BTreeMap::new(),
            server: None,
            shared: false,
            variables,
            access: [(Access::ReadWrite, statements)].into(),
        }
    }
}

fn unsupported(problem: impl Into<String>) -> DefinitionError {
    DefinitionError::Unsupported(problem.into())
}

fn keys(map: &Value) -> Vec<String> {
    map.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// Leaves out the resources of the shared access key, and the outputs that show it.
fn remove_shared_key(template: &mut Value) -> Result<(), DefinitionError> {
    let is_of_key = |value: &Value| value.to_string().contains(INJECTED);
    if let Some(resources) = template.get_mut("Resources").and_then(Value::as_object_mut) {
        resources.retain(|name, _| !name.starts_with(INJECTED));
        if let Some((name, _)) = resources.iter().find(|(_, resource)| is_of_key(resource)) {
            let problem = format!(
                "the resource {name} refers to {INJECTED}…, the access key that all bindings would share; remove the reference"
            );
            return Err(unsupported(problem));
        }
    }
    if let Some(outputs) = template.get_mut("Outputs").and_then(Value::as_object_mut) {
        outputs.retain(|_, output| !is_of_key(output));
    }
    Ok(())
}

/// The statements of all policies. What they name in the stack becomes an output of the template.
fn statements(policies: &[Policy], template: &mut Value) -> Result<Vec<StatementTemplate>, DefinitionError> {
    let mut statements = Vec::new();
    for statement in policies.iter().flat_map(|policy| &policy.policy_document.statement) {
        let known = ["Sid", "Effect", "Action", "Resource"];
        if let Some(field) = statement.keys().find(|field| !known.contains(&field.as_str())) {
            return Err(unsupported(format!(
                "a policy of Bindings.IAM has {field}; bindery takes Effect: Allow, Action and Resource"
            )));
        }
        if statement.get("Effect").and_then(Value::as_str) != Some("Allow") {
            return Err(unsupported("a policy of Bindings.IAM has an Effect other than Allow; leave it out"));
        }
        let actions = list(statement.get("Action"));
        let actions: Option<Vec<String>> =
            actions.iter().map(|action| action.as_str().map(ToOwned::to_owned)).collect();
        let actions = actions.filter(|actions| !actions.is_empty());
        let Some(actions) = actions else {
            return Err(unsupported("a policy of Bindings.IAM has no Action; name the actions"));
        };
        let resources = list(statement.get("Resource")).into_iter();
        let resources = resources.map(|resource| reference(resource, template)).collect();
        statements.push(StatementTemplate { actions, resources, region: None });
    }
    if statements.is_empty() {
        let problem = "Bindings.IAM.Policies is empty: bindery gives each binding an access key of its own, which needs a \
                       policy; add one";
        return Err(unsupported(problem));
    }
    Ok(statements)
}

fn list(value: Option<&Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(all)) => all.clone(),
        Some(one) => vec![one.clone()],
    }
}

/// A resource in a policy. An expression becomes an output, which is empty if its resource does not exist.
fn reference(expression: Value, template: &mut Value) -> String {
    if let Some(text) = expression.as_str() {
        return text.to_owned();
    }
    let named = keys(&template["Resources"]).into_iter().find(|name| is_named(&expression, name));
    let condition = named.and_then(|name| template["Resources"][&name].get("Condition").cloned());
    let value = match condition {
        Some(condition) => json!({"Fn::If": [condition, expression, ""]}),
        None => expression,
    };
    let outputs = keys(&template["Outputs"]);
    let name = format!("{REFERENCE}{}", outputs.iter().filter(|name| name.starts_with(REFERENCE)).count());
    template["Outputs"][&name] = json!({"Value": value});
    format!("${{{name}}}")
}

/// Whether an expression refers to a resource.
fn is_named(expression: &Value, resource: &str) -> bool {
    match expression {
        Value::String(text) => {
            text == resource
                || text.contains(&format!("${{{resource}}}"))
                || text.contains(&format!("${{{resource}."))
        }
        Value::Array(all) => all.iter().any(|one| is_named(one, resource)),
        Value::Object(map) => map.values().any(|one| is_named(one, resource)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
