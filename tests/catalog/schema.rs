//! What the API server itself refuses, and the columns that it shows.

use bindery::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance},
    namespace_bindings::NamespaceBinding,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::Place;

fn refused<K: std::fmt::Debug>(outcome: kube::Result<K>) -> String {
    match outcome {
        Err(kube::Error::Api(status)) if status.is_invalid() => status.message.clone(),
        other => panic!("not refused as invalid: {other:?}"),
    }
}

#[rstest]
#[case::no_class(json!({}), "exactly one of")]
#[case::two_classes(json!({"clusterServiceClassExternalName": "a", "clusterServiceClassName": "b"}), "exactly one of")]
#[case::a_plan_of_another_kind(json!({"clusterServiceClassName": "a", "clusterServicePlanExternalName": "b"}), "same way")]
#[case::an_id_that_is_no_segment(json!({"clusterServiceClassName": "a", "externalID": ".."}), "part of a path")]
#[tokio::test]
async fn invalid_instances_are_refused(#[case] spec: Value, #[case] word: &str) {
    let place = Place::new().await;
    let message = refused(place.create::<ServiceInstance>("ServiceInstance", "db", json!({}), spec).await);
    assert!(message.contains(word), "{message}");
}

/// Class and plan are named by one of six pairs; an empty string names nothing.
#[tokio::test]
async fn an_instance_names_class_and_plan_in_exactly_one_way() {
    let place = Place::new().await;
    let pairs = ["ExternalName", "ExternalID", "Name"].into_iter().flat_map(|suffix| {
        ["clusterService", "service"]
            .map(|prefix| (format!("{prefix}Class{suffix}"), format!("{prefix}Plan{suffix}")))
    });
    let pairs: Vec<_> = pairs.collect();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let tried = async |spec: Value| {
        let object = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
            "metadata": {"name": "db"}, "spec": spec});
        place.api::<ServiceInstance>().create(&dry, &serde_json::from_value(object).unwrap()).await
    };
    for (n, (class, plan)) in pairs.iter().enumerate() {
        tried(json!({class: "a"})).await.unwrap();
        tried(json!({class: "a", plan: "b"})).await.unwrap();
        for (m, (other_class, other_plan)) in pairs.iter().enumerate().filter(|(m, _)| *m != n) {
            tried(json!({class: "a", plan: "b", other_class: "", other_plan: ""})).await.unwrap();
            let two = refused(tried(json!({class: "a", other_class: "a"})).await);
            assert!(two.contains("exactly one of"), "{n} {m}: {two}");
            let mixed = refused(tried(json!({class: "a", other_plan: "b"})).await);
            assert!(mixed.contains("same way"), "{n} {m}: {mixed}");
        }
    }
}

#[tokio::test]
async fn brokers_must_have_an_address() {
    let place = Place::new().await;
    let broker = |spec: Value| {
        serde_json::from_value(json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ClusterServiceBroker",
            "metadata": {"name": format!("refused-{}", place.broker.suffix)}, "spec": spec,
        }))
        .unwrap()
    };
    let secret = |namespace: &str, name: &str| json!({"url": "http://x", "authInfo": {"bearer": {"secretRef": {"namespace": namespace, "name": name}}}});
    for (spec, word) in [
        (json!({"url": "ftp://x"}), "must begin with http"),
        (json!({"url": "http://x", "authInfo": {}}), "either basic or bearer"),
        (json!({"url": "http://x", "relistDuration": "soon"}), "relistDuration"),
        (secret("../kube-system", "a"), "secretRef.namespace"),
        (secret("default", "../../kube-system/secrets/a"), "secretRef.name"),
    ] {
        let message = refused(place.brokers().create(&PostParams::default(), &broker(spec)).await);
        assert!(message.contains(word), "{message}");
    }
}

/// These values become parts of paths and of other names.
#[rstest]
#[case::a_path(json!({"secretName": "a/b"}), "secretName")]
#[case::the_folder_above(json!({"secretName": ".."}), "secretName")]
#[case::another_namespace(json!({"secretName": "../../default/secrets/a"}), "secretName")]
#[case::capitals(json!({"secretName": "Upper"}), "secretName")]
#[case::an_instance_elsewhere(json!({"instanceRef": {"name": "../../default/serviceinstances/a"}}), "instanceRef.name")]
#[tokio::test]
async fn names_in_paths_are_validated(#[case] change: Value, #[case] field: &str) {
    let place = Place::new().await;
    let mut spec = json!({"instanceRef": {"name": "db"}});
    json_patch::merge(&mut spec, &change);
    let message = refused(place.create::<ServiceBinding>("ServiceBinding", "b", json!({}), spec).await);
    assert!(message.contains(field), "{message}");
}

#[tokio::test]
async fn the_name_of_a_binding_leaves_room_for_that_of_its_second_secret() {
    let place = Place::new().await;
    let spec = json!({"instanceRef": {"name": "db"}});
    let name = "b".repeat(250);
    let message =
        refused(place.create::<ServiceBinding>("ServiceBinding", &name, json!({}), spec.clone()).await);
    assert!(message.contains("at most 249 characters"), "{message}");
    place.create::<ServiceBinding>("ServiceBinding", &name[1..], json!({}), spec).await.unwrap();
}

#[tokio::test]
async fn the_id_of_an_instance_cannot_change() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.instance_is("db", "ProvisionedSuccessfully").await;
    let message = refused(place.merge::<ServiceInstance>("db", json!({"spec": {"externalID": "x"}})).await);
    assert!(message.contains("cannot change"), "{message}");
}

#[tokio::test]
async fn unsupported_fields_cause_a_warning() {
    let place = Place::new().await;
    let api: Api<ServiceInstance> = place.api();
    let object = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
        "metadata": {"name": "db"}, "spec": {"clusterServiceClassName": "a", "paramsFrom": []}});
    let strict = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::apply("t")
    };
    let error = api.patch("db", &strict, &Patch::Apply(object)).await.unwrap_err().to_string();
    assert!(error.contains("paramsFrom"), "{error}");
}

#[tokio::test]
async fn kubectl_shows_the_columns_of_the_old_api() {
    let place = Place::with_broker().await;
    place.instance("db", json!({})).await;
    place.binding("b", "db", json!({})).await;
    place.binding_is("b", "InjectedBindResult").await;
    let rows = async |resource: &str| -> Vec<Value> {
        let path = format!("/apis/servicecatalog.k8s.io/v1beta1/namespaces/{}/{resource}", place.namespace);
        let request = axum::http::Request::get(path)
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new())
            .unwrap();
        let table: Value = place.client.request(request).await.unwrap();
        table["rows"][0]["cells"].as_array().unwrap().clone()
    };
    let instance = rows("serviceinstances").await;
    let class = format!("ClusterServiceClass/{}", place.broker.name());
    assert_eq!(instance[..4], [json!("db"), json!(class), json!("default"), json!("Ready")]);
    let binding = rows("servicebindings").await;
    assert_eq!(binding[..4], [json!("b"), json!("db"), json!("b"), json!("Ready")]);
}

#[rstest]
#[case::nobody(json!({"namePattern": null}), "select namespaces")]
#[case::everybody(json!({"namePattern": null, "namespaceSelector": {}}), "select namespaces")]
#[case::no_name(json!({"namePattern": "Feature/*"}), "namePattern")]
#[case::no_class(json!({"clusterServiceClassExternalName": ""}), "clusterServiceClassExternalName")]
#[case::no_limit(json!({"limits": {}}), "set total, perLabel or both")]
#[case::none_at_all(json!({"limits": {"total": 0}}), "total")]
#[case::no_length(json!({"ttl": {"after": "soon"}}), "ttl.after")]
#[case::no_grace(json!({"gracePeriod": "-1h"}), "gracePeriod")]
#[case::no_policy(json!({"reclaimPolicy": "recycle"}), "reclaimPolicy")]
#[case::no_binding(json!({"bindingName": "a.b"}), "bindingName")]
#[tokio::test]
async fn invalid_namespacebindings_are_refused(#[case] change: Value, #[case] word: &str) {
    let place = Place::new().await;
    let mut spec = json!({"namePattern": "feature-*", "clusterServiceClassExternalName": "cockroachdb"});
    json_patch::merge(&mut spec, &change);
    let message = refused(namespacebinding(&place, "refused", spec).await);
    assert!(message.contains(word), "{message}");
}

#[tokio::test]
async fn the_binding_name_of_a_namespacebinding_cannot_change() {
    let place = Place::new().await;
    let spec = json!({"namePattern": "nobody", "clusterServiceClassExternalName": "cockroachdb", "bindingName": "a"});
    let name = namespacebinding(&place, "kept", spec.clone()).await.unwrap().name_any();
    let api: Api<NamespaceBinding> = Api::all(place.client.clone());
    for other in [json!("b"), Value::Null] {
        let patch = Patch::Merge(json!({"spec": {"bindingName": other}}));
        let message = refused(api.patch(&name, &PatchParams::default(), &patch).await);
        assert!(message.contains("bindingName cannot change"), "{message}");
    }
    let long = "n".repeat(64 - place.broker.suffix.len());
    let message = refused(namespacebinding(&place, &long, spec).await);
    assert!(message.contains("at most 63 characters"), "{message}");
}

#[expect(clippy::unwrap_used, reason = "a test may fail")]
async fn namespacebinding(place: &Place, name: &str, spec: Value) -> kube::Result<NamespaceBinding> {
    let name = format!("{name}-{}", place.broker.suffix);
    let object = json!({"apiVersion": "bindery.dev/v1alpha1", "kind": "NamespaceBinding",
        "metadata": {"name": name}, "spec": spec});
    // The object is sent as written, including fields that serde would omit.
    let request = axum::http::Request::post("/apis/bindery.dev/v1alpha1/namespacebindings")
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    place.client.request(request).await
}
