//! The ledger: claims are recorded before a broker is first asked for an id and removed when it has confirmed the
//! deletion. A claim is named after the id, so that the API server itself sees to it that no two objects ever hold the
//! same id at a broker: otherwise a user could name another namespace's id and have it deleted.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::reflector::Store,
};

use super::{
    api::{Claim, ClaimKind, ClaimSpec},
    names,
};
use crate::{cluster::seen, contract::FIELD_MANAGER};

/// What came of recording a claim.
#[derive(Debug)]
pub(super) enum Recorded {
    /// The id is the object's, as this claim says. While the claim is new, no broker was asked for the id before.
    Ours { claim: Claim, is_new: bool },
    /// The id is the object's, but another broker was asked for it, or the same for another service or plan. What that
    /// broker may hold must be deleted there before the claim is given up.
    Elsewhere(Claim),
    /// Another object holds the id.
    Taken,
}

/// The claims.
pub(super) struct Ledger {
    api: Api<Claim>,
    store: Store<Claim>,
}

/// The name of the claim for an id.
pub(super) fn claim_name(kind: ClaimKind, id: &str) -> String {
    let prefix = match kind {
        ClaimKind::ServiceInstance => "instance",
        ClaimKind::ServiceBinding => "binding",
    };
    format!("{prefix}-{}", names::escaped(id))
}

impl ClaimSpec {
    /// The id that the claim is about.
    fn id(&self) -> &str {
        self.binding_id.as_deref().unwrap_or(&self.instance_id)
    }

    /// Whether both claim the same id for the same object, or for one of the same name that took its place, as after
    /// a restore from a backup.
    fn is_heir_of(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.namespace == other.namespace
            && self.name == other.name
            && self.id() == other.id()
            && self.instance_id == other.instance_id
    }

    /// Whether a broker that did what `other` asked for has done this. A broker that is registered under another name
    /// now counts as the same when it offers the same service and plan: deletions would not find it otherwise.
    fn is_same_request_as(&self, other: &Self, registered: impl Fn(&str) -> bool) -> bool {
        self.service_id == other.service_id
            && self.plan_id == other.plan_id
            && (self.broker.name == other.broker.name || !registered(&other.broker.name))
    }
}

impl Ledger {
    pub(super) fn new(client: Client, store: Store<Claim>) -> Self {
        Self { api: Api::all(client), store }
    }

    /// Makes sure that the claim stands before a broker is asked. `registered` tells whether a broker of this name is
    /// known. A claim that stands is never made to name another request: it alone knows what must be deleted where.
    pub(super) async fn record(
        &self,
        spec: ClaimSpec,
        registered: impl Fn(&str) -> bool,
    ) -> kube::Result<Recorded> {
        let name = claim_name(spec.kind, spec.id());
        let claim = Claim::new(&name, spec);
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.api.create(&parameters, &claim).await {
            Ok(created) => return Ok(Recorded::Ours { claim: created, is_new: true }),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        let held = self.api.get(&name).await?;
        if !claim.spec.is_heir_of(&held.spec) {
            return Ok(Recorded::Taken);
        }
        if !claim.spec.is_same_request_as(&held.spec, registered) {
            return Ok(Recorded::Elsewhere(held));
        }
        if held.spec == claim.spec {
            return Ok(Recorded::Ours { claim: held, is_new: false });
        }
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": held.resource_version()}, "spec": claim.spec,
        });
        let moved = self.api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(Recorded::Ours { claim: moved, is_new: false })
    }

    /// The claim for an id if it belongs to this object; read from the API server, for a deletion hangs on it.
    pub(super) async fn find(
        &self,
        kind: ClaimKind,
        id: &str,
        (namespace, name): (&str, &str),
    ) -> kube::Result<Option<Claim>> {
        let claim = self.api.get_opt(&claim_name(kind, id)).await?;
        Ok(claim.filter(|claim| claim.spec.namespace == namespace && claim.spec.name == name))
    }

    /// The claims of an instance's bindings, as far as known.
    pub(super) fn bindings_of(&self, instance_id: &str) -> Vec<String> {
        let of_instance = |claim: &Claim| {
            claim.spec.kind == ClaimKind::ServiceBinding && claim.spec.instance_id == instance_id
        };
        let mut names: Vec<String> =
            self.store.state_filter(of_instance).iter().map(|claim| claim.name_any()).collect();
        names.sort();
        names
    }

    /// Removes a claim; the broker has confirmed that it holds nothing.
    pub(super) async fn remove(&self, claim: &Claim) -> kube::Result<()> {
        match self.api.delete(&claim.name_any(), &seen::only(claim.uid())).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::api::claim::ClaimBroker;

    #[test]
    fn a_claim_is_named_after_its_id() {
        assert_eq!(
            claim_name(ClaimKind::ServiceInstance, "9d0c2ff6-0000-4000-8000-000000000000"),
            "instance-9d0c2ff6-0000-4000-8000-000000000000"
        );
        assert_eq!(claim_name(ClaimKind::ServiceBinding, "A/b"), "binding-z41zz2fzb");
    }

    fn claim() -> ClaimSpec {
        ClaimSpec {
            broker: ClaimBroker { name: "x".to_owned(), ..ClaimBroker::default() },
            kind: ClaimKind::ServiceInstance,
            namespace: "team-a".to_owned(),
            name: "db".to_owned(),
            uid: "1".to_owned(),
            instance_id: "id".to_owned(),
            binding_id: None,
            service_id: "s".to_owned(),
            plan_id: "p".to_owned(),
        }
    }

    #[test]
    fn a_claim_stays_with_the_broker_that_was_asked() {
        let (claim, known, gone) = (claim(), |_: &str| true, |_: &str| false);
        let at = |name: &str| ClaimBroker { name: name.to_owned(), ..ClaimBroker::default() };
        let mut restored = ClaimSpec { uid: "2".to_owned(), ..claim.clone() };
        restored.broker.url = "http://moved".into();
        assert!(restored.is_same_request_as(&claim, known));
        let other_broker = ClaimSpec { broker: at("y"), ..claim.clone() };
        assert!(!other_broker.is_same_request_as(&claim, known));
        assert!(other_broker.is_same_request_as(&claim, gone), "the broker has another name now");
        let other_plan = ClaimSpec { plan_id: "q".to_owned(), ..claim.clone() };
        assert!(!other_plan.is_same_request_as(&claim, gone));
        let other_service = ClaimSpec { service_id: "t".to_owned(), ..claim.clone() };
        assert!(!other_service.is_same_request_as(&claim, gone));
    }

    #[test]
    fn only_an_object_of_the_same_name_inherits_a_claim() {
        let claim = claim();
        let restored = ClaimSpec { uid: "2".to_owned(), ..claim.clone() };
        assert!(restored.is_heir_of(&claim));
        let thief = ClaimSpec { namespace: "team-b".to_owned(), ..claim.clone() };
        assert!(!thief.is_heir_of(&claim));
        let binding = ClaimSpec { kind: ClaimKind::ServiceBinding, ..claim.clone() };
        assert!(!binding.is_heir_of(&claim));
    }
}
