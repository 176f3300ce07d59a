//! NamespaceBindings: selected namespaces get services and lose them again; services of other users are never
//! touched.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::time::{Duration, Instant};

use bindery::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance},
    contract::branch,
    namespace_bindings::NamespaceBinding,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    broker::Fault,
    harness::{Place, restart_catalog, until},
};

/// A place with a broker, and a NamespaceBinding for labelled namespaces.
struct Branches {
    place: Place,
    name: String,
}

impl Branches {
    /// `spec` overrides the defaults.
    async fn new(spec: Value) -> Self {
        let place = Place::with_broker().await;
        place.broker_is("FetchedCatalog").await;
        let branches = Self { name: format!("db-{}", place.broker.suffix), place };
        branches.bind(&branches.name, spec).await;
        branches
    }

    /// Creates another NamespaceBinding for the same namespaces.
    async fn bind(&self, name: &str, spec: Value) {
        let mut body = json!({
            "namespaceSelector": {"matchLabels": {"branches": self.place.broker.suffix}},
            "clusterServiceClassExternalName": self.place.broker.name(),
            "clusterServicePlanExternalName": "default", "bindingName": "db",
        });
        body.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = json!({"apiVersion": "bindery.dev/v1alpha1", "kind": "NamespaceBinding",
            "metadata": {"name": name}, "spec": body});
        let object = serde_json::from_value(object).unwrap();
        self.rules().create(&PostParams::default(), &object).await.unwrap();
    }

    fn rules(&self) -> Api<NamespaceBinding> {
        Api::all(self.place.client.clone())
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.place.client.clone())
    }

    fn instances(&self, namespace: &str) -> Api<ServiceInstance> {
        Api::namespaced(self.place.client.clone(), namespace)
    }

    fn bindings(&self, namespace: &str) -> Api<ServiceBinding> {
        Api::namespaced(self.place.client.clone(), namespace)
    }

    /// Creates a selected namespace with these additional labels.
    async fn branch(&self, labels: Value) -> String {
        let mut all = json!({"branches": self.place.broker.suffix});
        all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        let namespace = json!({"metadata": {"generateName": "branch-", "labels": all}});
        let namespace = serde_json::from_value(namespace).unwrap();
        self.namespaces().create(&PostParams::default(), &namespace).await.unwrap().name_any()
    }

    async fn label(&self, namespace: &str, metadata: Value) {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        self.namespaces().patch(namespace, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn ready(&self, namespace: &str) {
        let bindings = self.bindings(namespace);
        until(&format!("a bound instance in {namespace}"), async || {
            let binding = bindings.get_opt("db").await.unwrap();
            json!(binding)["status"]["lastConditionState"] == "Ready"
        })
        .await;
    }

    async fn instance(&self, namespace: &str) -> Option<ServiceInstance> {
        self.instances(namespace).get_opt("db").await.unwrap()
    }

    /// Waits until the status satisfies the condition.
    async fn reported(&self, so: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Value::Null;
        until(&format!("another status of {}", self.name), async || {
            seen = json!(self.rules().get(&self.name).await.unwrap().status);
            so(&seen)
        })
        .await;
        seen
    }

    /// Waits until the namespace is listed with this reason, and returns the message.
    async fn waits(&self, namespace: &str, reason: &str) -> String {
        let of = |status: &Value| -> Option<String> {
            let waiting = status["waiting"].as_array()?;
            let found = waiting.iter().find(|it| it["namespace"] == namespace && it["reason"] == reason)?;
            Some(found["message"].as_str()?.to_owned())
        };
        of(&self.reported(|status| of(status).is_some()).await).unwrap()
    }

    async fn delete(&self, namespace: &str) {
        self.namespaces().delete(namespace, &DeleteParams::default()).await.unwrap();
    }

    async fn gone(&self, namespace: &str) {
        until("no namespace", async || self.namespaces().get_opt(namespace).await.unwrap().is_none()).await;
    }

    async fn external_resources(&self, namespace: &str) -> usize {
        let external_resources =
            Api::<bindery::apis::servicecatalog::ExternalResource>::all(self.place.client.clone());
        let all = external_resources.list(&kube::api::ListParams::default()).await.unwrap();
        all.iter().filter(|external_resource| external_resource.spec.namespace == namespace).count()
    }
}

fn condition<'a>(status: &'a Value, type_: &str) -> &'a Value {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_database_is_created_and_deleted_with_its_namespace() {
    let parameters = json!({"parameters": {"owner": "{{ labels.team }}"}, "env": "DATABASE_URL=uri"});
    let branches = Branches::new(parameters).await;
    let namespace = branches.branch(json!({"team": "blue"})).await;
    let started = Instant::now();
    branches.ready(&namespace).await;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let instance = branches.instance(&namespace).await.unwrap();
    let asked = branches.place.broker.held().instances[instance.spec.external_id.as_ref().unwrap()].clone();
    assert_eq!(asked["parameters"], json!({"owner": "blue"}));
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(branches.place.client.clone(), &namespace);
    assert!(secrets.get("db-env").await.unwrap().data.unwrap().contains_key("DATABASE_URL"));
    let status = branches.reported(|status| status["ready"] == 1).await;
    assert_eq!(condition(&status, "Ready")["reason"], "AllReady");
    assert_eq!(status["namespaces"], 1, "the others are not selected");

    branches.delete(&namespace).await;
    branches.gone(&namespace).await;
    until("nothing at the broker", async || branches.place.broker.is_empty()).await;
    assert_eq!(branches.external_resources(&namespace).await, 0);
    branches.reported(|status| status["namespaces"] == 0).await;
}

#[tokio::test]
async fn objects_of_other_users_are_not_touched() {
    let branches = Branches::new(json!({})).await;
    let labels = json!({"branches": branches.place.broker.suffix});
    // The user's instance exists before the namespace is selected.
    branches.place.instance("db", json!({})).await;
    branches.place.instance_is("db", "ProvisionedSuccessfully").await;
    let namespace = branches.place.namespace.clone();
    branches.label(&namespace, json!({"labels": labels})).await;
    let message = branches.waits(&namespace, "NameTaken").await;
    assert!(message.contains("ServiceInstance db already exists"), "{message}");
    let theirs = branches.instance(&namespace).await.unwrap();
    assert!(!theirs.labels().contains_key(branch::NAMESPACE_BINDING));
    let bindings: Api<ServiceBinding> = Api::namespaced(branches.place.client.clone(), &namespace);
    assert!(bindings.get_opt("db").await.unwrap().is_none(), "nothing is bound to it");
    assert_eq!(branches.place.broker.held().instances.len(), 1);
    branches.label(&namespace, json!({"labels": {"branches": null}})).await;
    branches.reported(|status| status["namespaces"] == 0).await;
    assert!(branches.instance(&namespace).await.unwrap().metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn a_namespace_over_the_limit_waits_until_another_is_gone() {
    let branches = Branches::new(json!({"limits": {"total": 1}})).await;
    let first = branches.branch(json!({})).await;
    branches.ready(&first).await;
    let second = branches.branch(json!({})).await;
    let message = branches.waits(&second, "LimitReached").await;
    assert!(message.contains("limits.total"), "{message}");
    restart_catalog().await;
    branches.reported(|status| status["pending"] == 1 && status["ready"] == 1).await;
    assert!(branches.instance(&second).await.is_none(), "who starts anew knows who has it");
    branches.delete(&first).await;
    branches.ready(&second).await;
}

#[tokio::test]
async fn a_burst_stays_within_the_limits_and_teams_share() {
    let limits = json!({"total": 6, "perLabel": {"label": "team", "count": 4}});
    let branches = Branches::new(json!({"limits": limits})).await;
    let mut made = Vec::new();
    for (team, count) in [("blue", 8), ("red", 2)] {
        for _ in 0..count {
            made.push((team, branches.branch(json!({"team": team})).await));
        }
    }
    let status = branches.reported(|status| status["ready"] == 6).await;
    assert_eq!(status["pending"], 4);
    let mut held = std::collections::BTreeMap::new();
    for (team, namespace) in &made {
        *held.entry(*team).or_insert(0) += i32::from(branches.instance(namespace).await.is_some());
    }
    // The first namespace of blue came alone; red's are granted before blue's others unless those existed already.
    assert!(held["blue"] <= 4 && held.values().sum::<i32>() == 6, "{held:?}");
    assert_eq!(held["red"], 2);
}

#[tokio::test]
async fn without_the_label_the_database_is_deleted_after_the_grace_period() {
    let branches = Branches::new(json!({"gracePeriod": "1h"})).await;
    let namespace = branches.branch(json!({})).await;
    branches.ready(&namespace).await;
    let label = |value: Value| json!({"labels": {"branches": value}});
    let leaving = async || {
        branches.instance(&namespace).await.is_some_and(|it| it.annotations().contains_key(branch::LEAVES_AT))
    };
    branches.label(&namespace, label(Value::Null)).await;
    until("an announcement", leaving).await;
    branches.reported(|status| status["leaving"] == 1 && status["namespaces"] == 0).await;
    branches.label(&namespace, label(json!(branches.place.broker.suffix))).await;
    until("no announcement", async || !leaving().await).await;

    let shorter = Patch::Merge(json!({"spec": {"gracePeriod": "1s"}}));
    branches.rules().patch(&branches.name, &PatchParams::default(), &shorter).await.unwrap();
    branches.reported(|status| status["observedGeneration"] == 2).await;
    branches.label(&namespace, label(Value::Null)).await;
    until("nothing", async || {
        branches.place.broker.is_empty() && branches.instance(&namespace).await.is_none()
    })
    .await;
    assert_eq!(branches.external_resources(&namespace).await, 0);
}

#[tokio::test]
async fn deleting_a_namespacebinding_deletes_no_data_at_once() {
    let branches = Branches::new(json!({})).await;
    let namespace = branches.branch(json!({})).await;
    branches.ready(&namespace).await;
    branches.rules().delete(&branches.name, &DeleteParams::default()).await.unwrap();
    until("an announcement", async || {
        branches.instance(&namespace).await.unwrap().annotations().contains_key(branch::LEAVES_AT)
    })
    .await;
    branches.bind(&branches.name, json!({})).await;
    until("its heir", async || {
        !branches.instance(&namespace).await.unwrap().annotations().contains_key(branch::LEAVES_AT)
    })
    .await;
    assert_eq!(branches.place.broker.held().instances.len(), 1);
}

#[tokio::test]
async fn the_end_of_a_ttl_is_announced_can_be_extended_and_comes() {
    let branches = Branches::new(json!({"ttl": {"after": "20s", "warnBefore": "16s"}})).await;
    let namespace = branches.branch(json!({})).await;
    branches.ready(&namespace).await;
    let announced = async || {
        let instance = branches.instance(&namespace).await;
        instance.is_some_and(|instance| instance.annotations().contains_key(branch::EXPIRES_AT))
    };
    until("an announcement", announced).await;
    branches.reported(|status| status["expiring"] == 1).await;
    let later = k8s_openapi::jiff::Timestamp::now() + Duration::from_secs(30);
    branches.label(&namespace, json!({"annotations": {branch::EXTENDED_UNTIL: later.to_string()}})).await;
    until("an extension", async || !announced().await).await;
    until("the end", async || {
        branches.place.broker.is_empty() && branches.instance(&namespace).await.is_none()
    })
    .await;
    assert!(k8s_openapi::jiff::Timestamp::now() >= later);
    branches.reported(|status| status["expired"] == 1 && status["pending"] == 0).await;
    assert!(branches.namespaces().get(&namespace).await.unwrap().metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn a_running_pod_keeps_the_service_of_its_namespace() {
    let branches =
        Branches::new(json!({"ttl": {"after": "4s", "since": "LastPod", "warnBefore": "1s"}})).await;
    // The pod may take longer than the ttl to run, so the namespace is selected only then.
    let namespace = branches.branch(json!({"branches": "later"})).await;
    let pods: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(branches.place.client.clone(), &namespace);
    let pod = json!({"metadata": {"name": "app"}, "spec": {"containers": [{"name": "app", "image": "busybox:1.35",
        "imagePullPolicy": "Never", "command": ["sleep", "3600"]}]}});
    // The default service account takes a moment.
    until("a pod", async || {
        pods.create(&PostParams::default(), &serde_json::from_value(pod.clone()).unwrap()).await.is_ok()
    })
    .await;
    until("a running pod", async || json!(pods.get("app").await.unwrap().status)["phase"] == "Running").await;
    branches.label(&namespace, json!({"labels": {"branches": branches.place.broker.suffix}})).await;
    branches.ready(&namespace).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(8) {
        assert!(branches.instance(&namespace).await.is_some(), "lost after {:?}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pods.delete("app", &DeleteParams::default().grace_period(0)).await.unwrap();
    until("the end", async || {
        branches.place.broker.is_empty() && branches.instance(&namespace).await.is_none()
    })
    .await;
}

#[tokio::test]
async fn a_failing_namespace_does_not_delay_the_others() {
    let branches = Branches::new(json!({"parameters": {"owner": "{{ labels.team }}"}})).await;
    let nobodys = branches.branch(json!({})).await;
    let message = branches.waits(&nobodys, "InvalidTemplate").await;
    assert!(message.starts_with("spec.parameters.owner: ") && message.contains("label"), "{message}");
    let blue = branches.branch(json!({"team": "blue"})).await;
    branches.ready(&blue).await;
    branches.label(&nobodys, json!({"labels": {"team": "red"}})).await;
    branches.ready(&nobodys).await;
}

#[tokio::test]
async fn an_invalid_spec_changes_nothing() {
    let branches = Branches::new(json!({})).await;
    let namespace = branches.branch(json!({})).await;
    branches.ready(&namespace).await;
    let broken = Patch::Merge(json!({"spec": {"parameters": {"owner": "{{ labels."}}}));
    branches.rules().patch(&branches.name, &PatchParams::default(), &broken).await.unwrap();
    let status = branches.reported(|status| condition(status, "Accepted")["status"] == "False").await;
    let message = condition(&status, "Accepted")["message"].as_str().unwrap();
    assert!(message.starts_with("spec.parameters.owner: "), "{message}");
    let instance = branches.instance(&namespace).await.unwrap();
    assert!(!instance.annotations().contains_key(branch::LEAVES_AT));
    let mended = Patch::Merge(json!({"spec": {"parameters": {"owner": "{{ name }}"}}}));
    branches.rules().patch(&branches.name, &PatchParams::default(), &mended).await.unwrap();
    let status = branches.reported(|status| status["outdated"] == 1).await;
    assert_eq!(condition(&status, "UpToDate")["reason"], "NewInstancesOnly");
    // A user who wants a new instance deletes the old one.
    branches.instances(&namespace).delete("db", &DeleteParams::default()).await.unwrap();
    branches.reported(|status| status["outdated"] == 0 && status["ready"] == 1).await;
    let held = branches.place.broker.held().instances.clone();
    let asked: Vec<_> = held.values().map(|instance| instance["parameters"].clone()).collect();
    assert_eq!(asked, [json!({"owner": namespace})]);
}

/// Before they lose anything.
#[tokio::test]
async fn a_narrower_selection_reports_how_many_namespaces_lose_their_service() {
    let branches = Branches::new(json!({"gracePeriod": "2h"})).await;
    let namespace = branches.branch(json!({})).await;
    branches.ready(&namespace).await;
    let narrower = Patch::Merge(json!({"spec": {"namePattern": "nobody-*"}}));
    branches.rules().patch(&branches.name, &PatchParams::default(), &narrower).await.unwrap();
    let events: Api<k8s_openapi::api::core::v1::Event> =
        Api::namespaced(branches.place.client.clone(), "default");
    let of_rule = kube::api::ListParams::default().fields(&format!("involvedObject.name={}", branches.name));
    until("the event", async || {
        let said = events.list(&of_rule).await.unwrap();
        said.into_iter().filter_map(|event| event.message).any(|message| {
            message.contains("Selected namespaces: 0; no longer selected") && message.ends_with("after 2h: 1")
        })
    })
    .await;
    assert_eq!(branches.place.broker.held().instances.len(), 1);
}

#[tokio::test]
async fn the_older_of_two_namespacebindings_with_one_name_wins() {
    let branches = Branches::new(json!({})).await;
    let younger =
        Branches { place: Place::new().await, name: format!("younger-{}", branches.place.broker.suffix) };
    until("a second later", async || {
        let made = branches.rules().get(&branches.name).await.unwrap().creation_timestamp().unwrap().0;
        made < k8s_openapi::jiff::Timestamp::now() - Duration::from_secs(1)
    })
    .await;
    branches.bind(&younger.name, json!({})).await;
    let namespace = branches.branch(json!({})).await;
    let message = younger.waits(&namespace, "NameClash").await;
    assert!(message.contains(&branches.name) && message.contains("bindingName"), "{message}");
    branches.ready(&namespace).await;
    assert_eq!(
        branches.instance(&namespace).await.unwrap().labels()[branch::NAMESPACE_BINDING],
        branches.name
    );
}

/// While the broker is away the namespace is deleted; its instance is deleted at the broker when the broker is back.
#[tokio::test]
async fn a_namespace_is_deleted_while_its_broker_is_away() {
    goes_in_spite_of(Fault::Broken).await;
}

/// A call may take a minute, and the binding and the instance need one each.
#[tokio::test]
async fn a_namespace_is_deleted_while_its_broker_never_answers() {
    goes_in_spite_of(Fault::Hangs).await;
}

async fn goes_in_spite_of(fault: Fault) {
    let branches = Branches::new(json!({})).await;
    let namespace = branches.branch(json!({})).await;
    branches.ready(&namespace).await;
    branches.place.broker.set(fault);
    branches.delete(&namespace).await;
    let started = Instant::now();
    while branches.namespaces().get_opt(&namespace).await.unwrap().is_some() {
        assert!(started.elapsed() < Duration::from_mins(1), "{namespace} does not go");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(branches.external_resources(&namespace).await, 2, "what is left to do is known");
    assert!(!branches.place.broker.is_empty());
    branches.place.broker.set(Fault::None);
    until("nothing at the broker", async || branches.place.broker.is_empty()).await;
    until("no external resources", async || branches.external_resources(&namespace).await == 0).await;
}
