//! Approvals of references to Secrets: the API server calls the webhook, and the tests act as users who may write
//! `ClusterServiceBrokers` and as users who may also read a Secret.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindery::{
    admission::{
        router::Routes,
        service_brokers::{PATH, ServiceBrokerHandler},
    },
    apis::servicecatalog::{ClusterServiceBroker, reasons::SECRET_NOT_APPROVED},
    contract::approval::{APPROVAL, CHECK},
    install::registration::{Registration, Scope},
    server::certificates::TrustAnchors,
    telemetry::Metrics,
};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::Secret,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    admission::webhook::{REGISTRATION, Server},
    harness::{Place, approvals, client_of, until},
};

/// A broker that requires a password, which is in the Secret `auth` of the place's namespace. `mallory` may write
/// `ClusterServiceBrokers`; `alice` may also get that Secret.
struct Scene {
    place: Place,
    mallory: Client,
    alice: Client,
    server: Server,
}

impl Scene {
    /// The webhook reviews `ClusterServiceBrokers` with the place's label.
    async fn new() -> Self {
        let place = Place::new().await;
        place.broker.held().password = Some("right".to_owned());
        let secret: Secret = serde_json::from_value(
            json!({"metadata": {"name": "auth"}, "stringData": {"username": "user", "password": "right"}}),
        )
        .unwrap();
        place.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
        grant(&place).await;
        let user = async |name: &str| client_of(&format!("{name}-{}", place.namespace), &[]).await;
        let (mallory, alice) = (user("mallory").await, user("alice").await);
        let handler = ServiceBrokerHandler::new(place.client.clone(), approvals(&place.client));
        let routes = Routes::new(Arc::new(Metrics::new())).handle(PATH, handler).into_router();
        let server = Server::start(routes).await;
        register(&place, &server).await;
        let scene = Self { place, mallory, alice, server };
        let probe = scene.broker("probe", "no-such-secret");
        until("the API server asks the webhook", async || {
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            brokers(&scene.mallory)
                .create(&dry, &probe)
                .await
                .is_err_and(|error| error.to_string().contains("denied"))
        })
        .await;
        scene
    }

    /// A ClusterServiceBroker that names a Secret of the place's namespace.
    fn broker(&self, name: &str, secret: &str) -> ClusterServiceBroker {
        let reference = json!({"basic": {"secretRef": {"namespace": self.place.namespace, "name": secret}}});
        let mut broker = self.place.unapproved(&json!({"authInfo": reference}));
        if !name.is_empty() {
            broker.metadata.name = Some(format!("{name}-{}", self.place.broker.suffix));
        }
        broker.labels_mut().insert("checked".to_owned(), self.place.namespace.clone());
        broker
    }

    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.place.client.clone())
    }

    async fn patch(&self, client: &Client, patch: Value) -> kube::Result<ClusterServiceBroker> {
        let name = self.place.broker.name();
        brokers(client).patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    async fn finish(self) {
        self.configurations().delete(&self.place.namespace, &DeleteParams::default()).await.unwrap();
    }
}

fn brokers(client: &Client) -> Api<ClusterServiceBroker> {
    Api::all(client.clone())
}

async fn grant(place: &Place) {
    let name = &place.namespace;
    let user = |user: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("{user}-{name}")});
    let reference = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": name}, "rules": [
        {"apiGroups": ["servicecatalog.k8s.io"], "resources": ["clusterservicebrokers"],
            "verbs": ["get", "create", "update", "patch", "delete"]}]}))
    .unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({"metadata": {"name": name},
        "roleRef": reference("ClusterRole"), "subjects": [user("mallory"), user("alice")]}))
    .unwrap();
    let own: Role = serde_json::from_value(json!({"metadata": {"name": name}, "rules": [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["auth"], "verbs": ["get"]}]}))
    .unwrap();
    let bound: RoleBinding = serde_json::from_value(json!({"metadata": {"name": name},
        "roleRef": reference("Role"), "subjects": [user("alice")]}))
    .unwrap();
    let make = PostParams::default();
    Api::all(place.client.clone()).create(&make, &role).await.unwrap();
    Api::all(place.client.clone()).create(&make, &binding).await.unwrap();
    place.api().create(&make, &own).await.unwrap();
    place.api().create(&make, &bound).await.unwrap();
}

/// The registration of the plain manifests, limited to the objects of this test.
async fn register(place: &Place, server: &Server) {
    let mut configuration: Value = serde_saphyr::from_str(REGISTRATION).unwrap();
    configuration["metadata"]["name"] = json!(place.namespace);
    let webhooks = configuration["webhooks"].as_array_mut().unwrap();
    webhooks.retain(|webhook| webhook["name"] == "brokers.bindery.dev");
    let path = webhooks[0]["clientConfig"]["service"]["path"].as_str().unwrap();
    let url = format!("https://{}{path}", server.address);
    webhooks[0]["clientConfig"] = json!({"url": url, "caBundle": STANDARD.encode(&server.bundle)});
    webhooks[0]["objectSelector"] = json!({"matchLabels": {"checked": place.namespace}});
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(configuration).unwrap();
    Api::all(place.client.clone()).create(&PostParams::default(), &configuration).await.unwrap();
}

#[tokio::test]
async fn a_secret_is_sent_only_to_the_url_of_an_author_who_may_get_it() {
    let scene = Scene::new().await;
    let (place, make) = (&scene.place, PostParams::default());
    let wanted = scene.broker("", "auth");
    let error = brokers(&scene.mallory).create(&make, &wanted).await.unwrap_err().to_string();
    assert!(error.contains(&format!("{}/auth", place.namespace)) && error.contains("may not get"), "{error}");
    brokers(&scene.alice).create(&make, &wanted).await.unwrap();
    place.broker_is("FetchedCatalog").await;

    let elsewhere = json!({"spec": {"url": "http://127.0.0.1:1"}});
    let error = scene.patch(&scene.mallory, elsewhere).await.unwrap_err().to_string();
    assert!(error.contains("may not get"), "{error}");
    scene.patch(&scene.mallory, json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    let kept = scene.patch(&scene.mallory, json!({"spec": {"relistRequests": 1}})).await.unwrap();
    let approval = kept.annotations()[APPROVAL].clone();
    let stripped = json!({"metadata": {"annotations": {APPROVAL: null}}});
    assert_eq!(scene.patch(&scene.mallory, stripped).await.unwrap().annotations()[APPROVAL], approval);
    until("the catalog is read again", async || {
        let broker = place.brokers().get(&place.broker.name()).await.unwrap();
        broker.status.unwrap().reconciled_generation == broker.metadata.generation.unwrap()
    })
    .await;
    place.broker_is("FetchedCatalog").await;
    scene.finish().await;
}

/// Without the webhook nothing is approved, and no Secret is sent. An approval copied from another object is invalid.
#[tokio::test]
async fn an_unapproved_reference_waits_and_says_so() {
    let scene = Scene::new().await;
    let (place, make) = (&scene.place, PostParams::default());
    let approved = brokers(&scene.alice).create(&make, &scene.broker("other", "auth")).await.unwrap();
    let other = approved.name_any();
    brokers(&scene.alice).delete(&other, &DeleteParams::default()).await.unwrap();
    until("no other broker", async || place.brokers().get_opt(&other).await.unwrap().is_none()).await;
    let mut forged = scene.broker("", "auth");
    forged.labels_mut().clear();
    forged.annotations_mut().insert(APPROVAL.to_owned(), approved.annotations()[APPROVAL].clone());
    brokers(&scene.mallory).create(&make, &forged).await.unwrap();
    let message = place.broker_is(SECRET_NOT_APPROVED).await;
    let remedy = format!("kubectl annotate clusterservicebroker {} {APPROVAL}={CHECK}", place.broker.name());
    assert!(message.contains(&remedy) && message.contains("/auth"), "{message}");
    assert_eq!(
        place.brokers().get(&place.broker.name()).await.unwrap().status.unwrap().last_catalog_retrieval_time,
        None
    );

    // The webhook is back; it refuses one author and approves the other.
    let label = json!({"metadata": {"labels": {"checked": place.namespace}}});
    scene.patch(&scene.alice, label).await.unwrap();
    place.broker_is(SECRET_NOT_APPROVED).await;
    let asking = json!({"metadata": {"annotations": {APPROVAL: CHECK}}});
    assert!(scene.patch(&scene.mallory, asking.clone()).await.is_err());
    scene.patch(&scene.alice, asking).await.unwrap();
    place.broker_is("FetchedCatalog").await;
    scene.finish().await;
}

#[tokio::test]
async fn while_the_webhook_is_down_no_broker_with_a_secret_is_stored() {
    let scene = Scene::new().await;
    scene.server.stop().await;
    let make = PostParams::default();
    let error = brokers(&scene.alice).create(&make, &scene.broker("", "auth")).await.unwrap_err().to_string();
    assert!(error.contains("brokers.bindery.dev"), "{error}");
    let mut without = scene.place.unapproved(&json!({}));
    without.labels_mut().insert("checked".to_owned(), scene.place.namespace.clone());
    brokers(&scene.alice).create(&make, &without).await.unwrap();
    scene.finish().await;
}

/// bindery's own broker registers itself, whether the webhook comes before or after it.
#[tokio::test]
async fn bindery_registers_itself_before_and_after_the_webhook() {
    let scene = Scene::new().await;
    let place = &scene.place;
    let registration = Registration {
        client: scene.alice.clone(),
        scope: Scope::Cluster,
        name: place.broker.name(),
        url: place.broker.url(),
        secret_namespace: place.namespace.clone(),
        secret_name: "auth".to_owned(),
    };
    let own = json!({"metadata": {"labels": {"checked": place.namespace}}});
    registration.publish(&scene.server.bundle).await.unwrap();
    place.broker_is(SECRET_NOT_APPROVED).await;
    registration.publish(&scene.server.bundle).await.unwrap();
    let waiting = place.brokers().get(&place.broker.name()).await.unwrap();
    assert_eq!(waiting.annotations().get(APPROVAL), None, "nothing is written over and over");
    place.brokers().patch(&place.broker.name(), &PatchParams::default(), &Patch::Merge(own)).await.unwrap();
    registration.publish(&scene.server.bundle).await.unwrap();
    place.broker_is("FetchedCatalog").await;
    let approved = place.brokers().get(&place.broker.name()).await.unwrap();
    registration.publish(&scene.server.bundle).await.unwrap();
    let again = place.brokers().get(&place.broker.name()).await.unwrap();
    assert_eq!(again.annotations()[APPROVAL], approved.annotations()[APPROVAL]);
    scene.finish().await;
}
