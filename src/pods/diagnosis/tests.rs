use std::sync::Arc;

use rstest::rstest;
use serde_json::json;

use super::*;

fn demand(source: Source, keys: &[&str]) -> Demand {
    Demand {
        source,
        name: "db".to_owned(),
        containers: vec!["app".to_owned()],
        needs: vec!["db".to_owned()],
        variables: if source == Source::ServiceBinding { Variables::Own } else { Variables::Named },
        files: true,
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        is_optional: false,
    }
}

fn missing(binding: Binding<'_>) -> Facts<'_> {
    Facts { holder: Found::Missing, own_variables: false, binding }
}

fn keys(keys: &[&str]) -> Facts<'static> {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Facts { holder: Found::Keys(keys), own_variables: true, binding: Binding::Unknown }
}

#[rstest]
#[case::misspelt(
    missing(Binding::Missing { near: Some("db1") }),
    "BindingMissing: no ServiceBinding named \"db\" in this namespace; did you mean \"db1\"?"
)]
#[case::absent(
    missing(Binding::Missing { near: None }),
    "BindingMissing: no ServiceBinding named \"db\" in this namespace; create it, or correct bindery.dev/bind"
)]
#[case::new(
    missing(Binding::NotReady { condition: None, instance: None }),
    "BindingNotReady: ServiceBinding \"db\" is new and has not been looked at yet"
)]
#[case::refused_by_the_broker(
    missing(Binding::NotReady { condition: Some(("BindCallFailed", "Error binding: full")), instance: None }),
    "BindingNotReady: ServiceBinding \"db\" is not ready: BindCallFailed: Error binding: full"
)]
#[case::waiting_for_the_instance(
    missing(Binding::NotReady {
        condition: Some(("ErrorInstanceNotReady", "ServiceInstance \"i\" is not ready")),
        instance: Some(["i".to_owned(), "Provisioning".to_owned(), "takes a while".to_owned()]),
    }),
    "BindingNotReady: ServiceBinding \"db\" is not ready: ErrorInstanceNotReady: ServiceInstance \"i\" is not ready; \
     ServiceInstance \"i\" is not ready: Provisioning: takes a while"
)]
#[case::lost(
    Facts { holder: Found::Present, own_variables: false, binding: Binding::Ready },
    "SecretMissing: ServiceBinding \"db\" is ready, but its Secret \"db-env\" is gone; bindery writes it again once it sees a \
     pod wait for it, and at once after: kubectl annotate servicebinding db bindery.dev/reconcile=now --overwrite"
)]
#[case::being_deleted(
    missing(Binding::Ending),
    "BindingNotReady: ServiceBinding \"db\" is being deleted; create it again once it is gone, or correct bindery.dev/bind"
)]
#[case::nobody_knows(
    missing(Binding::Unknown),
    "SecretMissing: no Secret named \"db\" in this namespace, and its ServiceBinding cannot be read"
)]
fn a_binding_that_is_waited_for_says_why(#[case] facts: Facts<'static>, #[case] expected: &str) {
    let cause = cause(&demand(Source::ServiceBinding, &[]), &facts).unwrap();
    assert_eq!(format!("{}: {}", cause.reason, cause.text), expected);
}

#[test]
fn a_plain_secret_has_no_binding_to_ask() {
    let cause = cause(&demand(Source::Secret, &[]), &missing(Binding::Unknown)).unwrap();
    assert_eq!(cause.reason, "SecretMissing");
    assert_eq!(
        cause.text,
        "no Secret named \"db\" in this namespace; create it, or correct bindery.dev/bind"
    );
}

#[test]
fn a_config_map_is_diagnosed_like_a_secret() {
    let demand = demand(Source::ConfigMap, &["level"]);
    let explained =
        |facts: &Facts<'_>| cause(&demand, facts).map(|cause| format!("{}: {}", cause.reason, cause.text));
    let expected = "ConfigMapMissing: no ConfigMap named \"db\" in this namespace; create it, or correct bindery.dev/bind";
    let facts = Facts { holder: Found::Missing, own_variables: true, binding: Binding::Unknown };
    assert_eq!(explained(&facts).as_deref(), Some(expected));
    let expected = "ConfigMapKeyMissing: ConfigMap \"db\" has no key \"level\" (did you mean \"levels\"?); it has: levels. \
                    Correct bindery.dev/env or bindery.dev/files";
    assert_eq!(explained(&keys(&["levels"])).as_deref(), Some(expected));
    assert_eq!(explained(&keys(&["level"])), None);
}

/// The keys of a ConfigMap are read; of a Secret only its existence.
#[tokio::test]
async fn a_config_map_is_looked_up_where_it_is() {
    let service = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
        let is_it = request.uri().path() == "/api/v1/namespaces/shop/configmaps/db";
        let meta = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "db"},
            "data": {"level": "info"}, "binaryData": {"logo": "AA=="}});
        let answer = axum::http::Response::builder().status(if is_it { 200 } else { 404 });
        async move { Ok::<_, std::io::Error>(answer.body(axum::body::Body::from(meta.to_string())).unwrap()) }
    });
    let client = Client::new(service, "shop");
    let bindings = BindingsOf::default();
    for (keys, reason) in
        [(&["level", "logo"][..], None), (&["other"][..], Some("ConfigMapKeyMissing")), (&[][..], None)]
    {
        let causes = diagnose(&client, "shop", &[demand(Source::ConfigMap, keys)], &bindings).await.unwrap();
        assert_eq!(causes.first().map(|cause| cause.reason), reason, "{keys:?}");
    }
}

#[test]
fn keys_are_named_values_are_not_known() {
    let cause =
        cause(&demand(Source::ServiceBinding, &["hots", "port", "zzz"]), &keys(&["host", "port"])).unwrap();
    assert_eq!(cause.reason, "SecretKeyMissing");
    assert_eq!(
        cause.text,
        "Secret \"db\" has no key \"hots\" (did you mean \"host\"?) and no key \"zzz\"; it has: host, port. Correct \
         bindery.dev/env or bindery.dev/files"
    );
}

#[test]
fn what_is_all_there_is_not_waited_for() {
    assert_eq!(cause(&demand(Source::ServiceBinding, &["port"]), &keys(&["host", "port"])), None);
    let facts = Facts { holder: Found::Present, own_variables: true, binding: Binding::Unknown };
    assert_eq!(cause(&demand(Source::Secret, &[]), &facts), None);
}

#[test]
fn the_nearest_binding_is_one_of_the_namespace() {
    let bindings = BindingsOf::all(Some(vec![binding(&json!({}))]));
    let find = |name: &str| Binding::find(name, &bindings);
    assert_eq!(find("mydb01-bindign"), Binding::Missing { near: Some("mydb01-binding") });
    assert_eq!(find("mydb01-binding"), Binding::NotReady { condition: None, instance: None });
    assert_eq!(find("queue"), Binding::Missing { near: None });
    assert_eq!(Binding::find("queue", &BindingsOf::all(None)), Binding::Unknown);
}

fn binding(changes: &serde_json::Value) -> Arc<crate::bindings::state::SeenBinding> {
    let mut binding =
        json!({"metadata": {"name": "mydb01-binding"}, "spec": {"instanceRef": {"name": "mydb01"}}});
    json_patch::merge(&mut binding, changes);
    Arc::new(serde_json::from_value(binding).unwrap())
}

#[test]
fn a_binding_whose_secrets_are_gone_says_whether_they_come_back() {
    let ready = |status: &str| {
        json!({"conditions": [{"type": "Ready", "status": status, "reason": "BindResultMissing", "message": "m",
            "lastTransitionTime": "2026-11-21T10:00:00Z"}], "secrets": [{"name": "mydb01-binding"}]})
    };
    let ending = json!({"deletionTimestamp": "2026-11-21T10:00:00Z"});
    let missing = Some(("BindResultMissing", "m"));
    for (changes, expected) in [
        (json!({"status": ready("True")}), Binding::Ready),
        (json!({"status": ready("False")}), Binding::NotReady { condition: missing, instance: None }),
        (json!({"status": ready("True"), "metadata": ending}), Binding::Ending),
    ] {
        let bindings = BindingsOf::all(Some(vec![binding(&changes)]));
        assert_eq!(Binding::find("mydb01-binding", &bindings), expected);
    }
}

/// A user may create a ConfigMap with any number of keys, and a pod that names hundreds of others. Comparing all of
/// them would keep a thread of the controller busy for minutes.
#[test]
fn an_object_with_very_many_keys_is_diagnosed_quickly() {
    let present: Vec<String> = (0..100_000).map(|number| format!("{number:a>60}")).collect();
    let wanted: Vec<String> = (0..500).map(|number| format!("{number:b>60}")).collect();
    let begun = std::time::Instant::now();
    let cause = missing_keys(ObjectKind::ConfigMap, "db", &wanted, &present).unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(cause.text.contains(" and 480 more; it has: ") && cause.text.contains(" and 99980 more. "));
    assert!(cause.text.len() < 10_000, "{}", cause.text.len());
}
