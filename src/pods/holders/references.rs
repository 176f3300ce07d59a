//! Finds the Secrets and ConfigMaps that a pod's containers refer to, and in which way, whatever its annotations are
//! now. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::injection::{Object, ObjectKind};

/// Replaces the container's name in references of the whole pod.
const WHOLE_POD: &str = "-";

/// A container's reference to a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) container: String,
    pub(super) way: Way,
    kind: ObjectKind,
    name: String,
    /// Whether the container can start without the object.
    pub(super) optional: bool,
}

impl Reference {
    pub(super) fn object(&self) -> Object<'_> {
        Object { kind: self.kind, name: &self.name }
    }
}

/// The way in which a container uses a Secret or ConfigMap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// As variables, which keep their values from the container's start.
    Env,
    /// As files, which are refreshed when the object changes.
    Files,
    /// As a file or folder of a volume (`subPath`), which keeps its content from the container's start.
    SubPath,
    /// Through a volume's driver.
    Volume,
    /// As an image pull secret of the kubelet.
    Pull,
}

impl Way {
    /// The name in the output of `bindery who`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Files => "files",
            Self::SubPath => "subPath",
            Self::Volume => "volume",
            Self::Pull => "image pull",
        }
    }
}

/// All references of a pod, without duplicates.
pub(super) fn references(pod: &Value) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let volumes: Vec<Given<'_>> = list(pod, "/spec/volumes").flat_map(given_by).collect();
    for container in containers(pod) {
        let name = text(container, "/name").unwrap_or_default();
        let mut add = |object: Object<'_>, way, optional| {
            let (container, Object { kind, name }) = (name.to_owned(), object);
            found.insert(Reference { container, way, kind, name: name.to_owned(), optional });
        };
        for kind in ObjectKind::ALL {
            let from = list(container, "/envFrom").map(|entry| entry.get(kind.env_from_field()));
            let single = list(container, "/env").map(|entry| entry.get("valueFrom")?.get(kind.key_field()));
            for reference in from.chain(single).flatten() {
                if let Some(name) = text(reference, "/name") {
                    add(Object { kind, name }, Way::Env, is_optional(reference));
                }
            }
        }
        for mount in list(container, "/volumeMounts") {
            let volume = text(mount, "/name");
            let is_part = ["/subPath", "/subPathExpr"]
                .iter()
                .any(|path| text(mount, path).is_some_and(|it| !it.is_empty()));
            for given in volumes.iter().filter(|given| Some(given.volume) == volume) {
                let way = if given.way == Way::Files && is_part { Way::SubPath } else { given.way };
                add(given.object, way, given.optional);
            }
        }
    }
    for secret in list(pod, "/spec/imagePullSecrets").filter_map(|entry| text(entry, "/name")) {
        let (name, container) = (secret.to_owned(), WHOLE_POD.to_owned());
        found.insert(Reference { container, way: Way::Pull, kind: ObjectKind::Secret, name, optional: true });
    }
    found
}

/// A Secret or ConfigMap in a volume.
struct Given<'a> {
    volume: &'a str,
    object: Object<'a>,
    way: Way,
    optional: bool,
}

fn given_by(volume: &Value) -> Vec<Given<'_>> {
    let Some(name) = text(volume, "/name") else { return Vec::new() };
    let sources = volume.as_object().into_iter().flatten().filter(|(field, _)| *field != "name");
    sources.flat_map(|(kind, source)| of_source(name, kind, source)).collect()
}

fn of_source<'a>(volume: &'a str, field: &str, source: &'a Value) -> Vec<Given<'a>> {
    let given = |kind, name, way, optional| Given { volume, object: Object { kind, name }, way, optional };
    let files = |kind, object: &'a Value, name_field: &str| {
        Some(given(kind, object.get(name_field)?.as_str()?, Way::Files, is_optional(object)))
    };
    if let Some(kind) = ObjectKind::ALL.into_iter().find(|kind| kind.volume_field() == field) {
        return files(kind, source, kind.volume_name_field()).into_iter().collect();
    }
    if field == "projected" {
        let of = |kind: ObjectKind| {
            let sources = list(source, "/sources");
            sources.filter_map(move |source| files(kind, source.get(kind.volume_field())?, "name"))
        };
        return ObjectKind::ALL.into_iter().flat_map(of).collect();
    }
    // Azure's driver uses another field name than all others.
    ["/secretRef/name", "/nodePublishSecretRef/name", "/secretName"]
        .iter()
        .filter_map(|path| text(source, path))
        .map(|secret| given(ObjectKind::Secret, secret, Way::Volume, false))
        .collect()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"]
        .into_iter()
        .flat_map(|path| list(pod, path))
}

/// The running containers and their start times, with ephemeral containers.
pub(super) fn running(pod: &Value) -> Vec<(String, Timestamp)> {
    let since = |status: &Value| {
        Some((text(status, "/name")?.to_owned(), text(status, "/state/running/startedAt")?.parse().ok()?))
    };
    ["/status/initContainerStatuses", "/status/containerStatuses", "/status/ephemeralContainerStatuses"]
        .into_iter()
        .flat_map(|path| list(pod, path))
        .filter_map(since)
        .collect()
}

/// The init and ephemeral containers that have ended: they hold nothing any more.
pub(super) fn done(pod: &Value) -> Vec<String> {
    ["/status/initContainerStatuses", "/status/ephemeralContainerStatuses"]
        .into_iter()
        .flat_map(|path| list(pod, path))
        .filter(|status| status.pointer("/state/terminated").is_some())
        .filter_map(|status| text(status, "/name").map(str::to_owned))
        .collect()
}

fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path)?.as_str()
}

fn is_optional(reference: &Value) -> bool {
    reference.get("optional") == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_of_a_secret_or_config_map_into_a_pod_is_found() {
        let pod = json!({"spec": {
            "imagePullSecrets": [{"name": "registry"}],
            "initContainers": [{"name": "init", "env": [
                {"name": "A", "value": "db"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k", "optional": true}}},
            ]}],
            "containers": [
                {"name": "app", "envFrom": [{"configMapRef": {"name": "db"}}, {"secretRef": {"name": "db-env"}}],
                 "env": [{"name": "L", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "level", "optional": true}}}], "volumeMounts": [
                    {"name": "files", "mountPath": "/a"}, {"name": "both", "mountPath": "/b"},
                    {"name": "files", "mountPath": "/c", "subPath": "key"}, {"name": "shares", "mountPath": "/d"},
                    {"name": "config", "mountPath": "/e"},
                ]},
                {"name": "bare"},
            ],
            "ephemeralContainers": [{"name": "debug", "volumeMounts": [{"name": "files", "mountPath": "/a"}]}],
            "volumes": [
                {"name": "files", "secret": {"secretName": "db"}},
                {"name": "both", "projected": {"sources": [{"secret": {"name": "queue"}}, {"secret": {"name": "db", "optional": true}}, {"configMap": {"name": "app"}}]}},
                {"name": "config", "configMap": {"name": "logging"}},
                {"name": "shares", "azureFile": {"secretName": "azure"}},
                {"name": "unused", "csi": {"nodePublishSecretRef": {"name": "csi"}}},
            ],
        }});
        let found: Vec<String> = references(&pod)
            .into_iter()
            .map(|it| {
                format!(
                    "{} {} {}{}",
                    it.object(),
                    it.container,
                    it.way.name(),
                    if it.optional { "?" } else { "" }
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "registry - image pull?",
                "db-env app env",
                "configmap/app app env?",
                "configmap/db app env",
                "db app files",
                "db app files?",
                "queue app files",
                "configmap/app app files",
                "configmap/logging app files",
                "db app subPath",
                "azure app volume",
                "db debug files",
                "db init env?",
            ]
        );
    }

    #[test]
    fn what_runs_and_what_has_run_is_seen() {
        let at = |second: u8| json!({"running": {"startedAt": format!("2026-11-21T10:00:0{second}Z")}});
        let pod = json!({"status": {
            "initContainerStatuses": [{"name": "init", "state": {"terminated": {}}}, {"name": "sidecar", "state": at(1)}],
            "containerStatuses": [{"name": "app", "state": at(2)}, {"name": "crashed", "state": {"terminated": {}}}],
            "ephemeralContainerStatuses": [{"name": "debug", "state": at(3)}, {"name": "over", "state": {"terminated": {}}}],
        }});
        let names: Vec<String> = running(&pod).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["sidecar", "app", "debug"]);
        assert_eq!(done(&pod), ["init", "over"]);
    }
}
