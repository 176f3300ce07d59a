//! Brokers, classes and plans of a namespace: only instances of the namespace use them.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{
            ServiceBinding, ServiceBroker, ServiceClass, ServiceInstance, ServicePlan, UsesSecrets,
        },
    },
    contract::approval::APPROVAL,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::harness::{Place, approvals, is, until};

/// A namespace with a ServiceBroker that is read.
async fn place() -> Place {
    let place = Place::new().await;
    let spec = json!({"url": place.broker.url()});
    place.create::<ServiceBroker>("ServiceBroker", "local", json!({}), spec).await.unwrap();
    is(&place.api::<ServiceBroker>(), "local", "FetchedCatalog").await;
    place
}

/// Creates an instance of the service in a namespace.
async fn instance(place: &Place, namespace: &str, names: Value) {
    let object = serde_json::from_value(json!({
        "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance", "metadata": {"name": "db"},
        "spec": names,
    }));
    let instances: Api<ServiceInstance> = Api::namespaced(place.client.clone(), namespace);
    instances.create(&PostParams::default(), &object.unwrap()).await.unwrap();
}

fn by_external_name(place: &Place) -> Value {
    json!({"serviceClassExternalName": place.broker.name(), "servicePlanExternalName": "default"})
}

#[tokio::test]
async fn a_broker_of_a_namespace_serves_instances_and_bindings_of_the_namespace() {
    let place = place().await;
    let suffix = &place.broker.suffix;
    let class = place.api::<ServiceClass>().get(&format!("service-{suffix}")).await.unwrap();
    assert_eq!(class.spec.service_broker_name, "local");
    assert_eq!(class.owner_references()[0].kind, "ServiceBroker");
    let label = "servicecatalog.k8s.io/spec.serviceBrokerName";
    // `printf local | sha224sum`
    assert_eq!(class.labels()[label], "c1e8936c25d17b014b1590892280761bfc8a3c54ebeba1441a77b337");
    instance(&place, &place.namespace, by_external_name(&place)).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let made = place.api::<ServiceInstance>().get("db").await.unwrap();
    let name = |reference: &Option<bindery::apis::servicecatalog::NameReference>| {
        reference.as_ref().map(|reference| reference.name.clone())
    };
    assert_eq!(name(&made.spec.service_class_ref), Some(format!("service-{suffix}")));
    assert_eq!(name(&made.spec.service_plan_ref), Some(format!("plan-{suffix}")));
    assert_eq!(name(&made.spec.cluster_service_class_ref), None);
    let shown = made.status.unwrap().user_specified_class_name.unwrap();
    assert_eq!(shown, format!("ServiceClass/{}", place.broker.name()));
    let broker = &place.external_resources().await[0].spec.broker;
    assert_eq!((broker.namespace.as_deref(), &*broker.name), (Some(&*place.namespace), "local"));
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    assert!(place.secret("b").await.is_some());
    place.remove::<ServiceBinding>("b").await;
    place.remove::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
    place.remove::<ServiceBroker>("local").await;
    let left = place.api::<ServicePlan>().list(&ListParams::default()).await.unwrap();
    assert!(left.items.iter().all(|plan| plan.metadata.deletion_timestamp.is_some()), "{left:?}");
}

#[tokio::test]
async fn each_way_of_naming_class_and_plan_works() {
    let place = place().await;
    let suffix = &place.broker.suffix;
    for names in [
        json!({"serviceClassExternalID": format!("service-{suffix}"), "servicePlanExternalID": format!("plan-{suffix}")}),
        json!({"serviceClassName": format!("service-{suffix}"), "servicePlanName": format!("plan-{suffix}")}),
    ] {
        instance(&place, &place.namespace, names).await;
        place.instance_is("db", "ProvisionedSuccessfully").await;
        place.remove::<ServiceInstance>("db").await;
    }
}

#[tokio::test]
async fn instances_of_other_namespaces_never_use_the_broker() {
    let place = place().await;
    let other = Place::new().await;
    instance(&place, &other.namespace, by_external_name(&place)).await;
    let said = other.instance_is("db", "ReferencesNonexistentServiceClass").await;
    assert!(said.contains("kubectl get serviceclasses in the namespace"), "{said}");
    let cluster_names = json!({"clusterServiceClassExternalName": place.broker.name()});
    place.create::<ServiceInstance>("ServiceInstance", "db2", json!({}), cluster_names).await.unwrap();
    place.instance_is("db2", "ReferencesNonexistentServiceClass").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn the_secret_of_a_broker_of_a_namespace_must_be_approved() {
    let place = Place::new().await;
    let secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "auth"}, "stringData": {"username": "user", "password": "right"}}),
    )
    .unwrap();
    place.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    let spec = json!({"url": place.broker.url(), "authInfo": {"basic": {"secretRef": {"name": "auth"}}}});
    place.create::<ServiceBroker>("ServiceBroker", "local", json!({}), spec).await.unwrap();
    let said = is(&place.api::<ServiceBroker>(), "local", "SecretNotApproved").await;
    let command = format!("kubectl annotate servicebroker local -n {}", place.namespace);
    assert!(said.contains(&command), "{said}");
}

/// Kubernetes may delete the Secret with the broker's credentials before the instances.
#[tokio::test]
async fn a_namespace_whose_broker_needs_credentials_leaves_nothing_at_the_broker() {
    let place = Place::new().await;
    place.broker.held().password = Some("right".to_owned());
    let secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "auth"}, "stringData": {"username": "user", "password": "right"}}),
    )
    .unwrap();
    place.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    let spec = json!({"url": place.broker.url(), "authInfo": {"basic": {"secretRef": {"name": "auth"}}}});
    let mut broker: ServiceBroker = serde_json::from_value(json!({
        "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBroker",
        "metadata": {"name": "local", "namespace": place.namespace}, "spec": spec,
    }))
    .unwrap();
    let checked = ExternalResourceBroker::of(&broker).checked();
    let approval = approvals(&place.client).issue(&checked).await.unwrap();
    broker.annotations_mut().insert(APPROVAL.to_owned(), approval);
    place.api::<ServiceBroker>().create(&PostParams::default(), &broker).await.unwrap();
    is(&place.api::<ServiceBroker>(), "local", "FetchedCatalog").await;
    instance(&place, &place.namespace, by_external_name(&place)).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    namespaces.delete(&place.namespace, &DeleteParams::default()).await.unwrap();
    place.api::<Secret>().delete("auth", &DeleteParams::default()).await.ok();
    until("no namespace", async || namespaces.get_opt(&place.namespace).await.unwrap().is_none()).await;
    until("nothing at the broker", async || place.broker.is_empty()).await;
    until("no ExternalResource", async || place.external_resources().await.is_empty()).await;
}

#[tokio::test]
async fn a_namespace_with_a_broker_and_its_instances_can_be_deleted() {
    let place = place().await;
    instance(&place, &place.namespace, by_external_name(&place)).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    namespaces.delete(&place.namespace, &DeleteParams::default()).await.unwrap();
    until("no namespace", async || namespaces.get_opt(&place.namespace).await.unwrap().is_none()).await;
    until("nothing at the broker", async || place.broker.is_empty()).await;
    until("no ExternalResource", async || place.external_resources().await.is_empty()).await;
}
