//! The annotations of a Namespace, which bind those of its pods that have no binding annotations. Pure: the caller
//! reads the Namespace.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::{
    InjectError, InjectSettings, Injection, MIRROR_POD, annotations::misspelt, annotations_of,
    folder::System, pod::bind, request::Request,
};
use crate::contract::{namespace, pod};

/// The annotations that a pod can inherit from its Namespace.
const INHERITED: [&str; 7] =
    [pod::BIND, pod::AS, pod::ENV, pod::FILES, pod::CONTAINERS, pod::MOUNT_ROOT, pod::OPTIONAL];

/// The annotations of a Namespace that apply to its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceDefaults {
    namespace: String,
    annotations: Map<String, Value>,
}

impl NamespaceDefaults {
    /// The defaults of a Namespace with these labels and annotations; `None` unless the label enables them and the
    /// annotations bind something.
    #[must_use]
    pub fn read(
        namespace: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let (label, enabled) = namespace::INJECT;
        let is_enabled = labels.get(label).is_some_and(|value| value == enabled);
        let binds = annotations.get(pod::BIND).is_some_and(|bind| !bind.trim().is_empty());
        if !is_enabled || !binds {
            return None;
        }
        let entry = |name: &str| Some((name.to_owned(), Value::from(annotations.get(name)?.as_str())));
        let annotations = INHERITED.into_iter().filter_map(entry).collect();
        Some(Self { namespace: namespace.to_owned(), annotations })
    }

    /// The annotations that apply to the pod: its own, and the Namespace's where it has none. `None` if the Namespace
    /// names containers and the pod has none of them.
    pub(super) fn completed(&self, pod: &Value, own: &Map<String, Value>) -> Option<Map<String, Value>> {
        let mut annotations = self.annotations.clone();
        if let Some(Value::String(named)) = annotations.get_mut(pod::CONTAINERS)
            && !own.contains_key(pod::CONTAINERS)
        {
            *named = limited_to_present(named, pod)?;
        }
        for name in INHERITED {
            if let Some(value) = own.get(name) {
                annotations.insert(name.to_owned(), value.clone());
            }
        }
        Some(annotations)
    }

    /// Adds the Namespace to an error about an annotation that the pod inherits.
    pub(super) fn attributed(&self, error: InjectError, own: &Map<String, Value>) -> InjectError {
        let is_wrong = |name: &&str| !own.contains_key(*name) && error.is_of_annotation(name);
        if INHERITED.iter().any(is_wrong) { error.of_namespace(&self.namespace) } else { error }
    }
}

/// Whether the Namespace decides what the pod is bound to: the pod has no binding annotation, and is not a mirror pod.
#[must_use]
pub fn takes_defaults(pod: &Value) -> bool {
    annotations_of(pod).is_none_or(leave_it_to_the_namespace)
}

/// Whether a pod with these annotations, or its Namespace, may name single variables. If not, the variables that the
/// pod already has do not matter.
pub(crate) fn may_name_variables(annotations: &Map<String, Value>) -> bool {
    annotations.contains_key(pod::ENV) || leave_it_to_the_namespace(annotations)
}

fn leave_it_to_the_namespace(annotations: &Map<String, Value>) -> bool {
    let says_otherwise =
        |name: &String| name == pod::BIND || name.starts_with(pod::BIND_CONTAINER) || name == MIRROR_POD;
    !annotations.keys().any(says_otherwise)
}

/// Finds what `pod` lacks of the bindings from its Namespace; nothing if the pod has binding annotations of its own,
/// even empty ones.
///
/// # Errors
/// As for [`super::inject`].
pub fn inject_defaults(
    pod: &Value,
    defaults: &NamespaceDefaults,
    settings: &InjectSettings,
) -> Result<Injection, InjectError> {
    if !takes_defaults(pod) {
        return Ok(Injection::default());
    }
    let none = Map::new();
    let own = annotations_of(pod).unwrap_or(&none);
    let Some(annotations) = defaults.completed(pod, own) else {
        return Ok(Injection::default());
    };
    let injected = match Request::parse(&annotations, System::of(pod)) {
        Ok(Some(request)) => bind(pod, &request, settings),
        Ok(None) => Ok(Injection::default()),
        Err(error) => Err(error),
    };
    let mut injection = injected.map_err(|error| defaults.attributed(error, own))?;
    injection.warnings.extend(misspelt(own));
    Ok(injection)
}

/// The containers in a Namespace's list that the pod has; `None` if it has none of them. In the pod's own list an
/// unknown container is an error. An empty entry is kept, so that the parser refuses it.
fn limited_to_present(named: &str, pod: &Value) -> Option<String> {
    if named.trim().is_empty() {
        return Some(String::new());
    }
    let names: HashSet<&str> = container_names(pod).collect();
    let is_present = |name: &&str| name.is_empty() || names.contains(name);
    let present: Vec<&str> = named.split(',').map(str::trim).filter(is_present).collect();
    (!present.is_empty()).then(|| present.join(","))
}

fn container_names(pod: &Value) -> impl Iterator<Item = &str> {
    ["initContainers", "containers"]
        .into_iter()
        .filter_map(|kind| pod.get("spec")?.get(kind)?.as_array())
        .flatten()
        .filter_map(|container| container.get("name")?.as_str())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::injection::inject;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn defaults(annotations: &[(&str, &str)]) -> NamespaceDefaults {
        NamespaceDefaults::read("shop", &map(&[namespace::INJECT]), &map(annotations)).unwrap()
    }

    fn pod_with(annotations: &Value) -> Value {
        let containers = json!([{"name": "app"}, {"name": "proxy"}]);
        json!({"metadata": {"generateName": "web-", "annotations": annotations}, "spec": {"containers": containers}})
    }

    fn spec_of(mut pod: Value, injection: &Injection) -> Value {
        injection.apply(&mut pod).unwrap();
        pod["spec"].take()
    }

    /// The pod's spec after the injection of its Namespace's defaults.
    fn injected(pod: &Value, annotations: &[(&str, &str)]) -> Value {
        let injection = inject_defaults(pod, &defaults(annotations), &InjectSettings::default()).unwrap();
        spec_of(pod.clone(), &injection)
    }

    /// The spec of a pod after the injection of its own annotations.
    fn asked(annotations: &Value) -> Value {
        let pod = pod_with(annotations);
        let injection = inject(&pod, &InjectSettings::default()).unwrap();
        spec_of(pod, &injection)
    }

    fn refused(pod: &Value, annotations: &[(&str, &str)]) -> String {
        let defaults = defaults(annotations);
        inject_defaults(pod, &defaults, &InjectSettings::default()).unwrap_err().to_string()
    }

    #[rstest]
    #[case::not_labelled(&[], &[(pod::BIND, "b")])]
    #[case::otherwise_labelled(&[("bindery.dev/inject", "disabled")], &[(pod::BIND, "b")])]
    #[case::binding_nothing(&[namespace::INJECT], &[(pod::AS, "env")])]
    #[case::binding_nothing_by_name(&[namespace::INJECT], &[(pod::BIND, " \n")])]
    fn a_namespace_says_nothing_unless_it_is_labelled_and_binds_something(
        #[case] labels: &[(&str, &str)],
        #[case] annotations: &[(&str, &str)],
    ) {
        assert_eq!(NamespaceDefaults::read("shop", &map(labels), &map(annotations)), None);
    }

    #[rstest]
    #[case::no_annotations(&json!(null))]
    #[case::annotations_of_others(&json!({"example.com/a": "b"}))]
    fn a_pod_that_says_nothing_gets_what_it_would_get_if_it_said_the_same(#[case] own: &Value) {
        let annotations = [
            (pod::BIND, "db,secret/s"),
            (pod::AS, "files"),
            (pod::ENV, "HOST=db/host"),
            (pod::FILES, "client.key=db/key:0400"),
            (pod::CONTAINERS, "app"),
            (pod::MOUNT_ROOT, "/creds"),
            (pod::OPTIONAL, "db"),
        ];
        let expected = asked(&json!(map(&annotations)));
        assert_eq!(expected["containers"][0]["volumeMounts"][1]["mountPath"], "/creds/s");
        assert_eq!(injected(&pod_with(own), &annotations), expected);
    }

    #[rstest]
    #[case::another_binding(&json!({"bindery.dev/bind": "own"}))]
    #[case::nothing(&json!({"bindery.dev/bind": ""}))]
    #[case::one_container(&json!({"bindery.dev/bind.app": "own"}))]
    #[case::null(&json!({"bindery.dev/bind": null}))]
    #[case::a_mistake(&json!({"bindery.dev/bind": "a,,b"}))]
    #[case::a_mirror_pod(&json!({"kubernetes.io/config.mirror": "hash"}))]
    fn a_pod_that_says_something_itself_is_left_alone(#[case] own: &Value) {
        let pod = pod_with(own);
        assert!(!takes_defaults(&pod));
        assert_eq!(injected(&pod, &[(pod::BIND, "db")]), pod["spec"]);
    }

    #[test]
    fn each_annotation_that_the_pod_has_wins_over_the_namespace_s() {
        let annotations = [
            (pod::BIND, "db"),
            (pod::AS, "env"),
            (pod::ENV, "HOST=db/host"),
            (pod::FILES, "client.key=db/key:0400"),
            (pod::CONTAINERS, "app"),
            (pod::MOUNT_ROOT, "/creds"),
            (pod::OPTIONAL, "db"),
        ];
        let own = json!({
            "bindery.dev/as": "files",
            "bindery.dev/env": "PORT=db/port",
            "bindery.dev/files": "ca.crt=db/ca",
            "bindery.dev/containers": "proxy",
            "bindery.dev/mount-root": "/own",
            "bindery.dev/optional": "false"
        });
        let mut complete = own.clone();
        complete["bindery.dev/bind"] = json!("db");
        assert_eq!(injected(&pod_with(&own), &annotations), asked(&complete));
    }

    #[test]
    fn a_container_that_the_namespace_names_need_not_be_in_every_pod() {
        let app = asked(&json!({"bindery.dev/bind": "db", "bindery.dev/containers": "app"}));
        let pod = pod_with(&Value::Null);
        assert_eq!(injected(&pod, &[(pod::BIND, "db"), (pod::CONTAINERS, "migrate, app")]), app);
        assert_eq!(injected(&pod, &[(pod::BIND, "db"), (pod::CONTAINERS, "migrate")]), pod["spec"]);
        let own = pod_with(&json!({"bindery.dev/containers": "migrate"}));
        assert_eq!(
            refused(&own, &[(pod::BIND, "db"), (pod::CONTAINERS, "app")]),
            "metadata.annotations[bindery.dev/containers]: the pod has no container `migrate`; its containers are: app, proxy"
        );
    }

    #[test]
    fn what_a_pod_misspells_is_pointed_out_where_its_namespace_binds_it() {
        let pod = pod_with(&json!({"bindery.dev/container": "app"}));
        let injection =
            inject_defaults(&pod, &defaults(&[(pod::BIND, "db")]), &InjectSettings::default()).unwrap();
        assert!(!injection.is_empty());
        let warnings: Vec<String> = injection.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["bindery.dev/container means nothing to bindery; did you mean bindery.dev/containers?"]
        );
    }

    /// P1: holds also after another webhook added a container.
    #[test]
    fn what_is_there_is_not_added_again() {
        let defaults = defaults(&[(pod::BIND, "db")]);
        let mut pod = pod_with(&Value::Null);
        pod["spec"] = injected(&pod, &[(pod::BIND, "db")]);
        assert!(inject_defaults(&pod, &defaults, &InjectSettings::default()).unwrap().is_empty());
        pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "added"}));
        let again = injected(&pod, &[(pod::BIND, "db")]);
        assert_eq!(again["containers"][2]["volumeMounts"], again["containers"][0]["volumeMounts"]);
        assert_eq!(again["containers"][0], pod["spec"]["containers"][0]);
    }

    #[rstest]
    #[case(&[(pod::BIND, "a,,b")], "metadata.annotations[bindery.dev/bind] of Namespace shop: `a,,b` has an empty entry; ")]
    #[case(&[(pod::BIND, "b"), (pod::AS, "volume")], "metadata.annotations[bindery.dev/as] of Namespace shop: `volume` is unknown; ")]
    #[case(&[(pod::BIND, "b"), (pod::CONTAINERS, " ")], "metadata.annotations[bindery.dev/containers] of Namespace shop: is empty; ")]
    #[case(&[(pod::BIND, "b"), (pod::CONTAINERS, "app,,")], "metadata.annotations[bindery.dev/containers] of Namespace shop: `app,,` has")]
    fn a_mistake_of_the_namespace_is_said_to_be_its_own(
        #[case] annotations: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        let error = refused(&pod_with(&Value::Null), annotations);
        assert!(error.starts_with(expected), "{error}\ninstead of\n{expected}");
    }

    #[test]
    fn a_mistake_of_the_pod_is_said_to_be_the_pod_s() {
        let own = pod_with(&json!({"bindery.dev/env": "A=other/host"}));
        assert_eq!(
            refused(&own, &[(pod::BIND, "db"), (pod::ENV, "B=db/host")]),
            "metadata.annotations[bindery.dev/env]: `A` refers to `other`, which is not bound; add it to bindery.dev/bind"
        );
    }
}
