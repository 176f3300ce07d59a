//! Many instances and bindings in many namespaces at one broker, with a catalog that is killed in the middle: how many
//! requests the broker gets, and at a time. At full size (`BINDERY_SOAK_INSTANCES=5000`, a cluster of its own) the
//! catalog is a process, and its memory and its calls to the API server are limited, too.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bindery::apis::servicecatalog::{ClusterServiceBroker, ServiceBinding, ServiceInstance};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::sleep;

use crate::{
    broker::{Answer, Broker, Verb},
    harness::{Place, apply_crds, client, is, restart_catalog},
    process::Process,
};

/// How many requests one broker gets at a time (`src/catalog/client/queue.rs`).
const CONCURRENCY: usize = 16;
/// How many objects of a kind may be under way when the catalog is killed or loses its Lease, as it does on a busy machine:
/// its concurrent reconciles (`src/catalog/reconcile/mod.rs`).
const UNDER_WAY: usize = 128;
/// How many instances one namespace has.
const PER_NAMESPACE: usize = 10;
/// How many objects are created concurrently.
const CLIENTS: usize = 16;
/// How many calls other than reads the API server gets for each instance or binding, at most.
const MOST_WRITES: f64 = 12.0;
/// The memory of the catalog with 5,000 instances and 5,000 bindings, at most.
const MOST_MEMORY: u64 = 160;

fn catalog(log: Arc<NamedTempFile>) -> Process {
    Process::start(log, &["--roles", "catalog"])
}

/// A run.
struct Run {
    client: Client,
    broker: Broker,
    prefix: String,
    size: usize,
    /// The catalog that works on the objects; without one, the catalog of all tests does.
    catalog: Option<Process>,
    began: Instant,
}

impl Run {
    async fn start() -> Self {
        let full = std::env::var("BINDERY_SOAK_INSTANCES").ok().map(|text| text.parse().unwrap());
        let (client, broker, catalog) = if full.is_some() {
            let client = client().await;
            apply_crds(&client).await;
            (client, Broker::start(), Some(catalog(Arc::new(NamedTempFile::new().unwrap()))))
        } else {
            let place = Place::new().await;
            (place.client.clone(), place.broker.clone(), None)
        };
        // An answer that takes a while lets the requests queue.
        for verb in [Verb::Provision, Verb::Bind] {
            broker.always(verb, Answer::normal().after(Duration::from_millis(20)));
        }
        let spec = json!({"url": broker.url(), "relistBehavior": "Manual"});
        let registered: ClusterServiceBroker = serde_json::from_value(json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ClusterServiceBroker",
            "metadata": {"name": broker.name()}, "spec": spec}))
        .unwrap();
        let brokers: Api<ClusterServiceBroker> = Api::all(client.clone());
        brokers.create(&PostParams::default(), &registered).await.unwrap();
        is(&brokers, &broker.name(), "FetchedCatalog").await;
        let prefix = format!("scale-{}", broker.suffix);
        Self { client, broker, prefix, size: full.unwrap_or(40), catalog, began: Instant::now() }
    }

    fn namespace(&self, number: usize) -> String {
        format!("{}-{}", self.prefix, number / PER_NAMESPACE)
    }

    fn namespaces(&self) -> usize {
        self.size.div_ceil(PER_NAMESPACE)
    }

    /// Creates the namespaces, and the instances and bindings from `first` to `end`.
    async fn make(&self, first: usize, end: usize) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for number in (first..end).step_by(PER_NAMESPACE) {
            let namespace = json!({"metadata": {"name": self.namespace(number)}});
            namespaces
                .create(&PostParams::default(), &serde_json::from_value(namespace).unwrap())
                .await
                .unwrap();
        }
        stream::iter(first..end)
            .for_each_concurrent(CLIENTS, async |number| {
                let class = json!({"clusterServiceClassExternalName": self.broker.name(),
                    "clusterServicePlanExternalName": "default"});
                self.create::<ServiceInstance>(number, "ServiceInstance", class).await;
                let name = format!("o-{number}");
                self.create::<ServiceBinding>(
                    number,
                    "ServiceBinding",
                    json!({"instanceRef": {"name": name}}),
                )
                .await;
            })
            .await;
    }

    async fn create<K>(&self, number: usize, kind: &str, spec: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let object = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": kind,
            "metadata": {"name": format!("o-{number}")}, "spec": spec});
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace(number));
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// Waits until this many bindings of the run are known to the broker.
    async fn bound(&self, count: usize) {
        while self.broker.held().bindings.len() < count {
            self.in_time(&format!("{count} bindings")).await;
        }
    }

    /// Waits until all objects are Ready.
    async fn all_ready(&self) {
        self.bound(self.size).await;
        while self.not_ready::<ServiceInstance>().await + self.not_ready::<ServiceBinding>().await > 0 {
            self.in_time("Ready").await;
        }
    }

    /// How many objects of the run are not Ready.
    async fn not_ready<K>(&self) -> usize
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let all: Api<K> = Api::all(self.client.clone());
        let (mut ready, mut page) = (0, ListParams::default().limit(500));
        loop {
            let objects = all.list(&page).await.unwrap();
            let is_ready = |object: &&K| {
                object.namespace().is_some_and(|namespace| namespace.starts_with(&self.prefix))
                    && json!(object)["status"]["lastConditionState"] == "Ready"
            };
            ready += objects.items.iter().filter(is_ready).count();
            match objects.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return self.size - ready,
            }
        }
    }

    async fn in_time(&self, what: &str) {
        let limit = Duration::from_mins(1) + Duration::from_millis(400) * u32::try_from(self.size).unwrap();
        assert!(self.began.elapsed() < limit, "{what}: longer than {limit:?}");
        let pause = if self.size > 100 { 2000 } else { 100 };
        sleep(Duration::from_millis(pause)).await;
    }

    /// Kills the catalog, and starts another.
    async fn restart(&mut self) {
        match &mut self.catalog {
            None => restart_catalog().await,
            Some(process) => {
                process.child.kill().await.unwrap();
                *process = catalog(process.log.clone());
            }
        }
    }

    /// Waits until a new catalog has looked at every object.
    async fn all_looked_at(&self) {
        let Some(process) = &self.catalog else {
            // The catalog of all tests has no count of its own: an object that no broker is asked for shows that it works.
            let instances = Api::<ServiceInstance>::namespaced(self.client.clone(), &self.namespace(0));
            let probe = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
                "metadata": {"name": "probe"}, "spec": {"clusterServiceClassExternalName": "nobody"}});
            let probe = serde_json::from_value(probe).unwrap();
            instances.create(&PostParams::default(), &probe).await.unwrap();
            is(&instances, "probe", "ReferencesNonexistentServiceClass").await;
            return;
        };
        for kind in ["ServiceInstance", "ServiceBinding"] {
            while process.reconciled(kind).await < self.size {
                self.in_time("looked at").await;
            }
        }
    }

    /// The calls to the API server that change something of ours, apart from those of this test.
    async fn writes(&self) -> f64 {
        let request = axum::http::Request::get("/metrics").body(Vec::new()).unwrap();
        let metrics = self.client.request_text(request).await.unwrap();
        let ours = ["serviceinstances", "servicebindings", "externalresources", "secrets", "events"];
        let is_counted = |line: &str| {
            ["POST", "PUT", "PATCH", "APPLY", "DELETE"]
                .iter()
                .any(|verb| line.contains(&format!(r#"verb="{verb}""#)))
                && ours.iter().any(|resource| line.contains(&format!(r#"resource="{resource}""#)))
        };
        let lines =
            metrics.lines().filter(|line| line.starts_with("apiserver_request_total{") && is_counted(line));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// How often each instance and each binding was asked for.
    fn asked(&self, verb: Verb) -> BTreeMap<String, usize> {
        let mut asked = BTreeMap::new();
        for record in &self.broker.held().records {
            if record.verb == Some(verb) {
                *asked.entry(record.path.clone()).or_insert(0) += 1;
            }
        }
        asked
    }

    fn requests(&self) -> usize {
        self.broker.held().requests.len()
    }

    /// How often a catalog began its work: the one of all tests twice, unless others restart it as well.
    fn starts(&self) -> usize {
        self.catalog.as_ref().map_or(2, Process::starts)
    }

    /// The memory of the catalog's process, in MiB; 0 without one.
    fn memory(&self) -> u64 {
        self.catalog.as_ref().map_or(0, |process| process.memory().anonymous)
    }

    async fn remove(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for number in 0..self.namespaces() {
            namespaces.delete(&format!("{}-{number}", self.prefix), &DeleteParams::default()).await.unwrap();
        }
        while !self.broker.is_empty() {
            self.in_time("nothing at the broker").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_gets_few_requests_at_a_time_and_none_twice() {
    let mut run = Run::start().await;
    let idle = run.memory();
    let (before, half) = (run.writes().await, run.size / 2);
    tokio::join!(run.make(0, half), run.bound(half / 2));
    run.restart().await;
    run.make(half, run.size).await;
    run.all_ready().await;
    let took = run.began.elapsed();
    let writes = (run.writes().await - before) / f64::from(u32::try_from(2 * run.size).unwrap()) - 1.0;
    let made = run.memory();

    let (requests, starts) = (run.requests(), run.starts());
    let asked = [Verb::Provision, Verb::Bind].map(|verb| run.asked(verb));
    let repeated = asked.iter().map(|asked| asked.values().map(|count| count - 1).sum::<usize>());
    let repeated = repeated.max().unwrap();
    let most = run.broker.held().most_waiting;

    // With everything Ready, a restart asks the broker for nothing and writes nothing.
    let written = run.writes().await;
    run.restart().await;
    run.all_looked_at().await;
    let after = run.memory();
    let (again, rewritten) = (run.requests() - requests, run.writes().await - written);
    println!(
        "soak: {} instances and bindings in {} namespaces, {took:.0?}, {most} requests at a time, {repeated} repeated \
         after {starts} starts, {writes:.1} writes for each object; a restart: {again} requests, {rewritten} writes; memory {idle}, {made}, {after} MiB",
        run.size,
        run.namespaces()
    );
    assert_eq!(asked.map(|asked| asked.len()), [run.size; 2]);
    // Only what was under way when the catalog was stopped is asked for again.
    assert!(repeated <= starts * UNDER_WAY, "{repeated} repeated after {starts} starts");
    // A catalog that was stopped leaves requests at the broker beside those of the next one.
    assert!(most <= 2 * CONCURRENCY, "{most} requests at a time");
    if run.catalog.is_some() {
        assert!(writes <= MOST_WRITES, "{writes} writes for each object");
        assert!(rewritten < 100.0, "{rewritten} writes after a restart");
        assert!(made.max(after) <= MOST_MEMORY, "{made} and {after} MiB");
    }
    assert_eq!(again, 0, "{:?}", run.broker.held().requests.split_off(requests));
    run.remove().await;
    let brokers: Api<ClusterServiceBroker> = Api::all(run.client.clone());
    brokers.delete(&run.broker.name(), &DeleteParams::default()).await.unwrap();
}
