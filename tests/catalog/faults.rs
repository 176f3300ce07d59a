//! Failing brokers, and what the conditions say.

use std::time::{Duration, Instant};

use bindery::apis::servicecatalog::{ServiceBinding, ServiceInstance};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    broker::{Broker, Fault},
    harness::{Place, until},
};

#[tokio::test]
async fn a_web_page_is_no_broker_and_a_corrected_url_is_used() {
    let place = Place::new().await;
    place.broker.set(Fault::Html);
    place.register(json!({})).await;
    let message = place.broker_is("ErrorFetchingCatalog").await;
    assert!(message.contains("answered HTML, status 200") && !message.contains("It works"), "{message}");
    place.broker.set(Fault::None);
    place.broker_is("FetchedCatalog").await;
}

#[tokio::test]
async fn a_broker_that_starts_late_is_found_soon() {
    let mut place = Place::new().await;
    place.broker = Broker::unstarted();
    place.register(json!({})).await;
    let message = place.broker_is("ErrorFetchingCatalog").await;
    assert!(
        message.contains("Connection refused") && message.contains("check that the broker runs"),
        "{message}"
    );
    tokio::time::sleep(Duration::from_secs(3)).await; // the waits grow meanwhile
    place.broker.serve();
    let started = Instant::now();
    place.broker_is("FetchedCatalog").await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_unreachable_broker_is_used_again_when_it_is_back() {
    let mut place = Place::with_broker().await;
    place.broker_is("FetchedCatalog").await;
    let address = place.broker.address;
    place.broker.stop().await;
    place.instance("db", json!({})).await;
    let message = place.instance_is("db", "ErrorCallingProvision").await;
    assert!(message.contains(&address.to_string()), "{message}");
    place.broker.serve();
    place.instance_is("db", "ProvisionedSuccessfully").await;
}

#[tokio::test]
async fn wrong_credentials_are_reported_and_corrected_ones_used() {
    let place = Place::new().await;
    place.broker.held().password = Some("right".to_owned());
    let secrets: Api<Secret> = place.api();
    let reference =
        json!({"authInfo": {"basic": {"secretRef": {"namespace": place.namespace, "name": "auth"}}}});
    place.register(reference).await;
    let message = place.broker_is("ErrorGettingAuthCredentials").await;
    assert!(message.contains("does not exist"), "{message}");
    let secret = |password: &str| -> Secret {
        let auth =
            json!({"metadata": {"name": "auth"}, "stringData": {"username": "user", "password": password}});
        serde_json::from_value(auth).unwrap()
    };
    secrets.create(&PostParams::default(), &secret("wrong-hunter2")).await.unwrap();
    let message = place.broker_is("ErrorFetchingCatalog").await;
    assert!(
        message.contains("refused the credentials (status 401)") && !message.contains("hunter2"),
        "{message}"
    );
    let mended = Patch::Merge(json!({"stringData": {"password": "right"}}));
    secrets.patch("auth", &PatchParams::default(), &mended).await.unwrap();
    place.broker_is("FetchedCatalog").await;
}

#[tokio::test]
async fn a_password_in_the_url_works_and_stays_there() {
    let place = Place::new().await;
    place.broker.held().password = Some("hunter2".to_owned());
    place.register(json!({"url": place.broker.url().replace("http://", "http://user:hunter2@")})).await;
    place.broker_is("FetchedCatalog").await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let external_resources = serde_json::to_string(&place.external_resources().await).unwrap();
    assert!(!external_resources.contains("hunter2"), "{external_resources}");
    let name = place.broker.name();
    let row =
        axum::http::Request::get(format!("/apis/servicecatalog.k8s.io/v1beta1/clusterservicebrokers/{name}"))
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new())
            .unwrap();
    let table: Value = place.client.request(row).await.unwrap();
    assert_eq!(table["rows"][0]["cells"][1], place.broker.url(), "what kubectl get shows");
}

#[tokio::test]
async fn requests_to_a_failing_broker_are_retried() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::Broken);
    place.instance("db", json!({})).await;
    let message = place.instance_is("db", "ProvisionCallFailed").await;
    assert!(message.contains("status 500: the disk is full"), "{message}");
    place.broker.set(Fault::None);
    place.instance_is("db", "ProvisionedSuccessfully").await;
    assert_eq!(place.broker.held().instances.len(), 1);
}

#[tokio::test]
async fn a_refused_spec_is_not_retried_until_it_changes() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::Refuses);
    place.instance("db", json!({"parameters": {"size": "huge"}})).await;
    let message = place.instance_is("db", "ProvisionCallFailed").await;
    assert!(message.contains("no such size"), "{message}");
    let instance: ServiceInstance = place.api().get("db").await.unwrap();
    assert_eq!(instance.status.unwrap().last_condition_state, "Failed");
    place.broker.set(Fault::None);
    place.merge::<ServiceInstance>("db", json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    place.merge::<ServiceInstance>("db", json!({"spec": {"parameters": {"size": "small"}}})).await.unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let held = place.broker.held();
    assert_eq!(held.requests.len(), 2, "one refused, one accepted: {:?}", held.requests);
    assert_eq!(held.instances.values().next().unwrap()["parameters"], json!({"size": "small"}));
}

#[tokio::test]
async fn a_creation_that_fails_later_is_rolled_back() {
    let place = Place::with_broker().await;
    place.broker.set(Fault::FailsLater);
    place.instance("db", json!({})).await;
    until("a failure for good", async || {
        let instance: ServiceInstance = place.api().get("db").await.unwrap();
        instance.status.is_some_and(|status| status.last_condition_state == "Failed")
    })
    .await;
    assert!(place.instance_is("db", "ProvisionCallFailed").await.contains("creating (10%)"));
    assert!(place.broker.is_empty());
    place.broker.set(Fault::None);
    place.merge::<ServiceInstance>("db", json!({"spec": {"parameters": {"a": 1}}})).await.unwrap();
    place.instance_is("db", "ProvisionedSuccessfully").await;
}

#[tokio::test]
async fn a_deletion_waits_for_the_broker_and_says_so() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.broker.set(Fault::Broken);
    place.delete::<ServiceInstance>("db").await;
    let message = place.instance_is("db", "DeprovisionCallFailed").await;
    let external_resource = place.external_resources().await[0].name_any();
    assert!(message.contains("the disk is full") && message.contains(" since 20"), "{message}");
    assert!(message.ends_with(&format!("kubectl delete extres {external_resource}")), "{message}");
    place.broker.set(Fault::None);
    place.gone::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn an_instance_can_be_deleted_after_its_broker_was_withdrawn() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    place.brokers().delete(&place.broker.name(), &DeleteParams::default()).await.unwrap();
    until("no broker", async || place.brokers().get_opt(&place.broker.name()).await.unwrap().is_none()).await;
    place.delete::<ServiceInstance>("db").await;
    place.gone::<ServiceInstance>("db").await;
    assert!(place.broker.is_empty());
}

#[tokio::test]
async fn a_plan_that_cannot_be_bound_is_reported() {
    let place = Place::with_broker().await;
    place.instance("db", json!({"clusterServicePlanExternalName": "unbindable"})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "ErrorNonbindableServiceClass").await;
    place.delete::<ServiceBinding>("b").await;
    place.gone::<ServiceBinding>("b").await;
    let held = place.broker.held();
    assert!(!held.requests.iter().any(|request| request.contains("bindings")), "{:?}", held.requests);
}

/// One invalid entry does not make the catalog useless.
#[tokio::test]
async fn invalid_entries_of_a_catalog_are_skipped() {
    let place = Place::new().await;
    let suffix = place.broker.suffix.clone();
    place.broker.held().services = vec![
        json!({"id": format!("nulls-{suffix}"), "name": format!("nulls-{suffix}"), "description": null, "bindable": true,
            "tags": null, "metadata": null, "requires": null, "plan_updateable": null,
            "plans": [{"id": format!("n-{suffix}"), "name": "n", "description": null, "schemas": null, "free": null},
                {"id": format!("m-{suffix}"), "name": "m", "free": "perhaps"}]}),
        json!({"id": null, "name": "nobody", "plans": []}),
    ];
    place.register(json!({})).await;
    let message = place.broker_is("FetchedCatalogInPart").await;
    assert!(message.contains("plan \"m\": services[1].plans[1].free"), "{message}");
    assert!(message.contains("service \"nobody\": services[2].id"), "{message}");
    for class in [place.broker.name(), format!("nulls-{suffix}")] {
        let plan = if class == place.broker.name() { "default" } else { "n" };
        let spec = json!({"clusterServiceClassExternalName": class, "clusterServicePlanExternalName": plan});
        place.instance(plan, spec).await;
        place.instance_is(plan, "ProvisionedSuccessfully").await;
    }
    place.broker.held().services.truncate(1);
    place.broker.held().services[0]["plans"][1]["free"] = json!(true);
    let relist = Patch::Merge(json!({"spec": {"relistRequests": 1}}));
    place.brokers().patch(&place.broker.name(), &PatchParams::default(), &relist).await.unwrap();
    place.broker_is("FetchedCatalog").await;
}

/// A Secret is never overwritten with nothing.
#[tokio::test]
async fn credentials_returned_only_once_are_fetched_or_reported_missing() {
    for is_retrievable in [true, false] {
        let place = Place::new().await;
        place.broker.held().is_retrievable = is_retrievable;
        place.register(json!({})).await;
        place.instance("db", json!({})).await;
        place.binding("b", "db", json!({})).await;
        place.binding_is("b", "InjectedBindResult").await;
        let before = place.secret("b").await.unwrap().data;
        place.broker.set(Fault::TellsOnce);
        place.delete::<Secret>("b-env").await;
        let look = json!({"metadata": {"annotations": {"bindery.dev/reconcile": "1"}}});
        place.merge::<ServiceBinding>("b", look).await.unwrap();
        if is_retrievable {
            until("the other Secret", async || place.secret("b-env").await.is_some()).await;
            place.binding_is("b", "InjectedBindResult").await;
        } else {
            let message = place.binding_is("b", "BindResultMissing").await;
            assert!(message.contains("create it again"), "{message}");
        }
        assert_eq!(place.secret("b").await.unwrap().data, before);
    }
}

#[tokio::test]
async fn expired_credentials_are_reported() {
    let place = Place::with_broker().await;
    let end = k8s_openapi::jiff::Timestamp::now() + k8s_openapi::jiff::SignedDuration::from_secs(6);
    place.broker.held().expires_at = Some(end.to_string());
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    let message = place.binding_is("b", "CredentialsExpired").await;
    assert!(k8s_openapi::jiff::Timestamp::now() >= end);
    assert!(message.contains("create it again"), "{message}");
    let asked = || {
        place
            .broker
            .held()
            .requests
            .iter()
            .filter(|request| request.starts_with("PUT") && request.contains("bindings"))
            .count()
    };
    assert_eq!(asked(), 1, "the broker is not asked again and again");
    // On request the broker is asked again, and this broker returns new credentials.
    place.broker.held().expires_at = None;
    let look = json!({"metadata": {"annotations": {"bindery.dev/reconcile": "1"}}});
    place.merge::<ServiceBinding>("b", look).await.unwrap();
    place.binding_is("b", "InjectedBindResult").await;
}

/// No credentials remain at the broker that nobody can use.
#[tokio::test]
async fn credentials_that_no_secret_can_hold_are_deleted_at_the_broker() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    for (name, credentials, words) in [
        ("key", json!({"host name": "hunter2"}), ["\"host name\"", "letters, digits"]),
        ("size", json!({"ca": "x".repeat((1 << 20) + 1)}), ["1048577", "1048576"]),
    ] {
        place.broker.held().credentials = credentials;
        place.binding(name, "db", json!({})).await;
        let message = place.binding_is(name, "ErrorInjectingBindResult").await;
        assert!(words.iter().all(|word| message.contains(word)) && !message.contains("hunter2"), "{message}");
        assert!(message.contains("deleted the credentials at the broker"), "{message}");
        assert!(place.broker.held().bindings.is_empty());
        let binding: ServiceBinding = place.api().get(name).await.unwrap();
        assert_eq!(binding.status.unwrap().last_condition_state, "Failed");
        assert!(place.secret(name).await.is_none());
        place.delete::<ServiceBinding>(name).await;
        place.gone::<ServiceBinding>(name).await;
    }
    assert_eq!(place.external_resources().await.len(), 1, "that of the instance");
}

#[tokio::test]
async fn a_name_without_room_for_the_second_secret_is_refused() {
    let place = Place::with_broker().await;
    let create = async |length: usize| {
        let spec = json!({"instanceRef": {"name": "db"}});
        place.create::<ServiceBinding>("ServiceBinding", &"b".repeat(length), json!({}), spec).await
    };
    let refused = create(250).await.unwrap_err().to_string();
    assert!(refused.contains("at most 249 characters"), "{refused}");
    create(249).await.unwrap();
    place.instance("db", json!({})).await;
    place.binding_is(&"b".repeat(249), "InjectedBindResult").await;
    assert!(place.secret(&format!("{}-env", "b".repeat(249))).await.is_some());
}
