//! The policies and exceptions that `bindery check` is given, validated as the API server would validate them.

use std::collections::HashMap;

use anyhow::bail;
use jsonschema::Validator;
use kube::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::object::Object;
use crate::{
    apis::bindery::{
        credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
    },
    cli::manifest::{File, documents},
    contract::GROUP,
    policy::Policies,
};

/// The policies and exceptions among the given files.
#[derive(Default)]
pub(super) struct GivenPolicies {
    policies: Vec<CredentialPolicy>,
    exceptions: Vec<CredentialPolicyException>,
    validators: HashMap<&'static str, Validator>,
}

impl GivenPolicies {
    /// Adds the policies and exceptions in these files. Every other object there is an error.
    pub(super) fn read(&mut self, files: &[File], errors: &mut Vec<String>) {
        for file in files {
            for document in documents(&file.text) {
                let value = match document.parse() {
                    Ok(Value::Null) => continue,
                    Ok(value) => value,
                    Err(error) => {
                        errors.push(format!("{}:{}: {error:#}", file.name, document.line));
                        continue;
                    }
                };
                for object in Object::all_in(&file.name, document.line, value) {
                    if !self.add(&object, errors) {
                        errors.push(format!(
                            "{}: {} {} is no CredentialPolicy and no CredentialPolicyException; give it with -f",
                            object.place(),
                            object.kind(),
                            object.name()
                        ));
                    }
                }
            }
        }
    }

    /// Adds the object if it is a policy or an exception, and returns whether it is one.
    pub(super) fn add(&mut self, object: &Object, errors: &mut Vec<String>) -> bool {
        if object.group() != GROUP {
            return false;
        }
        match object.kind() {
            "CredentialPolicy" => {
                let read = self.typed::<CredentialPolicy>(object);
                push(read, &mut self.policies, errors);
            }
            "CredentialPolicyException" => {
                let read = self.typed::<CredentialPolicyException>(object);
                push(read, &mut self.exceptions, errors);
            }
            _ => return false,
        }
        true
    }

    /// All policies with their exceptions.
    pub(super) fn into_policies(self, excluded: Vec<String>) -> anyhow::Result<Policies> {
        if self.policies.is_empty() {
            bail!("no CredentialPolicy is given; name a file that contains one: --policy FILE");
        }
        Ok(Policies::new(&self.policies, self.exceptions, excluded)?)
    }

    /// The object as its type, after it has been validated against the type's schema.
    fn typed<K: CustomResourceExt + DeserializeOwned>(&mut self, object: &Object) -> Result<K, Vec<String>> {
        let at = format!("{}: {} {}", object.place(), object.kind(), object.name());
        let name = K::crd_name();
        let validator = match self.validators.entry(name) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let made = jsonschema::validator_for(&schema::<K>());
                vacant.insert(made.map_err(|error| vec![format!("{at}: the schema is invalid: {error}")])?)
            }
        };
        let errors: Vec<_> = validator
            .iter_errors(&object.value)
            .map(|error| {
                let field = error.instance_path().to_string().trim_start_matches('/').replace('/', ".");
                if field.is_empty() { format!("{at}: {error}") } else { format!("{at}: {field}: {error}") }
            })
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        serde_json::from_value(object.value.clone()).map_err(|error| vec![format!("{at}: {error}")])
    }
}

fn push<K>(read: Result<K, Vec<String>>, all: &mut Vec<K>, errors: &mut Vec<String>) {
    match read {
        Ok(object) => all.push(object),
        Err(mut why) => errors.append(&mut why),
    }
}

/// The schema of an object of this type. Unknown fields are errors, as for `kubectl apply`.
fn schema<K: CustomResourceExt>() -> Value {
    let crd = K::crd();
    let schema =
        crd.spec.versions.first().and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let spec = schema
        .and_then(|schema| schema.properties.as_ref()?.get("spec"))
        .map_or(Value::Null, |spec| json!(spec));
    let mut spec = spec;
    close(&mut spec);
    json!({"type": "object", "required": ["metadata", "spec"], "properties": {
        "spec": spec,
        "metadata": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
    }})
}

fn close(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if members.contains_key("properties") && !members.contains_key("additionalProperties") {
        members.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(close);
    }
    if let Some(items) = members.get_mut("items") {
        close(items);
    }
}
