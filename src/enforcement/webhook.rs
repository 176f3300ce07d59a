//! The validating webhook for the rules that the API server cannot evaluate itself ([`Engine::Webhook`]). The API server
//! sends it only pods, workloads and ConfigMaps with a name that sounds like a credential. While bindery is away, these
//! rules do not hold and nothing waits for them.

mod decision;
mod held;

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use tracing::warn;

use self::decision::{VIOLATION, of_verdicts, too_large};
pub use self::held::HeldPolicies;
use crate::{
    admission::{Decision, Handler, MalformedReview, Object, Request, WholeObject},
    injection::workload::workloads,
    k8s::{explain, namespaces::NamespaceMeta},
    policy::{Author, Change, Namespace, Policies, Subject, Verdict},
};

/// The path in the webhook configuration.
pub const PATH: &str = "/judge";

/// The time limit of reading a Namespace. The API server waits for the answer meanwhile.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Judges by the policies that are held at the moment.
pub struct PolicyHandler {
    namespaces: Api<NamespaceMeta>,
    held: Arc<HeldPolicies>,
}

impl PolicyHandler {
    /// A handler for the policies of this watch.
    #[must_use]
    pub fn new(client: Client, held: Arc<HeldPolicies>) -> Self {
        Self { namespaces: Api::all(client), held }
    }

    /// The Namespace as policies see it. Its labels are read only if a policy asks for them.
    async fn namespace(&self, name: &str, policies: &Policies) -> Result<Namespace, String> {
        if !policies.ask_for_labels() {
            return Ok(Namespace::new(name, [].into(), [].into()));
        }
        let found = match tokio::time::timeout(READ_TIMEOUT, self.namespaces.get_metadata(name)).await {
            Ok(Ok(found)) => found.metadata,
            Ok(Err(error)) => return Err(explain(&error)),
            Err(_) => return Err(format!("no answer within {} s", READ_TIMEOUT.as_secs())),
        };
        Ok(Namespace::new(name, found.labels.unwrap_or_default(), found.annotations.unwrap_or_default()))
    }
}

impl Handler<WholeObject, WholeObject> for PolicyHandler {
    const NAME: &'static str = "policy";

    async fn review(&self, request: &Request<WholeObject, WholeObject>) -> Result<Decision, MalformedReview> {
        let policies = self.held.present();
        if policies.is_empty() {
            return Ok(Decision::unchanged());
        }
        let name = request.namespace()?;
        let namespace = match self.namespace(name, &policies).await {
            Ok(namespace) => namespace,
            Err(why) => {
                warn!(namespace = name, why, "an object was admitted that no policy could judge");
                let problem = format!(
                    "bindery did not judge this object by CredentialPolicies: Namespace {name} cannot be read: {why}"
                );
                let decision =
                    Decision::unchanged().counted_as("postponed").with_warnings(vec![problem.clone()]);
                return Ok(decision.with_audit(VIOLATION, problem));
            }
        };
        Ok(match &request.object.0 {
            Object::None => return Err(MalformedReview::NoObject),
            Object::TooMuch if request.is_of("", "ConfigMap") && !policies.judge_config_maps() => {
                Decision::unchanged()
            }
            Object::TooMuch => too_large(&policies.rules_in(&namespace)),
            Object::Read(_) => of_verdicts(&verdicts(request, &policies, &namespace)),
        })
    }
}

/// What the policies say about the object of a request.
fn verdicts(
    request: &Request<WholeObject, WholeObject>,
    policies: &Policies,
    namespace: &Namespace,
) -> Vec<Verdict> {
    let now = Timestamp::now();
    let Some(object) = request.object.0.value() else { return Vec::new() };
    if request.is_of("", "ConfigMap") {
        let before = request.old_object.0.value();
        let author = Author::default();
        let change = Change { namespace: Some(namespace), before, after: Some(object), author };
        return policies.judge_change(&change, now);
    }
    let only_ephemeral = request.sub_resource() == "ephemeralcontainers";
    let of = |(name, template)| policies.judge(&Subject { name, namespace, template, only_ephemeral }, now);
    workloads(object).iter().map(|it| (it.name, it.template)).flat_map(of).collect()
}

#[cfg(test)]
mod tests;
