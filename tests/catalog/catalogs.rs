//! Brokers and their catalogs: restrictions, withdrawn entries, objects and defaults of users, and failures.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bindery::apis::servicecatalog::{
    ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ServiceInstance,
};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::Event,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::harness::{Place, is, until};

fn classes(place: &Place) -> Api<ClusterServiceClass> {
    Api::all(place.client.clone())
}

fn plans(place: &Place) -> Api<ClusterServicePlan> {
    Api::all(place.client.clone())
}

/// The external names of the broker's plans that are not withdrawn, sorted.
async fn offered(place: &Place) -> Vec<String> {
    let all = plans(place).list(&ListParams::default()).await.unwrap();
    let is_offered = |plan: &&ClusterServicePlan| {
        plan.spec.cluster_service_broker_name == place.broker.name()
            && !plan.status.as_ref().is_some_and(|status| status.removed_from_broker_catalog)
    };
    let names = all.iter().filter(is_offered).map(|plan| plan.spec.common.external_name.clone());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Changes the broker's spec.
async fn change(place: &Place, spec: Value) {
    let patch = Patch::Merge(json!({"spec": spec}));
    place.brokers().patch(&place.broker.name(), &PatchParams::default(), &patch).await.unwrap();
}

/// Has the catalog read again, and waits until it is read.
async fn relist(place: &Place) {
    let before = place.brokers().get(&place.broker.name()).await.unwrap();
    change(place, json!({"relistRequests": before.spec.common.relist_requests.unwrap_or_default() + 1}))
        .await;
    until("the catalog is read again", async || {
        let broker = place.brokers().get(&place.broker.name()).await.unwrap();
        Some(broker.status.unwrap().reconciled_generation) == broker.metadata.generation
    })
    .await;
}

fn service(place: &Place, id: &str) -> Value {
    let suffix = &place.broker.suffix;
    json!({"id": format!("{id}-{suffix}"), "name": format!("{id}-{suffix}"), "description": "", "bindable": true,
        "plans": [{"id": format!("{id}-plan-{suffix}"), "name": format!("{id}-plan"), "description": "", "free": false}]})
}

#[tokio::test]
async fn restrictions_choose_the_classes_and_plans() {
    let place = Place::new().await;
    let extra = service(&place, "extra");
    place.broker.held().services = vec![extra];
    place.register(json!({"catalogRestrictions": {"servicePlan": ["spec.free=true", "spec.externalName!=unbindable"]}}))
        .await;
    place.broker_is("FetchedCatalog").await;
    assert_eq!(offered(&place).await, ["default"]);
    let extra = format!("extra-{}", place.broker.suffix);
    assert!(
        classes(&place).get_opt(&extra).await.unwrap().is_none(),
        "it has no plan that satisfies the rules"
    );
    change(
        &place,
        json!({"catalogRestrictions": {"serviceClass": [format!("spec.externalName in ({extra})")],
        "servicePlan": null}}),
    )
    .await;
    until("the other class", async || offered(&place).await == ["extra-plan"]).await;
    change(&place, json!({"catalogRestrictions": {"serviceClass": ["spec.external in (a)"]}})).await;
    let said = place.broker_is("ErrorSyncingCatalog").await;
    assert!(said.contains("serviceClass[0] \"spec.external in (a)\": unknown property"), "{said}");
    assert_eq!(offered(&place).await, ["extra-plan"], "an invalid rule changes nothing");
    change(&place, json!({"catalogRestrictions": null})).await;
    until("all plans", async || offered(&place).await == ["default", "extra-plan", "unbindable"]).await;
}

#[tokio::test]
async fn withdrawn_entries_stay_while_they_are_used_and_are_deleted_afterwards() {
    let place = Place::new().await;
    let (used, unused) = (service(&place, "used"), service(&place, "unused"));
    place.broker.held().services = vec![used, unused];
    place.register(json!({"relistBehavior": "Manual"})).await;
    place.broker_is("FetchedCatalog").await;
    let named = |id: &str| format!("{id}-{}", place.broker.suffix);
    let names = json!({"clusterServiceClassExternalName": named("used"), "clusterServicePlanExternalName": "used-plan"});
    place.instance("db", names.clone()).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.broker.held().services.clear();
    relist(&place).await;
    until("the unused class and plan are gone", async || {
        classes(&place).get_opt(&named("unused")).await.unwrap().is_none()
            && plans(&place).get_opt(&named("unused-plan")).await.unwrap().is_none()
    })
    .await;
    let class = classes(&place).get(&named("used")).await.unwrap();
    assert!(class.status.unwrap().removed_from_broker_catalog);
    place.instance("late", names).await;
    place.instance_is("late", "ReferencesDeletedServiceClass").await;
    place.remove::<ServiceInstance>("late").await;
    place.remove::<ServiceInstance>("db").await;
    until("the used class and plan are gone", async || {
        classes(&place).get_opt(&named("used")).await.unwrap().is_none()
            && plans(&place).get_opt(&named("used-plan")).await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn a_withdrawn_plan_is_refused_with_its_own_reason() {
    let place = Place::new().await;
    let mut extra = service(&place, "extra");
    let second =
        json!({"id": format!("second-{}", place.broker.suffix), "name": "second", "description": ""});
    extra["plans"].as_array_mut().unwrap().push(second);
    place.broker.held().services = vec![extra.clone()];
    place.register(json!({})).await;
    place.broker_is("FetchedCatalog").await;
    let class =
        json!({"clusterServiceClassExternalName": extra["name"], "clusterServicePlanExternalName": "second"});
    place.instance("db", class.clone()).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    extra["plans"].as_array_mut().unwrap().pop();
    place.broker.held().services = vec![extra];
    relist(&place).await;
    place.instance("late", class).await;
    let said = place.instance_is("late", "ReferencesDeletedServicePlan").await;
    assert!(said.ends_with("it offers extra-plan"), "{said}");
}

#[tokio::test]
async fn classes_and_plans_of_users_are_left_alone() {
    let place = Place::with_broker().await;
    place.broker_is("FetchedCatalog").await;
    let name = format!("mine-{}", place.broker.suffix);
    let spec = json!({"externalName": name, "externalID": format!("service-{}", place.broker.suffix),
        "description": "mine", "bindable": true, "clusterServiceBrokerName": place.broker.name()});
    let class = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ClusterServiceClass",
        "metadata": {"name": name}, "spec": spec});
    let created =
        classes(&place).create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await;
    let before = created.unwrap();
    relist(&place).await;
    let after = classes(&place).get(&name).await.unwrap();
    assert_eq!((&after.spec, after.status), (&before.spec, None), "neither changed nor marked as removed");
}

#[tokio::test]
async fn default_parameters_of_users_survive_a_changed_catalog() {
    let place = Place::new().await;
    let mut extra = service(&place, "extra");
    place.broker.held().services = vec![extra.clone()];
    place.register(json!({})).await;
    place.broker_is("FetchedCatalog").await;
    let (class, plan) =
        (format!("extra-{}", place.broker.suffix), format!("extra-plan-{}", place.broker.suffix));
    let defaults = json!({"spec": {"defaultProvisionParameters": {"size": 3}}});
    let parameters = PatchParams::default();
    classes(&place).patch(&class, &parameters, &Patch::Merge(&defaults)).await.unwrap();
    plans(&place).patch(&plan, &parameters, &Patch::Merge(&defaults)).await.unwrap();
    extra["description"] = json!("changed");
    extra["plans"][0]["description"] = json!("changed");
    place.broker.held().services = vec![extra];
    relist(&place).await;
    let class = json!(classes(&place).get(&class).await.unwrap());
    let plan = json!(plans(&place).get(&plan).await.unwrap());
    for object in [class, plan] {
        assert_eq!(object["spec"]["description"], "changed");
        assert_eq!(object["spec"]["defaultProvisionParameters"], json!({"size": 3}), "{object}");
    }
}

/// As objects that an earlier version of bindery wrote.
#[tokio::test]
async fn lost_labels_return_with_the_next_reading() {
    let place = Place::with_broker().await;
    place.broker_is("FetchedCatalog").await;
    let name = format!("plan-{}", place.broker.suffix);
    let labels = plans(&place).get(&name).await.unwrap().labels().clone();
    assert_eq!(labels.len(), 4, "{labels:?}");
    let none = Patch::Merge(json!({"metadata": {"labels": null}}));
    plans(&place).patch(&name, &PatchParams::default(), &none).await.unwrap();
    relist(&place).await;
    assert_eq!(plans(&place).get(&name).await.unwrap().labels(), &labels);
}

/// As with `updateRequests`: a lower number asks for nothing, so it is a mistake. Zero is what Go clients write for no number.
#[tokio::test]
async fn the_number_of_requests_to_read_the_catalog_only_grows() {
    let place = Place::with_broker().await;
    change(&place, json!({"relistRequests": 3})).await;
    let brokers = place.brokers();
    let put = async |count: Value| {
        let patch = Patch::Merge(json!({"spec": {"relistRequests": count}}));
        brokers.patch(&place.broker.name(), &PatchParams::default(), &patch).await
    };
    let refused = put(json!(2)).await.unwrap_err().to_string();
    assert!(refused.contains("relistRequests can only grow"), "{refused}");
    for accepted in [json!(3), json!(0), json!(null), json!(4)] {
        put(accepted).await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_could_not_be_read_for_a_week_is_failed() {
    let place = Place::with_broker().await;
    place.broker_is("FetchedCatalog").await;
    place.broker.stop().await;
    change(&place, json!({"relistRequests": 1})).await;
    place.broker_is("ErrorFetchingCatalog").await;
    let long_ago = json!({"status": {"operationStartTime": "2026-01-01T00:00:00Z"}});
    let brokers = place.brokers();
    let name = place.broker.name();
    brokers.patch_status(&name, &PatchParams::default(), &Patch::Merge(long_ago)).await.unwrap();
    until("the broker is failed", async || {
        let status = json!(brokers.get(&name).await.unwrap().status);
        status["lastConditionState"] == "Failed"
            && status["conditions"].to_string().contains("ErrorReconciliationRetryTimeout")
    })
    .await;
}

#[tokio::test]
async fn a_broker_whose_class_or_plan_cannot_be_deleted_says_so_and_is_deleted_later() {
    for (resource, prefix, reason) in [
        ("clusterserviceplans", "plan", "ErrorDeletingClusterServicePlan"),
        ("clusterserviceclasses", "service", "ErrorDeletingClusterServiceClass"),
    ] {
        let place = Place::with_broker().await;
        place.broker_is("FetchedCatalog").await;
        let kept = format!("{prefix}-{}", place.broker.suffix);
        let parameters = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let policy =
            Policy::forbid_deletion(&place, "servicecatalog.k8s.io", "v1beta1", resource, &kept).await;
        until("the API server keeps the object", async || match prefix {
            "plan" => plans(&place).delete(&kept, &parameters).await.is_err(),
            _ => classes(&place).delete(&kept, &parameters).await.is_err(),
        })
        .await;
        let (name, brokers) = (place.broker.name(), place.brokers());
        brokers.delete(&name, &DeleteParams::default()).await.unwrap();
        let said = is::<ClusterServiceBroker>(&brokers, &name, reason).await;
        assert!(said.contains(&kept) && said.contains("kept by a test"), "{said}");
        policy.lift().await;
        until("no broker", async || brokers.get_opt(&name).await.unwrap().is_none()).await;
        let events: Api<Event> = Api::namespaced(place.client.clone(), "default");
        until("an event", async || {
            let all = events.list(&ListParams::default()).await.unwrap();
            all.iter().any(|event| {
                event.involved_object.name.as_deref() == Some(&name)
                    && event.reason.as_deref() == Some("DeletedClusterServiceBrokerSuccessfully")
            })
        })
        .await;
    }
}

/// A policy that keeps an object from being deleted.
pub(crate) struct Policy {
    client: Client,
    name: String,
}

impl Policy {
    /// Has the API server refuse to delete objects of this name; it does so soon.
    pub(crate) async fn forbid_deletion(
        place: &Place,
        group: &str,
        version: &str,
        resource: &str,
        object: &str,
    ) -> Self {
        let name = format!("keep-{resource}-{object}-{}", place.namespace);
        let namespace = &place.namespace;
        let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [{"operations": ["DELETE"], "apiGroups": [group],
                    "apiVersions": [version], "resources": [resource]}]},
                "validations": [{"expression": format!("oldObject.metadata.name != '{object}' || \
                    (has(oldObject.metadata.namespace) && oldObject.metadata.namespace != '{namespace}')"),
                    "message": "kept by a test"}],
            },
        }))
        .unwrap();
        let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]},
        }))
        .unwrap();
        let (client, parameters) = (place.client.clone(), PostParams::default());
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        policies.create(&parameters, &policy).await.unwrap();
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
        bindings.create(&parameters, &binding).await.unwrap();
        Self { client, name }
    }

    pub(crate) async fn lift(self) {
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client);
        bindings.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}
