//! The kinds of objects that the audit judges, and how their objects are read: of each, only what is judged.

use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta},
};
use serde_json::Value;

use crate::injection::workload::workloads;

/// A kind that the audit judges.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    group: &'static str,
    version: &'static str,
    pub(super) name: &'static str,
}

/// The kinds that the API server judges at their creation, except Secrets, which the audit may not read, and bindings, whose
/// credentials grow old.
pub(super) static KINDS: [Kind; 11] = [
    Kind { group: "", version: "v1", name: "Pod" },
    Kind { group: "", version: "v1", name: "ReplicationController" },
    Kind { group: "", version: "v1", name: "PodTemplate" },
    Kind { group: "apps", version: "v1", name: "Deployment" },
    Kind { group: "apps", version: "v1", name: "StatefulSet" },
    Kind { group: "apps", version: "v1", name: "DaemonSet" },
    Kind { group: "apps", version: "v1", name: "ReplicaSet" },
    Kind { group: "batch", version: "v1", name: "Job" },
    Kind { group: "batch", version: "v1", name: "CronJob" },
    Kind { group: "", version: "v1", name: CONFIG_MAP },
    Kind { group: "servicecatalog.k8s.io", version: "v1beta1", name: SERVICE_BINDING },
];

pub(super) const CONFIG_MAP: &str = "ConfigMap";
pub(super) const SERVICE_BINDING: &str = "ServiceBinding";

/// The kinds that copy their pod template into objects of other kinds. The copies are not judged beside the original.
const WITH_COPIES: [&str; 2] = ["Deployment", "CronJob"];

impl Kind {
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(super) fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group, self.version, self.name))
    }
}

/// An audited object of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectName {
    pub(super) kind: &'static Kind,
    pub(super) name: String,
}

/// What the audit reads of an object.
pub(super) struct Sample {
    pub(super) namespace: String,
    pub(super) object: ObjectName,
    pub(super) uid: String,
    /// The whole object. It is dropped as soon as it is judged.
    value: Value,
}

impl Sample {
    /// Reads an object; `None` if it is a copy of another that is judged.
    pub(super) fn of(kind: &'static Kind, mut object: DynamicObject) -> Option<Self> {
        let owner = object.owner_references().iter().find(|owner| owner.controller == Some(true));
        if kind.name != "Pod" && owner.is_some_and(|owner| WITH_COPIES.contains(&owner.kind.as_str())) {
            return None;
        }
        object.metadata.managed_fields = None;
        // Items of a list do not name their type.
        object.types = Some(TypeMeta { api_version: kind.api_version(), kind: kind.name.to_owned() });
        Some(Self {
            namespace: object.namespace().unwrap_or_default(),
            object: ObjectName { kind, name: object.name_any() },
            uid: object.uid().unwrap_or_default(),
            value: serde_json::to_value(object).ok()?,
        })
    }

    /// The whole object.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// The pod or the pod template.
    pub(super) fn template(&self) -> Option<&Value> {
        workloads(&self.value).first().map(|workload| workload.template)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(kind: &str, value: Value) -> Option<Sample> {
        let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
        Sample::of(kind, serde_json::from_value(value).unwrap())
    }

    fn owned_by(kind: &str) -> Value {
        json!([{"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "controller": true}])
    }

    #[test]
    fn the_template_of_every_kind_is_found() {
        let pod = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"containers": []}});
        let metadata = json!({"namespace": "shop", "name": "web", "uid": "1"});
        for kind in KINDS.iter().filter(|kind| ![CONFIG_MAP, SERVICE_BINDING].contains(&kind.name)) {
            let mut object = match kind.name {
                "Pod" => json!({"spec": pod["spec"]}),
                "PodTemplate" => json!({"template": pod}),
                "CronJob" => json!({"spec": {"jobTemplate": {"spec": {"template": pod}}}}),
                _ => json!({"spec": {"template": pod}}),
            };
            object["metadata"] = metadata.clone();
            let sample = sample(kind.name, object).unwrap();
            assert_eq!(sample.template().unwrap()["spec"], pod["spec"], "{}", kind.name);
            assert_eq!((sample.namespace.as_str(), sample.object.name.as_str()), ("shop", "web"));
        }
    }

    #[test]
    fn copies_of_a_template_are_not_judged_but_all_pods_are() {
        let object = |owner: &str| {
            json!({"metadata": {"namespace": "shop", "name": "web", "ownerReferences": owned_by(owner)},
                "spec": {"template": {"spec": {}}}})
        };
        assert!(sample("ReplicaSet", object("Deployment")).is_none());
        assert!(sample("Job", object("CronJob")).is_none());
        assert!(sample("ReplicaSet", object("Rollout")).is_some());
        assert!(sample("Pod", object("ReplicaSet")).is_some());
    }
}
