//! Why a pod waits for its credentials, in words. What exists is looked up here; what that means is decided by a pure
//! function. Of Secrets the names of keys are told, never a value.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource, ResourceExt};

use super::bindings::SeenBinding;
use crate::{
    apis::servicecatalog::{ConditionType, ServiceInstance, reasons},
    contract::{binding, env_secret_name, pod},
    injection::{Demand, Variables, nearest},
};

/// Every `ServiceBinding` of a namespace; nothing when they cannot be known.
#[derive(Clone, Debug, Default)]
pub(crate) struct BindingsOf(pub(crate) Option<Vec<Arc<SeenBinding>>>);

/// A reason to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Why {
    /// In one CamelCase word.
    pub(crate) reason: &'static str,
    /// In a sentence, with what to do.
    pub(crate) text: String,
    /// The binding, if it is ready and its Secret is gone: the catalog writes it again once it is told.
    pub(crate) lost: Option<String>,
}

impl Why {
    fn new(reason: &'static str, text: String) -> Self {
        Self { reason, text, lost: None }
    }
}

/// What is there of what a pod waits for.
#[derive(Debug, PartialEq, Eq)]
struct Facts<'a> {
    secret: Found,
    /// Whether the Secret of the binding's variables exists.
    own_variables: bool,
    binding: Binding<'a>,
}

/// A Secret.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Missing,
    /// It exists; its keys do not matter.
    Present,
    /// It exists, with these keys.
    Keys(Vec<String>),
}

/// A ServiceBinding.
#[derive(Debug, PartialEq, Eq)]
enum Binding<'a> {
    /// Nobody knows.
    Unknown,
    Missing {
        /// One whose name is like the one that was asked for.
        near: Option<&'a str>,
    },
    NotReady {
        /// Reason and message, once there are any.
        why: Option<(&'a str, &'a str)>,
        /// The instance's name, reason and message, if it is what the binding waits for.
        instance: Option<[String; 3]>,
    },
    Ready,
}

/// Why these demands cannot be met now; nothing when they can.
pub(crate) async fn whys(
    client: &Client,
    namespace: &str,
    demands: &[Demand],
    bindings: &BindingsOf,
) -> kube::Result<Vec<Why>> {
    let mut whys = Vec::new();
    for demand in demands.iter().filter(|demand| !demand.is_optional) {
        let facts = look_up(client, namespace, demand, bindings).await?;
        whys.extend(why(demand, &facts));
    }
    Ok(whys)
}

async fn look_up<'a>(
    client: &Client,
    namespace: &str,
    demand: &Demand,
    bindings: &'a BindingsOf,
) -> kube::Result<Facts<'a>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = if demand.keys.is_empty() {
        secrets.get_metadata_opt(&demand.secret).await?.map_or(Found::Missing, |_| Found::Present)
    } else {
        let keys = |secret: Secret| secret.data.unwrap_or_default().into_keys().collect();
        secrets.get_opt(&demand.secret).await?.map_or(Found::Missing, |secret| Found::Keys(keys(secret)))
    };
    let own_variables = demand.variables != Variables::Own
        || secrets.get_metadata_opt(&env_secret_name(&demand.secret)).await?.is_some();
    if !demand.is_binding || (secret != Found::Missing && own_variables) {
        return Ok(Facts { secret, own_variables, binding: Binding::Unknown });
    }
    let binding = match bindings.find(&demand.secret) {
        Binding::NotReady { why: Some(why), .. } if why.0 == reasons::ERROR_INSTANCE_NOT_READY => {
            let of = bindings.instance_of(&demand.secret).unwrap_or_default();
            Binding::NotReady { why: Some(why), instance: instance(client, namespace, of).await }
        }
        found => found,
    };
    Ok(Facts { secret, own_variables, binding })
}

/// Why an instance is not ready. One that cannot be read has nothing to add.
async fn instance(client: &Client, namespace: &str, name: &str) -> Option<[String; 3]> {
    let api: Api<ServiceInstance> = Api::namespaced(client.clone(), namespace);
    let instance = api.get_opt(name).await.ok()??;
    let status = instance.status?;
    let ready = status.conditions.get(ConditionType::Ready)?;
    Some([name.to_owned(), ready.reason.clone(), ready.message.clone()])
}

impl BindingsOf {
    fn get(&self, name: &str) -> Option<&Arc<SeenBinding>> {
        self.0.iter().flatten().find(|binding| binding.name_any() == name)
    }

    fn instance_of(&self, name: &str) -> Option<&str> {
        self.get(name).map(|binding| binding.instance())
    }

    fn find(&self, name: &str) -> Binding<'_> {
        let Some(all) = &self.0 else { return Binding::Unknown };
        match self.get(name) {
            Some(binding) if binding.is_ready() => Binding::Ready,
            Some(binding) => Binding::NotReady { why: binding.why_not_ready(), instance: None },
            None => {
                let names: Vec<&str> =
                    all.iter().filter_map(|binding| binding.meta().name.as_deref()).collect();
                Binding::Missing { near: nearest(name, &names) }
            }
        }
    }
}

fn why(demand: &Demand, facts: &Facts<'_>) -> Option<Why> {
    let name = &demand.secret;
    match (&facts.secret, facts.own_variables) {
        (Found::Missing, _) | (_, false) if demand.is_binding => {
            let missing = if facts.secret == Found::Missing { name.clone() } else { env_secret_name(name) };
            Some(of_binding(name, &missing, &facts.binding))
        }
        (Found::Missing, _) => Some(Why::new(
            "SecretMissing",
            format!("no Secret named {name:?} in this namespace; create it, or correct {}", pod::BIND),
        )),
        (Found::Keys(present), _) => missing_keys(name, &demand.keys, present),
        (Found::Present, _) => None,
    }
}

fn of_binding(name: &str, secret: &str, binding: &Binding<'_>) -> Why {
    match binding {
        Binding::Missing { near: Some(near) } => Why::new(
            "BindingMissing",
            format!("no ServiceBinding named {name:?} in this namespace; did you mean {near:?}?"),
        ),
        Binding::Missing { near: None } => Why::new(
            "BindingMissing",
            format!(
                "no ServiceBinding named {name:?} in this namespace; create it, or correct {}",
                pod::BIND
            ),
        ),
        Binding::NotReady { why: None, .. } => Why::new(
            "BindingNotReady",
            format!("ServiceBinding {name:?} is new and has not been looked at yet"),
        ),
        Binding::NotReady { why: Some((reason, message)), instance } => {
            let instance = instance.as_ref().map(|[name, reason, message]| {
                format!("; ServiceInstance {name:?} is not ready: {reason}: {message}")
            });
            let text = format!(
                "ServiceBinding {name:?} is not ready: {reason}: {message}{}",
                instance.unwrap_or_default()
            );
            Why::new("BindingNotReady", text)
        }
        Binding::Ready => {
            let text = format!(
                "ServiceBinding {name:?} is ready, but its Secret {secret:?} is gone; bindery writes it again once it sees a pod \
                 wait for it, and at once after: kubectl annotate servicebinding {name} {}=now --overwrite",
                binding::RECONCILE
            );
            Why { lost: Some(name.to_owned()), ..Why::new("SecretMissing", text) }
        }
        Binding::Unknown => Why::new(
            "SecretMissing",
            format!("no Secret named {secret:?} in this namespace, and its ServiceBinding cannot be read"),
        ),
    }
}

fn missing_keys(name: &str, wanted: &[String], present: &[String]) -> Option<Why> {
    let present: Vec<&str> = present.iter().map(String::as_str).collect();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|key| !present.contains(&key.as_str()))
        .map(|key| match nearest(key, &present) {
            Some(near) => format!("no key {key:?} (did you mean {near:?}?)"),
            None => format!("no key {key:?}"),
        })
        .collect();
    if missing.is_empty() {
        return None;
    }
    let text = format!(
        "Secret {name:?} has {}; it has: {}. Correct {} or {}",
        missing.join(" and "),
        present.join(", "),
        pod::ENV,
        pod::FILES
    );
    Some(Why::new("SecretKeyMissing", text))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn demand(is_binding: bool, keys: &[&str]) -> Demand {
        Demand {
            secret: "db".to_owned(),
            is_binding,
            containers: vec!["app".to_owned()],
            secrets: vec!["db-env".to_owned(), "db".to_owned()],
            variables: if is_binding { Variables::Own } else { Variables::Named },
            files: true,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            is_optional: false,
        }
    }

    fn missing(binding: Binding<'_>) -> Facts<'_> {
        Facts { secret: Found::Missing, own_variables: false, binding }
    }

    fn keys(keys: &[&str]) -> Facts<'static> {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Facts { secret: Found::Keys(keys), own_variables: true, binding: Binding::Unknown }
    }

    #[rstest]
    #[case::misspelt(
        missing(Binding::Missing { near: Some("db1") }),
        "BindingMissing: no ServiceBinding named \"db\" in this namespace; did you mean \"db1\"?"
    )]
    #[case::absent(
        missing(Binding::Missing { near: None }),
        "BindingMissing: no ServiceBinding named \"db\" in this namespace; create it, or correct bindery.dev/bind"
    )]
    #[case::new(
        missing(Binding::NotReady { why: None, instance: None }),
        "BindingNotReady: ServiceBinding \"db\" is new and has not been looked at yet"
    )]
    #[case::refused_by_the_broker(
        missing(Binding::NotReady { why: Some(("BindCallFailed", "Error binding: full")), instance: None }),
        "BindingNotReady: ServiceBinding \"db\" is not ready: BindCallFailed: Error binding: full"
    )]
    #[case::waiting_for_the_instance(
        missing(Binding::NotReady {
            why: Some(("ErrorInstanceNotReady", "ServiceInstance \"i\" is not ready")),
            instance: Some(["i".to_owned(), "Provisioning".to_owned(), "takes a while".to_owned()]),
        }),
        "BindingNotReady: ServiceBinding \"db\" is not ready: ErrorInstanceNotReady: ServiceInstance \"i\" is not ready; \
         ServiceInstance \"i\" is not ready: Provisioning: takes a while"
    )]
    #[case::lost(
        Facts { secret: Found::Present, own_variables: false, binding: Binding::Ready },
        "SecretMissing: ServiceBinding \"db\" is ready, but its Secret \"db-env\" is gone; bindery writes it again once it sees a \
         pod wait for it, and at once after: kubectl annotate servicebinding db bindery.dev/reconcile=now --overwrite"
    )]
    #[case::nobody_knows(
        missing(Binding::Unknown),
        "SecretMissing: no Secret named \"db\" in this namespace, and its ServiceBinding cannot be read"
    )]
    fn a_binding_that_is_waited_for_says_why(#[case] facts: Facts<'static>, #[case] expected: &str) {
        let why = why(&demand(true, &[]), &facts).unwrap();
        assert_eq!(format!("{}: {}", why.reason, why.text), expected);
    }

    #[test]
    fn a_plain_secret_has_no_binding_to_ask() {
        let why = why(&demand(false, &[]), &missing(Binding::Unknown)).unwrap();
        assert_eq!(why.reason, "SecretMissing");
        assert_eq!(
            why.text,
            "no Secret named \"db\" in this namespace; create it, or correct bindery.dev/bind"
        );
    }

    #[test]
    fn keys_are_named_values_are_not_known() {
        let why = why(&demand(true, &["hots", "port", "zzz"]), &keys(&["host", "port"])).unwrap();
        assert_eq!(why.reason, "SecretKeyMissing");
        assert_eq!(
            why.text,
            "Secret \"db\" has no key \"hots\" (did you mean \"host\"?) and no key \"zzz\"; it has: host, port. Correct \
             bindery.dev/env or bindery.dev/files"
        );
    }

    #[test]
    fn what_is_all_there_is_not_waited_for() {
        assert_eq!(why(&demand(true, &["port"]), &keys(&["host", "port"])), None);
        let facts = Facts { secret: Found::Present, own_variables: true, binding: Binding::Unknown };
        assert_eq!(why(&demand(false, &[]), &facts), None);
    }

    #[test]
    fn the_nearest_binding_is_one_of_the_namespace() {
        let binding =
            json!({"metadata": {"name": "mydb01-binding"}, "spec": {"instanceRef": {"name": "mydb01"}}});
        let bindings = BindingsOf(Some(vec![Arc::new(serde_json::from_value(binding).unwrap())]));
        assert_eq!(bindings.find("mydb01-bindign"), Binding::Missing { near: Some("mydb01-binding") });
        assert_eq!(bindings.find("mydb01-binding"), Binding::NotReady { why: None, instance: None });
        assert_eq!(bindings.find("queue"), Binding::Missing { near: None });
        assert_eq!(BindingsOf(None).find("queue"), Binding::Unknown);
    }
}
