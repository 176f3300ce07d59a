//! The ledger: claims are recorded before a broker is first asked for an id and removed when it has confirmed the
//! deletion. A claim is named after the id, so that the API server itself sees to it that no two objects ever hold the
//! same id at a broker: otherwise a user could name another namespace's id and have it deleted.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::reflector::Store,
};
use serde_json::{Value, json};

use super::{
    api::{Claim, ClaimKind, ClaimSpec},
    names,
};
use crate::{
    cluster::seen,
    contract::{FIELD_MANAGER, claim::ADOPT},
};

/// What came of recording a claim.
#[derive(Debug)]
pub(super) enum Recorded {
    /// The id is the object's, as this claim says. While the claim is new, no broker was asked for the id before.
    Ours { claim: Claim, is_new: bool },
    /// The id is the object's, but another broker was asked for it, or the same for another service or plan. What that
    /// broker may hold must be deleted there before the claim is given up.
    Elsewhere(Claim),
    /// An object of the same name holds or held the id, in an earlier namespace of the same name.
    OtherNamespace(Claim),
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

    /// Whether an object may take over what `held`, of which it is the heir by name, stands for. Whoever makes a namespace
    /// of a former name knows nothing of what was in it, so that takes an administrator's word.
    fn may_take_over(&self, held: &Claim) -> bool {
        let same_namespace =
            held.spec.namespace_uid.is_some() && held.spec.namespace_uid == self.namespace_uid;
        self.uid == held.spec.uid || same_namespace || is_adopted_by(held, self.namespace_uid.as_deref())
    }

    /// This claim after `held`: the broker goes on being told what it was told.
    fn after(mut self, held: &Self) -> Self {
        let told = held.space_guid.clone().or_else(|| held.namespace_uid.clone());
        self.space_guid = told.filter(|told| Some(told) != self.namespace_uid.as_ref());
        self
    }

    /// Whether a broker that did what `other` asked for has done this. A broker that is registered under another name
    /// now counts as the same when it offers the same service and plan: deletions would not find it otherwise.
    fn is_same_request_as(&self, other: &Self, registered: impl Fn(&str) -> bool) -> bool {
        self.service_id == other.service_id
            && self.plan_id == other.plan_id
            && (self.broker.name == other.broker.name || !registered(&other.broker.name))
    }
}

/// Whether an administrator hands what a claim stands for over to the namespace with this uid.
pub(super) fn is_adopted_by(claim: &Claim, namespace_uid: Option<&str>) -> bool {
    let adopted = claim.annotations().get(ADOPT).map(String::as_str);
    adopted.is_some() && adopted == namespace_uid
}

/// What an administrator has to do for an object of a recreated namespace to take over a claim.
pub(super) fn how_to_adopt(claim: &Claim, namespace_uid: &str) -> String {
    let ClaimSpec { kind, namespace, name, .. } = &claim.spec;
    format!(
        "it was made for the {kind:?} {name} of an earlier namespace {namespace}; a namespace of the same name inherits \
         nothing by itself. For it to take over what is there, an administrator says so: kubectl annotate claim {} \
         {ADOPT}={namespace_uid}",
        claim.name_any()
    )
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
        if !claim.spec.may_take_over(&held) {
            return Ok(Recorded::OtherNamespace(held));
        }
        if !claim.spec.is_same_request_as(&held.spec, registered) {
            return Ok(Recorded::Elsewhere(held));
        }
        let wanted = claim.spec.after(&held.spec);
        if held.spec == wanted {
            return Ok(Recorded::Ours { claim: held, is_new: false });
        }
        let mut metadata = json!({"resourceVersion": held.resource_version()});
        if held.annotations().contains_key(ADOPT) {
            metadata["annotations"] = json!({ADOPT: null});
        }
        let mut spec = json!(wanted);
        // A merge patch keeps what it does not name.
        if wanted.space_guid.is_none() {
            spec["spaceGUID"] = Value::Null;
        }
        for field in ["caBundle", "authInfo", "approval"] {
            spec["broker"].as_object_mut().map(|broker| broker.entry(field).or_insert(Value::Null));
        }
        let patch = Patch::Merge(json!({"metadata": metadata, "spec": spec}));
        let moved = self.api.patch(&name, &PatchParams::default(), &patch).await?;
        Ok(Recorded::Ours { claim: moved, is_new: false })
    }

    /// Notes the uid of its object's namespace in a claim of an earlier version.
    pub(super) async fn note_namespace(&self, claim: &Claim, namespace_uid: &str) -> kube::Result<()> {
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": claim.resource_version()},
            "spec": {"namespaceUID": namespace_uid},
        }));
        self.api.patch(&claim.name_any(), &PatchParams::default(), &patch).await.map(drop)
    }

    /// The claim for an id if it is that of the object with this uid; read from the API server, for a deletion hangs on
    /// it. An object that merely has the name of the claim's may be one of another namespace of that name.
    pub(super) async fn find(
        &self,
        kind: ClaimKind,
        id: &str,
        uid: Option<&str>,
    ) -> kube::Result<Option<Claim>> {
        let claim = self.api.get_opt(&claim_name(kind, id)).await?;
        Ok(claim.filter(|claim| Some(claim.spec.uid.as_str()) == uid))
    }

    /// The claims of an instance's bindings, which are in its namespace, as far as known.
    pub(super) fn bindings_of(&self, instance_id: &str, namespace: &str) -> Vec<String> {
        let of_instance = |claim: &Claim| {
            claim.spec.kind == ClaimKind::ServiceBinding
                && claim.spec.instance_id == instance_id
                && claim.spec.namespace == namespace
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
            namespace_uid: Some("ns-1".to_owned()),
            space_guid: None,
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

    #[test]
    fn a_recreated_namespace_inherits_only_what_an_administrator_hands_over() {
        let mut held = Claim::new("c", claim());
        let restored = ClaimSpec { uid: "2".to_owned(), ..claim() };
        assert!(restored.may_take_over(&held), "restored in the same namespace");
        let recreated = ClaimSpec { namespace_uid: Some("ns-2".to_owned()), ..restored };
        assert!(!recreated.may_take_over(&held));
        assert!(how_to_adopt(&held, "ns-2").ends_with("kubectl annotate claim c bindery.dev/adopt=ns-2"));
        held.annotations_mut().insert(ADOPT.to_owned(), "ns-3".to_owned());
        assert!(!recreated.may_take_over(&held), "another was meant");
        held.annotations_mut().insert(ADOPT.to_owned(), "ns-2".to_owned());
        assert!(recreated.may_take_over(&held));
        let after = recreated.clone().after(&held.spec);
        assert_eq!(after.space_guid.as_deref(), Some("ns-1"), "the broker knows it by this");
        let again = ClaimSpec { namespace_uid: Some("ns-3".to_owned()), ..recreated }.after(&after);
        assert_eq!(again.space_guid.as_deref(), Some("ns-1"));
        assert_eq!(claim().after(&claim()).space_guid, None);
    }

    #[test]
    fn a_claim_that_knows_no_namespace_is_taken_over_by_its_own_object_alone() {
        let held = Claim::new("c", ClaimSpec { namespace_uid: None, ..claim() });
        assert!(claim().may_take_over(&held));
        assert!(!ClaimSpec { uid: "2".to_owned(), ..claim() }.may_take_over(&held));
        let unknown = ClaimSpec { uid: "2".to_owned(), namespace_uid: None, ..claim() };
        assert!(!unknown.may_take_over(&held));
    }
}
