//! Objects that another controller provisioned are taken over: nothing is requested from the broker again, and the
//! Secrets keep their content.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance},
    catalog::{migration, names::escaped},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::harness::{Place, until};

/// The namespace as the old controller left it: an instance, a binding and its Secret. The broker is registered.
async fn left_by_the_old_controller() -> Place {
    let place = Place::with_broker().await;
    place.broker_is("FetchedCatalog").await;
    let service = place.broker.held().catalog["services"][0].clone();
    let (class_id, plan_id) = (service["id"].as_str().unwrap(), service["plans"][0]["id"].as_str().unwrap());
    let class = json!({"name": escaped(class_id)});
    let plan = json!({"name": escaped(plan_id)});
    let id = format!("i-{}", place.namespace);
    place.broker.held().instances.insert(id.clone(), json!({"service_id": class_id, "plan_id": plan_id}));
    // A plan that does not exist keeps the catalog from provisioning before the status is written.
    let instance: ServiceInstance = place
        .create(
            "ServiceInstance",
            "orders",
            json!({}),
            json!({"clusterServiceClassExternalName": place.broker.name(),
                "clusterServicePlanExternalName": "not-there-yet", "externalID": id,
                "clusterServiceClassRef": class, "clusterServicePlanRef": plan, "updateRequests": 0}),
        )
        .await
        .unwrap();
    place.instance_is("orders", "ReferencesNonexistentServicePlan").await;
    let ready = |reason: &str| {
        json!([{"type": "Ready", "status": "True", "reason": reason, "message": "",
            "lastTransitionTime": "2020-01-01T00:00:00Z"}])
    };
    let generation = instance.metadata.generation.unwrap() + 1;
    write_status::<ServiceInstance>(&place, "orders", json!({
        "conditions": ready("ProvisionedSuccessfully"), "provisionStatus": "Provisioned",
        "deprovisionStatus": "Required", "reconciledGeneration": generation, "observedGeneration": generation,
        "externalProperties": {"clusterServicePlanExternalName": "default",
            "clusterServicePlanExternalID": plan_id},
    }))
    .await;
    place
        .merge::<ServiceInstance>("orders", json!({"spec": {"clusterServicePlanExternalName": "default"}}))
        .await
        .unwrap();
    place
}

async fn write_status<K>(place: &Place, name: &str, status: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let patch = Patch::Merge(json!({"status": status}));
    place.api::<K>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn what_another_controller_provisioned_is_taken_over_and_can_be_deleted() {
    let place = left_by_the_old_controller().await;
    let only = [place.namespace.clone()];

    let looked = migration::take_over(&place.client, &only, false).await.unwrap();
    assert_eq!(looked.recorded.len(), 1, "{looked}");
    assert!(place.external_resources().await.is_empty(), "a look changes nothing");
    let taken = migration::take_over(&place.client, &only, true).await.unwrap();
    assert_eq!((taken.recorded.len(), taken.problems.len()), (1, 0), "{taken}");
    let again = migration::take_over(&place.client, &only, true).await.unwrap();
    assert_eq!((again.recorded.len(), again.known), (0, 1), "{again}");
    let requests = place.broker.held().requests.clone();
    assert!(requests.iter().all(|request| !request.starts_with("PUT")), "{requests:?}");

    place.remove::<ServiceInstance>("orders").await;
    until("the broker has deleted the instance", async || place.broker.is_empty()).await;
}

#[tokio::test]
async fn a_secret_of_the_old_controller_keeps_its_content() {
    let place = left_by_the_old_controller().await;
    let binding: ServiceBinding = place
        .create(
            "ServiceBinding",
            "orders-binding",
            json!({}),
            json!({"instanceRef": {"name": "orders"}, "externalID": format!("b-{}", place.namespace),
                "secretName": "orders-binding"}),
        )
        .await
        .unwrap();
    // Without the ExternalResource of the instance the catalog does not bind.
    place.binding_is("orders-binding", "ErrorInstanceNotReady").await;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "orders-binding", "ownerReferences": [{
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding", "name": "orders-binding",
            "uid": binding.uid(), "controller": true, "blockOwnerDeletion": true}]},
        "stringData": {"uri": "postgres://kept", "password": "kept"},
    }))
    .unwrap();
    place.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    write_status::<ServiceBinding>(
        &place,
        "orders-binding",
        json!({
            "conditions": [{"type": "Ready", "status": "True", "reason": "InjectedBindResult",
                "message": "Injected bind result", "lastTransitionTime": "2020-01-01T00:00:00Z"}],
            "reconciledGeneration": 1, "unbindStatus": "Required", "externalProperties": {},
        }),
    )
    .await;
    migration::take_over(&place.client, std::slice::from_ref(&place.namespace), true).await.unwrap();

    until("the Secret of the variables is written", async || {
        place.secret("orders-binding-env").await.is_some()
    })
    .await;
    let kept = place.secret("orders-binding").await.unwrap().data.unwrap();
    assert_eq!(kept["password"].0, b"kept");
    let requests = place.broker.held().requests.clone();
    assert!(requests.iter().all(|request| !request.starts_with("PUT")), "{requests:?}");
}
