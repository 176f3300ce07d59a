//! The stack that an object wants (pure): its name, template, parameters and tags.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::models;
use crate::{
    apis::aws_operator::{AwsObject, Kind},
    cloud::aws::{
        digest, stack_name,
        stacks::Stack,
        template::{Template, TemplateError},
    },
};

/// The tag with the name of the cluster, which marks the stacks of this installation.
pub(super) const CLUSTER_TAG: &str = "bindery:cluster";
const KIND_TAG: &str = "bindery:kind";
const NAMESPACE_TAG: &str = "bindery:namespace";
const NAME_TAG: &str = "bindery:name";
const UID_TAG: &str = "bindery:uid";
/// The tag with the hash of the template.
const TEMPLATE_TAG: &str = "bindery:template";
/// The parameter of the original that changes with every write; bindery gives the generation.
const VERSION_PARAMETER: &str = "ResourceVersion";

/// How many digits a hash has.
const DIGITS: usize = 32;

/// The stack that an object wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) name: String,
    pub(super) template: String,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    /// Whether the template is the user's own, so that a changed template updates the stack. A newer bindery's own template
    /// does not: it counts from the next change of the object.
    has_user_template: bool,
}

/// The name of an object's stack: `<cluster>-<kind>-<name>-<namespace>`.
pub(super) fn name(cluster: &str, kind: Kind, object: &AwsObject) -> String {
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    stack_name(&[cluster, &kind.singular(), &name, &namespace])
}

impl Desired {
    /// The stack of an object. `replaced` has parameters that name other objects, with what they stand for.
    ///
    /// # Errors
    /// When the user's template cannot be read.
    pub(super) fn new(
        cluster: &str,
        kind: Kind,
        object: &AwsObject,
        replaced: &BTreeMap<&'static str, String>,
        user_template: Option<String>,
    ) -> Result<Self, TemplateError> {
        let has_user_template = user_template.is_some();
        let template = user_template.unwrap_or_else(|| models::template(kind).to_owned());
        let known = Template::parse(&template)?.parameters;
        let mut parameters = BTreeMap::new();
        for field in kind.facts().fields {
            let value = replaced.get(field.parameter).cloned().or_else(|| field.value(&object.spec));
            parameters.extend(value.map(|value| (field.parameter.to_owned(), value)));
        }
        let (object_name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
        parameters.extend(models::name_parameter(kind).map(|name| (name.to_owned(), object_name.clone())));
        // The original gave these to every template.
        let common = [
            ("Namespace", namespace.clone()),
            ("ResourceName", object_name.clone()),
            ("ClusterName", cluster.to_owned()),
            (VERSION_PARAMETER, object.metadata.generation.unwrap_or_default().to_string()),
        ];
        parameters.extend(common.map(|(name, value)| (name.to_owned(), value)));
        parameters.retain(|name, _| known.contains_key(name));
        let tags = [
            (CLUSTER_TAG, cluster.to_owned()),
            (KIND_TAG, kind.facts().name.to_owned()),
            (NAMESPACE_TAG, namespace),
            (NAME_TAG, object_name),
            (UID_TAG, object.uid().unwrap_or_default()),
            (TEMPLATE_TAG, digest(&[&template], DIGITS)),
        ];
        let tags = tags.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Self { name: name(cluster, kind, object), template, parameters, tags, has_user_template })
    }

    /// Whether the stack is another than the wanted one.
    pub(super) fn differs(&self, stack: &Stack) -> bool {
        let is_same = |(name, value): (&String, &String)| {
            name == VERSION_PARAMETER || stack.parameters.get(name) == Some(value)
        };
        !self.parameters.iter().all(is_same)
            || (self.has_user_template && stack.tags.get(TEMPLATE_TAG) != self.tags.get(TEMPLATE_TAG))
    }

    /// Identifies a request for this stack, so that a repeated one starts nothing. `attempt` distinguishes attempts after
    /// a failed one.
    pub(super) fn token(&self, verb: &str, attempt: &str) -> String {
        let mut parts = vec![verb, attempt, &self.template];
        let stable = self.parameters.iter().filter(|(name, _)| *name != VERSION_PARAMETER);
        parts.extend(stable.flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        parts.extend(self.tags.get(UID_TAG).map(String::as_str));
        format!("{verb}-{}", digest(&parts, DIGITS))
    }
}

/// Whether a stack carries the marks of this installation and this very object.
pub(super) fn is_of(stack: &Stack, cluster: &str, object: &AwsObject) -> bool {
    is_made_for(stack, cluster, &object.uid().unwrap_or_default())
}

/// Whether a stack carries the marks of this installation and the object with this uid.
pub(super) fn is_made_for(stack: &Stack, cluster: &str, uid: &str) -> bool {
    let has = |tag: &str, value: &str| stack.tags.get(tag).is_some_and(|found| found == value);
    has(CLUSTER_TAG, cluster) && has(UID_TAG, uid)
}

/// Whether an object may adopt a stack: one without marks, or one that was made for an object of this kind, namespace and
/// name. The names of the stacks of two objects can be equal, and another installation may have made the stack.
pub(super) fn may_adopt(stack: &Stack, cluster: &str, kind: Kind, object: &AwsObject) -> bool {
    if !stack.tags.contains_key(CLUSTER_TAG) {
        return true;
    }
    origin(stack, cluster).is_some_and(|origin| {
        origin.kind == kind
            && object.namespace().as_deref() == Some(origin.namespace)
            && object.name_any() == origin.name
    })
}

/// The object that a stack of this installation was made for.
pub(super) struct Origin<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// The object in the marks of a stack; `None` for a stack that is not this installation's.
pub(super) fn origin<'a>(stack: &'a Stack, cluster: &str) -> Option<Origin<'a>> {
    let tag = |name: &str| stack.tags.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let kind = Kind::parse(tag(KIND_TAG)?)?;
    let origin = Origin { kind, namespace: tag(NAMESPACE_TAG)?, name: tag(NAME_TAG)? };
    (tag(CLUSTER_TAG)? == cluster).then_some(origin)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cloud::aws::StackStatus;

    fn table(spec: &Value) -> AwsObject {
        let metadata = json!({"name": "dynamo-table", "namespace": "default", "uid": "u-1", "generation": 3});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn seed() -> AwsObject {
        table(
            &json!({"hashAttribute": {"name": "name", "type": "S"}, "rangeAttribute": {"name": "created_at", "type": "S"},
            "readCapacityUnits": 5, "writeCapacityUnits": 5}),
        )
    }

    fn desired(object: &AwsObject, template: Option<&str>) -> Desired {
        let template = template.map(ToOwned::to_owned);
        Desired::new("demos", Kind::DynamoDb, object, &BTreeMap::new(), template).unwrap()
    }

    fn made(desired: &Desired) -> Stack {
        Stack {
            id: "arn".to_owned(),
            name: desired.name.clone(),
            status: StackStatus::new("CREATE_COMPLETE"),
            parameters: desired.parameters.clone(),
            outputs: BTreeMap::new(),
            tags: desired.tags.clone(),
            topics: Vec::new(),
        }
    }

    #[test]
    fn the_stack_of_the_seed_has_its_name_and_its_table() {
        let desired = desired(&seed(), None);
        assert_eq!(desired.name, "demos-dynamodb-dynamo-table-default");
        let expected = [
            ("HashAttributeName", "name"),
            ("HashAttributeType", "S"),
            ("RangeAttributeName", "created_at"),
            ("RangeAttributeType", "S"),
            ("ReadCapacityUnits", "5"),
            ("TableName", "dynamo-table"),
            ("WriteCapacityUnits", "5"),
        ];
        let found: Vec<_> =
            desired.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_a_change_of_the_object_updates_the_stack() {
        let stack = made(&desired(&seed(), None));
        assert!(!desired(&seed(), None).differs(&stack));
        let mut changed = seed();
        changed.spec["readCapacityUnits"] = json!(7);
        assert!(desired(&changed, None).differs(&stack));
        assert_ne!(desired(&seed(), None).token("update", "0"), desired(&changed, None).token("update", "0"));
    }

    #[test]
    fn a_changed_template_of_the_user_updates_the_stack() {
        let template = |units: &str| {
            format!(
                "Parameters: {{ResourceVersion: {{Type: String}}}}\nResources: {{T: {{Type: A, Properties: {{U: {units}}}}}}}"
            )
        };
        let stack = made(&desired(&seed(), Some(&template("1"))));
        let mut later = seed();
        later.metadata.generation = Some(9);
        assert!(!desired(&later, Some(&template("1"))).differs(&stack), "the version alone is no change");
        assert!(desired(&later, Some(&template("2"))).differs(&stack));
    }

    /// `a-b` in `c` and `a` in `b-c` have stacks of the same name.
    #[test]
    fn only_the_object_of_the_same_name_adopts_a_stack() {
        let stack = made(&desired(&seed(), None));
        let may = |object: &AwsObject| may_adopt(&stack, "demos", Kind::DynamoDb, object);
        let mut again = seed();
        again.metadata.uid = Some("u-2".to_owned());
        assert!(may(&again));
        let mut other = again.clone();
        other.metadata.name = Some("table-default".to_owned());
        assert!(!may(&other));
        assert!(!may_adopt(&stack, "another", Kind::DynamoDb, &again), "of another installation");
        let unmarked = Stack { tags: BTreeMap::new(), ..stack.clone() };
        assert!(may_adopt(&unmarked, "demos", Kind::DynamoDb, &again));
    }

    #[test]
    fn a_stack_belongs_to_one_object_of_one_installation() {
        let stack = made(&desired(&seed(), None));
        assert!(is_of(&stack, "demos", &seed()));
        assert!(!is_of(&stack, "another", &seed()));
        let mut again = seed();
        again.metadata.uid = Some("u-2".to_owned());
        assert!(!is_of(&stack, "demos", &again), "an object of the same name is another object");
    }
}
