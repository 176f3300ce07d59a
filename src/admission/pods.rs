//! The webhook for pods with binding annotations of their own. It decides from the request alone and has no side
//! effects, so a dry run gets the same answer (P4).

use std::sync::Arc;

use serde_json::Value;
use tracing::{Span, debug, info};

use super::{
    codec::{MalformedReview, Request},
    decision::{Decision, DenialStatus},
    gates::gate,
    handler::Handler,
    sparse_decode::Object,
};
use crate::{
    bindings::awaited::Awaited,
    injection::{
        InjectError, InjectSettings, Injection, Problem, Warning, inject,
        workload::{Workload, workloads},
    },
    telemetry::Metrics,
};

/// The path of this webhook in the webhook configuration.
pub const PATH: &str = "/mutate";

/// Binds pods by their own annotations.
pub struct PodHandler(Binder);

impl PodHandler {
    pub(super) fn new(binder: Binder) -> Self {
        Self(binder)
    }
}

impl Handler<Object> for PodHandler {
    const NAME: &'static str = "pod";

    async fn review(&self, request: &Request<Object>) -> Result<Decision, MalformedReview> {
        Ok(match request.created()? {
            Created::Pod(pod) => self.0.decide(request, pod, inject(pod, &self.0.settings)),
            other => self.0.decide_about(request, &other),
        })
    }
}

/// What the webhooks for pods share.
#[derive(Clone)]
pub(super) struct Binder {
    pub(super) settings: Arc<InjectSettings>,
    awaited: Option<Arc<dyn Awaited>>,
    metrics: Arc<Metrics>,
}

/// The object that a request creates.
pub(super) enum Created<'a> {
    Pod(&'a Value),
    /// A pod with more values than the decoder accepts.
    LargePod,
    /// Another kind of object, or no creation.
    NoPod,
}

impl Request<Object> {
    /// The pod that the request creates. All other requests are allowed: most fields of an existing pod are immutable
    /// (P5), and its subresources are not pods (P6).
    pub(super) fn created(&self) -> Result<Created<'_>, MalformedReview> {
        if !self.is_of("", "Pod") || self.version() != "v1" || !self.is_creation() {
            return Ok(Created::NoPod);
        }
        match &self.object {
            Object::Read(pod) => Ok(Created::Pod(pod)),
            Object::None => Err(MalformedReview::NoObject),
            Object::TooMuch => Ok(Created::LargePod),
        }
    }

    /// Warnings about annotations on workloads, for which the webhook may be registered as well.
    fn misplaced_annotations(&self) -> Vec<String> {
        let written = self.object.value().filter(|_| self.is_written());
        let workloads = written.map(workloads).unwrap_or_default();
        workloads
            .iter()
            .filter_map(Workload::misplaced_annotation)
            .map(|warning| warning.to_string())
            .collect()
    }
}

impl Binder {
    pub(super) fn new(
        settings: Arc<InjectSettings>,
        awaited: Option<Arc<dyn Awaited>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { settings, awaited, metrics }
    }

    /// The decision about a pod with this result of the injection.
    pub(super) fn decide(
        &self,
        request: &Request<Object>,
        pod: &Value,
        injected: Result<Injection, InjectError>,
    ) -> Decision {
        let namespace = request.namespace().unwrap_or_default();
        Span::current().record("namespace", namespace);
        let mut injection = match injected {
            Ok(injection) => injection,
            Err(error) => {
                self.metrics.refusal(namespace, error.problem().reason());
                // Only the field is logged: the error quotes the user's text, which may be a misplaced credential.
                info!(namespace, pod = name(pod), owner = owner(pod), field = error.field(), "refused a pod");
                return refuse(&error);
            }
        };
        self.hold_back(namespace, pod, &mut injection);
        let warnings = texts(&injection.warnings);
        if injection.is_empty() {
            debug!(namespace, pod = name(pod), owner = owner(pod), "left a pod as it is");
            return Decision::unchanged().with_warnings(warnings);
        }
        self.metrics.injection(namespace);
        debug!(namespace, pod = name(pod), owner = owner(pod), "injected a pod");
        Decision::patch("injected", injection.patch).with_warnings(warnings)
    }

    /// The decision about every request except the creation of a readable pod.
    pub(super) fn decide_about(&self, request: &Request<Object>, created: &Created<'_>) -> Decision {
        match created {
            // The review is well-formed, so the pod is refused like any other invalid pod.
            Created::LargePod => self.decide(request, &Value::Null, Err(InjectError::too_many_values())),
            Created::NoPod => Decision::unchanged().with_warnings(request.misplaced_annotations()),
            Created::Pod(_) => Decision::unchanged(),
        }
    }

    /// Adds a scheduling gate to a pod whose Secrets do not exist yet.
    fn hold_back(&self, namespace: &str, pod: &Value, injection: &mut Injection) {
        let Some(awaited) = self.awaited.as_ref().filter(|_| !namespace.is_empty()) else { return };
        if awaited.needs_gate(namespace, &injection.bindings) {
            injection.patch.0.extend(gate(pod));
        }
    }
}

/// Refuses a pod with the status code that the API server itself uses for such errors.
fn refuse(error: &InjectError) -> Decision {
    let status = match error.problem() {
        Problem::Shape(_) => DenialStatus::BadRequest,
        _ => DenialStatus::Invalid,
    };
    Decision::deny("refused", status, error.to_string())
}

fn texts(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}

/// The pod's name, or the prefix of its name if a controller created it (P3).
pub(super) fn name(pod: &Value) -> &str {
    let field = |name| pod.get("metadata")?.get(name)?.as_str();
    field("name").or_else(|| field("generateName")).unwrap_or_default()
}

pub(super) fn owner(pod: &Value) -> &str {
    pod.pointer("/metadata/ownerReferences/0/name").and_then(Value::as_str).unwrap_or_default()
}
