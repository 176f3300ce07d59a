//! The webhook for pods that say what they are bound to. It decides from the request alone and has no side effects, so a dry run
//! gets the same answer (P4).

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

/// Where the webhook configuration points to for pods that say what they are bound to.
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

/// What the webhooks share that are asked about pods.
#[derive(Clone)]
pub(super) struct Binder {
    pub(super) settings: Arc<InjectSettings>,
    awaited: Option<Arc<dyn Awaited>>,
    metrics: Arc<Metrics>,
}

/// What is created.
pub(super) enum Created<'a> {
    Pod(&'a Value),
    /// A pod with too many values to be read.
    LargePod,
    /// Something else, or nothing.
    NoPod,
}

impl Request<Object> {
    /// The pod, if one is created. Everything else passes: most fields of a pod that exists cannot be changed (P5), and its
    /// subresources are not pods (P6).
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

    /// What is wrong with workloads, for which the webhook may be registered as well.
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

    /// What becomes of a pod that is injected so.
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
                // Not the whole error: it repeats what the user wrote, which may be a credential in the wrong place.
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

    /// What becomes of anything but a pod that can be read.
    pub(super) fn decide_about(&self, request: &Request<Object>, created: &Created<'_>) -> Decision {
        match created {
            // Well-formed, and its user is told as of any other mistake in a pod.
            Created::LargePod => self.decide(request, &Value::Null, Err(InjectError::too_many_values())),
            Created::NoPod => Decision::unchanged().with_warnings(request.misplaced_annotations()),
            Created::Pod(_) => Decision::unchanged(),
        }
    }

    /// Puts a gate on a pod that would only wait on its node.
    fn hold_back(&self, namespace: &str, pod: &Value, injection: &mut Injection) {
        let Some(awaited) = self.awaited.as_ref().filter(|_| !namespace.is_empty()) else { return };
        if awaited.is_any(namespace, &injection.bindings) {
            injection.patch.0.extend(gate(pod));
        }
    }
}

/// Refuses a pod, with the codes that the API server itself uses for such errors.
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

/// A pod made by a controller has no name yet, only the beginning of one (P3).
pub(super) fn name(pod: &Value) -> &str {
    let field = |name| pod.get("metadata")?.get(name)?.as_str();
    field("name").or_else(|| field("generateName")).unwrap_or_default()
}

pub(super) fn owner(pod: &Value) -> &str {
    pod.pointer("/metadata/ownerReferences/0/name").and_then(Value::as_str).unwrap_or_default()
}
