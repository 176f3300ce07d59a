//! The audit of what exists, and `bindery policies`, on a real API server.

use std::{process::Stdio, sync::Arc, time::Duration};

use bindery::{
    apis::bindery::{
        credential_policy::{CredentialPolicy, CredentialPolicyStatus, Mode},
        credential_policy_exception::CredentialPolicyException,
    },
    enforcement::{self, EnforcementError, EnforcementSettings},
    policy,
    telemetry::Metrics,
};
use bindery_test_support::cluster;
use k8s_openapi::{
    api::{core::v1::Namespace, events::v1::Event},
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{process::Command, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Answer, OnlyController, Place, until},
    exceptions::bad,
    objects::{ending_soon, exception, policy_of},
    report_kinds::{REPORTS, definition, resource},
    table::workload,
};

/// The controller-manager checks the types of the policies of all tests one after the other.
pub(crate) const TYPE_CHECK: Duration = Duration::from_mins(8);

/// A controller with what it writes.
pub(crate) struct Audited {
    _only: OnlyController,
    pub(crate) place: Place,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    controller: JoinHandle<Result<(), EnforcementError>>,
}

impl Audited {
    pub(crate) async fn new(name: &str) -> Self {
        let only = OnlyController::wait().await;
        let place = Place::new(name).await;
        place.define(policy::crds().into_iter().chain(REPORTS.map(definition))).await;
        let audited = Self {
            _only: only,
            metrics: Arc::new(Metrics::new()),
            stop: CancellationToken::new(),
            controller: tokio::spawn(async { Ok(()) }),
            place,
        };
        let policies: Api<CredentialPolicy> = Api::all(audited.place.client.clone());
        until("the kinds are served", async || {
            policies.list(&ListParams::default()).await.is_ok()
                && audited.report(0, "default").list(&ListParams::default()).await.is_ok()
                && audited.report(1, "default").list(&ListParams::default()).await.is_ok()
        })
        .await;
        audited
    }

    /// Creates a policy.
    pub(crate) async fn policy(&self, policy: &CredentialPolicy) {
        let policies: Api<CredentialPolicy> = Api::all(self.place.client.clone());
        policies.create(&PostParams::default(), policy).await.unwrap();
    }

    /// Changes a policy.
    pub(crate) async fn change(&self, name: &str, changes: &Value) {
        let policies: Api<CredentialPolicy> = Api::all(self.place.client.clone());
        policies.patch(name, &PatchParams::default(), &Patch::Merge(changes)).await.unwrap();
    }

    pub(crate) fn start(&mut self) {
        let (client, metrics) = (self.place.client.clone(), self.metrics.clone());
        self.controller = tokio::spawn(enforcement::run(
            client,
            EnforcementSettings::default(),
            metrics,
            self.stop.clone(),
        ));
    }

    fn report(&self, kind: usize, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.place.client.clone(), namespace, &resource(REPORTS[kind]))
    }

    /// The results of a namespace's report, each as kind, name, rule and result.
    pub(crate) async fn results(&self, kind: usize, namespace: &str) -> Option<Vec<String>> {
        let report = self.report(kind, namespace).get_opt("bindery").await.unwrap()?;
        let results = report.data["results"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        Some(
            results
                .map(|it| {
                    let object = &it["resources"][0];
                    [&object["kind"], &object["name"], &it["rule"], &it["result"]].map(text).join(" ")
                })
                .collect(),
        )
    }

    pub(crate) async fn status(&self, policy: &str) -> CredentialPolicyStatus {
        let policies: Api<CredentialPolicy> = Api::all(self.place.client.clone());
        policies.get(policy).await.unwrap().status.unwrap_or_default()
    }

    /// Waits until the API server has checked the types of a policy, and returns the message about that.
    pub(crate) async fn types_checked(&self, policy: &str) -> String {
        let mut known = None;
        // The condition is unknown again for a moment whenever the compiled objects change.
        cluster::until(TYPE_CHECK, "the types are checked", async || {
            let conditions = self.status(policy).await.conditions;
            known = conditions.into_iter().find(|it| it.type_ == "TypesChecked" && it.status != "Unknown");
            known.is_some()
        })
        .await;
        known.unwrap().message
    }

    pub(crate) async fn create(&self, namespace: &str, object: &Value) {
        let path = self.place.path(namespace, object);
        let answer = self.place.send("POST", &path, object).await;
        assert!(matches!(answer, Answer::Allowed { .. }), "{answer:?}");
    }

    async fn delete(&self, namespace: &str, object: &Value) {
        let path = format!(
            "{}/{}",
            self.place.path(namespace, object),
            object["metadata"]["name"].as_str().unwrap()
        );
        let answer = self
            .place
            .send(
                "DELETE",
                &path,
                &json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}),
            )
            .await;
        assert!(matches!(answer, Answer::Allowed { .. }), "{answer:?}");
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.controller.await.unwrap().unwrap();
    }
}

fn named(name: &str, mut pod: Value) -> Value {
    pod["metadata"]["name"] = json!(name);
    pod
}

/// Runs the program with the cluster's kubeconfig.
async fn bindery(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bindery"));
    let output = command.args(arguments).stdin(Stdio::null()).output().await.unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[tokio::test]
async fn what_exists_is_audited_and_reported() {
    let mut audited = Audited::new("audit").await;
    let namespace = audited.place.namespace("shop").await;
    let name = namespace.as_str();
    // They are older than the policy and the controller.
    let mut deployment = named("shop", workload("Deployment", &bad()));
    deployment["spec"]["replicas"] = json!(0);
    audited.create(name, &deployment).await;
    audited.create(name, &named("old", bad())).await;
    let mut secret = named("telling", bad());
    secret["spec"]["containers"][0]["env"] = json!([{"name": "DB_PASSWORD", "value": "canary-hunter2"}]);
    audited.create(name, &secret).await;
    let policies: Api<CredentialPolicy> = Api::all(audited.place.client.clone());
    let rules = json!({"filesOnly": {"mode": "Enforce"}, "noPlainText": {}});
    audited.policy(&policy_of(name, name, Mode::Warn, &rules)).await;
    audited.start();

    let all = [
        "Pod old filesOnly fail",
        "Pod telling filesOnly fail",
        "Deployment shop filesOnly fail",
        "Pod telling noPlainText warn",
    ];
    for kind in 0..2 {
        until("the report lists everything", async || {
            audited.results(kind, name).await.is_some_and(|results| results == all)
        })
        .await;
    }
    let report = audited.report(0, name).get("bindery").await.unwrap();
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(report.data["summary"]["fail"], 3);
    until("the status counts", async || {
        audited.status(name).await.audit.is_some_and(|audit| audit.violations == 4)
    })
    .await;
    let status = audited.status(name).await;
    let audit = status.audit.unwrap();
    assert_eq!((audit.namespaces[0].violations, audit.namespaces[0].enforced), (4, 3));
    assert_eq!(status.conditions[1].reason, "ReportsWritten");
    let metrics = audited.metrics.encode().unwrap();
    let line = format!(r#"bindery_policy_violations{{policy="{name}",rule="filesOnly",mode="Enforce"}} 3"#);
    assert!(metrics.contains(&line), "{metrics}");

    audited.types_checked(name).await;

    // Nothing changes, so nothing is written: a pod that violates nothing comes, and another policy.
    let versions = async || {
        let report = audited.report(0, name).get("bindery").await.unwrap().resource_version();
        (report, policies.get(name).await.unwrap().resource_version())
    };
    let before = versions().await;
    let mut fine = named("fine", bad());
    fine["spec"]["containers"][0].as_object_mut().unwrap().remove("envFrom");
    audited.create(name, &fine).await;
    let other = audited.place.namespace("other").await;
    audited.create(&other, &bad()).await;
    let second = policy_of(&other, &other, Mode::Audit, &json!({"filesOnly": {}}));
    policies.create(&PostParams::default(), &second).await.unwrap();
    until("the other policy is audited", async || audited.results(0, &other).await.is_some()).await;
    assert_eq!(versions().await, before);

    // An exception, and its end.
    let end = Timestamp::now() + SignedDuration::from_mins(30);
    let spec = json!({"policy": name, "namespaces": [name], "names": ["old"], "expiresAt": end.to_string()});
    let exceptions: Api<CredentialPolicyException> = Api::all(audited.place.client.clone());
    exceptions.create(&PostParams::default(), &exception(name, spec)).await.unwrap();
    let has = async |wanted: &str| {
        audited.results(0, name).await.is_some_and(|results| results.iter().any(|result| result == wanted))
    };
    until("the exception is visible", async || has("Pod old filesOnly skip").await).await;
    until("the policy counts it", async || {
        let audit = audited.status(name).await.audit.unwrap();
        audit.violations == 3 && audit.rules.iter().any(|rule| rule.exempt == 1)
    })
    .await;
    exceptions.patch(name, &PatchParams::default(), &ending_soon()).await.unwrap();
    until("the exception has ended", async || has("Pod old filesOnly fail").await).await;
    let events: Api<Event> = Api::namespaced(audited.place.client.clone(), "default");
    until("events tell both", async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let reasons =
            events.iter().filter(|it| it.regarding.as_ref().and_then(|it| it.name.as_deref()) == Some(name));
        let reasons: Vec<_> = reasons.filter_map(|event| event.reason.as_deref()).collect();
        reasons.contains(&"ExceptionEndsSoon") && reasons.contains(&"ExceptionEnded")
    })
    .await;

    // Somebody deletes an object, then the rest.
    audited.delete(name, &named("old", bad())).await;
    until("its results go", async || !has("Pod old filesOnly fail").await).await;
    audited.delete(name, &secret).await;
    audited.delete(name, &deployment).await;
    until("the report goes with the last violation", async || {
        audited.results(0, name).await.is_none() && audited.results(1, name).await.is_none()
    })
    .await;

    // The report of the other namespace belongs to its policy, also without bindery.
    assert!(audited.results(0, &other).await.is_some());
    let owner = audited.report(0, &other).get("bindery").await.unwrap().owner_references()[0].clone();
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("CredentialPolicy", other.as_str()));
    policies.delete(&other, &DeleteParams::default()).await.unwrap();
    until("the report goes with its policy", async || audited.results(0, &other).await.is_none()).await;
    policies.delete(name, &DeleteParams::default()).await.unwrap();
    audited.end().await;
}

/// A policy that selects by labels judges anew when the labels change, without a change of policy or pod.
#[tokio::test]
async fn labels_of_a_namespace_count_when_they_change() {
    let mut audited = Audited::new("labels").await;
    let namespace = audited.place.namespace("shop").await;
    let name = namespace.as_str();
    audited.create(name, &bad()).await;
    let mut policy = policy_of(name, name, Mode::Audit, &json!({"filesOnly": {}}));
    let selector = serde_json::from_value(json!({"matchLabels": {"stage": name}})).unwrap();
    policy.spec.scope.as_mut().unwrap().namespace_selector = Some(selector);
    let policies: Api<CredentialPolicy> = Api::all(audited.place.client.clone());
    policies.create(&PostParams::default(), &policy).await.unwrap();
    audited.start();
    let counted = async || audited.status(name).await.audit.map(|audit| audit.violations);
    until("the audit is complete", async || counted().await == Some(0)).await;
    let namespaces: Api<Namespace> = Api::all(audited.place.client.clone());
    let label = |value: &Value| Patch::Merge(json!({"metadata": {"labels": {"stage": value}}}));
    namespaces.patch(name, &PatchParams::default(), &label(&json!(name))).await.unwrap();
    until("the pod violates", async || counted().await == Some(1)).await;
    namespaces.patch(name, &PatchParams::default(), &label(&Value::Null)).await.unwrap();
    until("the pod does not violate any more", async || counted().await == Some(0)).await;
    policies.delete(name, &DeleteParams::default()).await.unwrap();
    audited.end().await;
}

#[tokio::test]
async fn policies_are_shown_and_stood_down_with_and_without_a_controller() {
    let mut audited = Audited::new("stand-down").await;
    let namespace = audited.place.namespace("shop").await;
    let name = namespace.as_str();
    let policies: Api<CredentialPolicy> = Api::all(audited.place.client.clone());
    let policy = policy_of(name, name, Mode::Enforce, &json!({"filesOnly": {}}));
    policies.create(&PostParams::default(), &policy).await.unwrap();
    audited.start();
    let is_refused = async || matches!(audited.place.create(name, &bad()).await, Answer::Refused { .. });
    until("the policy holds", is_refused).await;
    until("the audit is complete", async || audited.status(name).await.audit.is_some()).await;

    let (_, text) = bindery(&["policies", "--output", "json"]).await;
    let shown: Value = serde_json::from_str(&text).unwrap();
    let of = |list: &str, field: &str| {
        shown[list]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it[field] == name)
            .unwrap_or_else(|| panic!("{shown:#}"))
            .clone()
    };
    assert_eq!(of("policies", "name")["rules"][0]["mode"], "Enforce");
    assert!(of("atAdmission", "policy")["refused"].as_u64().unwrap() > 0, "{shown:#}");

    // With the controller, which does not put back what is deleted.
    let (is_fine, said) = bindery(&["policies", "stand-down", name, "--reason", "a test"]).await;
    assert!(is_fine, "{said}");
    until("the policy does not hold", async || !is_refused().await).await;
    until("its status says why", async || {
        let ready = audited.status(name).await.conditions[0].clone();
        ready.reason == "StoodDown" && ready.message.contains("a test")
    })
    .await;
    // A pass that had begun before may have put the binding back for a moment.
    until("the policy still does not hold", async || !is_refused().await).await;
    let (is_fine, said) = bindery(&["policies", "resume", name]).await;
    assert!(is_fine, "{said}");
    until("the policy holds again", is_refused).await;

    // Without it.
    audited.stop.cancel();
    (&mut audited.controller).await.unwrap().unwrap();
    let (is_fine, said) = bindery(&["policies", "stand-down", name]).await;
    assert!(is_fine && said.contains("1 ValidatingAdmissionPolicyBindings deleted"), "{said}");
    until("the policy does not hold", async || {
        !matches!(audited.place.create(name, &bad()).await, Answer::Refused { .. })
    })
    .await;
    let (_, said) = bindery(&["policies"]).await;
    assert!(said.contains(name), "{said}");
    policies.delete(name, &DeleteParams::default()).await.unwrap();
}
