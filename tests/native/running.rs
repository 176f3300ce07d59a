//! A pod that runs while bindery does not.

use bindery::contract::pod::BIND;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::{
    cluster::{Place, until},
    table::with_annotations,
};

#[tokio::test]
async fn without_bindery_an_annotated_pod_is_created_and_bound() {
    let place = Place::new("running").await;
    let secrets: Api<Secret> = Api::namespaced(place.client.clone(), &place.hooked);
    for (name, data) in [("db", json!({"host": "h1"})), ("db-env", json!({"DATABASE_URL": "u1"}))] {
        let secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": data})).unwrap();
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }
    let checks = "test \"$DATABASE_URL\" = u1 && test \"$(cat /var/secrets/db/host)\" = h1";
    let shape = json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "app", "image": "busybox:1.35", "imagePullPolicy": "Never", "command": ["sh", "-c", checks]}]
    });
    let pod = with_annotations(&shape, &json!({BIND: "db"}));
    place.send(&place.hooked, &pod, "").await.unwrap();
    let pods: Api<Pod> = Api::namespaced(place.client.clone(), &place.hooked);
    let mut phase = String::new();
    until("the pod has ended", async || {
        phase = pods.get("web").await.unwrap().status.unwrap().phase.unwrap_or_default();
        ["Succeeded", "Failed"].contains(&phase.as_str())
    })
    .await;
    assert_eq!(phase, "Succeeded");
}
