//! Namespaces of a real API server with compiled policies.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bindery::{
    apis::bindery::{
        credential_policy::{CredentialPolicy, Mode, RuleName},
        credential_policy_exception::CredentialPolicyException,
    },
    policy::cel::{Compiled, compile},
};
use bindery_test_support::cluster;
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    client::Body,
};
use serde_json::{Value, json};

use crate::objects::policy_of;

const PATIENCE: Duration = Duration::from_mins(3);

/// What the API server did with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was accepted, with warnings about these rules.
    Allowed { warned: BTreeSet<RuleName> },
    /// The policy refused it. Of several rules, the API server names the first.
    Refused { rule: RuleName },
    /// It was refused for another reason.
    Other(String),
}

/// A part of the cluster that belongs to one test.
pub(crate) struct Place {
    pub(crate) client: Client,
    prefix: String,
    /// A namespace with a rule of its own that is applied last: once it holds, all do.
    canary: String,
}

impl Place {
    pub(crate) async fn new(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let client = cluster::client("policies").await;
        let (number, process) = (COUNT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let place =
            Self { client, prefix: format!("{name}-{process}-{number}"), canary: "canary".to_owned() };
        place.namespace("canary").await;
        place
    }

    /// A name that no other test uses.
    pub(crate) fn unique(&self, name: &str) -> String {
        if name.starts_with(&self.prefix) { name.to_owned() } else { format!("{}-{name}", self.prefix) }
    }

    /// Creates a namespace in which pods can be created, and returns its whole name.
    pub(crate) async fn namespace(&self, name: &str) -> String {
        self.namespace_with(name, &json!({})).await
    }

    pub(crate) async fn namespace_with(&self, name: &str, metadata: &Value) -> String {
        let name = self.unique(name);
        cluster::create_namespace(&self.client, &name, metadata).await;
        name
    }

    /// Creates definitions of kinds. The API server serves the kinds a moment later.
    pub(crate) async fn define(&self, definitions: impl IntoIterator<Item = CustomResourceDefinition>) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in definitions {
            let (name, parameters) = (crd.name_any(), PatchParams::apply("tests").force());
            crds.patch(&name, &parameters, &Patch::Apply(&crd)).await.unwrap();
        }
    }

    /// Applies what a policy without exceptions compiles to.
    pub(crate) async fn enforce(&self, policy: &CredentialPolicy) {
        self.enforce_with(policy, &[], Timestamp::now()).await;
    }

    /// Applies what a policy compiles to in an installation that excludes these namespaces.
    pub(crate) async fn enforce_excluding(&self, policy: &CredentialPolicy, excluded: &[String]) {
        self.apply(compile(policy, &[], excluded, Timestamp::now()).unwrap()).await;
    }

    /// Applies what a policy compiles to at this time.
    pub(crate) async fn enforce_with(
        &self,
        policy: &CredentialPolicy,
        exceptions: &[CredentialPolicyException],
        now: Timestamp,
    ) {
        self.apply(compile(policy, exceptions, &[], now).unwrap()).await;
    }

    /// Applies what policies compile to.
    pub(crate) async fn apply(&self, compiled: Vec<Compiled>) {
        let parameters = PatchParams::apply("tests").force();
        for Compiled { mut policy, mut binding, .. } in compiled {
            // With the label, the controller of another test would delete what belongs to no policy that it knows.
            (policy.metadata.labels, binding.metadata.labels) = (None, None);
            let name = policy.metadata.name.clone().unwrap();
            let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
            policies.patch(&name, &parameters, &Patch::Apply(&policy)).await.unwrap();
            let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
            bindings.patch(&name, &parameters, &Patch::Apply(&binding)).await.unwrap();
        }
    }

    /// A namespace for each rule, in which this rule alone is enforced.
    pub(crate) async fn enforcing_each_rule(&self, rules: &Value) -> Vec<(RuleName, String)> {
        let mut namespaces = Vec::new();
        for rule in RuleName::ALL.into_iter().filter(|rule| rules.get(rule.name()).is_some()) {
            let namespace = self.namespace(&format!("only-{}", rule.name().to_lowercase())).await;
            let only = json!({rule.name(): rules[rule.name()]});
            self.enforce(&policy_of(&namespace, &namespace, Mode::Enforce, &only)).await;
            namespaces.push((rule, namespace));
        }
        namespaces
    }

    /// Waits until the API server evaluates what was applied before.
    pub(crate) async fn settled(&self) {
        let name = self.unique(&self.canary);
        self.enforce(&policy_of(&name, &name, Mode::Enforce, &json!({"filesOnly": {}}))).await;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "canary"}, "spec": {"containers": [
            {"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]}});
        until("the last policy holds", async || {
            matches!(self.create(&name, &pod).await, Answer::Refused { .. })
        })
        .await;
    }

    /// What the API server would do with a new object.
    pub(crate) async fn create(&self, namespace: &str, object: &Value) -> Answer {
        let path = format!("{}?dryRun=All", self.path(namespace, object));
        self.send("POST", &path, object).await
    }

    /// Sends an object and reads the warnings, which kube's own methods drop.
    pub(crate) async fn send(&self, method: &str, path: &str, object: &Value) -> Answer {
        self.send_as(None, method, path, object).await
    }

    /// Sends an object as this user of these groups, instead of as an administrator.
    pub(crate) async fn send_as(
        &self,
        author: Option<(&str, &[String])>,
        method: &str,
        path: &str,
        object: &Value,
    ) -> Answer {
        let (method, content) = match method {
            "PATCH" => ("PATCH", "application/strategic-merge-patch+json"),
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            other => (other, "application/json"),
        };
        let mut request =
            axum::http::Request::builder().method(method).uri(path).header("content-type", content);
        if let Some((user, groups)) = author {
            request = request.header("impersonate-user", user);
            for group in groups {
                request = request.header("impersonate-group", group);
            }
        }
        let request = request.body(Body::from(object.to_string().into_bytes())).unwrap();
        let response = self.client.send(request).await.unwrap();
        let warnings: Vec<_> = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|it| it.to_str().unwrap_or_default().to_owned())
            .collect();
        let is_success = response.status().is_success();
        let body = response.into_body().collect_bytes().await.unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        if is_success {
            let of_policies = warnings.iter().filter(|text| is_of_policy(text));
            return Answer::Allowed { warned: of_policies.map(|text| rule_in(text)).collect() };
        }
        let message = serde_json::from_str::<Value>(&text).unwrap_or_default()["message"].clone();
        let message = message.as_str().unwrap_or(&text).to_owned();
        let is_by_policy = is_of_policy(&message) && message.contains("denied request: [");
        if is_by_policy { Answer::Refused { rule: rule_in(&message) } } else { Answer::Other(message) }
    }

    /// The `resourceVersion` of an object.
    pub(crate) async fn version(&self, path: &str) -> Value {
        let request = axum::http::Request::get(path).body(Vec::new()).unwrap();
        self.client.request::<Value>(request).await.unwrap()["metadata"]["resourceVersion"].clone()
    }

    /// Applies an object on the server.
    pub(crate) async fn apply_as_is(&self, path: &str, object: &Value) -> Answer {
        self.send("APPLY", path, object).await
    }

    /// The path of the objects of this kind.
    pub(crate) fn path(&self, namespace: &str, object: &Value) -> String {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let namespace = self.unique(namespace);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource);
        api.resource_url().to_owned()
    }
}

/// The right to run a controller: two would write the same statuses.
pub(crate) struct OnlyController(
    #[expect(dead_code, reason = "held, not read")] tokio::sync::MutexGuard<'static, ()>,
);

impl OnlyController {
    pub(crate) async fn wait() -> Self {
        static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        Self(ONE.lock().await)
    }
}

/// Whether a message is about a policy, be it by the API server or by bindery's webhook.
fn is_of_policy(message: &str) -> bool {
    message.contains("ValidatingAdmissionPolicy") || message.contains("CredentialPolicy '")
}

/// The rule that a message names.
fn rule_in(message: &str) -> RuleName {
    let name = message.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name);
    let rule = RuleName::ALL.into_iter().find(|rule| Some(rule.name()) == name);
    rule.unwrap_or_else(|| panic!("no rule in {message:?}"))
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    cluster::until(PATIENCE, what, condition).await;
}
