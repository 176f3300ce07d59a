//! The custom resource definitions of `service-operator.aws`. The kinds have no status subresource: `output` and
//! `additionalResources` are top-level fields, which a write of the status would drop. kube's derive macro knows only
//! `spec` and `status`, so the definitions are written here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use super::{GROUP, VERSION, field, kind::Kind};

/// The custom resource definitions of all kinds.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    Kind::ALL.into_iter().map(crd).collect()
}

fn crd(kind: Kind) -> CustomResourceDefinition {
    let facts = kind.facts();
    let definition = json!({
        "metadata": {"name": format!("{}.{GROUP}", facts.plural)},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": facts.name, "listKind": format!("{}List", facts.name), "plural": facts.plural,
                "singular": kind.singular(), "shortNames": facts.short_names, "categories": ["bindery"],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema(kind)},
                "additionalPrinterColumns": columns(kind),
            }],
        },
    });
    #[expect(
        clippy::expect_used,
        reason = "the definition has the fields that Kubernetes documents, which a test checks"
    )]
    serde_json::from_value(definition).expect("a custom resource definition")
}

fn columns(kind: Kind) -> Value {
    let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
    if !kind.has_stack() {
        let key = json!({"name": "Key", "type": "string", "jsonPath": ".data.key"});
        return json!([key, age]);
    }
    json!([
        {"name": "Status", "type": "string", "jsonPath": ".status.resourceStatus"},
        {"name": "Reason", "type": "string", "jsonPath": ".status.resourceStatusReason"},
        age,
    ])
}

fn schema(kind: Kind) -> Value {
    let facts = kind.facts();
    let mut properties = Map::new();
    let mut required = Vec::new();
    if kind.has_stack() {
        properties.insert("spec".to_owned(), spec(kind));
        properties.insert("status".to_owned(), status());
        properties.insert("additionalResources".to_owned(), additional_resources());
        if spec(kind).get("default").is_none() {
            required.push("spec");
        }
    } else {
        properties.insert("data".to_owned(), template_data(kind));
        required.push("data");
    }
    properties.insert("output".to_owned(), output(kind));
    let mut schema = json!({"type": "object", "description": facts.description, "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn spec(kind: Kind) -> Value {
    let (mut properties, required) = field::properties(kind.facts().fields);
    let text = |description: &str| json!({"type": "string", "maxLength": 253, "default": "", "description": description});
    properties.insert(
        "cloudFormationTemplateName".to_owned(),
        text("The CloudFormationTemplate to use instead of bindery's own template."),
    );
    properties.insert(
        "cloudFormationTemplateNamespace".to_owned(),
        text("The namespace of the CloudFormationTemplate. Default: that of the object."),
    );
    let rollbacks = "How many times bindery has deleted a stack whose creation failed, to create it anew. Set it to 0 to \
                     have bindery try again.";
    properties.insert(
        "rollbackCount".to_owned(),
        json!({"type": "integer", "format": "int64", "minimum": 0, "default": 0, "description": rollbacks}),
    );
    let mut schema =
        json!({"type": "object", "description": "The wanted resource.", "properties": properties});
    if required.is_empty() {
        schema["default"] = json!({});
    } else {
        schema["required"] = json!(required);
    }
    schema
}

fn status() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({"type": "object", "description": "The state of the stack; written by bindery.", "properties": {
        "resourceStatus": text("CloudFormation's state of the stack, or why bindery did not begin."),
        "resourceStatusReason": text("Why the stack is not in the wanted state, and what to do."),
        "stackID": text("The ARN of the stack."),
        "drift": text("Whether the resources still are as CloudFormation left them. Absent without checks for drift."),
        "driftCheckedAt": text("When the resources were last compared."),
    }})
}

fn output(kind: Kind) -> Value {
    let field = |(name, _): &(&str, &str)| ((*name).to_owned(), json!({"type": "string"}));
    let properties: Map<String, Value> = kind.facts().outputs.iter().map(field).collect();
    json!({"type": "object", "description": "The outputs of the stack; written by bindery.", "properties": properties})
}

fn additional_resources() -> Value {
    let names = |description: &str| json!({"type": "array", "nullable": true, "items": {"type": "string"}, "description": description});
    json!({"type": "object", "description": "The objects that bindery created in the namespace.", "properties": {
        "configMaps": names("The names of the ConfigMaps."),
        "services": names("The names of the Services."),
    }})
}

fn template_data(kind: Kind) -> Value {
    let (mut properties, _) = field::properties(kind.facts().fields);
    let description = "The template, in YAML or JSON. CloudFormation takes at most 51,200 bytes, or with a bucket of the installation \
                       1,048,576.";
    properties.insert(
        "template".to_owned(),
        json!({"type": "string", "minLength": 1, "maxLength": 1_048_576, "description": description}),
    );
    json!({"type": "object", "description": "The template.", "properties": properties, "required": ["template"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_definition_without_a_status_subresource() {
        let definitions = crds();
        assert_eq!(definitions.len(), Kind::ALL.len());
        for definition in definitions {
            let version = &definition.spec.versions[0];
            assert!(version.subresources.is_none(), "it would drop `output`");
            let properties = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            assert!(properties.properties.as_ref().unwrap().contains_key("output"));
        }
    }
}
