//! The shared setup of the tests: the cluster, one catalog for all tests, as in an installation, and a namespace for
//! each test.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::{
    fmt::Debug,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bindery::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{
            ClusterServiceBroker, ExternalResource, ServiceBinding, ServiceInstance, UsesSecrets,
        },
    },
    bindings::LostSecrets,
    catalog::{self, CatalogSettings},
    contract::approval::APPROVAL,
    install::secret_approvals::Approvals,
    k8s, namespace_bindings,
    telemetry::{
        Metrics,
        logs::{self, LogFormat},
        ops::Readiness,
    },
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    runtime::Runtime,
    sync::{Mutex, RwLock, RwLockReadGuard},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;

/// The time limit of every wait.
const PATIENCE: Duration = Duration::from_secs(40);
/// The polling interval.
const LOOK: Duration = Duration::from_millis(50);

/// The catalog has its own runtime, because each test's runtime ends with the test.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
/// Reports of missing Secrets to the catalog.
pub(crate) static LOST_SECRETS: LazyLock<LostSecrets> = LazyLock::new(LostSecrets::default);
static CATALOG: LazyLock<Mutex<Option<JoinHandle<()>>>> = LazyLock::new(|| Mutex::new(None));

/// The surroundings of a test: a namespace, a broker, and access to the cluster.
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) broker: Broker,
}

/// Access to the cluster.
pub(crate) async fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned());
    let _ = logs::start(LogFormat::Text, &filter, None);
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "these tests need a cluster: tests/cluster/with-cluster cargo test --test catalog"
    );
    k8s::client().await.expect("KUBECONFIG names no cluster that answers")
}

/// The account of the catalog, which the webhooks' registration names. Here it may do everything.
const CATALOG_ACCOUNT: &str = "system:serviceaccount:bindery:bindery-catalog";

/// Access to the cluster as another user.
pub(crate) async fn client_of(user: &str, groups: &[&str]) -> Client {
    Client::try_from(config_of(user, groups).await).unwrap()
}

async fn config_of(user: &str, groups: &[&str]) -> Config {
    client().await;
    let mut config = Config::infer().await.unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    let groups = groups.iter().map(|&group| group.to_owned());
    config.auth_info.impersonate_groups = Some(groups.chain(["system:authenticated".to_owned()]).collect());
    config
}

/// Starts the catalog unless it runs already.
async fn ensure_catalog(client: &Client) {
    let mut running = CATALOG.lock().await;
    if running.is_none() {
        apply_crds(client).await;
        *running = Some(start_catalog());
    }
}

pub(crate) async fn apply_crds(client: &Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in catalog::crds().into_iter().chain(namespace_bindings::crds()) {
        let parameters = PatchParams::apply("tests").force();
        crds.patch(&crd.name_any(), &parameters, &Patch::Apply(&crd)).await.unwrap();
    }
}

fn start_catalog() -> JoinHandle<()> {
    RUNTIME.spawn(async {
        let (metrics, readiness) = (Arc::new(Metrics::new()), Readiness::default());
        let stop = CancellationToken::new();
        let client = k8s::client_with(config_of(CATALOG_ACCOUNT, &["system:masters"]).await).unwrap();
        let namespaces =
            namespace_bindings::run(client.clone(), "bindery".to_owned(), metrics.clone(), stop.clone());
        let settings = CatalogSettings {
            approvals: approvals(&client),
            lost_secrets: LOST_SECRETS.clone(),
            retry_duration: catalog::RETRY_DURATION,
        };
        let catalog = catalog::run(client, settings, metrics, readiness, stop);
        tokio::select! {
            ended = catalog => panic!("the catalog ended: {ended:?}"),
            ended = namespaces => panic!("the work on NamespaceBindings ended: {ended:?}"),
        }
    })
}

/// The approvals that the catalog accepts.
pub(crate) fn approvals(client: &Client) -> Approvals {
    Approvals::new(client.clone(), "default", "catalog-approvals")
}

/// Kills the catalog at any point, and starts another.
pub(crate) async fn restart_catalog() {
    while_catalog_is_stopped(std::future::ready(())).await;
}

/// Held for writing while the catalog is restarted.
static RESTARTS: RwLock<()> = RwLock::const_new(());

/// Keeps other tests from restarting the catalog: a new catalog repeats a request whose outcome is not written yet.
pub(crate) async fn without_restarts() -> RwLockReadGuard<'static, ()> {
    RESTARTS.read().await
}

/// Kills the catalog at any point, does this work, which must be short, and starts another catalog.
pub(crate) async fn while_catalog_is_stopped<T>(work: impl Future<Output = T>) -> T {
    let _alone = RESTARTS.write().await;
    let mut running = CATALOG.lock().await;
    let old = running.take().expect("a place was made before");
    old.abort();
    let _ = old.await;
    let done = work.await;
    *running = Some(start_catalog());
    done
}

impl Place {
    /// Creates a namespace and a broker that is not registered yet.
    pub(crate) async fn new() -> Self {
        let client = client().await;
        ensure_catalog(&client).await;
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"generateName": "catalog-"}})).unwrap();
        let namespace =
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        Self { client, namespace: namespace.name_any(), broker: Broker::start() }
    }

    /// Creates a namespace and a registered broker.
    pub(crate) async fn with_broker() -> Self {
        let place = Self::new().await;
        place.register(json!({})).await;
        place
    }

    /// A namespace with an instance `db` that is provisioned.
    pub(crate) async fn with_instance() -> Self {
        let place = Self::with_broker().await;
        place.instance("db", json!({})).await;
        place.instance_is("db", "ProvisionedSuccessfully").await;
        place
    }

    /// A namespace with an instance `db` and a binding `b` that is ready.
    pub(crate) async fn with_binding() -> Self {
        let place = Self::with_instance().await;
        place.binding("b", "db", json!({})).await;
        place.binding_is("b", "InjectedBindResult").await;
        place
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn brokers(&self) -> Api<ClusterServiceBroker> {
        Api::all(self.client.clone())
    }

    /// Registers the broker with an approved Secret; `spec` overrides the defaults.
    pub(crate) async fn register(&self, spec: Value) {
        let mut broker = self.unapproved(&spec);
        let checked = ExternalResourceBroker::of(&broker).checked();
        let approval = approvals(&self.client).issue(&checked).await.unwrap();
        broker.annotations_mut().insert(APPROVAL.to_owned(), approval);
        self.brokers().create(&PostParams::default(), &broker).await.unwrap();
    }

    /// The broker's registration as a user writes it.
    pub(crate) fn unapproved(&self, spec: &Value) -> ClusterServiceBroker {
        let mut body = json!({"url": self.broker.url()});
        body.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ClusterServiceBroker",
            "metadata": {"name": self.broker.name()}, "spec": body,
        }))
        .unwrap()
    }

    /// Creates an instance of the broker's service; `spec` overrides the defaults.
    pub(crate) async fn instance(&self, name: &str, spec: Value) -> ServiceInstance {
        let mut body = json!({"clusterServiceClassExternalName": self.broker.name(),
            "clusterServicePlanExternalName": "default"});
        body.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.create("ServiceInstance", name, json!({}), body).await.unwrap()
    }

    /// Creates a binding with these annotations.
    pub(crate) async fn binding(&self, name: &str, instance: &str, annotations: Value) -> ServiceBinding {
        self.create("ServiceBinding", name, annotations, json!({"instanceRef": {"name": instance}}))
            .await
            .unwrap()
    }

    pub(crate) async fn create<K>(
        &self,
        kind: &str,
        name: &str,
        annotations: Value,
        spec: Value,
    ) -> kube::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let object = serde_json::from_value(json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": kind,
            "metadata": {"name": name, "annotations": annotations}, "spec": spec,
        }));
        self.api().create(&PostParams::default(), &object.unwrap()).await
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Deletes the object, and waits until it is gone.
    pub(crate) async fn remove<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.delete::<K>(name).await;
        self.gone::<K>(name).await;
    }

    /// Removes the object without its finalizer: the catalog is not asked.
    pub(crate) async fn abandon<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.merge::<K>(name, json!({"metadata": {"finalizers": null}})).await.unwrap();
        self.remove::<K>(name).await;
    }

    pub(crate) async fn merge<K>(&self, name: &str, patch: Value) -> kube::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Waits until the instance's Ready condition has this reason, and returns its message.
    pub(crate) async fn instance_is(&self, name: &str, reason: &str) -> String {
        is(&self.api::<ServiceInstance>(), name, reason).await
    }

    pub(crate) async fn binding_is(&self, name: &str, reason: &str) -> String {
        is(&self.api::<ServiceBinding>(), name, reason).await
    }

    pub(crate) async fn broker_is(&self, reason: &str) -> String {
        is(&self.brokers(), &self.broker.name(), reason).await
    }

    /// Waits until the object is gone.
    pub(crate) async fn gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = self.api::<K>();
        until(&format!("no {} {name}", K::kind(&())), async || api.get_opt(name).await.unwrap().is_none())
            .await;
    }

    pub(crate) async fn secret(&self, name: &str) -> Option<Secret> {
        self.api::<Secret>().get_opt(name).await.unwrap()
    }

    /// The external resources of this namespace.
    pub(crate) async fn external_resources(&self) -> Vec<ExternalResource> {
        let external_resources =
            Api::<ExternalResource>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        external_resources
            .into_iter()
            .filter(|external_resource| external_resource.spec.namespace == self.namespace)
            .collect()
    }
}

/// Waits until the Ready condition has this reason, and returns its message.
pub(crate) async fn is<K>(api: &Api<K>, name: &str, reason: &str) -> String
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let mut seen = Value::Null;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let object = api.get_opt(name).await.unwrap();
        seen = json!(object)["status"].clone();
        let conditions = seen["conditions"].as_array().cloned().unwrap_or_default();
        if let Some(ready) = conditions.iter().find(|condition| condition["type"] == "Ready")
            && ready["reason"] == reason
        {
            return ready["message"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("{name} is not {reason} but {seen:#}");
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, so: impl AsyncFnMut() -> bool) {
    bindery_test_support::cluster::until(PATIENCE, what, so).await;
}

/// The value of a key of a Secret.
pub(crate) fn text(secret: &Secret, key: &str) -> String {
    let data = secret.data.as_ref().unwrap();
    let value = data.get(key).unwrap_or_else(|| panic!("no key {key} among {:?}", data.keys()));
    String::from_utf8(value.0.clone()).unwrap()
}
