//! The scripted broker and bindery's client together. These tests need no cluster.

use std::time::Duration;

use bindery::{
    apis::servicecatalog::UserInfo,
    catalog::client::{Bound, BrokerClient, ClientError, Endpoint, Identity, InstanceKey, Progress},
    osb::{BindRequest, LastOperation, OperationState, ProvisionRequest, UpdateRequest},
};
use serde_json::{Value, json};

use super::{Answer, Broker, Course, Fault, Verb};

/// A broker, a client of it, and the instance `i` of its service.
struct Bench {
    broker: Broker,
    client: BrokerClient,
    key: InstanceKey,
}

impl Bench {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let broker = Broker::start();
        let url = broker.url().as_str().into();
        let endpoint = Endpoint { url, insecure_skip_tls_verify: false, ca_bundle: None, credentials: None };
        let (service, plan) = (format!("service-{}", broker.suffix), format!("plan-{}", broker.suffix));
        let key = InstanceKey { instance: "i".into(), service: service.into(), plan: plan.into() };
        broker.server.listening().await.unwrap();
        Self { broker, client: BrokerClient::new(&endpoint).unwrap(), key }
    }

    async fn provision(&self) -> Result<Progress, ClientError> {
        let request = json!({"service_id": self.key.service, "plan_id": self.key.plan, "organization_guid": "o",
            "space_guid": "n", "parameters": {"size": 1}});
        let request: ProvisionRequest = serde_json::from_value(request).unwrap();
        Ok(self.client.provision(&self.key.instance, &request, None).await?.progress)
    }

    async fn update(&self, change: Value) -> Result<Progress, ClientError> {
        let mut request = json!({"service_id": self.key.service});
        request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let request: UpdateRequest = serde_json::from_value(request).unwrap();
        Ok(self.client.update(&self.key.instance, &request, None).await?.progress)
    }

    async fn bind(&self) -> Result<Bound, ClientError> {
        let request = json!({"service_id": self.key.service, "plan_id": self.key.plan});
        let request: BindRequest = serde_json::from_value(request).unwrap();
        self.client.bind(&self.key.instance, &"b".into(), &request, None).await
    }

    async fn poll(&self, progress: &Progress) -> Result<Option<LastOperation>, ClientError> {
        let Progress::InProgress(operation) = progress else { panic!("{progress:?}") };
        Ok(self.client.last_operation(&self.key, operation.as_ref(), None).await?.operation)
    }

    async fn poll_binding(&self, bound: &Progress) -> Result<Option<LastOperation>, ClientError> {
        let Progress::InProgress(operation) = bound else { panic!("{bound:?}") };
        let polled =
            self.client.binding_last_operation(&self.key, &"b".into(), operation.as_ref(), None).await?;
        Ok(polled.operation)
    }
}

fn state(polled: Result<Option<LastOperation>, ClientError>) -> Option<OperationState> {
    polled.unwrap().map(|last| last.state)
}

fn status(error: &ClientError) -> u16 {
    match error {
        ClientError::Rejected { status, .. } => *status,
        _ => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn answers_are_given_once_always_or_in_turn() {
    let bench = Bench::new().await;
    bench.broker.always(Verb::Provision, Answer::coded(422, "ConcurrencyError", "busy"));
    bench.broker.once(Verb::Provision, Answer::error(503, "try later"));
    assert_eq!(status(&bench.provision().await.unwrap_err()), 503);
    for _ in 0..2 {
        let error = bench.provision().await.unwrap_err();
        assert!(error.to_string().contains("status 422: ConcurrencyError: busy"), "{error}");
    }
    bench.broker.in_turn(Verb::Provision, [Answer::html(502), Answer::normal()]);
    for _ in 0..2 {
        assert!(matches!(bench.provision().await, Err(ClientError::NotOsb(_))));
        assert_eq!(bench.provision().await.unwrap(), Progress::Done);
    }
    bench.broker.normal(Verb::Provision);
    bench.provision().await.unwrap();
    bench.provision().await.unwrap();
}

#[tokio::test]
async fn malformed_answers_and_redirects_are_recognised() {
    let bench = Bench::new().await;
    bench.broker.once(Verb::Bind, Answer::malformed(201).after_acting());
    bench.provision().await.unwrap();
    let error = bench.bind().await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { status: 201, .. }), "{error:?}");
    assert!(error.needs_orphan_mitigation() && !error.to_string().contains("hunter2"), "{error}");
    assert!(bench.broker.held().bindings.contains_key("b"));
    bench.broker.once(Verb::FetchBinding, Answer::redirect("http://169.254.169.254/"));
    let error = bench.client.binding(&bench.key, &"b".into(), None).await.unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
}

#[tokio::test]
async fn a_lost_reply_leaves_what_was_done() {
    let bench = Bench::new().await;
    bench.broker.once(Verb::Provision, Answer::dropped());
    assert!(matches!(bench.provision().await, Err(ClientError::NoReply { .. })));
    assert!(bench.broker.is_empty());
    bench.broker.once(Verb::Provision, Answer::dropped().after_acting());
    let error = bench.provision().await.unwrap_err();
    assert!(error.needs_orphan_mitigation(), "{error}");
    assert_eq!(bench.broker.held().instances.len(), 1);
    assert_eq!(bench.client.deprovision(&bench.key, None).await.unwrap(), Progress::Done);
    assert!(bench.broker.is_empty());
}

#[tokio::test]
async fn a_slow_answer_comes_after_its_time_or_its_release() {
    let bench = Bench::new().await;
    let started = tokio::time::Instant::now();
    bench.broker.once(Verb::Provision, Answer::normal().after(Duration::from_millis(200)));
    bench.provision().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));
    bench.broker.always(Verb::Bind, Answer::normal().until_released());
    let release = async {
        while bench.broker.received(Verb::Bind).is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(bench.broker.held().bindings.is_empty());
        bench.broker.release();
    };
    assert!(matches!(tokio::join!(bench.bind(), release).0.unwrap(), Bound::Done(_)));
}

#[tokio::test]
async fn an_asynchronous_creation_takes_its_polls_and_succeeds_or_fails() {
    let bench = Bench::new().await;
    bench.broker.asynchronous(Verb::Provision, Course::polls(2));
    let begun = bench.provision().await.unwrap();
    assert_eq!(bench.provision().await.unwrap(), begun, "a repeated request names the same operation");
    for expected in [OperationState::InProgress, OperationState::InProgress, OperationState::Succeeded] {
        assert_eq!(state(bench.poll(&begun).await), Some(expected));
    }
    assert_eq!(bench.provision().await.unwrap(), Progress::Done);
    bench.client.deprovision(&bench.key, None).await.unwrap();
    assert_eq!(bench.poll(&begun).await.unwrap(), None, "410 once the instance is gone");

    bench.broker.asynchronous(Verb::Provision, Course::polls(0).failing("no disk").unnamed());
    let begun = bench.provision().await.unwrap();
    assert_eq!(begun, Progress::InProgress(None));
    let last = bench.poll(&begun).await.unwrap().unwrap();
    assert_eq!((last.state, last.description.as_deref()), (OperationState::Failed, Some("no disk")));
    assert!(!bench.broker.is_empty(), "what it made stays until it is deleted");
}

#[tokio::test]
async fn polls_are_answered_with_any_status_and_wait() {
    let bench = Bench::new().await;
    bench.broker.asynchronous(Verb::Provision, Course::polls(1).answering(400).retry_after("9"));
    let begun = bench.provision().await.unwrap();
    let Progress::InProgress(operation) = &begun else { panic!() };
    let polled = bench.client.last_operation(&bench.key, operation.as_ref(), None).await.unwrap();
    assert_eq!(polled.retry_after, Some(Duration::from_secs(9)));
    let error = bench.poll(&begun).await.unwrap_err();
    assert!(error.is_terminal(), "{error}");
    assert_eq!(status(&bench.poll(&Progress::InProgress(Some("op-7".into()))).await.unwrap_err()), 404);
}

#[tokio::test]
async fn an_operation_can_last_until_it_is_finished() {
    let bench = Bench::new().await;
    bench.broker.set(Fault::Slow);
    let begun = bench.provision().await.unwrap();
    for _ in 0..3 {
        assert_eq!(state(bench.poll(&begun).await), Some(OperationState::InProgress));
    }
    bench.broker.finish();
    assert_eq!(state(bench.poll(&begun).await), Some(OperationState::Succeeded));
}

#[tokio::test]
async fn an_update_changes_the_instance_when_it_has_succeeded() {
    let bench = Bench::new().await;
    assert_eq!(status(&bench.update(json!({})).await.unwrap_err()), 404);
    bench.provision().await.unwrap();
    bench.update(json!({"parameters": {"colour": "red"}})).await.unwrap();
    assert_eq!(bench.broker.held().instances["i"]["parameters"], json!({"size": 1, "colour": "red"}));
    bench.broker.asynchronous(Verb::Update, Course::polls(0));
    let begun = bench.update(json!({"plan_id": "large"})).await.unwrap();
    assert_ne!(bench.broker.held().instances["i"]["plan_id"], "large");
    assert_eq!(state(bench.poll(&begun).await), Some(OperationState::Succeeded));
    assert_eq!(bench.broker.held().instances["i"]["plan_id"], "large");
    let failure = json!({"instance_usable": false, "update_repeatable": false});
    bench.broker.asynchronous(Verb::Update, Course::polls(0).failing_with(failure));
    let begun = bench.update(json!({"plan_id": "huge"})).await.unwrap();
    assert_eq!(bench.poll(&begun).await.unwrap().unwrap().instance_usable, Some(false));
    assert_eq!(bench.broker.held().instances["i"]["plan_id"], "large");
}

#[tokio::test]
async fn asynchronous_bindings_are_polled_fetched_and_deleted() {
    let bench = Bench::new().await;
    bench.provision().await.unwrap();
    bench.broker.asynchronous(Verb::Bind, Course::polls(0));
    bench.broker.asynchronous(Verb::Unbind, Course::polls(0).answering(410));
    let Bound::InProgress(operation) = bench.bind().await.unwrap() else { panic!() };
    let fetch = async || bench.client.binding(&bench.key, &"b".into(), None).await;
    assert_eq!(status(&fetch().await.unwrap_err()), 404, "not before it is done");
    assert_eq!(
        state(bench.poll_binding(&Progress::InProgress(operation)).await),
        Some(OperationState::Succeeded)
    );
    assert!(fetch().await.unwrap().gives_something());
    let begun = bench.client.unbind(&bench.key, &"b".into(), None).await.unwrap();
    assert_eq!(bench.poll_binding(&begun).await.unwrap(), None, "410");
    assert!(bench.broker.held().bindings.is_empty());
    bench.broker.asynchronous(Verb::Deprovision, Course::polls(0));
    let begun = bench.client.deprovision(&bench.key, None).await.unwrap();
    assert_eq!(state(bench.poll(&begun).await), Some(OperationState::Succeeded));
    assert!(bench.broker.is_empty());
}

#[tokio::test]
async fn the_catalog_changes_under_way() {
    let bench = Bench::new().await;
    bench.broker.held().catalog["services"][0]["plan_updateable"] = json!(true);
    let offers = bench.client.catalog().await.unwrap();
    assert!(offers.catalog.services[0].plan_updateable);
    bench.broker.held().catalog["services"] = json!([]);
    assert!(bench.client.catalog().await.unwrap().catalog.services.is_empty());
}

#[tokio::test]
async fn all_parts_of_a_request_are_recorded() {
    let bench = Bench::new().await;
    let jane = json!({"username": "jane", "uid": "7", "groups": ["devs"]});
    let identity = Identity::of(&serde_json::from_value::<UserInfo>(jane.clone()).unwrap());
    bench.provision().await.unwrap();
    bench.client.deprovision(&bench.key, Some(&identity)).await.unwrap();
    let provision = bench.broker.received(Verb::Provision).remove(0);
    assert_eq!((provision.identity(), &provision.body["parameters"]), (None, &json!({"size": 1})));
    assert!(provision.accepts_incomplete());
    let deletion = bench.broker.received(Verb::Deprovision).remove(0);
    assert_eq!(deletion.identity(), Some(jane));
    assert_eq!((deletion.method.as_str(), deletion.path.as_str()), ("DELETE", "/v2/service_instances/i"));
    assert_eq!(deletion.query["plan_id"], bench.key.plan.as_str());
    assert_eq!(deletion.headers["x-broker-api-version"], "2.17");
    let held = bench.broker.held();
    assert_eq!(held.requests.len(), held.records.len());
}
