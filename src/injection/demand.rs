//! The demands of a pod: one value for each binding, Secret and ConfigMap that it asks for. `pods` compares the demands
//! with what the pod holds, lacks or waits for; `injection::pod` decides what is added to the pod.

use serde_json::{Map, Value};

use super::{
    InjectError, InjectSettings, MIRROR_POD, NamespaceDefaults, annotations_of,
    container::{Container, bound_containers},
    entries::Bound,
    error::Problem,
    folder::System,
    request::Request,
    source::{Object, ObjectKind, Source},
    takes_defaults,
};
use crate::contract::env_secret_name;

/// A ServiceBinding, Secret or ConfigMap that a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The source of the binding.
    pub source: Source,
    /// The name of the ServiceBinding, the Secret or the ConfigMap.
    pub name: String,
    /// The containers that get the object.
    pub containers: Vec<String>,
    /// The names of the objects that must exist before the containers can start. Their kind is the one that holds the
    /// keys.
    pub needs: Vec<String>,
    /// The variables that the containers get.
    pub variables: Variables,
    /// Whether the containers get files.
    pub files: bool,
    /// The keys that must exist before the containers can start, because the pod names them one by one.
    pub keys: Vec<String>,
    /// Whether the containers can start without the object; then `needs` and `keys` are empty.
    pub is_optional: bool,
}

impl Demand {
    /// The name as an annotation writes it.
    #[must_use]
    pub fn label(&self) -> String {
        Bound { source: self.source, name: &self.name }.to_string()
    }

    /// Whether the demand is for the ServiceBinding of this name.
    #[must_use]
    pub fn is_binding(&self, name: &str) -> bool {
        self.source == Source::ServiceBinding && self.name == name
    }

    /// The Secret with the variables, if the demand is for a ServiceBinding.
    #[must_use]
    pub fn env_secret(&self) -> Option<String> {
        (self.source == Source::ServiceBinding).then(|| env_secret_name(&self.name))
    }

    /// Whether the demand gives the pod this object.
    #[must_use]
    pub fn gives(&self, kind: ObjectKind, name: &str) -> bool {
        self.source.holder() == kind && (self.name == name || self.env_secret().as_deref() == Some(name))
    }
}

/// The variables that a pod gets from a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variables {
    /// No variables.
    None,
    /// Variables that the pod names itself, from keys of the object.
    Named,
    /// The binding's own variables from the Secret `<binding>-env`, perhaps in addition to named ones.
    Own,
}

/// The demands of `pod`, from its own annotations or its Namespace's; empty if the pod opts out or may not be injected.
///
/// # Errors
/// As for [`super::inject`].
pub fn demands(
    pod: &Value,
    defaults: Option<&NamespaceDefaults>,
    settings: &InjectSettings,
) -> Result<Vec<Demand>, InjectError> {
    let none = Map::new();
    let own = annotations_of(pod).unwrap_or(&none);
    if own.contains_key(MIRROR_POD) {
        return Ok(Vec::new());
    }
    if !takes_defaults(pod) {
        return of(pod, own, settings);
    }
    let Some((defaults, annotations)) =
        defaults.and_then(|defaults| Some((defaults, defaults.completed(pod, own)?)))
    else {
        return Ok(Vec::new());
    };
    of(pod, &annotations, settings).map_err(|error| defaults.attributed(error, own))
}

fn of(
    pod: &Value,
    annotations: &Map<String, Value>,
    settings: &InjectSettings,
) -> Result<Vec<Demand>, InjectError> {
    let Some(request) = Request::parse(annotations, System::of(pod))? else { return Ok(Vec::new()) };
    let Some(Value::Object(spec)) = pod.get("spec") else {
        return Err(InjectError::new("spec", Problem::Shape("an object; it holds the containers")));
    };
    let containers = bound_containers(spec, &request, settings)?;
    let mut all: Vec<Demand> = Vec::new();
    for bound in containers.iter().flat_map(|container| &container.bound) {
        if !all
            .iter()
            .any(|demand| (demand.source.holder(), &*demand.name) == (bound.object().kind, bound.name))
        {
            all.push(request.demand(*bound, &containers));
        }
    }
    Ok(all)
}

impl Request<'_> {
    fn demand(&self, bound: Bound<'_>, containers: &[Container<'_>]) -> Demand {
        let object = bound.object();
        let variables = self.variables(&[bound]);
        let env_secret = bound
            .env_secret()
            .filter(|name| self.gives_all_of(bound, Object { kind: ObjectKind::Secret, name }));
        let gives_own = env_secret.is_some();
        let mut keys: Vec<String> = variables
            .iter()
            .map(|variable| variable.key)
            .chain(self.selected(object).iter().map(|file| file.key))
            .map(str::to_owned)
            .collect();
        keys.sort();
        keys.dedup();
        let files = self.mounted().contains(&object);
        let named = !variables.is_empty() || self.gives_all_of(bound, object);
        let is_optional = self.is_optional(object);
        let mut needs: Vec<String> =
            env_secret.into_iter().chain((files || named).then(|| bound.name.to_owned())).collect();
        if is_optional {
            keys.clear();
            needs.clear();
        }
        let gets = |container: &&Container<'_>| container.is_bound_to(object);
        Demand {
            source: bound.source,
            name: bound.name.to_owned(),
            containers: containers.iter().filter(gets).map(|container| container.name.to_owned()).collect(),
            needs,
            variables: if gives_own {
                Variables::Own
            } else if named {
                Variables::Named
            } else {
                Variables::None
            },
            files,
            keys,
            is_optional,
        }
    }

    /// Whether all keys of this object become variables for containers that are bound to `bound`.
    fn gives_all_of(&self, bound: Bound<'_>, object: Object<'_>) -> bool {
        self.env_from(&[bound]).iter().any(|entry| entry.object() == object)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::contract::{namespace, pod};

    fn pod_with(annotations: &Value) -> Value {
        let containers = json!([{"name": "app"}, {"name": "istio-proxy"}]);
        let init = json!([{"name": "migrate"}]);
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers, "initContainers": init}})
    }

    fn of_pod(annotations: &Value) -> Vec<Demand> {
        demands(&pod_with(annotations), None, &InjectSettings::default()).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_binding_gives_its_variables_and_files_to_all_containers_that_are_not_excluded() {
        let expected = Demand {
            source: Source::ServiceBinding,
            name: "db".to_owned(),
            containers: names(&["migrate", "app"]),
            needs: names(&["db-env", "db"]),
            variables: Variables::Own,
            files: true,
            keys: Vec::new(),
            is_optional: false,
        };
        assert_eq!(of_pod(&json!({"bindery.dev/bind": "db"})), [expected]);
    }

    #[test]
    fn what_one_container_is_bound_to_is_its_own() {
        let all = of_pod(&json!({"bindery.dev/bind": "db", "bindery.dev/bind.app": "queue,db"}));
        let told: Vec<_> =
            all.iter().map(|demand| (demand.name.as_str(), demand.containers.clone())).collect();
        assert_eq!(told, [("db", names(&["migrate", "app"])), ("queue", names(&["app"]))]);
    }

    #[test]
    fn keys_that_are_named_have_to_be_there() {
        let all = of_pod(&json!({
            "bindery.dev/bind": "db,secret/tls,configmap/app,configmap/db",
            "bindery.dev/as": "env",
            "bindery.dev/env": "HOST=db/host,NAME=db/host,ALL_*=tls/*,LEVEL=app/level,*=configmap/db/*",
            "bindery.dev/files": "ca.crt=db/ca",
        }));
        let [db, tls, app, db_too] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((&db.keys, db.variables, db.files), (&names(&["ca", "host"]), Variables::Own, true));
        assert_eq!((&tls.keys, tls.variables, tls.files), (&names(&[]), Variables::Named, false));
        assert_eq!((&app.keys, app.variables, app.files), (&names(&["level"]), Variables::Named, false));
        let labels = [db, tls, app, db_too].map(Demand::label);
        assert_eq!(labels, ["db", "secret/tls", "configmap/app", "configmap/db"]);
        assert_eq!(
            (&app.needs, &db_too.needs, &db_too.keys),
            (&names(&["app"]), &names(&["db"]), &names(&[]))
        );
    }

    #[test]
    fn a_binding_that_is_taken_as_files_needs_no_secret_of_variables() {
        let all = of_pod(&json!({"bindery.dev/bind": "db", "bindery.dev/as": "files"}));
        assert_eq!((all[0].variables, all[0].files), (Variables::None, true));
    }

    #[rstest]
    #[case::both_ways("env,files", "", &["db-env", "db"])]
    #[case::files("files", "", &["db"])]
    #[case::variables("env", "", &["db-env"])]
    #[case::variables_and_one_that_is_named("env", "HOST=db/host", &["db-env", "db"])]
    #[case::variables_of_all_keys("env", "ALL_*=db/*", &["db-env", "db"])]
    fn only_secrets_that_containers_get_something_of_are_needed(
        #[case] delivery: &str,
        #[case] env: &str,
        #[case] expected: &[&str],
    ) {
        let mut annotations = json!({"bindery.dev/bind": "db", "bindery.dev/as": delivery});
        if !env.is_empty() {
            annotations["bindery.dev/env"] = json!(env);
        }
        assert_eq!(of_pod(&annotations)[0].needs, expected);
    }

    #[test]
    fn what_is_optional_is_not_waited_for() {
        let all = of_pod(&json!({
            "bindery.dev/bind": "db,queue", "bindery.dev/optional": "db", "bindery.dev/env": "HOST=db/host,URL=queue/url"
        }));
        assert_eq!((all[0].is_optional, &all[0].needs, &all[0].keys), (true, &names(&[]), &names(&[])));
        assert_eq!((all[1].is_optional, &all[1].keys), (false, &names(&["url"])));
        assert!(all[0].files && all[0].variables == Variables::Own);
    }

    #[rstest]
    #[case::silent(&json!({}), &["db"])]
    #[case::opted_out(&json!({"bindery.dev/bind": ""}), &[])]
    #[case::otherwise(&json!({"bindery.dev/bind": "own"}), &["own"])]
    #[case::a_mirror_pod(&json!({"bindery.dev/bind": "own", "kubernetes.io/config.mirror": "hash"}), &[])]
    fn a_namespace_asks_for_pods_that_do_not(#[case] own: &Value, #[case] expected: &[&str]) {
        let (label, enabled) = namespace::INJECT;
        let labels = BTreeMap::from([(label.to_owned(), enabled.to_owned())]);
        let annotations = BTreeMap::from([(pod::BIND.to_owned(), "db".to_owned())]);
        let defaults = NamespaceDefaults::read("shop", &labels, &annotations);
        let all = demands(&pod_with(own), defaults.as_ref(), &InjectSettings::default()).unwrap();
        assert_eq!(all.iter().map(|demand| demand.name.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let pod = pod_with(&json!({"bindery.dev/bind": "a,,b"}));
        assert!(demands(&pod, None, &InjectSettings::default()).is_err());
    }
}
