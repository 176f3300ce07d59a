//! Which accounts may bind which bindings according to given objects of RBAC. Only the API server knows all objects. Offline,
//! the given objects count as all if they contain any right to bind.

use serde_json::Value;

use super::{binders::is_of_rbac, protected::accounts_of};

pub(super) const GROUP: &str = "servicecatalog.k8s.io";
pub(super) const RESOURCE: &str = "servicebindings";
pub(super) const VERB: &str = "bind";

/// The rights to bind that objects of RBAC grant.
#[derive(Clone, Debug, Default)]
pub struct Access {
    grants: Vec<Grant>,
}

/// A role with the right to bind and a subject that has it.
#[derive(Clone, Debug)]
struct Grant {
    /// The namespace in which it counts; `None` for all.
    namespace: Option<String>,
    /// `User NAME` or `Group NAME`.
    subject: String,
    /// The names of the bindings; empty for all.
    bindings: Vec<String>,
}

impl Access {
    /// The rights that these objects grant. Objects of other kinds are ignored.
    #[must_use]
    pub fn read<'a>(objects: impl Iterator<Item = &'a Value> + Clone) -> Self {
        let objects = objects.filter(|object| is_of_rbac(object));
        let mut grants = Vec::new();
        for bound in objects.clone().filter(|object| text(object, "/kind").ends_with("RoleBinding")) {
            let role = objects.clone().find(|role| {
                text(role, "/kind") == text(bound, "/roleRef/kind")
                    && text(role, "/metadata/name") == text(bound, "/roleRef/name")
                    && (text(role, "/kind") == "ClusterRole" || namespace(role) == namespace(bound))
            });
            let rules = role.and_then(|role| role.get("rules")?.as_array()).into_iter().flatten();
            for rule in rules.filter(|rule| allows_binding(rule)) {
                let bindings: Vec<_> = list(rule, "resourceNames").map(ToOwned::to_owned).collect();
                let subjects = bound.get("subjects").and_then(Value::as_array).into_iter().flatten();
                grants.extend(subjects.map(|subject| Grant {
                    namespace: (text(bound, "/kind") == "RoleBinding").then(|| namespace(bound).to_owned()),
                    subject: name_of(subject, namespace(bound)),
                    bindings: bindings.clone(),
                }));
            }
        }
        Self { grants }
    }

    /// Whether the service account may bind; `None` if no right to bind is given at all.
    pub(super) fn may_bind(&self, namespace: &str, account: &str, binding: &str) -> Option<bool> {
        if self.grants.is_empty() {
            return None;
        }
        let names = [
            format!("User {}{account}", accounts_of(namespace)),
            format!("Group system:serviceaccounts:{namespace}"),
            "Group system:serviceaccounts".to_owned(),
            "Group system:authenticated".to_owned(),
        ];
        Some(self.grants.iter().any(|grant| {
            names.contains(&grant.subject)
                && grant.namespace.as_deref().is_none_or(|it| it == namespace)
                && (grant.bindings.is_empty() || grant.bindings.iter().any(|it| it == binding))
        }))
    }
}

fn allows_binding(rule: &Value) -> bool {
    let has = |field, wanted: &str| list(rule, field).any(|it| it == "*" || it == wanted);
    has("apiGroups", GROUP) && has("resources", RESOURCE) && has("verbs", VERB)
}

fn list<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    rule.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The namespace of an object; `default` as for `kubectl`.
fn namespace(object: &Value) -> &str {
    let name = text(object, "/metadata/namespace");
    if name.is_empty() { "default" } else { name }
}

fn name_of(subject: &Value, otherwise: &str) -> String {
    let (kind, name) = (text(subject, "/kind"), text(subject, "/name"));
    match (kind, text(subject, "/namespace")) {
        ("ServiceAccount", "") => format!("User {}{name}", accounts_of(otherwise)),
        ("ServiceAccount", namespace) => format!("User {}{name}", accounts_of(namespace)),
        _ => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(kind: &str, names: &Value, verbs: &Value) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "r", "namespace": "shop"},
            "rules": [{"apiGroups": ["servicecatalog.k8s.io"], "resources": ["servicebindings"], "resourceNames": names,
                "verbs": verbs}]})
    }

    fn bound(kind: &str, role: &str, subject: &Value) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "b", "namespace": "shop"},
            "roleRef": {"kind": role, "name": "r"}, "subjects": [subject]})
    }

    #[test]
    fn rights_come_from_roles_that_are_bound() {
        let app = json!({"kind": "ServiceAccount", "name": "app"});
        let all = json!({"kind": "Group", "name": "system:serviceaccounts:lab"});
        let may = |objects: &[Value], namespace, account, binding| {
            Access::read(objects.iter()).may_bind(namespace, account, binding)
        };
        let one = [role("Role", &json!(["db"]), &json!(["bind"])), bound("RoleBinding", "Role", &app)];
        assert_eq!(may(&one, "shop", "app", "db"), Some(true));
        assert_eq!(may(&one, "shop", "app", "cache"), Some(false));
        assert_eq!(may(&one, "shop", "other", "db"), Some(false));
        assert_eq!(may(&one, "lab", "app", "db"), Some(false));
        assert_eq!(may(&one[..1], "shop", "app", "db"), None, "nobody has the role");
        let get = [role("Role", &json!(["db"]), &json!(["get"])), bound("RoleBinding", "Role", &app)];
        assert_eq!(may(&get, "shop", "app", "db"), None, "the role has another right");
        let everywhere = [
            role("ClusterRole", &json!([]), &json!(["*"])),
            bound("ClusterRoleBinding", "ClusterRole", &all),
        ];
        assert_eq!(may(&everywhere, "lab", "app", "db"), Some(true));
        assert_eq!(may(&everywhere, "shop", "app", "db"), Some(false));
    }
}
