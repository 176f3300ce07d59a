//! The injection: computes the patch that adds bindings to a pod or pod template. Pure: it does no I/O, reads no clock
//! and looks nothing up, so the webhook and `bindery inject` give the same result, before and after a binding exists.
//! The result is a JSON patch with only `add` operations: it cannot change or remove the user's fields, fields that
//! this version of bindery does not know are preserved, and the patch stays small for large pods. A [`Request`] states
//! what a pod is to get; usually it is parsed from annotations.

mod annotations;
pub(crate) mod cel;
mod container;
mod defaults;
mod demand;
mod entries;
mod error;
mod existing_mounts;
mod fields;
mod folder;
mod leftovers;
mod names;
pub mod native;
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
/// Secrets, so it is not injected (<https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>).
const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// The settings of the installation for injection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectSettings {
    /// Containers that are bound only when `bindery.dev/containers` names them. A star at the end matches any suffix.
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

    /// Whether a container gets nothing unless an annotation names it.
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

/// The additions that a pod needs for its bindings, and warnings for its owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injection {
    /// `add` operations relative to the pod (template); empty when nothing is missing.
    pub patch: Patch,
    /// What was left out or is hidden because of the pod's own fields.
    pub warnings: Vec<Warning>,
    /// The ServiceBindings without which the pod cannot start, even if the patch is empty.
    pub bindings: Vec<String>,
}

impl Injection {
    /// Whether the pod needs no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patch.is_empty()
    }

    /// Applies the patch to the pod that was passed to [`inject`].
    ///
    /// # Errors
    /// Fails when it is another pod, without a field that the patch requires; the pod is then unchanged.
    pub fn apply(&self, pod: &mut Value) -> Result<(), PatchError> {
        json_patch::patch(pod, &self.patch)
    }
}

/// Finds what `pod`, a Pod or a pod template, lacks of the bindings that its annotations ask for.
///
/// # Errors
/// Fails when an annotation is invalid, or the pod's own fields violate the Kubernetes schema.
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

/// Finds what `pod`, a Pod or a pod template, lacks of a request. Ignores the pod's annotations.
///
/// # Errors
/// Fails when the request cannot be met: the pod lacks a named container, one of its own fields conflicts, or its
/// fields violate the Kubernetes schema.
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
