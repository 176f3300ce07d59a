//! The JSON patch that binds a pod. A list with elements as the `value` of an operation makes the API server of Kubernetes
//! 1.36 panic, so the patch adds an empty list first, and then its elements.

use super::{
    form::{Texts, volume_name},
    text::literal,
};
use crate::contract::pod;

/// The operations for a pod in each state.
pub(super) fn patches(texts: Texts) -> String {
    let bind = [volumes(), containers("initContainers"), containers("containers")].join(" + ");
    let bind = format!("(variables.binds ? {bind} : [])");
    match texts {
        Texts::OfPod => bind,
        Texts::OfPodOrNamespace => format!("{bind} + {}", mark()),
    }
}

fn operation(op: &str, path: &str, value: Option<&str>) -> String {
    let value = value.map(|value| format!(", value: {value}")).unwrap_or_default();
    format!("JSONPatch{{op: '{op}', path: {path}{value}}}")
}

fn add(path: &str, value: &str) -> String {
    operation("add", path, Some(value))
}

fn volumes() -> String {
    let volume = format!(
        "Object.spec.volumes{{name: {}, secret: Object.spec.volumes.secret{{secretName: o}}}}",
        volume_name()
    );
    format!(
        "(variables.isNew && variables.mounted.size() > 0 ? (has(object.spec.volumes) ? [] : [{}]) \
         + variables.mounted.map(o, {}) : [])",
        add("'/spec/volumes'", "[]"),
        add("'/spec/volumes/-'", &volume)
    )
}

/// The operations for each container that is chosen and unbound.
fn containers(kind: &str) -> String {
    let path = |rest: &str| format!("'/spec/{kind}/' + string(i) + '/{rest}'");
    let list = |field: &str| format!("(has(c.{field}) ? [] : [{}])", add(&path(field), "[]"));
    let object = format!("Object.spec.{kind}");
    let env = format!("{object}.envFrom{{secretRef: {object}.envFrom.secretRef{{name: e}}}}");
    let mount = format!(
        "{object}.volumeMounts{{name: {}, mountPath: variables.root + o, readOnly: true}}",
        volume_name()
    );
    // The first of the bindings is inserted first, so it ends after the others, where it wins.
    format!(
        "lists.range(object.spec.?{kind}.orValue([]).size()).map(i, [object.spec.{kind}[i]].map(c, c.name in variables.unbound, \
         (variables.envs.size() == 0 ? [] : {} + variables.envs.map(e, {})) \
         + (variables.mounted.size() == 0 ? [] : {} + variables.mounted.map(o, {}))).flatten()).flatten()",
        list("envFrom"),
        add(&path("envFrom/0"), &env),
        list("volumeMounts"),
        add(&path("volumeMounts/-"), &mount)
    )
}

/// The mark of pods that are bound by their Namespaces: the webhook does not see the Namespace when it decides whether it
/// reviews a pod. A mark that the pod does not deserve is removed.
fn mark() -> String {
    let (name, value) = pod::BOUND_BY;
    let path = format!("'/metadata/annotations/' + jsonpatch.escapeKey({})", literal(name));
    format!(
        "(variables.isBoundNow ? ({} ? [] : (has(object.metadata.annotations) ? [] : [{}]) + [{}]) \
         : {} in variables.own ? [{}] : [])",
        is_marked(),
        add("'/metadata/annotations'", "{}"),
        add(&path, &literal(value)),
        literal(name),
        operation("remove", &path, None),
    )
}

/// Whether the pod has the mark.
pub(super) fn is_marked() -> String {
    let (name, value) = pod::BOUND_BY;
    format!("object.metadata.?annotations[?{}].orValue('') == {}", literal(name), literal(value))
}
