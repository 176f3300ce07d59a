//! Lists the Secrets that bindery reads on behalf of an object's author. bindery may read every Secret but an author
//! may not, so the webhook checks the author's rights to the Secrets listed here and approves them. A type with
//! references to Secrets only has to implement this trait.

use kube::ResourceExt;
use serde_json::json;

use super::{ParametersFromSource, ServiceBinding, ServiceInstance, broker::SecretReference};

/// An object that makes bindery read Secrets.
pub trait UsesSecrets {
    /// The Secrets that bindery reads on behalf of the object's author.
    fn secrets(&self) -> Vec<SecretReference>;

    /// Everything that decides which Secrets are read and who receives their content, as a text that changes whenever
    /// any of it changes. The text begins with the kind and the name.
    fn checked(&self) -> String;
}

impl UsesSecrets for ServiceInstance {
    fn secrets(&self) -> Vec<SecretReference> {
        of_parameters(&self.namespace().unwrap_or_default(), &self.spec.parameters_from)
    }

    /// The class decides which broker receives the parameters. The plan does not, and bindery itself may write it.
    fn checked(&self) -> String {
        let spec = &self.spec;
        let class = [
            &spec.cluster_service_class_external_name,
            &spec.cluster_service_class_external_id,
            &spec.cluster_service_class_name,
            &spec.service_class_external_name,
            &spec.service_class_external_id,
            &spec.service_class_name,
        ];
        json!(["ServiceInstance", self.name_any(), self.namespace(), class, spec.parameters_from]).to_string()
    }
}

impl UsesSecrets for ServiceBinding {
    fn secrets(&self) -> Vec<SecretReference> {
        let mut secrets = of_parameters(&self.namespace().unwrap_or_default(), &self.spec.parameters_from);
        secrets.extend(self.keys_from());
        secrets
    }

    /// The instance decides which broker receives the parameters, and the name of the Secret who receives added keys.
    fn checked(&self) -> String {
        let (spec, name) = (&self.spec, self.name_any());
        let secret = spec.secret_name.as_ref().unwrap_or(&name);
        let instance = &spec.instance_ref.name;
        let keys: Vec<_> = self.keys_from().collect();
        json!(["ServiceBinding", name, self.namespace(), instance, secret, spec.parameters_from, keys])
            .to_string()
    }
}

impl ServiceBinding {
    /// The Secrets whose keys `addKeysFrom` adds.
    fn keys_from(&self) -> impl Iterator<Item = SecretReference> {
        let transforms = self.spec.secret_transforms.iter();
        transforms.filter_map(|transform| transform.add_keys_from.as_ref()?.secret_ref.clone())
    }
}

fn of_parameters(namespace: &str, sources: &[ParametersFromSource]) -> Vec<SecretReference> {
    let references = sources.iter().filter_map(|source| source.secret_key_ref.as_ref());
    references
        .map(|reference| SecretReference { namespace: namespace.to_owned(), name: reference.name.clone() })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn instance(spec: &Value) -> ServiceInstance {
        let mut body = json!({"clusterServiceClassExternalName": "c",
            "parametersFrom": [{"secretKeyRef": {"name": "params", "key": "json"}}]});
        body.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(
            json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
            "metadata": {"name": "db", "namespace": "team-a"}, "spec": body}),
        )
        .unwrap()
    }

    fn binding(spec: &Value) -> ServiceBinding {
        let mut body = json!({"instanceRef": {"name": "db"}, "secretTransforms": [
            {"addKeysFrom": {"secretRef": {"namespace": "team-b", "name": "ca"}}}]});
        body.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(
            json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding",
            "metadata": {"name": "b", "namespace": "team-a"}, "spec": body}),
        )
        .unwrap()
    }

    fn named(object: &impl UsesSecrets) -> Vec<String> {
        object.secrets().iter().map(|secret| format!("{}/{}", secret.namespace, secret.name)).collect()
    }

    #[test]
    fn secrets_of_parameters_are_in_the_namespace_of_the_object_and_added_keys_anywhere() {
        assert_eq!(named(&instance(&json!({}))), ["team-a/params"]);
        let from = json!({"parametersFrom": [{"secretKeyRef": {"name": "params", "key": "json"}}]});
        assert_eq!(named(&binding(&from)), ["team-a/params", "team-b/ca"]);
    }

    #[test]
    fn an_approval_of_an_instance_covers_class_and_secrets_and_nothing_that_bindery_writes() {
        let checked = instance(&json!({})).checked();
        let written =
            json!({"clusterServicePlanExternalName": "p", "externalID": "x", "parameters": {"a": 1}});
        assert_eq!(instance(&written).checked(), checked);
        let from = |key: &str| json!({"parametersFrom": [{"secretKeyRef": {"name": "params", "key": key}}]});
        for other in [
            json!({"clusterServiceClassExternalName": "d"}),
            from("other"),
            json!({"clusterServiceClassExternalName": "", "serviceClassExternalName": "c"}),
        ] {
            assert_ne!(instance(&other).checked(), checked, "{other}");
        }
    }

    #[test]
    fn an_approval_of_a_binding_covers_the_instance_and_the_secret_that_is_written() {
        let checked = binding(&json!({})).checked();
        assert_eq!(binding(&json!({"secretName": "b", "externalID": "x"})).checked(), checked, "the default");
        for other in [json!({"secretName": "c"}), json!({"instanceRef": {"name": "e"}})] {
            assert_ne!(binding(&other).checked(), checked, "{other}");
        }
    }
}
