//! The requests of Kubernetes (profile.md).

use serde_json::json;

use crate::{
    client::{B, I, binding, instance},
    platform::{Platform, but},
    stores::Store,
};

on_each_store!(the_context_of_kubernetes_is_accepted, a_context_does_not_replace_organization_and_space,);

over_alibaba!(a_context_does_not_replace_organization_and_space,);

async fn the_context_of_kubernetes_is_accepted(store: Store) {
    let at = Platform::on(store).await;
    let mut context = json!({"platform": "kubernetes", "namespace": "dev", "clusterid": "c", "instance_name": "db",
        "namespace_annotations": {"example.com/a": "1"}, "instance_annotations": {"example.com/b": "2"}});
    at.put(I, but(instance("p"), &json!({"context": context}))).await.must(201);
    context["instance_annotations"] = json!({"example.com/b": "3"});
    at.patch(I, json!({"service_id": "s", "context": context, "parameters": {"a": 1}})).await.must(200);
    let context = json!({"platform": "kubernetes", "namespace": "dev", "clusterid": "c"});
    at.put(B, but(binding("p"), &json!({"context": context}))).await.must(201);
}

async fn a_context_does_not_replace_organization_and_space(store: Store) {
    let at = Platform::on(store).await;
    let context = json!({"platform": "kubernetes", "namespace": "dev", "clusterid": "c"});
    let wanted = but(instance("p"), &json!({"context": context}));
    for field in ["organization_guid", "space_guid"] {
        at.put(I, but(wanted.clone(), &json!({field: null}))).await.must_say(400, field);
        at.put(I, but(wanted.clone(), &json!({field: ""}))).await.must_say(400, field);
    }
    assert!(at.holds_nothing());
}
