//! The webhook for pods without binding annotations in Namespaces that have some. It decides from the pod and its
//! Namespace.

use std::sync::Arc;

use tracing::warn;

use super::{
    codec::{MalformedReview, Request},
    decision::{Decision, DenialStatus},
    handler::Handler,
    namespaces::Namespaces,
    pods::{Binder, Created, name, owner},
    sparse_decode::Object,
};
use crate::injection::{Injection, inject_defaults, takes_defaults};

/// The path of this webhook in the webhook configuration.
pub const PATH: &str = "/mutate-namespace-defaults";

/// Binds pods by the annotations of their Namespaces.
pub struct NamespaceDefaultsHandler {
    binder: Binder,
    namespaces: Arc<dyn Namespaces>,
}

impl NamespaceDefaultsHandler {
    pub(super) fn new(binder: Binder, namespaces: Arc<dyn Namespaces>) -> Self {
        Self { binder, namespaces }
    }
}

impl Handler<Object> for NamespaceDefaultsHandler {
    const NAME: &'static str = "namespace";

    async fn review(&self, request: &Request<Object>) -> Result<Decision, MalformedReview> {
        let pod = match request.created()? {
            Created::Pod(pod) => pod,
            other => return Ok(self.binder.decide_about(request, &other)),
        };
        // Namespace defaults do not apply to this pod, so the Namespace need not be looked up.
        if !takes_defaults(pod) {
            return Ok(self.binder.decide(request, pod, Ok(Injection::default())));
        }
        let injected = match self.namespaces.defaults(request.namespace()?).await {
            Ok(Some(defaults)) => inject_defaults(pod, &defaults, &self.binder.settings),
            Ok(None) => Ok(Injection::default()),
            Err(error) => {
                warn!(%error, pod = name(pod), owner = owner(pod), "postponed a pod");
                // The pod's owner retries.
                return Ok(Decision::deny("postponed", DenialStatus::ServiceUnavailable, error.to_string()));
            }
        };
        Ok(self.binder.decide(request, pod, injected))
    }
}
