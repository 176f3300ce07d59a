//! Finds the pods in a manifest: the pod template of every workload kind, also in a List.

use std::fmt;

use serde_json::Value;

use super::Warning;
use crate::contract::{GROUP, pod};

/// A pod or pod template in a manifest.
#[derive(Debug)]
pub struct Workload<'a> {
    /// The kind of the object, such as `Deployment`.
    pub kind: &'a str,
    /// The object's name, or its `generateName`.
    pub name: &'a str,
    /// The whole object.
    pub object: &'a Value,
    /// The pod or pod template.
    pub template: &'a Value,
    /// The fields from the object to its template, such as `spec.template`; empty for a Pod.
    pub template_path: &'static str,
    /// The JSON pointer from the manifest to the template.
    pub pointer: String,
}

impl Workload<'_> {
    /// Warns about an annotation on the object that takes effect only on the template. A Deployment copies its
    /// annotations to its `ReplicaSet`s, for which no warning is issued, because users cannot correct them there.
    #[must_use]
    pub fn misplaced_annotation(&self) -> Option<Warning> {
        let is_owned = self
            .object
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .is_some_and(|owners| !owners.is_empty());
        if is_owned || bind_annotation(self.template).is_some() {
            return None;
        }
        let annotation = bind_annotation(self.object)?.to_owned();
        Some(Warning::Misplaced { annotation, template_path: self.template_path })
    }
}

/// The first annotation of an object that would bind a pod.
fn bind_annotation(object: &Value) -> Option<&str> {
    binding_key(object.pointer("/metadata/annotations")?)
}

/// The first of these annotations that would bind a pod.
fn binding_key(annotations: &Value) -> Option<&str> {
    let binds = |name: &&String| *name == pod::BIND || name.starts_with(pod::BIND_CONTAINER);
    annotations.as_object()?.keys().find(binds).map(String::as_str)
}

/// Annotations of pods in an object whose kind bindery does not know, such as a Rollout. The webhook injects these pods
/// when they are created.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownTemplate<'a> {
    kind: &'a str,
    name: &'a str,
    /// The fields from the object to the annotations.
    path: String,
    annotation: &'a str,
}

impl fmt::Display for UnknownTemplate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, path, annotation } = self;
        write!(
            f,
            "{kind} {name}: left as it is: {path} has {annotation}, but bindery does not know where a {kind} has its pods; \
             they are bound when they are created, by the webhook"
        )
    }
}

/// The binding annotations in a manifest at places where [`workloads`] finds no pods.
#[must_use]
pub fn unknown_templates(manifest: &Value) -> Vec<UnknownTemplate<'_>> {
    let mut found = Vec::new();
    collect_unknown(manifest, &mut found);
    found
}

fn collect_unknown<'a>(object: &'a Value, found: &mut Vec<UnknownTemplate<'a>>) {
    let field = |name| object.get(name).and_then(Value::as_str);
    let Some((api_version, kind)) = field("apiVersion").zip(field("kind")) else { return };
    if let (true, Some(items)) = (kind.ends_with("List"), object.get("items").and_then(Value::as_array)) {
        for item in items {
            collect_unknown(item, found);
        }
        return;
    }
    let is_bindery = api_version.split('/').next() == Some(GROUP);
    if is_bindery || template_path(api_version, kind).is_some() {
        return;
    }
    // Annotations on the object itself may have another purpose.
    let parts = object.as_object().into_iter().flatten().filter(|(name, _)| *name != "metadata");
    for (field, part) in parts {
        annotations_in(part, field, &mut |path, annotation| {
            found.push(UnknownTemplate { kind, name: name_of(object), path, annotation });
        });
    }
}

/// Calls `each` with the path and name of every binding annotation below a field.
fn annotations_in<'a>(value: &'a Value, path: &str, each: &mut impl FnMut(String, &'a str)) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let path = format!("{path}.{field}");
                match binding_key(value).filter(|_| field == "annotations") {
                    Some(annotation) => each(path, annotation),
                    None => annotations_in(value, &path, each),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                annotations_in(item, &format!("{path}[{index}]"), each);
            }
        }
        _ => {}
    }
}

/// The pods and pod templates in a manifest: none if its kind has no pods, or several if it is a List.
#[must_use]
pub fn workloads(manifest: &Value) -> Vec<Workload<'_>> {
    let mut found = Vec::new();
    collect(manifest, None, String::new(), &mut found);
    found
}

/// The API version and kind of an object.
type TypeMeta<'a> = (&'a str, &'a str);

/// `listed_as` is the type of the entries of a typed list, which may omit it.
fn collect<'a>(
    object: &'a Value,
    listed_as: Option<TypeMeta<'a>>,
    pointer: String,
    found: &mut Vec<Workload<'a>>,
) {
    let field = |name| object.get(name).and_then(Value::as_str);
    let Some((api_version, kind)) = field("apiVersion").zip(field("kind")).or(listed_as) else {
        return;
    };
    if let (Some(listed), Some(items)) =
        (kind.strip_suffix("List"), object.get("items").and_then(Value::as_array))
    {
        let listed_as = (!listed.is_empty()).then_some((api_version, listed));
        for (index, item) in items.iter().enumerate() {
            collect(item, listed_as, format!("{pointer}/items/{index}"), found);
        }
        return;
    }
    let Some(template_path) = template_path(api_version, kind) else {
        return;
    };
    let mut fields = template_path.split('.').filter(|field| !field.is_empty());
    let pointer = fields.clone().fold(pointer, |pointer, field| format!("{pointer}/{field}"));
    if let Some(template) = fields.try_fold(object, |value, field| value.get(field)) {
        let name = name_of(object);
        found.push(Workload { kind, name, object, template, template_path, pointer });
    }
}

/// The location of the pod template in this kind.
fn template_path(api_version: &str, kind: &str) -> Option<&'static str> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("", "Pod") => Some(""),
        ("", "PodTemplate") => Some("template"),
        ("", "ReplicationController")
        | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job") => Some("spec.template"),
        ("batch", "CronJob") => Some("spec.jobTemplate.spec.template"),
        _ => None,
    }
}

/// The object's name, or its `generateName`.
fn name_of(object: &Value) -> &str {
    let metadata = |name| object.get("metadata")?.get(name)?.as_str();
    metadata("name").or_else(|| metadata("generateName")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn found(manifest: &Value) -> Vec<(String, String)> {
        workloads(manifest)
            .into_iter()
            .map(|workload| {
                assert_eq!(manifest.pointer(&workload.pointer), Some(workload.template));
                (format!("{}/{}", workload.kind, workload.name), workload.pointer)
            })
            .collect()
    }

    fn at(manifest: &Value, name: &str, pointer: &str) {
        assert_eq!(found(manifest), [(name.to_owned(), pointer.to_owned())]);
    }

    #[rstest]
    #[case("apps/v1", "Deployment")]
    #[case("apps/v1beta2", "StatefulSet")]
    #[case("apps/v1", "DaemonSet")]
    #[case("apps/v1", "ReplicaSet")]
    #[case("v1", "ReplicationController")]
    #[case("batch/v1", "Job")]
    fn most_kinds_have_their_template_in_the_spec(#[case] api_version: &str, #[case] kind: &str) {
        let manifest = json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, "spec": {"template": {"spec": {}}}
        });
        at(&manifest, &format!("{kind}/web"), "/spec/template");
    }

    #[test]
    fn pods_pod_templates_and_cron_jobs_have_it_elsewhere() {
        at(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-"}}), "Pod/web-", "");
        at(&json!({"apiVersion": "v1", "kind": "PodTemplate", "template": {}}), "PodTemplate/", "/template");
        let job = json!({"spec": {"template": {"spec": {}}}});
        let manifest = json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": job}});
        at(&manifest, "CronJob/", "/spec/jobTemplate/spec/template");
    }

    #[test]
    fn lists_are_searched_and_typed_lists_name_the_kind_of_their_items() {
        let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        let inner = json!({"apiVersion": "v1", "kind": "List", "items": [pod("c")]});
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod("a"), config, inner]});
        let names: Vec<_> = found(&list).into_iter().collect();
        assert_eq!(
            names,
            [
                ("Pod/a".to_owned(), "/items/0".to_owned()),
                ("Pod/c".to_owned(), "/items/2/items/0".to_owned())
            ]
        );
        let typed = json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [
            {"metadata": {"name": "web"}, "spec": {"template": {}}}
        ]});
        at(&typed, "Deployment/web", "/items/0/spec/template");
    }

    #[test]
    fn an_annotation_on_the_workload_is_pointed_out() {
        let misplaced = |api_version: &str, kind: &str, metadata: Value, template: Value| {
            let mut spec = json!({"template": template});
            if kind == "CronJob" {
                spec = json!({"jobTemplate": {"spec": spec}});
            }
            let manifest =
                json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
            workloads(&manifest)[0].misplaced_annotation().map(|warning| warning.to_string())
        };
        let with = |name: &str| json!({"name": "web", "annotations": {name: "b"}});
        for name in ["bindery.dev/bind", "bindery.dev/bind.app"] {
            assert_eq!(
                misplaced("apps/v1", "StatefulSet", with(name), json!({})).unwrap(),
                format!(
                    "{name} in metadata.annotations binds nothing; move it to spec.template.metadata.annotations"
                )
            );
            let template = json!({"metadata": with(name)});
            assert_eq!(misplaced("apps/v1", "Deployment", with(name), template.clone()), None);
            assert_eq!(misplaced("apps/v1", "Deployment", json!({}), template), None);
        }
        let warning = misplaced("batch/v1", "CronJob", with("bindery.dev/bind"), json!({})).unwrap();
        assert!(
            warning.ends_with("move it to spec.jobTemplate.spec.template.metadata.annotations"),
            "{warning}"
        );
        assert_eq!(misplaced("apps/v1", "Deployment", with("bindery.dev/as"), json!({})), None);
        let mut owned = with("bindery.dev/bind");
        owned["ownerReferences"] = json!([{"kind": "Deployment", "name": "web"}]);
        assert_eq!(misplaced("apps/v1", "ReplicaSet", owned, json!({})), None);
    }

    #[test]
    fn unknown_kinds_with_annotated_pods_are_reported() {
        let rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "annotations": {"bindery.dev/bind": "x"}},
            "spec": {"template": {"metadata": {"annotations": {"bindery.dev/bind": "db"}}}}
        });
        let kafka = json!({
            "apiVersion": "kafka.strimzi.io/v1", "kind": "Kafka", "metadata": {"name": "k"},
            "spec": {"pools": [{"template": {"pod": {"metadata": {"annotations": {"bindery.dev/bind.kafka": "db"}}}}}]}
        });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"template": {"metadata": {"annotations": {"bindery.dev/bind": "db"}}}}
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [rollout, kafka, deployment]});
        let told: Vec<String> = unknown_templates(&list).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "Rollout web: left as it is: spec.template.metadata.annotations has bindery.dev/bind, but bindery does not know where a \
             Rollout has its pods; they are bound when they are created, by the webhook",
                "Kafka k: left as it is: spec.pools[0].template.pod.metadata.annotations has bindery.dev/bind.kafka, but bindery does \
             not know where a Kafka has its pods; they are bound when they are created, by the webhook",
            ]
        );
    }

    #[test]
    fn a_pod_has_its_annotations_in_place() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {"bindery.dev/bind": "b"}}});
        assert_eq!(workloads(&pod)[0].misplaced_annotation(), None);
    }

    #[test]
    fn what_holds_no_pods_or_belongs_to_others_is_left_out() {
        for manifest in [
            json!(null),
            json!("text"),
            json!([{"apiVersion": "v1", "kind": "Pod"}]),
            json!({"kind": "Pod"}),
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"template": {}}}),
            json!({"apiVersion": "example.com/v1", "kind": "Deployment", "spec": {"template": {}}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment"}),
            json!({"apiVersion": "v1", "kind": "List", "items": "none"}),
        ] {
            assert!(found(&manifest).is_empty(), "{manifest}");
        }
    }
}
