use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    injection::ObjectKind,
    pods::pod::tests::{bound, object},
};

/// A binding `db` that was created at 08:00, with revisions of 08:00 and 10:00.
fn db() -> Value {
    json!({
        "metadata": {"name": "db", "creationTimestamp": "2026-11-21T08:00:00Z"},
        "spec": {"instanceRef": {"name": "i"}, "secretName": "other"},
        "status": {"revisions": [
            {"n": 1, "writtenAt": "2026-11-21T08:00:00Z"}, {"n": 2, "writtenAt": "2026-11-21T10:00:00Z"},
        ]},
    })
}

fn running(since: &str) -> Value {
    json!({
        "metadata": {"creationTimestamp": "2026-11-21T07:00:00Z"},
        "status": {"containerStatuses": [{"name": "app", "state": {"running": {"startedAt": since}}}]},
    })
}

/// Container, way, revision, state and detail.
type Row = (String, &'static str, Option<i64>, State, Option<String>);

fn query(name: Option<&str>, object: &DynamicObject, bindings: &[Value], waits: Option<&str>) -> Vec<Row> {
    let pods = vec![SeenPod::read(object, None, &InjectSettings::default()).unwrap()];
    let bindings = bindings.iter().map(|binding| Arc::new(serde_json::from_value(binding.clone()).unwrap()));
    let mut query = Query::new(name, &pods, BindingsOf::all(Some(bindings.collect())));
    query.exist.extend([("db".to_owned(), false), ("db-env".to_owned(), false)]);
    let waits = waits
        .map(|cause| ["db", "db-env"].map(|name| ((ObjectKind::Secret, name.to_owned()), cause.to_owned())));
    let waits = waits.into_iter().flatten().collect();
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let holders = query.holders(&pods[0], &waits, now);
    holders.into_iter().map(|it| (it.container, it.how, it.revision, it.state, it.detail)).collect()
}

fn all_holders(object: &DynamicObject, bindings: &[Value]) -> Vec<Row> {
    query(Some("db"), object, bindings, None)
}

fn app(how: &'static str, revision: Option<i64>, state: State, detail: Option<&str>) -> Row {
    ("app".to_owned(), how, revision, state, detail.map(str::to_owned))
}

#[test]
fn variables_stay_and_files_follow() {
    let since = Some("since 2026-11-21T10:00:00Z");
    let expected = [app("env", Some(1), State::Outdated, since), app("files", Some(2), State::Held, None)];
    assert_eq!(all_holders(&bound(&running("2026-11-21T09:00:00Z")), &[db()]), expected);
}

#[test]
fn a_container_that_started_since_holds_the_newest() {
    let expected = [app("env", Some(2), State::Held, None), app("files", Some(2), State::Held, None)];
    assert_eq!(all_holders(&bound(&running("2026-11-21T11:00:00Z")), &[db()]), expected);
}

/// The container's credentials were revoked when the earlier binding was deleted.
#[test]
fn a_binding_made_anew_is_not_what_an_older_container_holds() {
    let since = Some("since 2026-11-21T08:00:00Z");
    let expected = [app("env", None, State::Revoked, since), app("files", Some(2), State::Held, None)];
    assert_eq!(all_holders(&bound(&running("2026-11-21T07:30:00Z")), &[db()]), expected);
    assert!(State::Revoked.is_trouble());
}

#[test]
fn what_has_no_binding_any_more_is_revoked() {
    let gone = Some("there is no ServiceBinding of this name any more");
    let expected = [app("env", None, State::Revoked, gone), app("files", None, State::Revoked, gone)];
    assert_eq!(all_holders(&bound(&running("2026-11-21T11:00:00Z")), &[]), expected);
}

/// A user who deletes an apparently unused binding would break this pod.
#[test]
fn a_pod_counts_by_what_it_has_and_not_by_what_its_annotations_say_now() {
    let mut pod = bound(&running("2026-11-21T11:00:00Z"));
    for annotations in [json!({"bindery.dev/bind": "new"}), json!({})] {
        pod.metadata.annotations = serde_json::from_value(annotations).unwrap();
        let expected = [app("env", Some(2), State::Held, None), app("files", Some(2), State::Held, None)];
        assert_eq!(all_holders(&pod, &[db()]), expected);
    }
}

#[rstest]
#[case::variable(&json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "uri"}}}]}), "env")]
#[case::all_variables(&json!({"envFrom": [{"secretRef": {"name": "db-env"}}]}), "env")]
#[case::under_its_other_name(&json!({"envFrom": [{"secretRef": {"name": "other"}}]}), "env")]
#[case::files(&json!({"volumeMounts": [{"name": "own", "mountPath": "/a"}]}), "files")]
#[case::a_file(&json!({"volumeMounts": [{"name": "own", "mountPath": "/a", "subPath": "uri"}]}), "subPath")]
#[case::projected(&json!({"volumeMounts": [{"name": "projected", "mountPath": "/a"}]}), "files")]
#[case::driver(&json!({"volumeMounts": [{"name": "driver", "mountPath": "/a"}]}), "volume")]
fn a_pod_that_never_asked_counts_by_its_references(#[case] container: &Value, #[case] how: &'static str) {
    let mut changes = running("2026-11-21T11:00:00Z");
    changes["metadata"]["annotations"] = json!(null);
    let mut container = container.clone();
    container["name"] = json!("app");
    changes["spec"] = json!({"containers": [container], "volumes": [
        {"name": "own", "secret": {"secretName": "db"}},
        {"name": "projected", "projected": {"sources": [{"secret": {"name": "db"}}]}},
        {"name": "driver", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "db"}}},
    ]});
    assert_eq!(all_holders(&object(&changes), &[db()]), [app(how, Some(2), State::Held, None)]);
    assert_eq!(query(None, &object(&changes), &[db()], None).len(), 1, "also without a name");
    assert_eq!(query(Some("queue"), &object(&changes), &[db()], None), []);
}

/// ConfigMaps have no revisions.
#[test]
fn config_maps_count_where_pods_ask_for_them_or_somebody_asks_about_them() {
    let mut changes = running("2026-11-21T11:00:00Z");
    changes["metadata"]["annotations"]["bindery.dev/bind"] = json!("configmap/app");
    changes["metadata"]["annotations"]["bindery.dev/env"] = json!("LEVEL=app/level");
    let expected = [app("env", None, State::Unknown, None), app("files", None, State::Unknown, None)];
    let asking = bound(&changes);
    for name in [None, Some("configmap/app")] {
        assert_eq!(query(name, &asking, &[db()], None), expected);
    }
    for name in ["app", "secret/app", "configmap/db"] {
        assert_eq!(query(Some(name), &asking, &[db()], None), [], "{name}");
    }
    let missed = [app("env", None, State::Missed, None), app("files", None, State::Missed, None)];
    assert_eq!(query(Some("configmap/app"), &object(&changes), &[], None), missed);

    let mut silent = asking;
    silent.metadata.annotations = None;
    assert_eq!(query(Some("configmap/app"), &silent, &[], None), expected);
    assert_eq!(query(None, &silent, &[], None), []);
}

/// A pod that is being deleted uses its credentials until it is gone.
#[test]
fn a_pod_that_ends_still_holds() {
    let mut changes = running("2026-11-21T11:00:00Z");
    changes["metadata"]["deletionTimestamp"] = json!("2026-11-21T11:59:00Z");
    assert_eq!(all_holders(&bound(&changes), &[db()]).len(), 2);
    changes["status"]["phase"] = json!("Succeeded");
    assert!(SeenPod::read(&bound(&changes), None, &InjectSettings::default()).is_none());
}

#[test]
fn a_missed_pod_holds_nothing_though_it_runs() {
    let expected = [app("env", None, State::Missed, None), app("files", None, State::Missed, None)];
    assert_eq!(all_holders(&object(&running("2026-11-21T11:00:00Z")), &[db()]), expected);
}

#[test]
fn a_waiting_pod_says_for_what() {
    let pod = bound(&json!({"status": {"phase": "Pending"}}));
    let cause = Some("no ServiceBinding");
    let expected = [app("env", None, State::Waiting, cause), app("files", None, State::Waiting, cause)];
    assert_eq!(query(Some("db"), &pod, &[], cause), expected);
    assert_eq!(
        all_holders(&pod, &[])[0],
        app("env", None, State::Stopped, None),
        "it waits for something else"
    );
}

#[test]
fn who_started_without_what_is_optional_holds_nothing() {
    let mut changes = running("2026-11-21T09:00:00Z");
    changes["metadata"]["annotations"] = json!({"bindery.dev/bind": "db", "bindery.dev/optional": "db"});
    let mut late = db();
    late["status"]["revisions"] = json!([{"n": 1, "writtenAt": "2026-11-21T10:00:00Z"}]);
    let expected = [app("env", None, State::Without, None), app("files", Some(1), State::Held, None)];
    assert_eq!(all_holders(&bound(&changes), &[late]), expected);
}

#[test]
fn an_init_container_that_is_done_holds_nothing() {
    let mut changes = running("2026-11-21T11:00:00Z");
    changes["spec"] = json!({"initContainers": [{"name": "init"}]});
    changes["status"]["initContainerStatuses"] =
        json!([{"name": "init", "state": {"terminated": {"exitCode": 0}}}]);
    assert_eq!(all_holders(&bound(&changes), &[db()]).len(), 2, "env and files of app");
}

/// A Secret that exists without a binding belongs to another owner.
#[tokio::test]
async fn whether_a_secret_without_a_binding_exists_is_looked_up_once() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = asked.clone();
    let service = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
        noted.lock().unwrap().push(request.uri().path().to_owned());
        let meta = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "db"}});
        let answer = axum::http::Response::new(axum::body::Body::from(meta.to_string()));
        async { Ok::<_, std::io::Error>(answer) }
    });
    let client = Client::new(service, "shop");
    let seen = || SeenPod::read(&bound(&running("2026-11-21T11:00:00Z")), None, &InjectSettings::default());
    let pods = [seen().unwrap(), seen().unwrap()];
    let mut query = Query::new(Some("db"), &pods, BindingsOf::all(Some(Vec::new())));
    for pod in &pods {
        query.look_up_lost(&client, "shop", pod).await;
    }
    assert_eq!(asked.lock().unwrap().len(), 2, "db and db-env");
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let states: Vec<State> =
        query.holders(&pods[0], &query::Waits::new(), now).iter().map(|it| it.state).collect();
    assert_eq!(states, [State::Unknown, State::Unknown]);
}

#[rstest]
#[case::exists("db", None)]
#[case::misspelt("dbs", Some("; did you mean \"db\"?"))]
#[case::unheard_of("queue", Some(""))]
fn a_name_that_nobody_knows_is_an_error(#[case] name: &str, #[case] guess: Option<&str>) {
    let bindings = BindingsOf::all(Some(vec![Arc::new(serde_json::from_value(db()).unwrap())]));
    let error = bindings.expect(name, "shop").err().map(|error| error.to_string());
    let expected = guess.map(|guess| {
        format!(
            "no ServiceBinding named {name:?} in namespace shop, and no pod there asks for one or has its Secrets{guess}"
        )
    });
    assert_eq!(error, expected);
}
