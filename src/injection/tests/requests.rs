//! Injections without annotations.

use super::*;

fn by_request(pod: &Value, request: &Request<'_>) -> Value {
    let injection = inject_request(pod, request, &InjectSettings::default()).unwrap();
    let mut result = pod.clone();
    injection.apply(&mut result).unwrap();
    result
}

#[test]
fn a_request_gives_what_the_same_annotations_give() {
    let annotations = json!({
        "bindery.dev/bind": "db,secret/smtp,configmap/app",
        "bindery.dev/bind.web": "queue",
        "bindery.dev/env": "HOST=db/host,APP_*=app/*",
        "bindery.dev/files": "client.key=smtp/tls.key:0400",
        "bindery.dev/containers": "web",
        "bindery.dev/mount-root": "/creds",
        "bindery.dev/optional": "configmap/app",
    });
    let containers = json!([{"name": "web"}, {"name": "other"}]);
    let [db, smtp, app, queue] = [
        (Source::ServiceBinding, "db"),
        (Source::Secret, "smtp"),
        (Source::ConfigMap, "app"),
        (Source::ServiceBinding, "queue"),
    ]
    .map(|(source, name)| Bound { source, name });
    let request = Request {
        own: vec![Own { container: "web", bound: vec![queue] }],
        variables: vec![Variable { name: "HOST", object: db.object(), key: "host" }],
        all_keys: vec![AllKeys { prefix: "APP_", object: app.object() }],
        selected: vec![File { path: "client.key", object: smtp.object(), key: "tls.key", mode: Some(0o400) }],
        containers: Some(vec!["web"]),
        mount_root: MountRoot::read("/creds", System::Linux).unwrap(),
        optional: Optional::Only(vec![app]),
        ..Request::new(vec![db, smtp, app])
    };
    let (expected, _) = injected(&pod(annotations.clone(), containers.clone()));
    let silent = json!({"spec": {"containers": containers}});
    assert_eq!(by_request(&silent, &request)["spec"], expected["spec"]);
    let parsed = Request::parse(annotations.as_object().unwrap(), System::Linux);
    assert_eq!(parsed, Ok(Some(request)), "annotations are parsed into the same value");
}

#[test]
fn annotations_of_the_pod_do_not_matter_to_a_request() {
    let pod = pod(json!({"bindery.dev/bind": "a,,b"}), json!([{"name": "app"}]));
    let request = Request::new(vec![Bound { source: Source::ServiceBinding, name: SECRET }]);
    let (expected, _) = injected(&bound(json!([{"name": "app"}])));
    assert_eq!(by_request(&pod, &request)["spec"], expected["spec"]);
}

#[test]
fn a_request_that_the_pod_cannot_have_is_refused() {
    let request = Request {
        containers: Some(vec!["web"]),
        ..Request::new(vec![Bound { source: Source::Secret, name: "smtp" }])
    };
    let silent = json!({"spec": {"containers": [{"name": "app"}]}});
    let error = inject_request(&silent, &request, &InjectSettings::default()).unwrap_err();
    assert!(error.to_string().contains("no container `web`; its containers are: app"), "{error}");
}
