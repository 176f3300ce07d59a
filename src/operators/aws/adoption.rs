//! How an object adopts a resource that exists without a stack (pure): which resource, who allows it, and the template with
//! which CloudFormation imports the resource into a new stack.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Map, Value};

use super::policies::BadAnnotation;
use crate::{
    apis::aws_operator::{AwsObject, Kind},
    cloud::aws::{
        change_sets::Import,
        long_form,
        template::{Template, TemplateError},
    },
    contract::aws_operator::ADOPTABLE,
};

/// Annotation of an object, as of AWS Controllers for Kubernetes: the resource to adopt, in JSON.
const ADOPTION_FIELDS: &str = "services.k8s.aws/adoption-fields";

/// How the resources of a kind are identified.
struct Identity {
    /// The resource's name in the template.
    logical_id: &'static str,
    /// The property by which CloudFormation knows it.
    property: &'static str,
    /// The names of the property in the annotation, in lower case and without underscores.
    fields: &'static [&'static str],
    /// What the annotation should say.
    example: &'static str,
}

/// `None` for kinds that CloudFormation does not import.
fn identity(kind: Kind) -> Option<Identity> {
    let named = |logical_id, property, fields| Identity {
        logical_id,
        property,
        fields,
        example: r#"{"name": "NAME"} with the object's name, or leave it out"#,
    };
    Some(match kind {
        Kind::DynamoDb => named("Table", "TableName", &["name", "tablename"]),
        Kind::EcrRepository => named("Repository", "RepositoryName", &["name", "repositoryname"]),
        Kind::S3Bucket => named("Bucket", "BucketName", &["name", "bucketname"]),
        Kind::SnsTopic => Identity {
            logical_id: "Topic",
            property: "TopicArn",
            fields: &["arn", "topicarn"],
            example: r#"{"topicARN": "arn:aws:sns:REGION:ACCOUNT:NAME"}"#,
        },
        Kind::SqsQueue => Identity {
            logical_id: "Queue",
            property: "QueueUrl",
            fields: &["queueurl", "url"],
            example: r#"{"queueURL": "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"}"#,
        },
        Kind::SnsSubscription | Kind::ElastiCache | Kind::CloudFormationTemplate => return None,
    })
}

/// A resource that an object asks to adopt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// The resource's name in the template.
    logical_id: &'static str,
    property: &'static str,
    identifier: String,
}

/// The resource that an object names in its annotation, or by its own name. `None` if the object names none, or has a template
/// of the user's own.
pub(super) fn resource(kind: Kind, object: &AwsObject) -> Result<Option<Resource>, BadAnnotation> {
    let value = object.annotations().get(ADOPTION_FIELDS).map(String::as_str).unwrap_or_default();
    let bad = |allowed| BadAnnotation { annotation: ADOPTION_FIELDS, value: value.to_owned(), allowed };
    if !object.spec_text("cloudFormationTemplateName").is_empty() {
        return if value.is_empty() {
            Ok(None)
        } else {
            Err(bad("nothing: the object has a template of its own"))
        };
    }
    let Some(Identity { logical_id, property, fields, example }) = identity(kind) else {
        return if value.is_empty() {
            Ok(None)
        } else {
            Err(bad("nothing: CloudFormation does not import this kind"))
        };
    };
    // The resources of some kinds have the object's name.
    let fixed = super::models::name_parameter(kind).map(|_| object.name_any());
    let named = if value.is_empty() {
        None
    } else {
        let given: BTreeMap<String, String> = serde_json::from_str(value).map_err(|_| bad(example))?;
        let is_field = |name: &str| fields.contains(&name.to_ascii_lowercase().replace('_', "").as_str());
        let found = given.into_iter().find(|(name, value)| is_field(name) && !value.is_empty());
        let (_, identifier) = found.ok_or_else(|| bad(example))?;
        if fixed.as_ref().is_some_and(|fixed| *fixed != identifier) {
            return Err(bad(example));
        }
        Some(identifier)
    };
    Ok(named.or(fixed).map(|identifier| Resource { logical_id, property, identifier }))
}

impl Resource {
    /// What identifies the resource: a name, a URL or an ARN.
    pub(super) fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The resource's name: the last part of a URL or an ARN.
    pub(super) fn name(&self) -> &str {
        self.identifier.rsplit(['/', ':']).next().unwrap_or(&self.identifier)
    }

    /// Whether the Namespace lists the resource. Without this word, a user of a namespace could take over, change and delete
    /// whatever the operator may in the account.
    pub(super) fn is_allowed(&self, of_namespace: Option<&BTreeMap<String, String>>) -> bool {
        let listed = of_namespace.and_then(|annotations| annotations.get(ADOPTABLE));
        let mut listed = listed.map(String::as_str).unwrap_or_default().split(',').map(str::trim);
        listed.any(|listed| match listed.strip_suffix('*') {
            Some(beginning) => self.name().starts_with(beginning),
            None => !listed.is_empty() && self.name() == listed,
        })
    }

    /// What CloudFormation imports.
    ///
    /// # Errors
    /// When the template cannot be read.
    pub(super) fn import(&self, template: &str) -> Result<Import, TemplateError> {
        let resources = Template::parse(template)?.resources;
        Ok(Import {
            resource: self.logical_id.to_owned(),
            kind: resources.get(self.logical_id).map(|resource| resource.kind.clone()).unwrap_or_default(),
            property: self.property.to_owned(),
            identifier: self.identifier.clone(),
        })
    }

    /// The template of the import: this resource alone, because an import creates nothing and has no outputs. What refers to
    /// another resource of the template comes with the update that follows.
    ///
    /// # Errors
    /// When the template cannot be read.
    pub(super) fn template(&self, template: &str) -> Result<String, TemplateError> {
        let mut template = long_form::parse(template)?;
        let Some(sections) = template.as_object_mut() else { return Ok(template.to_string()) };
        sections.remove("Outputs");
        sections.remove("Metadata");
        if let Some(resources) = sections.get_mut("Resources").and_then(Value::as_object_mut) {
            let others: Vec<_> = resources.keys().filter(|name| *name != self.logical_id).cloned().collect();
            resources.retain(|name, _| name == self.logical_id);
            let properties = resources.get_mut(self.logical_id).and_then(|it| it.get_mut("Properties"));
            if let Some(properties) = properties.and_then(Value::as_object_mut) {
                properties.retain(|_, value| !others.iter().any(|other| refers_to(value, other)));
            }
        }
        Ok(template.to_string())
    }
}

/// Whether a value of a template, in the long form, contains a reference to this resource.
fn refers_to(value: &Value, resource: &str) -> bool {
    let of_function = |(name, argument): (&String, &Value)| match (name.as_str(), argument) {
        ("Ref", Value::String(referred)) => referred == resource,
        ("Fn::GetAtt", Value::String(path)) => path.split('.').next() == Some(resource),
        ("Fn::GetAtt", Value::Array(path)) => path.first().and_then(Value::as_str) == Some(resource),
        ("Fn::Sub", Value::String(text)) => {
            text.contains(&format!("${{{resource}}}")) || text.contains(&format!("${{{resource}."))
        }
        _ => refers_to(argument, resource),
    };
    match value {
        Value::Array(items) => items.iter().any(|item| refers_to(item, resource)),
        Value::Object(map) => Map::iter(map).any(of_function),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operators::aws::models;

    fn object(name: &str, fields: &str) -> AwsObject {
        let annotations = if fields.is_empty() { json!({}) } else { json!({ADOPTION_FIELDS: fields}) };
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}})).unwrap()
    }

    const URL: &str = "https://sqs.eu-west-1.amazonaws.com/111122223333/orders";

    #[test]
    fn a_resource_is_named_by_the_annotation_or_by_the_objects_name() {
        let of = |kind, name: &str, fields: &str| resource(kind, &object(name, fields));
        let queue = of(Kind::SqsQueue, "q", &format!(r#"{{"queue_url": "{URL}"}}"#)).unwrap().unwrap();
        assert_eq!((queue.property, queue.identifier.as_str(), queue.name()), ("QueueUrl", URL, "orders"));
        let topic = of(Kind::SnsTopic, "t", r#"{"topicARN": "arn:aws:sns:r:1:news"}"#).unwrap().unwrap();
        assert_eq!(topic.name(), "news");
        assert_eq!(of(Kind::SqsQueue, "q", ""), Ok(None), "a queue does not have the object's name");
        assert_eq!(of(Kind::S3Bucket, "photos", "").unwrap().unwrap().identifier, "photos");
        assert_eq!(of(Kind::S3Bucket, "photos", r#"{"name": "photos"}"#).unwrap().unwrap().name(), "photos");
        for (kind, fields) in [
            (Kind::S3Bucket, r#"{"name": "of-others"}"#),
            (Kind::SqsQueue, r#"{"name": "orders"}"#),
            (Kind::SqsQueue, "orders"),
            (Kind::ElastiCache, r#"{"name": "cache"}"#),
        ] {
            let problem = of(kind, "photos", fields).unwrap_err().to_string();
            assert!(
                problem.starts_with(&format!("the annotation {ADOPTION_FIELDS} is {fields:?}")),
                "{problem}"
            );
        }
    }

    #[test]
    fn only_listed_resources_are_adopted() {
        let queue = Resource { logical_id: "Queue", property: "QueueUrl", identifier: URL.to_owned() };
        let with = |value: &str| BTreeMap::from([(ADOPTABLE.to_owned(), value.to_owned())]);
        for (listed, is_allowed) in
            [("orders", true), ("a, ord*", true), ("*", true), ("order", false), ("", false), (",", false)]
        {
            assert_eq!(queue.is_allowed(Some(&with(listed))), is_allowed, "{listed:?}");
        }
        assert!(!queue.is_allowed(None) && !queue.is_allowed(Some(&BTreeMap::new())));
    }

    /// What CloudFormation demands of an import: one resource with a deletion policy, no outputs, nothing that refers elsewhere.
    #[rstest::rstest]
    #[case(Kind::SqsQueue, "Queue", &["RedrivePolicy"])]
    #[case(Kind::S3Bucket, "Bucket", &["LoggingConfiguration"])]
    #[case(Kind::DynamoDb, "Table", &[])]
    #[case(Kind::EcrRepository, "Repository", &[])]
    #[case(Kind::SnsTopic, "Topic", &[])]
    fn the_template_of_an_import_has_one_resource(
        #[case] kind: Kind,
        #[case] name: &'static str,
        #[case] later: &[&str],
    ) {
        let whole = long_form::parse(models::template(kind)).unwrap();
        let resource = Resource { logical_id: name, property: "", identifier: String::new() };
        let kind_of_resource = resource.import(models::template(kind)).unwrap().kind;
        let template: Value =
            serde_json::from_str(&resource.template(models::template(kind)).unwrap()).unwrap();
        assert_eq!(template["Outputs"], Value::Null);
        let resources = template["Resources"].as_object().unwrap();
        assert_eq!(resources.keys().collect::<Vec<_>>(), [name]);
        assert_eq!(resources[name]["Type"], kind_of_resource);
        assert_eq!(resources[name]["DeletionPolicy"], "Delete");
        let of = |template: &Value| {
            let properties = template["Resources"][name]["Properties"].as_object();
            properties.into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let mut expected = of(&whole);
        expected.retain(|property| !later.contains(&property.as_str()));
        assert_eq!(of(&template), expected);
    }
}
