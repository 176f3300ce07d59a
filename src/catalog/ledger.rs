//! The ledger: bindery records an ExternalResource before it first asks a broker for an id, and removes it when the
//! broker has confirmed the deletion. An ExternalResource is named after the id, so the API server ensures that no
//! two objects hold the same id at a broker. Otherwise a user could name another namespace's id and have it deleted.

use std::sync::Arc;

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::names;
use crate::apis::servicecatalog::{
    ExternalResource, ExternalResourceKind, ExternalResourceSpec, ServiceBinding, scope::BrokerKey,
};
use crate::{
    contract::{FIELD_MANAGER, external_resource::ADOPT},
    k8s::{cache::Cache, delete_by_uid},
};

/// The result of recording an ExternalResource.
#[derive(Debug)]
pub(super) enum Recorded {
    /// The ExternalResource shows that the id belongs to the object. If `is_new`, no broker was asked for the id
    /// before.
    Ours { external_resource: ExternalResource, is_new: bool },
    /// The id belongs to the object, but the request went to another broker, or was for another service or plan. What
    /// that broker may hold must be deleted there before the ExternalResource is removed.
    OtherRequest(ExternalResource),
    /// The id belongs to an object of the same name in an earlier namespace of the same name.
    OtherNamespace(ExternalResource),
    /// The id belongs to another object.
    Taken,
}

/// The recorded ExternalResources.
pub(super) struct Ledger {
    api: Api<ExternalResource>,
    store: Cache<ExternalResource>,
}

/// The name of the ExternalResource for an id.
pub(super) fn external_resource_name(kind: ExternalResourceKind, id: &str) -> String {
    let prefix = match kind {
        ExternalResourceKind::ServiceInstance => "instance",
        ExternalResourceKind::ServiceBinding => "binding",
    };
    format!("{prefix}-{}", names::escaped(id))
}

impl ExternalResourceSpec {
    /// The id for which the ExternalResource was recorded.
    fn id(&self) -> &str {
        self.binding_id.as_deref().unwrap_or(&self.instance_id)
    }

    /// Whether both name the same id for the same object, or for another object of the same name, as after a restore
    /// from a backup.
    fn has_identity_of(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.namespace == other.namespace
            && self.name == other.name
            && self.id() == other.id()
            && self.instance_id == other.instance_id
    }

    /// Whether the object may take over the instance or binding of `held`. The creator of a namespace with a former
    /// name has no right to its former content, so an administrator must allow it.
    fn may_take_over(&self, held: &ExternalResource) -> bool {
        let same_namespace =
            held.spec.namespace_uid.is_some() && held.spec.namespace_uid == self.namespace_uid;
        self.uid == held.spec.uid || same_namespace || is_adopted_by(held, self.namespace_uid.as_deref())
    }

    /// This ExternalResource as the successor of `held`: the broker is told the same values as before, and what is known
    /// of the instance stays known.
    fn inheriting(mut self, held: &Self) -> Self {
        self.provisioned = held.provisioned;
        self.new_plan_id.clone_from(&held.new_plan_id);
        self.predecessor_id.clone_from(&held.predecessor_id);
        let told = held.space_guid.clone().or_else(|| held.namespace_uid.clone());
        self.space_guid = told.filter(|told| Some(told) != self.namespace_uid.as_ref());
        self
    }

    /// Whether `other` describes the same request to the broker. A broker that is registered under another name now
    /// counts as the same if it offers the same service and plan; otherwise deletions would not find it.
    /// A binding keeps its credentials when its instance changes the plan.
    fn is_same_request_as(&self, other: &Self, registered: impl Fn(&BrokerKey) -> bool) -> bool {
        self.service_id == other.service_id
            && (self.plan_id == other.plan_id || self.kind == ExternalResourceKind::ServiceBinding)
            && (self.broker.key() == other.broker.key() || !registered(&other.broker.key()))
    }
}

/// Whether an administrator has handed the ExternalResource over to the namespace with this uid.
pub(super) fn is_adopted_by(external_resource: &ExternalResource, namespace_uid: Option<&str>) -> bool {
    let adopted = external_resource.annotations().get(ADOPT).map(String::as_str);
    adopted.is_some() && adopted == namespace_uid
}

/// The instruction for an administrator to hand an ExternalResource over to an object of a recreated namespace.
pub(super) fn how_to_adopt(external_resource: &ExternalResource, namespace_uid: &str) -> String {
    let ExternalResourceSpec { kind, namespace, name, .. } = &external_resource.spec;
    format!(
        "it belongs to the {kind:?} {name} of an earlier namespace {namespace}, and a namespace of the same name \
        inherits nothing by itself. An administrator can hand it over: kubectl annotate extres {} \
        {ADOPT}={namespace_uid}",
        external_resource.name_any()
    )
}

impl Ledger {
    pub(super) fn new(client: Client, store: Cache<ExternalResource>) -> Self {
        Self { api: Api::all(client), store }
    }

    /// Ensures that the ExternalResource exists before a broker is asked. `registered` tells whether a broker of this
    /// name is known. An existing ExternalResource is never changed to another request, because only it records what
    /// must be deleted where.
    pub(super) async fn record(
        &self,
        spec: ExternalResourceSpec,
        registered: impl Fn(&BrokerKey) -> bool,
    ) -> kube::Result<Recorded> {
        let name = external_resource_name(spec.kind, spec.id());
        let external_resource = ExternalResource::new(&name, spec);
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.api.create(&parameters, &external_resource).await {
            Ok(created) => return Ok(Recorded::Ours { external_resource: created, is_new: true }),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        let held = self.api.get(&name).await?;
        if !external_resource.spec.has_identity_of(&held.spec) {
            return Ok(Recorded::Taken);
        }
        if !external_resource.spec.may_take_over(&held) {
            return Ok(Recorded::OtherNamespace(held));
        }
        if !external_resource.spec.is_same_request_as(&held.spec, registered) {
            return Ok(Recorded::OtherRequest(held));
        }
        let wanted = external_resource.spec.inheriting(&held.spec);
        if held.spec == wanted {
            return Ok(Recorded::Ours { external_resource: held, is_new: false });
        }
        let mut metadata = json!({"resourceVersion": held.resource_version()});
        if held.annotations().contains_key(ADOPT) {
            metadata["annotations"] = json!({ADOPT: null});
        }
        let mut spec = json!(wanted);
        // A merge patch keeps fields that it does not name.
        if wanted.space_guid.is_none() {
            spec["spaceGUID"] = Value::Null;
        }
        for field in ["caBundle", "authInfo", "approval"] {
            spec["broker"].as_object_mut().map(|broker| broker.entry(field).or_insert(Value::Null));
        }
        let patch = Patch::Merge(json!({"metadata": metadata, "spec": spec}));
        let moved = self.api.patch(&name, &PatchParams::default(), &patch).await?;
        Ok(Recorded::Ours { external_resource: moved, is_new: false })
    }

    /// Adds the uid of the object's namespace to an ExternalResource of an earlier version.
    pub(super) async fn set_namespace_uid(
        &self,
        external_resource: &ExternalResource,
        namespace_uid: &str,
    ) -> kube::Result<()> {
        self.change(external_resource, json!({"namespaceUID": namespace_uid})).await.map(drop)
    }

    /// Records that the instance was provisioned with this plan: users may keep data in it from now on.
    pub(super) async fn set_provisioned(
        &self,
        external_resource: &ExternalResource,
        plan_id: &str,
    ) -> kube::Result<()> {
        let spec = &external_resource.spec;
        if spec.provisioned && spec.plan_id == plan_id && spec.new_plan_id.is_none() {
            return Ok(());
        }
        let spec = json!({"provisioned": true, "planID": plan_id, "newPlanID": null});
        self.change(external_resource, spec).await.map(drop)
    }

    /// Records that an instance of an earlier version was provisioned.
    pub(super) async fn mark_provisioned(&self, external_resource: &ExternalResource) -> kube::Result<()> {
        self.change(external_resource, json!({"provisioned": true})).await.map(drop)
    }

    /// Records the plan to which the broker is about to be asked to change the instance, and returns the
    /// ExternalResource as it is now.
    pub(super) async fn set_new_plan(
        &self,
        external_resource: ExternalResource,
        plan_id: &str,
    ) -> kube::Result<ExternalResource> {
        let spec = &external_resource.spec;
        if spec.plan_id == plan_id || spec.new_plan_id.as_deref() == Some(plan_id) {
            return Ok(external_resource);
        }
        self.change(&external_resource, json!({"newPlanID": plan_id})).await
    }

    async fn change(
        &self,
        external_resource: &ExternalResource,
        spec: Value,
    ) -> kube::Result<ExternalResource> {
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": external_resource.resource_version()}, "spec": spec,
        }));
        self.api.patch(&external_resource.name_any(), &PatchParams::default(), &patch).await
    }

    /// The ExternalResource for an id if it belongs to the object with this uid. It is read from the API server
    /// because the answer decides about a deletion. An object with only the same name may belong to another namespace
    /// of that name.
    pub(super) async fn find(
        &self,
        kind: ExternalResourceKind,
        id: &str,
        uid: Option<&str>,
    ) -> kube::Result<Option<ExternalResource>> {
        let external_resource = self.api.get_opt(&external_resource_name(kind, id)).await?;
        Ok(external_resource.filter(|external_resource| Some(external_resource.spec.uid.as_str()) == uid))
    }

    /// The known ExternalResources of a binding: several while its credentials are being replaced.
    pub(super) fn of_binding(&self, binding: &ServiceBinding) -> Vec<Arc<ExternalResource>> {
        let (namespace, name) = (binding.namespace().unwrap_or_default(), binding.name_any());
        let of_name = self.store.find(|held| {
            held.kind == ExternalResourceKind::ServiceBinding
                && *held.namespace == *namespace
                && *held.name == *name
        });
        let known = of_name.iter().filter_map(|reference| self.store.get(reference));
        known.filter(|held| Some(&held.spec.uid) == binding.metadata.uid.as_ref()).collect()
    }

    /// The known ExternalResources of an instance's bindings, which are in the instance's namespace.
    pub(super) fn binding_names(&self, instance_id: &str, namespace: &str) -> Vec<String> {
        let found = self.store.find(|of| {
            of.kind == ExternalResourceKind::ServiceBinding
                && *of.instance_id == *instance_id
                && *of.namespace == *namespace
        });
        let mut names: Vec<String> = found.into_iter().map(|reference| reference.name).collect();
        names.sort();
        names
    }

    /// Removes an ExternalResource after the broker has confirmed that it holds nothing.
    pub(super) async fn remove(&self, external_resource: &ExternalResource) -> kube::Result<()> {
        match self
            .api
            .delete(&external_resource.name_any(), &delete_by_uid::only(external_resource.uid()))
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::bindery::external_resource::ExternalResourceBroker;

    #[test]
    fn an_external_resource_is_named_after_its_id() {
        assert_eq!(
            external_resource_name(
                ExternalResourceKind::ServiceInstance,
                "9d0c2ff6-0000-4000-8000-000000000000"
            ),
            "instance-9d0c2ff6-0000-4000-8000-000000000000"
        );
        assert_eq!(external_resource_name(ExternalResourceKind::ServiceBinding, "A/b"), "binding-z41zz2fzb");
    }

    fn external_resource() -> ExternalResourceSpec {
        ExternalResourceSpec {
            broker: ExternalResourceBroker { name: "x".to_owned(), ..ExternalResourceBroker::default() },
            kind: ExternalResourceKind::ServiceInstance,
            namespace: "team-a".to_owned(),
            namespace_uid: Some("ns-1".to_owned()),
            space_guid: None,
            name: "db".to_owned(),
            uid: "1".to_owned(),
            instance_id: "id".to_owned(),
            binding_id: None,
            predecessor_id: None,
            service_id: "s".to_owned(),
            plan_id: "p".to_owned(),
            new_plan_id: None,
            provisioned: false,
        }
    }

    #[test]
    fn an_external_resource_stays_with_the_broker_that_was_asked() {
        let (external_resource, known, gone) =
            (external_resource(), |_: &BrokerKey| true, |_: &BrokerKey| false);
        let at = |name: &str| ExternalResourceBroker {
            name: name.to_owned(),
            ..ExternalResourceBroker::default()
        };
        let mut restored = ExternalResourceSpec { uid: "2".to_owned(), ..external_resource.clone() };
        restored.broker.url = "http://moved".into();
        assert!(restored.is_same_request_as(&external_resource, known));
        let other_broker = ExternalResourceSpec { broker: at("y"), ..external_resource.clone() };
        assert!(!other_broker.is_same_request_as(&external_resource, known));
        assert!(other_broker.is_same_request_as(&external_resource, gone), "the broker has another name now");
        let other_plan = ExternalResourceSpec { plan_id: "q".to_owned(), ..external_resource.clone() };
        assert!(!other_plan.is_same_request_as(&external_resource, gone));
        let binding = ExternalResourceSpec { kind: ExternalResourceKind::ServiceBinding, ..other_plan };
        assert!(binding.is_same_request_as(&external_resource, gone), "the instance was updated");
        let other_service = ExternalResourceSpec { service_id: "t".to_owned(), ..external_resource.clone() };
        assert!(!other_service.is_same_request_as(&external_resource, gone));
    }

    #[test]
    fn only_an_object_of_the_same_name_inherits_an_external_resource() {
        let external_resource = external_resource();
        let restored = ExternalResourceSpec { uid: "2".to_owned(), ..external_resource.clone() };
        assert!(restored.has_identity_of(&external_resource));
        let thief = ExternalResourceSpec { namespace: "team-b".to_owned(), ..external_resource.clone() };
        assert!(!thief.has_identity_of(&external_resource));
        let binding =
            ExternalResourceSpec { kind: ExternalResourceKind::ServiceBinding, ..external_resource.clone() };
        assert!(!binding.has_identity_of(&external_resource));
    }

    #[test]
    fn a_recreated_namespace_inherits_only_what_an_administrator_hands_over() {
        let mut held = ExternalResource::new("c", external_resource());
        let restored = ExternalResourceSpec { uid: "2".to_owned(), ..external_resource() };
        assert!(restored.may_take_over(&held), "restored in the same namespace");
        let recreated = ExternalResourceSpec { namespace_uid: Some("ns-2".to_owned()), ..restored };
        assert!(!recreated.may_take_over(&held));
        assert!(how_to_adopt(&held, "ns-2").ends_with("kubectl annotate extres c bindery.dev/adopt=ns-2"));
        held.annotations_mut().insert(ADOPT.to_owned(), "ns-3".to_owned());
        assert!(!recreated.may_take_over(&held), "another was meant");
        held.annotations_mut().insert(ADOPT.to_owned(), "ns-2".to_owned());
        assert!(recreated.may_take_over(&held));
        let after = recreated.clone().inheriting(&held.spec);
        assert_eq!(after.space_guid.as_deref(), Some("ns-1"), "the broker knows it by this");
        let again =
            ExternalResourceSpec { namespace_uid: Some("ns-3".to_owned()), ..recreated }.inheriting(&after);
        assert_eq!(again.space_guid.as_deref(), Some("ns-1"));
        assert_eq!(external_resource().inheriting(&external_resource()).space_guid, None);
    }

    #[test]
    fn an_external_resource_without_namespace_uid_is_taken_over_only_by_its_own_object() {
        let held =
            ExternalResource::new("c", ExternalResourceSpec { namespace_uid: None, ..external_resource() });
        assert!(external_resource().may_take_over(&held));
        assert!(!ExternalResourceSpec { uid: "2".to_owned(), ..external_resource() }.may_take_over(&held));
        let unknown =
            ExternalResourceSpec { uid: "2".to_owned(), namespace_uid: None, ..external_resource() };
        assert!(!unknown.may_take_over(&held));
    }
}
