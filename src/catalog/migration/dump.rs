//! Recreates the objects of a dump (`kubectl get … --output yaml`) in this cluster, with their ids, status and Secrets,
//! so that nothing is provisioned again. The catalog must not run meanwhile: it would provision an instance before its
//! status is written.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Map, Value, json};

use super::{MigrationError, failed};
use crate::{
    apis::servicecatalog::{
        ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ServiceBinding, ServiceBroker,
        ServiceClass, ServiceInstance, ServicePlan,
    },
    contract::{FIELD_MANAGER, approval::APPROVAL},
};

const GROUP: &str = "servicecatalog.k8s.io";
/// The kinds in the order in which they are created: owners first.
const ORDER: [&str; 9] = [
    "ClusterServiceBroker",
    "ServiceBroker",
    "ClusterServiceClass",
    "ServiceClass",
    "ClusterServicePlan",
    "ServicePlan",
    "ServiceInstance",
    "ServiceBinding",
    "Secret",
];
/// Annotations that must not be copied: one is kubectl's record, the other was issued by another installation.
const NOT_COPIED: [&str; 2] = ["kubectl.kubernetes.io/last-applied-configuration", APPROVAL];

/// A dump that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// An object without a kind or a name.
    #[error("object {number} of the dump has no {field}; dump it again with kubectl get … --output yaml")]
    Incomplete {
        /// The object's position, counted from 1.
        number: usize,
        /// The missing field.
        field: &'static str,
    },
}

/// The objects of a dump, in the order in which they are created.
#[derive(Debug, Default)]
pub struct Objects(Vec<Dumped>);

#[derive(Debug)]
struct Dumped {
    kind: usize,
    namespace: Option<String>,
    name: String,
    value: Value,
}

impl Objects {
    /// Reads documents: objects, or lists of objects. Other kinds are left out, and so are Secrets that no
    /// ServiceBinding owns.
    ///
    /// # Errors
    /// When an object has no kind or name.
    pub fn read(documents: Vec<Value>) -> Result<Self, DumpError> {
        let items = |mut document: Value| {
            let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
            match document.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) if is_list => items,
                _ => vec![document],
            }
        };
        let flat = documents.into_iter().flat_map(items);
        let mut objects = Vec::new();
        for (index, value) in flat.enumerate() {
            let incomplete = |field| DumpError::Incomplete { number: index + 1, field };
            let kind = value["kind"].as_str().ok_or(incomplete("kind"))?;
            let Some(position) = ORDER.iter().position(|known| *known == kind) else { continue };
            let group = value["apiVersion"].as_str().unwrap_or_default();
            let is_ours = match kind {
                "Secret" => owner(&value, "ServiceBinding").is_some(),
                _ => group.starts_with(GROUP),
            };
            if !is_ours {
                continue;
            }
            let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
            let name = text("name").ok_or(incomplete("metadata.name"))?;
            objects.push(Dumped { kind: position, namespace: text("namespace"), name, value });
        }
        objects.sort_by(|a, b| (a.kind, &a.namespace, &a.name).cmp(&(b.kind, &b.namespace, &b.name)));
        Ok(Self(objects))
    }

    /// Creates the objects that do not exist yet, and returns their names. With `apply` false, only returns the names.
    ///
    /// # Errors
    /// When the API server refuses an object.
    pub async fn create(self, client: &Client, apply: bool) -> Result<Vec<String>, MigrationError> {
        let mut created = Vec::new();
        let mut uids: HashMap<(usize, Option<String>, String), String> = HashMap::new();
        for object in self.0 {
            let api = object.api(client);
            let full_name = object.full_name();
            let read = api.get_opt(&object.name).await;
            let existing = read.map_err(failed(|| format!("cannot read {full_name}")))?;
            let is_new = existing.is_none();
            if is_new {
                created.push(full_name.clone());
            }
            let uid = match existing {
                Some(existing) => existing.metadata.uid,
                None if apply => object.create(&api, &uids).await?,
                None => None,
            };
            uids.insert((object.kind, object.namespace, object.name), uid.unwrap_or_default());
        }
        Ok(created)
    }
}

impl Dumped {
    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let resource = match ORDER[self.kind] {
            "ClusterServiceBroker" => ApiResource::erase::<ClusterServiceBroker>(&()),
            "ServiceBroker" => ApiResource::erase::<ServiceBroker>(&()),
            "ClusterServiceClass" => ApiResource::erase::<ClusterServiceClass>(&()),
            "ServiceClass" => ApiResource::erase::<ServiceClass>(&()),
            "ClusterServicePlan" => ApiResource::erase::<ClusterServicePlan>(&()),
            "ServicePlan" => ApiResource::erase::<ServicePlan>(&()),
            "ServiceInstance" => ApiResource::erase::<ServiceInstance>(&()),
            "ServiceBinding" => ApiResource::erase::<ServiceBinding>(&()),
            _ => ApiResource::erase::<Secret>(&()),
        };
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }

    fn full_name(&self) -> String {
        let namespace = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{} {namespace}{}", ORDER[self.kind], self.name)
    }

    /// Creates the object and writes its status. Returns the new uid.
    async fn create(
        &self,
        api: &Api<DynamicObject>,
        uids: &HashMap<(usize, Option<String>, String), String>,
    ) -> Result<Option<String>, MigrationError> {
        let what = || format!("cannot create {}", self.full_name());
        let mut body = self.body();
        if let Some(reference) = self.owner_reference(uids) {
            body["metadata"]["ownerReferences"] = json!([reference]);
        }
        #[expect(clippy::expect_used, reason = "the body has metadata with strings and any other fields")]
        let object = serde_json::from_value(body).expect("the body of a dumped object is an object");
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let created = api.create(&parameters, &object).await.map_err(failed(what))?;
        let status = &self.value["status"];
        if ORDER[self.kind] != "Secret" && status.is_object() {
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(&self.name, &PatchParams::default(), &patch)
                .await
                .map_err(failed(|| format!("cannot write the status of {}", self.full_name())))?;
        }
        Ok(created.metadata.uid)
    }

    /// The object without what the former API server wrote.
    fn body(&self) -> Value {
        let metadata = &self.value["metadata"];
        let mut kept = Map::new();
        for field in ["name", "namespace", "labels", "annotations", "finalizers"] {
            if let Some(value) = metadata.get(field).filter(|value| !value.is_null()) {
                kept.insert(field.to_owned(), value.clone());
            }
        }
        if let Some(annotations) = kept.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
        }
        let mut body = self.value.clone();
        body["metadata"] = Value::Object(kept);
        if let Some(body) = body.as_object_mut() {
            body.remove("status");
        }
        body
    }

    /// The reference to the owner under its new uid: the broker of a class or plan, the binding of a Secret.
    fn owner_reference(&self, uids: &HashMap<(usize, Option<String>, String), String>) -> Option<Value> {
        let spec = &self.value["spec"];
        let (kind, name) = match ORDER[self.kind] {
            "ClusterServiceClass" | "ClusterServicePlan" => {
                ("ClusterServiceBroker", spec["clusterServiceBrokerName"].as_str()?)
            }
            "ServiceClass" | "ServicePlan" => ("ServiceBroker", spec["serviceBrokerName"].as_str()?),
            "Secret" => ("ServiceBinding", owner(&self.value, "ServiceBinding")?),
            _ => return None,
        };
        let position = ORDER.iter().position(|known| *known == kind)?;
        let uid = uids.get(&(position, self.namespace.clone(), name.to_owned()))?;
        Some(json!({
            "apiVersion": format!("{GROUP}/v1beta1"), "kind": kind, "name": name, "uid": uid,
            "controller": true, "blockOwnerDeletion": false,
        }))
    }
}

/// The name of the controlling owner of this kind.
fn owner<'a>(value: &'a Value, kind: &str) -> Option<&'a str> {
    let owners = value["metadata"]["ownerReferences"].as_array()?;
    let of_kind = |owner: &&Value| owner["kind"] == kind && owner["controller"] == true;
    owners.iter().find(of_kind)?["name"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(objects: &Objects) -> Vec<String> {
        objects.0.iter().map(Dumped::full_name).collect()
    }

    #[test]
    fn owners_are_created_first_and_foreign_objects_are_left_out() {
        let api = "servicecatalog.k8s.io/v1beta1";
        let owned = json!([{"kind": "ServiceBinding", "name": "b", "controller": true}]);
        let objects = Objects::read(vec![
            json!({"kind": "List", "apiVersion": "v1", "items": [
                {"kind": "Secret", "apiVersion": "v1", "metadata": {"namespace": "shop", "name": "b", "ownerReferences": owned}},
                {"kind": "Secret", "apiVersion": "v1", "metadata": {"namespace": "shop", "name": "other"}},
                {"kind": "ServiceBinding", "apiVersion": api, "metadata": {"namespace": "shop", "name": "b"}},
                {"kind": "ServiceInstance", "apiVersion": "elsewhere/v1", "metadata": {"namespace": "shop", "name": "x"}},
            ]}),
            json!({"kind": "ClusterServiceBroker", "apiVersion": api, "metadata": {"name": "mysql"}}),
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}}),
        ]);
        assert_eq!(
            names(&objects.unwrap()),
            ["ClusterServiceBroker mysql", "ServiceBinding shop/b", "Secret shop/b"]
        );
        let error = Objects::read(vec![json!({"kind": "ServiceBinding", "apiVersion": api})]).unwrap_err();
        assert!(error.to_string().starts_with("object 1 of the dump has no metadata.name"), "{error}");
    }

    #[test]
    fn what_the_former_api_server_wrote_is_not_copied() {
        let objects = Objects::read(vec![json!({
            "kind": "ServiceInstance", "apiVersion": "servicecatalog.k8s.io/v1beta1", "status": {"conditions": []},
            "metadata": {"namespace": "shop", "name": "i", "uid": "old", "resourceVersion": "7", "generation": 3,
                "finalizers": ["kubernetes-incubator/service-catalog"],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"}},
            "spec": {"externalID": "x"},
        })]);
        assert_eq!(
            objects.unwrap().0[0].body(),
            json!({"kind": "ServiceInstance", "apiVersion": "servicecatalog.k8s.io/v1beta1",
                "metadata": {"namespace": "shop", "name": "i", "annotations": {"team": "a"},
                    "finalizers": ["kubernetes-incubator/service-catalog"]},
                "spec": {"externalID": "x"}})
        );
    }
}
