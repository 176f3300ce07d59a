//! ExternalResources: nothing is lost when an object vanishes without its finalizer, and no object gets another's
//! instance.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::{
    bindery::external_resource::ExternalResourceState,
    servicecatalog::{ExternalResource, ServiceBinding, ServiceInstance},
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    broker::{Answer, Fault, Verb},
    harness::{Place, restart_catalog, until},
};

/// A namespace with an instance that has the id of another's instance.
async fn thief(of: &Place, name: &str, id: Option<&str>) -> Place {
    let thief = Place::new().await;
    let spec = json!({"clusterServiceClassExternalName": of.broker.name(),
        "clusterServicePlanExternalName": "default", "externalID": id});
    thief.create::<ServiceInstance>("ServiceInstance", name, json!({}), spec).await.unwrap();
    thief
}

#[tokio::test]
async fn remains_of_abandoned_objects_are_deleted() {
    let place = Place::with_binding().await;
    place.broker.set(Fault::Broken);
    place.abandon::<ServiceInstance>("db").await;
    place.abandon::<ServiceBinding>("b").await;
    until("external resources that tell why they are there", async || {
        let external_resources = place.external_resources().await;
        let told = |external_resource: &ExternalResource| {
            let status = external_resource.status.clone().unwrap_or_default();
            status.state == Some(ExternalResourceState::Releasing)
                && matches!(status.reason.as_deref(), Some("CallFailed" | "BlockedByBindings"))
        };
        external_resources.len() == 2 && external_resources.iter().all(told)
    })
    .await;
    restart_catalog().await;
    place.broker.set(Fault::None);
    until("no external resources", async || place.external_resources().await.is_empty()).await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn a_finalizer_is_set_once() {
    let place = Place::with_instance().await;
    place.merge::<ServiceInstance>("db", json!({"metadata": {"finalizers": null}})).await.unwrap();
    place.merge::<ServiceInstance>("db", json!({"spec": {"parameters": {"a": 1}}})).await.unwrap();
    until("the change seen", async || {
        let instance: ServiceInstance = place.api().get("db").await.unwrap();
        Some(instance.status.unwrap().observed_generation) == instance.metadata.generation
    })
    .await;
    let instance: ServiceInstance = place.api().get("db").await.unwrap();
    assert!(instance.finalizers().is_empty());
}

#[tokio::test]
async fn another_namespaces_id_cannot_be_taken() {
    let place = Place::with_instance().await;
    let victim: ServiceInstance = place.api().get("db").await.unwrap();
    let id = victim.spec.external_id.unwrap();
    let thief = thief(&place, "thief", Some(&id)).await;
    let message = thief.instance_is("thief", "ErrorExternalIDTaken").await;
    assert!(!message.contains(&place.namespace), "{message}");
    thief.remove::<ServiceInstance>("thief").await;
    assert!(place.broker.held().instances.contains_key(&id), "the victim's database is still there");
    assert_eq!(place.external_resources().await.len(), 1);
}

#[tokio::test]
async fn a_forged_status_binds_nothing() {
    let place = Place::with_instance().await;
    let victim: ServiceInstance = place.api().get("db").await.unwrap();
    let thief = thief(&place, "db", victim.spec.external_id.as_deref()).await;
    thief.instance_is("db", "ErrorExternalIDTaken").await;
    let forged = json!({"status": {"provisionStatus": "Provisioned",
        "externalProperties": victim.status.unwrap().external_properties}});
    let api: Api<ServiceInstance> = thief.api();
    api.patch_status("db", &PatchParams::default(), &Patch::Merge(forged)).await.unwrap();
    thief.binding("b", "db", json!({})).await;
    let message = thief.binding_is("b", "ErrorInstanceNotReady").await;
    assert!(message.contains("no ExternalResource proves"), "{message}");
    assert!(place.broker.held().bindings.is_empty());
    assert!(thief.secret("b").await.is_none());
}

#[tokio::test]
async fn a_restored_object_keeps_its_instance() {
    let place = Place::with_instance().await;
    let before: ServiceInstance = place.api().get("db").await.unwrap();
    let id = before.spec.external_id.clone().unwrap();
    place.broker.set(Fault::Broken); // So that nothing is deleted before the object is restored.
    place.abandon::<ServiceInstance>("db").await;
    place.instance("db", json!({"externalID": id})).await;
    place.instance_is("db", "ProvisionCallFailed").await;
    place.broker.set(Fault::None);
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let after: ServiceInstance = place.api().get("db").await.unwrap();
    let external_resources: Vec<ExternalResource> = place.external_resources().await;
    assert_eq!(
        external_resources
            .iter()
            .map(|external_resource| external_resource.spec.uid.clone())
            .collect::<Vec<_>>(),
        [after.uid().unwrap()]
    );
    assert_eq!(place.broker.held().instances.len(), 1);
    let api: Api<ExternalResource> = Api::all(place.client.clone());
    assert!(api.get(&external_resources[0].name_any()).await.unwrap().metadata.deletion_timestamp.is_none());
}

/// The answer to a creation is lost, then the spec changes: nothing remains at the first broker.
#[tokio::test]
async fn another_broker_is_asked_only_when_the_first_holds_nothing() {
    let (place, other) = (Place::with_broker().await, Place::with_broker().await);
    other.broker_is("FetchedCatalog").await;
    place.broker.set(Fault::LosesAnswers);
    // Orphan mitigation would delete the lost creation.
    place.broker.always(Verb::Deprovision, Answer::error(500, "the disk is full"));
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionCallFailed").await;
    assert_eq!(place.broker.held().instances.len(), 1);
    let class = json!({"spec": {"clusterServiceClassExternalName": other.broker.name()}});
    place.merge::<ServiceInstance>("db", class).await.unwrap();
    let message = place.instance_is("db", "DeprovisionCallFailed").await;
    assert!(message.contains(&place.broker.name()) && message.contains("the disk is full"), "{message}");
    assert!(other.broker.is_empty());
    place.broker.set(Fault::None);
    place.broker.normal(Verb::Deprovision);
    place.instance_is("db", "ProvisionedSuccessfully").await;
    assert!(place.broker.is_empty());
    assert_eq!(other.broker.held().instances.len(), 1);
    place.remove::<ServiceInstance>("db").await;
    assert!(other.broker.is_empty());
}

#[rstest::rstest]
#[case::the_answer_was_lost(Fault::LosesAnswers, "ProvisionCallFailed")]
#[case::it_is_being_created(Fault::Slow, "Provisioning")]
#[tokio::test]
async fn a_changed_plan_starts_a_new_creation(#[case] fault: Fault, #[case] reason: &str) {
    let place = Place::with_broker().await;
    place.broker.set(fault);
    place.instance("db", json!({})).await;
    place.instance_is("db", reason).await;
    let plan = json!({"spec": {"clusterServicePlanExternalName": "unbindable"}});
    place.merge::<ServiceInstance>("db", plan).await.unwrap();
    until("a deletion", async || {
        place.broker.held().requests.iter().any(|request| request.starts_with("DELETE"))
    })
    .await;
    place.broker.set(Fault::None);
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let plan = format!("unbindable-{}", place.broker.suffix);
    let instance: ServiceInstance = place.api().get("db").await.unwrap();
    let told = instance.status.unwrap().external_properties.unwrap().cluster_service_plan_external_id;
    assert_eq!(told, plan);
    let made: Vec<_> =
        place.broker.held().instances.values().map(|instance| instance["plan_id"].clone()).collect();
    assert_eq!(made, [plan]);
    place.remove::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn a_restored_object_with_another_plan_destroys_nothing() {
    let place = Place::with_instance().await;
    let before: ServiceInstance = place.api().get("db").await.unwrap();
    place.broker.set(Fault::Broken); // So that nothing is deleted before the object is restored.
    place.abandon::<ServiceInstance>("db").await;
    let spec = json!({"externalID": before.spec.external_id, "clusterServicePlanExternalName": "unbindable"});
    place.instance("db", spec).await;
    place.instance_is("db", "ErrorExternalIDTaken").await;
    place.broker.set(Fault::None);
    let plan = json!({"spec": {"clusterServicePlanExternalName": "default"}});
    place.merge::<ServiceInstance>("db", plan).await.unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
    assert_eq!(place.broker.held().instances.len(), 1);
}

/// Two clusters share a broker, and a manifest with its id was copied from one to the other.
#[tokio::test]
async fn an_id_that_the_broker_holds_for_another_cluster_is_not_touched() {
    let place = Place::with_broker().await;
    let theirs = json!({"space_guid": "theirs", "plan_id": format!("plan-{}", place.broker.suffix)});
    place.broker.held().instances.insert("shared".to_owned(), theirs);
    place.instance("db", json!({"externalID": "shared"})).await;
    place.instance_is("db", "ErrorExternalIDTaken").await;
    assert!(place.external_resources().await.is_empty());
    place.remove::<ServiceInstance>("db").await;
    let held = place.broker.held();
    assert!(held.instances.contains_key("shared"));
    assert!(!held.requests.iter().any(|request| request.starts_with("DELETE")), "{:?}", held.requests);
}

/// Deletes the place's namespace and creates another of the same name.
async fn recreate_namespace(place: &Place) {
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    namespaces.delete(&place.namespace, &DeleteParams::background()).await.unwrap();
    until("the namespace is gone", async || namespaces.get_opt(&place.namespace).await.unwrap().is_none())
        .await;
    let namespace = serde_json::from_value(json!({"metadata": {"name": place.namespace}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
}

/// An object with the same name and id in a recreated namespace. What the broker still holds belongs to the former
/// namespace.
async fn heir() -> (Place, ExternalResource) {
    let place = Place::with_instance().await;
    let before: ServiceInstance = place.api().get("db").await.unwrap();
    place.broker.set(Fault::Broken); // So that nothing is deleted before the new object exists.
    place.merge::<ServiceInstance>("db", json!({"metadata": {"finalizers": null}})).await.unwrap();
    recreate_namespace(&place).await;
    place.instance("db", json!({"externalID": before.spec.external_id})).await;
    let message = place.instance_is("db", "NamespaceRecreated").await;
    let external_resource = place.external_resources().await.remove(0);
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let uid = namespaces.get(&place.namespace).await.unwrap().uid().unwrap();
    let remedy = format!("kubectl annotate extres {} bindery.dev/adopt={uid}", external_resource.name_any());
    assert!(message.contains(&remedy), "{message}");
    assert_ne!(external_resource.spec.namespace_uid.as_ref(), Some(&uid));
    place.broker.set(Fault::None);
    (place, external_resource)
}

#[tokio::test]
async fn a_recreated_namespace_inherits_nothing() {
    let (place, external_resource) = heir().await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "ErrorInstanceNotReady").await;
    let external_resources: Api<ExternalResource> = Api::all(place.client.clone());
    until("the external resource tells", async || {
        let external_resource = external_resources.get(&external_resource.name_any()).await.unwrap();
        external_resource.status.unwrap_or_default().reason.as_deref() == Some("NamespaceRecreated")
    })
    .await;
    assert_eq!(place.broker.held().instances.len(), 1, "an administrator may want it");
    place.remove::<ServiceBinding>("b").await;
    place.remove::<ServiceInstance>("db").await;
    until("what the earlier namespace left is deleted", async || place.broker.is_empty()).await;
    until("no external resources", async || place.external_resources().await.is_empty()).await;
}

#[tokio::test]
async fn a_recreated_namespace_takes_over_what_an_administrator_hands_over() {
    let (place, external_resource) = heir().await;
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let uid = namespaces.get(&place.namespace).await.unwrap().uid().unwrap();
    let adopt = Patch::Merge(json!({"metadata": {"annotations": {"bindery.dev/adopt": uid}}}));
    let external_resources: Api<ExternalResource> = Api::all(place.client.clone());
    external_resources.patch(&external_resource.name_any(), &PatchParams::default(), &adopt).await.unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let after = external_resources.get(&external_resource.name_any()).await.unwrap();
    assert_eq!(after.spec.namespace_uid, Some(uid));
    assert_eq!(
        after.spec.space_guid, external_resource.spec.namespace_uid,
        "the broker knows it by the former one"
    );
    assert!(after.annotations().get("bindery.dev/adopt").is_none());
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    place.remove::<ServiceBinding>("b").await;
    place.remove::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn an_external_resource_of_an_earlier_version_gets_its_namespace_uid() {
    let place = Place::with_instance().await;
    let external_resources: Api<ExternalResource> = Api::all(place.client.clone());
    let name = place.external_resources().await[0].name_any();
    let known = external_resources.get(&name).await.unwrap().spec.namespace_uid;
    assert!(known.is_some());
    let former = Patch::Merge(json!({"spec": {"namespaceUID": null}}));
    external_resources.patch(&name, &PatchParams::default(), &former).await.unwrap();
    until("it is noted", async || external_resources.get(&name).await.unwrap().spec.namespace_uid == known)
        .await;
}

/// svcat finds instances by these labels.
#[tokio::test]
async fn an_instance_of_an_earlier_version_is_completed() {
    let place = Place::with_instance().await;
    let external_resources: Api<ExternalResource> = Api::all(place.client.clone());
    let held = &place.external_resources().await[0];
    assert!(held.spec.provisioned);
    let former = Patch::Merge(json!({"spec": {"provisioned": null}}));
    external_resources.patch(&held.name_any(), &PatchParams::default(), &former).await.unwrap();
    place.merge::<ServiceInstance>("db", json!({"metadata": {"labels": null}})).await.unwrap();
    let is_marked = async || external_resources.get(&held.name_any()).await.unwrap().spec.provisioned;
    let mut look = 0;
    until("labels and mark", async || {
        let instance: ServiceInstance = place.api().get("db").await.unwrap();
        let label = "servicecatalog.k8s.io/spec.clusterServicePlanRef.name";
        if instance.labels().contains_key(label) && is_marked().await {
            return true;
        }
        // The first look may have come before the changed ExternalResource.
        look += 1;
        let again = json!({"metadata": {"annotations": {"look": look.to_string()}}});
        place.merge::<ServiceInstance>("db", again).await.unwrap();
        false
    })
    .await;
    assert_eq!(place.broker.received(Verb::Update).len(), 0);
}

/// The status names the running operation, and users may be able to write the status.
#[tokio::test]
async fn a_forged_operation_leaves_nothing_at_the_broker() {
    let place = Place::with_instance().await;
    let forged = json!({"status": {"currentOperation": "Deprovision", "asyncOpInProgress": true, "lastOperation": "op-1"}});
    place
        .api::<ServiceInstance>()
        .patch_status("db", &PatchParams::default(), &Patch::Merge(forged))
        .await
        .unwrap();
    place.remove::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

/// ExternalResources of another instance's bindings do not block the deletion of an object that only has the same id.
#[tokio::test]
async fn an_object_with_a_foreign_id_can_be_deleted_despite_that_ids_bindings() {
    let place = Place::with_binding().await;
    let victim: ServiceInstance = place.api().get("db").await.unwrap();
    let thief = thief(&place, "db", victim.spec.external_id.as_deref()).await;
    thief.instance_is("db", "ErrorExternalIDTaken").await;
    thief.remove::<ServiceInstance>("db").await;
    assert_eq!(place.broker.held().bindings.len(), 1);
}
