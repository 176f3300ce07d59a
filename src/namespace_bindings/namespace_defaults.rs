//! The label and annotation of a Namespace that bind its pods by default, for NamespaceBindings with `defaultForPods`. The
//! webhook adds them when the Namespace is created, and the controller keeps them up to date. A user's own annotation stays.
//! Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::contract::{branch, namespace, pod};

/// The merge patch of a Namespace's metadata that binds its pods to these bindings by default.
pub(super) fn metadata_patch(metadata: &ObjectMeta, bindings: &[&str]) -> Option<Value> {
    let (label, enabled) = namespace::INJECT;
    let annotation = |name| metadata.annotations.as_ref().and_then(|all| all.get(name)).map(String::as_str);
    let labelled = metadata.labels.as_ref().and_then(|all| all.get(label)).map(String::as_str);
    let (bound, ours) = (annotation(pod::BIND), annotation(branch::BOUND_BY));
    let is_users_own = bound.is_some() && bound != ours;
    let is_opted_out = labelled.is_some_and(|value| value != enabled);
    if is_users_own || is_opted_out {
        return None;
    }
    if bindings.is_empty() {
        ours?;
        let nothing = json!({pod::BIND: null, branch::BOUND_BY: null});
        return Some(json!({"labels": {label: null}, "annotations": nothing}));
    }
    let bind = bindings.join(",");
    if bound == Some(bind.as_str()) && ours == bound && labelled == Some(enabled) {
        return None;
    }
    Some(json!({"labels": {label: enabled}, "annotations": {pod::BIND: bind, branch::BOUND_BY: bind}}))
}

/// The bindings that bindery wrote into the annotation.
pub(super) fn default_bindings(metadata: &ObjectMeta) -> impl Iterator<Item = &str> {
    let ours = metadata.annotations.as_ref().and_then(|all| all.get(branch::BOUND_BY));
    ours.map(|bindings| bindings.split(',')).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(labels: &Value, annotations: &Value) -> ObjectMeta {
        serde_json::from_value(json!({"name": "feature-x", "labels": labels, "annotations": annotations}))
            .unwrap()
    }

    /// The metadata after the change.
    fn patched(before: &ObjectMeta, bindings: &[&str]) -> Option<ObjectMeta> {
        let patch = metadata_patch(before, bindings)?;
        let mut after = json!(before);
        json_patch::merge(&mut after, &patch);
        Some(serde_json::from_value(after).unwrap())
    }

    #[test]
    fn the_default_is_written_once_and_follows_the_bindings() {
        let first = patched(&metadata(&json!({"team": "blue"}), &json!({})), &["db"]).unwrap();
        let labels = first.labels.clone().unwrap();
        assert_eq!((labels["bindery.dev/inject"].as_str(), labels["team"].as_str()), ("enabled", "blue"));
        assert_eq!(first.annotations.as_ref().unwrap()[pod::BIND], "db");
        assert_eq!(metadata_patch(&first, &["db"]), None);
        let second = patched(&first, &["db", "queue"]).unwrap();
        assert_eq!(second.annotations.as_ref().unwrap()[pod::BIND], "db,queue");
        assert_eq!(default_bindings(&second).collect::<Vec<_>>(), ["db", "queue"]);
        let last = patched(&second, &[]).unwrap();
        assert_eq!(last.annotations.unwrap_or_default().len(), 0);
        assert_eq!(last.labels.unwrap().len(), 1);
    }

    #[test]
    fn annotations_of_a_user_stay() {
        let own = metadata(&json!({"bindery.dev/inject": "enabled"}), &json!({pod::BIND: "mine"}));
        assert_eq!(metadata_patch(&own, &["db"]), None);
        assert_eq!(metadata_patch(&own, &[]), None);
        let changed = metadata(&json!({}), &json!({pod::BIND: "mine", branch::BOUND_BY: "db"}));
        assert_eq!(metadata_patch(&changed, &["db"]), None);
        let out = metadata(&json!({"bindery.dev/inject": "disabled"}), &json!({}));
        assert_eq!(metadata_patch(&out, &["db"]), None);
        assert_eq!(metadata_patch(&metadata(&json!({}), &json!({})), &[]), None);
    }
}
