//! The catalog's client against bindery's own broker, whose service is in memory: asynchronous operations and the
//! rotation of a binding. These tests need no cluster.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{sync::Arc, time::Duration};

use bindery::{
    broker::{
        Broker, Provider, Registry, Timing,
        config::{LoadedConfig, PartialSettings},
    },
    catalog::client::{Bound, BrokerClient, ClientError, Endpoint, InstanceKey, Progress},
    osb::{BindRequest, LastOperation, Operation, OperationState, ProvisionRequest, RotateRequest},
    telemetry::Metrics,
};
use bindery_test_support::fake::{Fake, Fault, LASTING, SLOW_BINDING};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything takes, also beside a compiler.
const PATIENCE: Duration = Duration::from_secs(30);
const TIMING: Timing = Timing {
    queue: PATIENCE,
    answer: PATIENCE,
    call: PATIENCE,
    halt: Duration::from_millis(20),
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(20),
    give_up: PATIENCE,
    idle: Duration::from_hours(1),
    expiry: Duration::from_secs(5),
    remember: Duration::from_hours(1),
};

/// A broker, and a client for the instance `i` of one of its plans.
pub(crate) struct Bench {
    pub(crate) fake: Fake,
    /// The broker's address, with user name and password.
    pub(crate) url: String,
    client: BrokerClient,
    key: InstanceKey,
    _broker: Broker,
    _folder: TempDir,
}

impl Bench {
    /// A broker with an instance of this plan.
    async fn with_instance(plan: &str) -> Self {
        let bench = Self::new(plan).await;
        let request =
            json!({"service_id": "s", "plan_id": plan, "organization_guid": "o", "space_guid": "n"});
        let request: ProvisionRequest = serde_json::from_value(request).unwrap();
        let provisioned = bench.client.provision(&bench.key.instance, &request, None).await.unwrap();
        if let Progress::InProgress(operation) = provisioned.progress {
            let poll = async || bench.client.last_operation(&bench.key, operation.as_ref(), None).await;
            let last = ended(async || poll().await.map(|polled| polled.operation)).await.unwrap();
            assert_eq!(last.unwrap().state, OperationState::Succeeded);
        }
        bench
    }

    async fn new(plan: &str) -> Self {
        Self::serving(("s", "one"), plan).await
    }

    /// A broker with a service of this id and name, and this plan.
    pub(crate) async fn serving((service, service_name): (&str, &str), plan: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("password"), "pass\n").unwrap();
        std::fs::write(at("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let config = json!({
            "backends": {"main": {"type": "fake"}},
            "services": [{"id": service, "name": service_name, "type": "cockroachdb", "description": "d",
                "plans": [{"id": plan, "name": plan, "description": "d", "backend": "main"}]}],
            "auth": {"username": "user", "passwordFile": at("password")},
            "store": format!("sqlite:{}", at("broker.db")), "storeKeyFile": at("key"),
        });
        let config = LoadedConfig::from_yaml(&config.to_string()).unwrap();
        let config = config.complete(PartialSettings::default()).unwrap();
        let fake = Fake::default();
        let provider: Arc<dyn Provider> = Arc::new(fake.clone());
        let registry = Registry::default().with_provider("fake", provider);
        let broker = Broker::open_with(config, Arc::new(Metrics::new()), TIMING, &registry).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:pass@{}", listener.local_addr().unwrap());
        let router = broker.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let endpoint = Endpoint {
            url: url.as_str().into(),
            insecure_skip_tls_verify: false,
            ca_bundle: None,
            credentials: None,
        };
        let key = InstanceKey { instance: "i".into(), service: service.into(), plan: plan.into() };
        let client = BrokerClient::new(&endpoint).unwrap();
        Self { fake, url, client, key, _broker: broker, _folder: folder }
    }

    async fn bind(&self, id: &str, more: &Value) -> Result<Bound, ClientError> {
        let mut request = json!({"service_id": self.key.service, "plan_id": self.key.plan});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request: BindRequest = serde_json::from_value(request).unwrap();
        self.client.bind(&self.key.instance, &id.into(), &request, None).await
    }

    /// Asks for credentials that replace others.
    async fn rotate(&self, id: &str, predecessor: &str) -> Result<Bound, ClientError> {
        let request = RotateRequest { predecessor_binding_id: predecessor.into() };
        self.client.bind(&self.key.instance, &id.into(), &request, None).await
    }

    /// Binds asynchronously, and returns the operation.
    async fn begin_bind(&self, id: &str) -> Option<Operation> {
        match self.bind(id, &json!({})).await.unwrap() {
            Bound::InProgress(operation) => operation,
            Bound::Done(response) => panic!("{response:?}"),
        }
    }

    /// The end of an operation on a binding.
    async fn ended(
        &self,
        id: &str,
        operation: Option<&Operation>,
    ) -> Result<Option<LastOperation>, ClientError> {
        let id = id.into();
        let poll = async || self.client.binding_last_operation(&self.key, &id, operation, None).await;
        ended(async || poll().await.map(|polled| polled.operation)).await
    }

    async fn password(&self, id: &str) -> Value {
        let response = self.client.binding(&self.key, &id.into(), None).await.unwrap();
        json!(response.credentials.unwrap().expose())
    }
}

/// Polls until the operation is no longer in progress.
async fn ended(
    poll: impl AsyncFn() -> Result<Option<LastOperation>, ClientError>,
) -> Result<Option<LastOperation>, ClientError> {
    let polls = async {
        loop {
            match poll().await {
                Ok(Some(last)) if last.state == OperationState::InProgress => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                ended => return ended,
            }
        }
    };
    tokio::time::timeout(PATIENCE, polls).await.unwrap()
}

#[tokio::test]
async fn an_asynchronous_binding_is_polled_fetched_and_deleted() {
    for plan in [SLOW_BINDING, LASTING] {
        let bench = Bench::with_instance(plan).await;
        bench.fake.be_at_it(2);
        let operation = bench.begin_bind("b").await;
        assert_eq!(bench.begin_bind("b").await, operation, "a repeated request names the same operation");
        let last = bench.ended("b", operation.as_ref()).await.unwrap().unwrap();
        assert_eq!(last.state, OperationState::Succeeded, "{last:?}");
        let fetched = bench.password("b").await;
        let Bound::Done(again) = bench.bind("b", &json!({})).await.unwrap() else { panic!() };
        assert_eq!(json!(again.credentials.unwrap().expose()), fetched);

        let Progress::InProgress(operation) =
            bench.client.unbind(&bench.key, &"b".into(), None).await.unwrap()
        else {
            panic!()
        };
        let last = bench.ended("b", operation.as_ref()).await.unwrap();
        assert!(last.is_none_or(|last| last.state == OperationState::Succeeded), "succeeded, or 410");
        assert!(bench.fake.world().logins.is_empty());
        let again = bench.client.unbind(&bench.key, &"b".into(), None).await.unwrap();
        assert_eq!(again, Progress::Done, "410");
    }
}

#[tokio::test]
async fn a_failed_asynchronous_binding_is_reported_and_can_be_deleted() {
    let bench = Bench::with_instance(SLOW_BINDING).await;
    bench.fake.fail("bind", Fault::Half);
    let operation = bench.begin_bind("b").await;
    let last = bench.ended("b", operation.as_ref()).await.unwrap().unwrap();
    assert_eq!(last.state, OperationState::Failed);
    assert!(last.description.is_some());
    bench.fake.clear();
    if let Progress::InProgress(operation) = bench.client.unbind(&bench.key, &"b".into(), None).await.unwrap()
    {
        bench.ended("b", operation.as_ref()).await.unwrap();
    }
    assert!(bench.fake.world().logins.is_empty());
}

#[tokio::test]
async fn a_synchronous_binding_needs_no_poll_and_is_rotated() {
    let bench = Bench::with_instance("prompt").await;
    assert!(matches!(bench.bind("b", &json!({})).await.unwrap(), Bound::Done(_)));
    assert!(matches!(bench.rotate("c", "b").await.unwrap(), Bound::Done(_)));
    assert_ne!(bench.password("b").await, bench.password("c").await);
    let unknown = bench.rotate("d", "nobody").await.unwrap_err();
    assert!(unknown.is_terminal() && unknown.to_string().contains("predecessor_binding_id"), "{unknown}");
}

#[tokio::test]
async fn a_poll_of_an_unknown_operation_is_told_apart() {
    let bench = Bench::with_instance(SLOW_BINDING).await;
    let unknown = bench.ended("b", None).await;
    assert!(matches!(unknown, Err(ClientError::Rejected { status: 404, .. })), "{unknown:?}");
    let operation = bench.begin_bind("b").await;
    bench.ended("b", operation.as_ref()).await.unwrap();
    let other = bench.ended("b", Some(&"another".into())).await.unwrap_err();
    assert!(other.is_terminal(), "{other}");
}
