//! Objects of a lost cluster: a dump that `bindery migrate` takes over, and objects that a backup restored without their
//! status, as Velero does. Nothing is provisioned again, and no Secret of a dump changes.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Output;

use bindery::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance},
    catalog::names::escaped,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::{
    broker::Verb,
    commands::kubectl,
    harness::{Place, text, until, while_catalog_is_stopped},
};

const GROUP: &str = "servicecatalog.k8s.io/v1beta1";
/// The uid of an object of the lost cluster.
const OLD_UID: &str = "7c3f3d1e-8a54-4d7b-9a3c-0d6f7b1f2a11";

/// What the lost cluster had: an instance `orders`, its binding `orders-binding`, and ids at the broker.
struct Lost<'a> {
    place: &'a Place,
    instance_id: String,
    binding_id: String,
}

impl<'a> Lost<'a> {
    /// The broker still holds the instance and the binding.
    async fn of(place: &'a Place) -> Self {
        let namespaces: Api<Namespace> = Api::all(place.client.clone());
        let space = namespaces.get(&place.namespace).await.unwrap().uid();
        let lost = Self {
            place,
            instance_id: format!("i-{}", place.namespace),
            binding_id: format!("b-{}", place.namespace),
        };
        let [class, plan] = lost.ids();
        let mut held = place.broker.held();
        let body =
            json!({"service_id": class, "plan_id": plan, "space_guid": space, "parameters": {"size": 1}});
        held.instances.insert(lost.instance_id.clone(), body);
        held.bindings.insert(lost.binding_id.clone(), lost.instance_id.clone());
        drop(held);
        lost
    }

    fn ids(&self) -> [String; 2] {
        ["service", "plan"].map(|kind| format!("{kind}-{}", self.place.broker.suffix))
    }

    fn object(&self, kind: &str, name: &str, more: Value) -> Value {
        let mut object = json!({"apiVersion": GROUP, "kind": kind, "metadata": {"name": name, "uid": OLD_UID,
            "resourceVersion": "4711", "generation": 4, "creationTimestamp": "2020-05-04T09:59:00Z"}});
        if !kind.starts_with("Cluster") {
            object["metadata"]["namespace"] = json!(self.place.namespace);
        }
        if !kind.contains("Class") && !kind.contains("Plan") {
            object["metadata"]["finalizers"] = json!(["kubernetes-incubator/service-catalog"]);
        }
        if let Value::Object(more) = more {
            object.as_object_mut().unwrap().extend(more);
        }
        object
    }

    fn instance(&self, status: bool) -> Value {
        let [class, plan] = self.ids();
        let spec = json!({"clusterServiceClassExternalName": self.place.broker.name(),
            "clusterServicePlanExternalName": "default", "clusterServiceClassRef": {"name": class},
            "clusterServicePlanRef": {"name": plan}, "externalID": self.instance_id, "parameters": {"size": 1},
            "updateRequests": 2, "userInfo": {"username": "jane", "uid": "", "groups": ["system:authenticated"]}});
        let checksum: String =
            Sha256::digest(r#"{"size":1}"#).iter().map(|byte| format!("{byte:02x}")).collect();
        let properties = json!({"clusterServicePlanExternalName": "default", "clusterServicePlanExternalID": plan,
            "parameters": {"size": 1}, "parameterChecksum": checksum, "userInfo": spec["userInfo"]});
        let status = status.then(|| {
            json!({"conditions": ready("ProvisionedSuccessfully"), "asyncOpInProgress": false,
                "orphanMitigationInProgress": false, "reconciledGeneration": 4, "observedGeneration": 4,
                "externalProperties": properties, "provisionStatus": "Provisioned", "deprovisionStatus": "Required",
                "lastConditionState": "Ready", "userSpecifiedPlanName": "default",
                "userSpecifiedClassName": format!("ClusterServiceClass/{}", self.place.broker.name())})
        });
        self.object("ServiceInstance", "orders", json!({"spec": spec, "status": status}))
    }

    fn binding(&self, status: bool) -> Value {
        let spec = json!({"instanceRef": {"name": "orders"}, "externalID": self.binding_id, "parameters": {},
            "secretName": "orders-binding", "userInfo": {"username": "jane", "uid": ""}});
        let status = status.then(|| {
            json!({"conditions": ready("InjectedBindResult"), "asyncOpInProgress": false, "reconciledGeneration": 1,
                "externalProperties": {"userInfo": spec["userInfo"]}, "orphanMitigationInProgress": false,
                "unbindStatus": "Required", "lastConditionState": "Ready"})
        });
        self.object("ServiceBinding", "orders-binding", json!({"spec": spec, "status": status}))
    }

    /// The Secret of the binding, which belongs to the lost binding or to nobody.
    fn secret(&self, is_owned: bool) -> Value {
        let owner = json!([{"apiVersion": GROUP, "kind": "ServiceBinding", "name": "orders-binding", "uid": OLD_UID,
            "controller": true, "blockOwnerDeletion": true}]);
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "orders-binding", "namespace": self.place.namespace,
                "ownerReferences": if is_owned { owner } else { json!([]) }},
            // `kept`, as a dump has it.
            "data": {"password": "a2VwdA==", "uri": "a2VwdA=="}})
    }

    /// Everything, as `kubectl get … --all-namespaces --output yaml` prints it.
    fn dump(&self) -> Value {
        let (name, [class, plan]) = (self.place.broker.name(), self.ids());
        let offered = |id: &str, name: &str| {
            json!({"externalName": name, "externalID": id, "description": "d", "bindable": true,
                "clusterServiceBrokerName": self.place.broker.name()})
        };
        let mut of_class = offered(&class, &name);
        // As the broker's catalog has it, so that the variables stay the same when the catalog is read again.
        of_class["externalMetadata"] = self.place.broker.held().catalog["services"][0]["metadata"].clone();
        let mut of_plan = offered(&plan, "default");
        of_plan["clusterServiceClassRef"] = json!({"name": class});
        of_plan["free"] = json!(true);
        let removed = json!({"removedFromBrokerCatalog": false});
        let broker = json!({"spec": {"url": self.place.broker.url(), "relistBehavior": "Duration", "relistRequests": 1},
            "status": {"conditions": ready("FetchedCatalog"), "reconciledGeneration": 4, "lastConditionState": "Ready",
                "lastCatalogRetrievalTime": "2020-05-04T10:00:00Z"}});
        json!({"apiVersion": "v1", "kind": "List", "items": [
            self.object("ClusterServiceBroker", &name, broker),
            self.object("ClusterServiceClass", &class, json!({"spec": of_class, "status": removed})),
            self.object("ClusterServicePlan", &plan, json!({"spec": of_plan, "status": removed})),
            self.instance(true),
            self.binding(true),
            self.secret(true),
        ]})
    }

    /// Deletes both objects, and checks that the broker was asked under the former ids.
    async fn delete(&self) {
        self.place.remove::<ServiceBinding>("orders-binding").await;
        self.place.remove::<ServiceInstance>("orders").await;
        assert!(self.place.broker.is_empty());
        for (verb, id) in [(Verb::Unbind, &self.binding_id), (Verb::Deprovision, &self.instance_id)] {
            let asked = self.place.broker.received(verb);
            assert!(asked.iter().all(|record| record.path.ends_with(id.as_str())), "{asked:?}");
        }
    }
}

fn ready(reason: &str) -> Value {
    json!([{"type": "Ready", "status": "True", "reason": reason, "message": "done",
        "lastTransitionTime": "2020-05-04T10:00:00Z"}])
}

/// Runs `bindery migrate` for the place's namespace.
async fn migrate(place: &Place, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bindery"))
        .args(["migrate", "--only-namespace", &place.namespace])
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_dump_is_taken_over_and_nothing_is_provisioned_again() {
    let place = Place::new().await;
    let lost = Lost::of(&place).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.yaml").display().to_string();
    std::fs::write(&file, serde_saphyr::to_string(&lost.dump()).unwrap()).unwrap();

    let looked = migrate(&place, &["--filename", &file]).await;
    let said = String::from_utf8(looked.stdout).unwrap();
    assert!(looked.status.success() && said.contains("would create: Secret"), "{said}");
    assert!(place.api::<ServiceInstance>().get_opt("orders").await.unwrap().is_none());
    let taken = while_catalog_is_stopped(migrate(&place, &["--filename", &file, "--apply"])).await;
    let [said, beside] = [taken.stdout, taken.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(taken.status.success(), "{beside}");
    for kind in [
        "ClusterServiceBroker",
        "ClusterServiceClass",
        "ClusterServicePlan",
        "ServiceInstance",
        "ServiceBinding",
        "Secret",
    ] {
        assert!(said.contains(&format!("created: {kind} ")), "{kind}: {said}");
    }
    assert!(said.contains("2 recorded, 0 known before, 0 with a problem"), "{said}");

    until("the Secret of the variables is written", async || {
        place.secret("orders-binding-env").await.is_some()
    })
    .await;
    place.instance_is("orders", "ProvisionedSuccessfully").await;
    place.binding_is("orders-binding", "InjectedBindResult").await;
    let kept = place.secret("orders-binding").await.unwrap();
    assert_eq!(json!(kept.data), lost.secret(true)["data"]);
    let binding: ServiceBinding = place.api().get("orders-binding").await.unwrap();
    assert_eq!(kept.owner_references()[0].uid, binding.uid().unwrap());
    let mut ids: Vec<_> = place.external_resources().await.into_iter().map(|held| held.name_any()).collect();
    ids.sort();
    let [instance, binding] = [&lost.instance_id, &lost.binding_id].map(|id| escaped(id));
    assert_eq!(ids, [format!("binding-{binding}"), format!("instance-{instance}")]);
    let requests = place.broker.held().requests.clone();
    assert!(requests.is_empty(), "{requests:?}");

    let again = migrate(&place, &["--filename", &file, "--apply"]).await;
    let said = String::from_utf8(again.stdout).unwrap();
    assert_eq!(said.trim(), "0 recorded, 2 known before, 0 with a problem", "nothing is written twice");
    lost.delete().await;
    place.brokers().delete(&place.broker.name(), &DeleteParams::default()).await.unwrap();
}

/// Applies objects as Velero creates them: without status, with its labels, with the finalizers and under new uids.
async fn restore(place: &Place, objects: impl IntoIterator<Item = Value>) {
    for mut object in objects {
        let members = object.as_object_mut().unwrap();
        members.remove("status");
        let metadata = members["metadata"].as_object_mut().unwrap();
        for field in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
            metadata.remove(field);
        }
        let labels = json!({"velero.io/backup-name": "nightly", "velero.io/restore-name": "nightly-1"});
        metadata.insert("labels".to_owned(), labels);
        kubectl(place, &["create", "-f", "-"], &object.to_string()).await;
    }
}

#[tokio::test]
async fn objects_restored_without_a_status_are_asked_for_under_their_ids() {
    let place = Place::with_broker().await;
    place.broker_is("FetchedCatalog").await;
    let lost = Lost::of(&place).await;
    restore(&place, [lost.binding(false), lost.instance(false)]).await;
    place.instance_is("orders", "ProvisionedSuccessfully").await;
    place.binding_is("orders-binding", "InjectedBindResult").await;
    assert_eq!(text(&place.secret("orders-binding").await.unwrap(), "username"), "u1");
    for (verb, id) in [(Verb::Provision, &lost.instance_id), (Verb::Bind, &lost.binding_id)] {
        let asked = place.broker.received(verb);
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].path.ends_with(id.as_str()), "{asked:?}");
    }
    assert_eq!(place.broker.received(Verb::Provision)[0].body["parameters"], json!({"size": 1}));
    assert_eq!(place.broker.held().instances.len(), 1, "nothing is provisioned twice");
    lost.delete().await;
}

/// A restored Secret belongs to no binding of the new cluster, so it is never overwritten. Kubernetes deletes one whose
/// owner is gone, which this test does not wait for; one without an owner has to be deleted.
#[tokio::test]
async fn a_restored_secret_gives_way_to_the_one_of_the_binding() {
    for is_owned in [true, false] {
        let place = Place::with_broker().await;
        place.broker_is("FetchedCatalog").await;
        let lost = Lost::of(&place).await;
        restore(&place, [lost.secret(is_owned)]).await;
        let secrets = place.api::<Secret>();
        let before = secrets.get_opt("orders-binding").await.unwrap();
        restore(&place, [lost.instance(false), lost.binding(false)]).await;
        if !is_owned {
            let said = place.binding_is("orders-binding", "SecretNameTaken").await;
            assert!(said.contains("orders-binding"), "{said}");
            assert_eq!(text(&place.secret("orders-binding").await.unwrap(), "password"), "kept");
        }
        if let Some(restored) = before {
            let only = Preconditions { uid: restored.uid(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
            let _ = secrets.delete("orders-binding", &parameters).await;
        }
        place.binding_is("orders-binding", "InjectedBindResult").await;
        assert_eq!(text(&place.secret("orders-binding").await.unwrap(), "username"), "u1");
        assert_eq!(place.broker.held().instances.len(), 1);
        lost.delete().await;
    }
}
