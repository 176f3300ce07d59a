//! Random values under the names of credentials, which bindery's webhook judges: the function, `bindery check` and an API
//! server with the webhook of the chart agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bindery::{
    admission::router::Routes,
    apis::bindery::{
        credential_policy::{CredentialPolicy, RuleName},
        credential_policy_exception::CredentialPolicyException,
    },
    enforcement::webhook::{HeldPolicies, PATH, PolicyHandler},
    policy::{Namespace, Policies, Root, Subject, WAYS},
    telemetry::{Metrics, ops::Readiness},
};
use k8s_openapi::{ByteString, jiff::Timestamp};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Answer, OnlyController, Place, until},
    config_maps::config_map,
    engines::{by_command_with, change_by_function},
    objects::{ending_soon, exception, policy},
    table::{WORKLOADS, workload},
    webhook::Webhook,
};

const RULE: RuleName = RuleName::NoRandomValues;
const RANDOM: &str = "kq3vz9xw7bm2tj5hx8";

fn rules() -> Value {
    json!({"noRandomValues": {"configMaps": true, "allowNames": ["DEMO_*"]}})
}

fn pod(container: &Value) -> Value {
    let mut app = json!({"name": "app", "image": "app:1"});
    json_patch::merge(&mut app, container);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [app]}})
}

fn variable(name: &str, value: &str) -> Value {
    pod(&json!({"env": [{"name": name, "value": value}]}))
}

fn annotated(name: &str, value: &str) -> Value {
    let mut pod = pod(&json!({}));
    pod["metadata"]["annotations"] = json!({name: value});
    pod
}

/// Pods and ConfigMaps, and whether they violate the rule.
fn cases() -> Vec<(&'static str, Value, bool)> {
    let more = json!({"name": "more", "image": "app:1", "args": [format!("--auth-token={RANDOM}")]});
    let mut initialised = pod(&json!({}));
    initialised["spec"]["initContainers"] = json!([more]);
    let mut cases = ways();
    cases.extend([
        ("nothing", pod(&json!({})), false),
        ("letters and digits", variable("SIGNING_KEY", RANDOM), true),
        ("letters only", variable("SESSION_SECRET_V2", "xkvqjzwpmtrbgdhs"), true),
        ("hexadecimal", variable("API_TOKEN_PROD", "8f14e45fceea167a5a36dedd4bea2543"), true),
        ("a name that says nothing", variable("BUILD", RANDOM), false),
        ("an allowed name", variable("DEMO_SECRET", RANDOM), false),
        ("words", variable("TLS_SECRET", "ingress-nginx-admission-certificate"), false),
        ("a reference", variable("API_TOKEN", "$(TOKEN_OF_THE_VAULT_3f9a)"), false),
        ("a path", variable("TOKEN_KEY", "/var/run/secrets/x7f3k9q2m5/token"), false),
        ("an option", pod(&json!({"args": ["-v", format!("--api-key={RANDOM}")]})), true),
        ("an option and its value", pod(&json!({"command": ["app", "--client-secret", RANDOM]})), true),
        ("a script", pod(&json!({"args": ["-c", format!("export API_TOKEN='{RANDOM}'; run")]})), true),
        ("an option of another name", pod(&json!({"args": [format!("--revision={RANDOM}")]})), false),
        ("an init container", initialised, true),
        (
            "a header in a command",
            pod(&json!({"command": ["curl", "-H", format!("X-Api-Key: {RANDOM}")]})),
            true,
        ),
        ("a bearer token", variable("AUTHORIZATION", &format!("Bearer {RANDOM}")), true),
        ("an annotation", annotated("example.com/webhook-token", RANDOM), true),
        (
            "a checksum",
            annotated("checksum/config", "8f14e45fceea167a5a36dedd4bea25438f14e45fceea167a"),
            false,
        ),
        ("an entry of a ConfigMap", config_map(&json!({"LEVEL": "info", "COOKIE_SECRET": RANDOM})), true),
        ("an entry of another name", config_map(&json!({"LEVEL": "info", "REVISION": RANDOM})), false),
    ]);
    cases
}

/// A pod for each way into a container.
fn ways() -> Vec<(&'static str, Value, bool)> {
    let ways = WAYS.iter().filter(|way| way.rule == RULE && way.root == Root::Container);
    ways.map(|way| (way.path, pod(&at(way.path)), true)).collect()
}

/// A container with a random value at the end of a way, inside of what the API server requires around it.
fn at(path: &str) -> Value {
    let value = match path.rsplit('.').next() {
        Some("env[]" | "httpHeaders[]") => json!([{"name": "ApiKey", "value": RANDOM}]),
        _ => json!(["app", "--api-key", RANDOM]),
    };
    let mut fields = path.trim_end_matches("[]").rsplit('.');
    let last = fields.next().unwrap();
    let mut object = json!({last: value});
    if last == "httpHeaders" {
        object["port"] = json!(80);
    }
    fields.fold(object, |inner, field| json!({field: inner}))
}

fn expected(is_violated: bool) -> BTreeSet<RuleName> {
    is_violated.then_some(RULE).into_iter().collect()
}

fn by_function(object: &Value) -> BTreeSet<RuleName> {
    if object["kind"] == "ConfigMap" {
        return change_by_function(json!({"rules": rules()}), "shop", None, object);
    }
    let policies = Policies::new(&[policy("p", json!({"rules": rules()}))], Vec::new(), Vec::new()).unwrap();
    let namespace = Namespace::new("shop", BTreeMap::new(), BTreeMap::new());
    let subject = Subject { name: "web", namespace: &namespace, template: object, only_ephemeral: false };
    policies.judge(&subject, Timestamp::now()).into_iter().map(|verdict| verdict.finding.rule).collect()
}

#[test]
fn the_function_and_the_command_agree_on_random_values() {
    for (name, object, is_violated) in cases() {
        assert_eq!(by_function(&object), expected(is_violated), "{name}");
        assert_eq!(by_command_with(&rules(), &object), expected(is_violated), "{name}");
    }
}

/// The webhook of the chart on this machine.
struct ChartWebhook {
    webhook: Webhook,
    metrics: Arc<Metrics>,
}

impl ChartWebhook {
    /// Registers the webhook for namespaces with these labels.
    async fn start(place: &Place, labels: &Value) -> Self {
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        let (held, watch) =
            HeldPolicies::new(&place.client, Vec::new(), metrics.clone(), Readiness::default());
        let ended = stop.clone();
        tokio::spawn(async move { ended.run_until_cancelled(Box::pin(watch)).await });
        let handler = PolicyHandler::new(place.client.clone(), held);
        let router = Routes::new(metrics.clone()).handle(PATH, handler).into_router();
        let name = place.unique("random");
        let webhooks = |port: u16, bundle: &ByteString| webhooks(port, bundle, labels);
        let webhook = Webhook::register(place, &name, router, stop, webhooks).await;
        Self { webhook, metrics }
    }

    /// How many objects the API server sent.
    fn reviews(&self) -> u64 {
        let text = self.metrics.encode().unwrap();
        let counted = text.lines().filter(|line| line.starts_with("bindery_admissions_total{"));
        counted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

/// The webhooks with the rules and conditions that the chart has.
fn webhooks(port: u16, bundle: &ByteString, labels: &Value) -> Value {
    let chart: Value =
        serde_saphyr::from_str(include_str!("../../charts/bindery/policy-webhook.yaml")).unwrap();
    let webhook = |name: &str, requests: &Value| {
        json!({"name": format!("{name}.policies.bindery.dev"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore", "timeoutSeconds": 10, "rules": requests["rules"],
            "matchConditions": requests["matchConditions"], "namespaceSelector": {"matchLabels": labels},
            "clientConfig": {"url": format!("https://localhost:{port}{PATH}"), "caBundle": bundle}})
    };
    json!([webhook("pods", &chart["pods"]), webhook("config-maps", &chart["configMaps"])])
}

/// A namespace for each mode, and a policy with these modes.
struct Modes {
    policies: Api<CredentialPolicy>,
    policy: String,
    enforced: String,
    warned: String,
    audited: String,
}

impl Modes {
    async fn create(place: &Place, labels: &Value) -> Self {
        let mut namespaces = Vec::new();
        for mode in ["enforced", "warned", "audited"] {
            namespaces.push(place.namespace_with(mode, &json!({"labels": labels})).await);
        }
        let [enforced, warned, audited] = namespaces.try_into().unwrap();
        let policies: Api<CredentialPolicy> = Api::all(place.client.clone());
        let spec = json!({"mode": "Enforce", "rules": rules(), "scope": {"namespaceSelector": {"matchLabels": labels}},
            "overrides": [{"namespaces": [warned], "mode": "Warn"}, {"namespaces": [audited], "mode": "Audit"}]});
        let name = place.unique("random");
        policies.create(&PostParams::default(), &policy(&name, spec)).await.unwrap();
        Self { policies, policy: name, enforced, warned, audited }
    }

    /// Checks what the API server does with an object in each mode.
    async fn check(&self, place: &Place, name: &str, object: &Value, is_violated: bool) {
        let nothing = Answer::Allowed { warned: BTreeSet::new() };
        let refused = if is_violated { Answer::Refused { rule: RULE } } else { nothing.clone() };
        assert_eq!(place.create(&self.enforced, object).await, refused, "{name}");
        let warned = Answer::Allowed { warned: expected(is_violated) };
        assert_eq!(place.create(&self.warned, object).await, warned, "{name}");
        assert_eq!(place.create(&self.audited, object).await, nothing, "{name}");
    }
}

#[tokio::test]
async fn the_webhook_agrees_in_every_mode_and_kind_and_nothing_waits_for_it() {
    let _only = OnlyController::wait().await;
    let place = Place::new("random").await;
    place.define(bindery::policy::crds()).await;
    let policies: Api<CredentialPolicy> = Api::all(place.client.clone());
    until("the kind is served", async || policies.list(&ListParams::default()).await.is_ok()).await;
    let labels = json!({"set": place.unique("set")});
    let chart = ChartWebhook::start(&place, &labels).await;
    let modes = Modes::create(&place, &labels).await;
    let bad = variable("SIGNING_KEY", RANDOM);
    let is_refused = async || place.create(&modes.enforced, &bad).await == Answer::Refused { rule: RULE };
    until("the webhook judges", is_refused).await;

    for (name, object, is_violated) in cases() {
        modes.check(&place, name, &object, is_violated).await;
    }
    for kind in WORKLOADS {
        modes.check(&place, kind, &workload(kind, &bad), true).await;
    }
    many_variables(&place, &modes).await;

    let before = chart.reviews();
    modes.check(&place, "a pod without such names", &variable("LOG_LEVEL", RANDOM), false).await;
    assert_eq!(chart.reviews(), before, "the API server sends only what may violate the rule");

    debugging(&place, &modes).await;
    an_exception(&place, &modes, is_refused).await;

    chart.webhook.finish().await;
    until("the webhook is gone", async || !is_refused().await).await;
    modes.policies.delete(&modes.policy, &DeleteParams::default()).await.unwrap();
}

/// The conditions of the webhook stay within what the API server grants, so a large pod is judged as well.
async fn many_variables(place: &Place, modes: &Modes) {
    let env = |container: usize, last: &str| -> Vec<Value> {
        let name = |number| format!("SETTING_OF_THE_APPLICATION_{container}_{number}");
        let mut env: Vec<_> =
            (0..40).map(|number| json!({"name": name(number), "value": "x".repeat(80)})).collect();
        env.push(json!({"name": last, "value": RANDOM}));
        env
    };
    let pod = |last: &str| {
        let container = |number: usize| {
            let last = if number == 19 { last } else { "BUILD" };
            json!({"name": format!("c{number}"), "image": "app:1", "env": env(number, last)})
        };
        let containers: Vec<_> = (0..20).map(container).collect();
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": containers}})
    };
    modes.check(place, "a large pod", &pod("BUILD_2"), false).await;
    modes.check(place, "a large pod with a random key", &pod("SIGNING_KEY"), true).await;
    let mut arguments = vec!["x".repeat(4_000); 40];
    arguments.push(format!("--signing-key={RANDOM}"));
    modes
        .check(place, "a random key behind long arguments", &self::pod(&json!({"args": arguments})), true)
        .await;
    let mut env: Vec<_> =
        (0..5_000).map(|it| json!({"name": format!("SETTING_{it}"), "value": "x"})).collect();
    env.push(json!({"name": "SIGNING_KEY", "value": RANDOM}));
    modes.check(place, "a random key behind many variables", &self::pod(&json!({"env": env})), true).await;
    let mut data: serde_json::Map<_, _> =
        (0..600).map(|it| (format!("{it}-{}", "x".repeat(240)), json!("x"))).collect();
    data.insert("SIGNING_KEY".to_owned(), json!(RANDOM));
    modes.check(place, "a random key among long ones", &config_map(&Value::Object(data)), true).await;
}

/// A pod that is older than the policy can be debugged, and the debugging container is judged.
async fn debugging(place: &Place, modes: &Modes) {
    let old = variable("SIGNING_KEY", RANDOM);
    let path = place.path(&modes.audited, &old);
    assert!(matches!(place.send("POST", &path, &old).await, Answer::Allowed { .. }));
    let merged = json!({"spec": {"overrides": [{"namespaces": [modes.warned], "mode": "Warn"}]}});
    modes.policies.patch(&modes.policy, &PatchParams::default(), &Patch::Merge(&merged)).await.unwrap();
    let refused = Answer::Refused { rule: RULE };
    until("the mode is another", async || place.create(&modes.audited, &old).await == refused).await;
    let path = format!("{path}/web/ephemeralcontainers?dryRun=All");
    let debug = |env: Value| json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "app:1", "targetContainerName": "app", "env": env}]}});
    let nothing = Answer::Allowed { warned: BTreeSet::new() };
    assert_eq!(place.send("PATCH", &path, &debug(json!([]))).await, nothing);
    let random = json!([{"name": "API_KEY", "value": RANDOM}]);
    assert_eq!(place.send("PATCH", &path, &debug(random)).await, refused);
}

async fn an_exception(place: &Place, modes: &Modes, is_refused: impl AsyncFn() -> bool) {
    let exceptions: Api<CredentialPolicyException> = Api::all(place.client.clone());
    let spec =
        json!({"policy": modes.policy, "namespaces": [modes.enforced], "expiresAt": "2999-01-01T00:00:00Z"});
    exceptions.create(&PostParams::default(), &exception(&modes.policy, spec)).await.unwrap();
    until("the exception counts", async || !is_refused().await).await;
    exceptions.patch(&modes.policy, &PatchParams::default(), &ending_soon()).await.unwrap();
    until("the exception has ended", async || is_refused().await).await;
    exceptions.delete(&modes.policy, &DeleteParams::default()).await.unwrap();
}
