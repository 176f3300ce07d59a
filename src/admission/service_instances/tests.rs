use super::*;
use crate::{
    admission::secret_rights::stand_in::{Asking, Cluster},
    apis::servicecatalog::FINALIZER,
};

async fn asked(user: &str, old: Option<&Value>, new: &Value) -> (Value, Value) {
    let cluster = Cluster::default();
    let handler = ServiceInstanceHandler::new(cluster.client(), cluster.approvals());
    Asking { kind: "ServiceInstance", user, old, new }.of(handler).await
}

fn instance(spec: Value) -> Value {
    let metadata = json!({"name": "db"});
    Value::from_iter([("metadata", metadata), ("spec", spec)])
}

fn named(class: &str, plan: &str) -> Value {
    json!({"clusterServiceClassExternalName": class, "clusterServicePlanExternalName": plan})
}

/// The instance of `alice`, with the references that bindery wrote.
async fn stored() -> Value {
    let (_, mut stored) = asked("alice", None, &instance(named("c", "p"))).await;
    stored["spec"]["clusterServiceClassRef"] = json!({"name": "class"});
    stored["spec"]["clusterServicePlanRef"] = json!({"name": "plan"});
    stored
}

/// The spec after `user` changed these members of the stored spec.
async fn changed(user: &str, stored: &Value, change: Value) -> Value {
    let mut sent = stored.clone();
    json_patch::merge(&mut sent["spec"], &change);
    let (response, after) = asked(user, Some(stored), &sent).await;
    assert_eq!(response["allowed"], true, "{response}");
    after["spec"].clone()
}

#[tokio::test]
async fn a_new_instance_gets_author_id_and_finalizer_and_loses_references() {
    let mut spec = named("c", "p");
    spec["userInfo"] = json!({"username": "admin", "groups": null});
    spec["clusterServiceClassRef"] = json!({"name": "of-another-broker"});
    spec["servicePlanRef"] = json!({"name": "of-another-broker"});
    let (response, stored) = asked("mallory", None, &instance(spec)).await;
    assert_eq!(response["allowed"], true);
    let spec = &stored["spec"];
    let author = json!({"username": "mallory", "uid": "", "groups": ["g"], "extra": {"scope": ["s"]}});
    assert_eq!((&spec["userInfo"], &spec["updateRequests"]), (&author, &json!(0)));
    assert!(uuid::Uuid::parse_str(spec["externalID"].as_str().unwrap()).is_ok());
    assert_eq!((spec.get("clusterServiceClassRef"), spec.get("servicePlanRef")), (None, None));
    assert_eq!(stored["metadata"]["finalizers"], json!([FINALIZER]));
}

#[tokio::test]
async fn only_a_changed_spec_has_a_new_author() {
    let stored = stored().await;
    for same in [
        json!({}),
        json!({"userInfo": {"username": "admin"}}),
        json!({"userInfo": null}),
        json!({"parametersFrom": [], "serviceClassName": ""}),
        json!({"clusterServiceClassRef": null, "clusterServicePlanRef": {"name": "other"}}),
        json!({"externalID": "", "updateRequests": 0}),
    ] {
        let after = changed("mallory", &stored, same.clone()).await;
        assert_eq!(after["userInfo"]["username"], "alice", "{same}");
        assert!(say_the_same(after.as_object().unwrap(), stored["spec"].as_object().unwrap()), "{same}");
    }
    for other in
        [json!({"parameters": {"a": 1}}), json!({"updateRequests": 1}), named("c", "q"), named("d", "p")]
    {
        let after = changed("bob", &stored, other.clone()).await;
        assert_eq!(after["userInfo"]["username"], "bob", "{other}");
    }
}

/// kubectl replace and Go clients send zero where the number is not given.
#[tokio::test]
async fn zero_update_requests_keep_the_count() {
    let mut stored = stored().await;
    stored["spec"]["updateRequests"] = json!(3);
    for zero in [json!({"updateRequests": 0}), json!({"updateRequests": null})] {
        assert_eq!(changed("alice", &stored, zero).await["updateRequests"], 3);
    }
    assert_eq!(changed("alice", &stored, json!({"updateRequests": 4})).await["updateRequests"], 4);
}

#[tokio::test]
async fn references_change_only_with_the_names() {
    let stored = stored().await;
    let references = |spec: &Value| {
        ["clusterServiceClassRef", "clusterServicePlanRef"].map(|field| spec.get(field).cloned())
    };
    let (class, plan) = (Some(json!({"name": "class"})), Some(json!({"name": "plan"})));
    let forged = json!({"clusterServiceClassRef": {"name": "x"}, "clusterServicePlanRef": null});
    assert_eq!(references(&changed("mallory", &stored, forged).await), [class.clone(), plan]);
    assert_eq!(references(&changed("alice", &stored, named("c", "q")).await), [class, None]);
    assert_eq!(references(&changed("alice", &stored, named("d", "p")).await), [None, None]);
}

#[tokio::test]
async fn an_update_of_metadata_changes_nothing() {
    let stored = stored().await;
    let mut sent = stored.clone();
    sent["metadata"] = json!({"name": "db", "labels": {"a": "b"}});
    let (response, _) = asked("mallory", Some(&stored), &sent).await;
    assert_eq!(response, json!({"uid": "u", "allowed": true}));
}

/// The schema refuses them with the API server's own message.
#[tokio::test]
async fn objects_that_match_no_type_are_left_to_the_schema() {
    for spec in [json!("text"), json!(null)] {
        let (response, _) = asked("alice", None, &instance(spec)).await;
        assert_eq!(response, json!({"uid": "u", "allowed": true}));
    }
    let (response, stored) = asked("alice", None, &instance(json!({"parametersFrom": "text"}))).await;
    assert_eq!(
        (&response["allowed"], &stored["spec"]["userInfo"]["username"]),
        (&json!(true), &json!("alice"))
    );
}
