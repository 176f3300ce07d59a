//! The injection: a pod (template) in, what has to be added to it out. Pure: no IO, no clock, no look-up, so the
//! webhook and `bindery inject` give the same answer, before and after a binding exists.
//!
//! The answer is a JSON patch of `add` operations alone. So nothing that the user set can be changed or removed, fields
//! that this version of bindery does not know survive, and the patch stays small however large the pod is. What a pod is to get is a
//! [`Request`], which mostly is read from annotations, but need not be.

mod annotations;
mod container;
mod defaults;
mod demand;
mod entries;
mod error;
mod fields;
mod folder;
mod leftovers;
mod mounts;
mod names;
mod pod;
mod request;
mod source;
mod volume;
mod warning;
pub mod workload;

use json_patch::{Patch, PatchError};
use serde_json::{Map, Value};

use self::{annotations::misspelt, leftovers::all_leftovers};
pub(crate) use self::{defaults::may_name_variables, fields::NameOnly, names::nearest};
pub use self::{
    defaults::{NamespaceDefaults, inject_defaults, takes_defaults},
    demand::{Demand, Variables, demands},
    entries::{AllKeys, Bound, File, Variable},
    error::{InjectError, Problem},
    folder::{MountRoot, System},
    request::{Optional, Own, Request},
    source::{Object, ObjectKind, Source},
    warning::Warning,
};

/// The annotation by which the kubelet marks the API server's copy of a static pod. Such a pod may not refer to
/// Secrets, so it is left alone (<https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>).
const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// The installation's part in an injection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectSettings {
    /// Containers that are bound only when `bindery.dev/containers` names them. A star at the end stands for any ending.
    pub exclude_containers: Vec<String>,
}

impl InjectSettings {
    /// The sidecars and init containers of Google's Cloud SQL proxy, Consul, Dapr, Istio, Knative, Kuma, Linkerd, the
    /// OpenTelemetry operator and the Vault agent injector.
    pub const DEFAULT_EXCLUDED: [&'static str; 24] = [
        "cloud-sql-proxy",
        "cloudsql-proxy",
        "consul-connect-inject-init*",
        "consul-dataplane*",
        "csql-*",
        "daprd",
        "envoy-sidecar*",
        "istio-init",
        "istio-proxy",
        "istio-validation",
        "kuma-init",
        "kuma-sidecar",
        "kuma-validation",
        "linkerd-init",
        "linkerd-network-validator",
        "linkerd-proxy",
        "opentelemetry-auto-instrumentation*",
        "otc-container",
        "otel-agent-attach-apache",
        "otel-agent-attach-nginx",
        "otel-agent-source-container-clone",
        "queue-proxy",
        "vault-agent",
        "vault-agent-init",
    ];

    /// Whether a container gets nothing unless it is named.
    fn excludes(&self, container: &str) -> bool {
        self.exclude_containers.iter().any(|excluded| match excluded.strip_suffix('*') {
            Some(beginning) => container.starts_with(beginning),
            None => excluded == container,
        })
    }
}

impl Default for InjectSettings {
    fn default() -> Self {
        Self { exclude_containers: Self::DEFAULT_EXCLUDED.map(str::to_owned).to_vec() }
    }
}

/// What a pod lacks of the bindings that it asks for, and warnings for its owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injection {
    /// `add` operations relative to the pod (template); empty when there is nothing to add.
    pub patch: Patch,
    /// What was left out or is hidden because of the pod's own fields.
    pub warnings: Vec<Warning>,
    /// The ServiceBindings without which the pod cannot start, whether anything is to be added or not.
    pub bindings: Vec<String>,
}

impl Injection {
    /// Whether the pod is right as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patch.is_empty()
    }

    /// Adds what is missing to the pod that [`inject`] was asked about.
    ///
    /// # Errors
    /// When it is another pod, which lacks a field that the patch builds upon; it is then left unchanged.
    pub fn apply(&self, pod: &mut Value) -> Result<(), PatchError> {
        json_patch::patch(pod, &self.patch)
    }
}

/// Finds what `pod`, a Pod or a pod template, lacks of the bindings that its annotations ask for.
///
/// # Errors
/// When an annotation cannot be understood, or the pod's own fields are not shaped as Kubernetes defines them.
pub fn inject(pod: &Value, settings: &InjectSettings) -> Result<Injection, InjectError> {
    match annotations_of(pod) {
        Some(annotations) if !annotations.contains_key(MIRROR_POD) => {
            let mut injection = match Request::parse(annotations, System::of(pod))? {
                Some(request) => pod::bind(pod, &request, settings)?,
                None => Injection { warnings: all_leftovers(pod), ..Injection::default() },
            };
            injection.warnings.extend(misspelt(annotations));
            Ok(injection)
        }
        Some(_) => Ok(Injection::default()),
        None => Ok(Injection { warnings: all_leftovers(pod), ..Injection::default() }),
    }
}

/// Finds what `pod`, a Pod or a pod template, lacks of a request, whatever its annotations say.
///
/// # Errors
/// When the pod cannot have it: it lacks a container that is named, something of its own is in the way, or its fields are not
/// shaped as Kubernetes defines them.
pub fn inject_request(
    pod: &Value,
    request: &Request<'_>,
    settings: &InjectSettings,
) -> Result<Injection, InjectError> {
    pod::bind(pod, request, settings)
}

fn annotations_of(pod: &Value) -> Option<&Map<String, Value>> {
    pod.get("metadata")?.get("annotations")?.as_object()
}

#[cfg(test)]
mod tests;
