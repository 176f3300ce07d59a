//! The memory of `bindery serve` with all roles in one process and many bindings. Needs a cluster of its own and the release
//! build (`make soak JOBS=memory`).

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    collections::HashSet,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bindery::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{ClusterServiceBroker, ConditionType, ServiceBinding, ServiceInstance, UsesSecrets},
    },
    contract::approval::APPROVAL,
    install::secret_approvals::Approvals,
    server::pki::ServingCertificate,
};
use bindery_test_support::{platform::Server, postgres::Postgres};
use futures::{StreamExt, stream};
use k8s_openapi::{api::core::v1::Namespace, jiff::Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};
use tokio::time::sleep;

use crate::{
    harness::{apply_crds, client, is},
    process::{Memory, Process, free_port},
};

/// The limit for all roles in one process, in MiB.
const MOST: u64 = 64;
/// How many bindings one instance has.
const PER_INSTANCE: usize = 50;
const NAMESPACE: &str = "memory";
/// How many bindings are created concurrently.
const CLIENTS: usize = 16;
/// How long a process rests before it is measured: connections that nobody uses are closed by then.
const REST: Duration = Duration::from_secs(100);

struct Run {
    client: Client,
    size: usize,
    arguments: Vec<String>,
    process: Process,
    began: Instant,
    _folder: TempDir,
    _postgres: Postgres,
}

impl Run {
    async fn start(size: usize) -> Self {
        let client = client().await;
        apply_crds(&client).await;
        let postgres = Postgres::start("127.0.0.1", &["127.0.0.1"]);
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bindery.yaml");
        std::fs::write(&config, postgres.service()).unwrap();
        let certificate = ServingCertificate::generate(&["localhost".to_owned()], Timestamp::now()).unwrap();
        std::fs::write(folder.path().join("tls.crt"), certificate.leaf.certificate).unwrap();
        std::fs::write(folder.path().join("tls.key"), certificate.leaf.key.expose_secret()).unwrap();
        // The broker is registered as https://localhost.
        let arguments = [
            "--roles=broker,catalog,admission".to_owned(),
            "--broker-host=localhost".to_owned(),
            "--listen-broker=127.0.0.1:443".to_owned(),
            format!("--listen-admission=127.0.0.1:{}", free_port()),
            format!("--admission-tls-dir={}", folder.path().display()),
            format!("--config={}", config.display()),
            format!("--store=sqlite:{}", folder.path().join("broker.db").display()),
        ];
        let process = started(Arc::new(NamedTempFile::new().unwrap()), &arguments);
        let run = Self {
            client,
            size,
            arguments: arguments.into(),
            process,
            began: Instant::now(),
            _folder: folder,
            _postgres: postgres,
        };
        let brokers: Api<ClusterServiceBroker> = Api::all(run.client.clone());
        let registered = loop {
            match brokers.get_opt("bindery").await.unwrap() {
                Some(registered) => break registered,
                None => run.in_time("the broker is registered").await,
            }
        };
        // No webhook is registered that would approve of the broker's Secret.
        let approvals = Approvals::new(run.client.clone(), "default", "bindery-approvals");
        let approval = approvals.issue(&ExternalResourceBroker::of(&registered).checked()).await.unwrap();
        let approved = json!({"metadata": {"annotations": {APPROVAL: approval}}});
        brokers.patch("bindery", &PatchParams::default(), &Patch::Merge(approved)).await.unwrap();
        is(&brokers, "bindery", "FetchedCatalog").await;
        run
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates instances and bindings, and waits until all bindings are ready.
    async fn make(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
        for number in 0..self.size.div_ceil(PER_INSTANCE) {
            let spec = json!({"clusterServiceClassExternalName": "cockroachdb",
                "clusterServicePlanExternalName": "default"});
            self.create::<ServiceInstance>("ServiceInstance", &format!("db-{number}"), spec).await;
        }
        let created = stream::iter(0..self.size).for_each_concurrent(CLIENTS, async |number| {
            let spec = json!({"instanceRef": {"name": format!("db-{}", number / PER_INSTANCE)}});
            self.create::<ServiceBinding>("ServiceBinding", &format!("binding-{number}"), spec).await;
        });
        tokio::join!(created, self.all_ready());
    }

    async fn create<K>(&self, kind: &str, name: &str, spec: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let object = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": kind,
            "metadata": {"name": name}, "spec": spec});
        let api = self.api::<K>();
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    async fn all_ready(&self) {
        let watched = watcher(self.api::<ServiceBinding>(), watcher::Config::default());
        let mut changes = pin!(watched.default_backoff().applied_objects());
        let mut ready = HashSet::new();
        while ready.len() < self.size {
            // An interrupted watch restarts.
            let Some(Ok(binding)) = changes.next().await else { continue };
            let status = binding.status.as_ref();
            if status.is_some_and(|status| status.conditions.is_true(ConditionType::Ready)) {
                ready.insert(binding.name_any());
            }
        }
    }

    /// Kills the process, starts another, and waits until it has looked at all bindings.
    async fn restart(&mut self) {
        self.process.child.kill().await.unwrap();
        self.process = started(self.process.log.clone(), &self.arguments);
        while self.process.reconciled("ServiceBinding").await < self.size {
            self.in_time("looked at").await;
        }
    }

    async fn rested(&self) -> Memory {
        sleep(REST).await;
        self.process.memory()
    }

    async fn in_time(&self, what: &str) {
        let limit = Duration::from_mins(2) + Duration::from_millis(300) * u32::try_from(self.size).unwrap();
        let limit = limit + 3 * REST;
        assert!(
            self.began.elapsed() < limit,
            "{what}: longer than {limit:?}: {}",
            std::fs::read_to_string(self.process.log.path()).unwrap()
        );
        sleep(Duration::from_millis(500)).await;
    }
}

fn started(log: Arc<NamedTempFile>, arguments: &[String]) -> Process {
    Process::start(log, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, and so wants the cluster for itself"]
async fn all_roles_take_little_memory_with_many_bindings() {
    let size = std::env::var("BINDERY_SOAK_BINDINGS").map_or(10_000, |text| text.parse().unwrap());
    let mut run = Run::start(size).await;
    let before = run.rested().await;
    run.make().await;
    let (took, busy) = (run.began.elapsed(), run.process.memory());
    let made = run.rested().await;
    run.restart().await;
    let restarted = run.rested().await;
    let shown = |memory: Memory| format!("{} MiB ({} anonymous)", memory.total(), memory.anonymous);
    println!(
        "soak: {size} bindings, ready after {took:.0?}; memory of all roles in one process without them {}, at the end of \
         their creation {}, afterwards {}, after a restart {}",
        shown(before),
        shown(busy),
        shown(made),
        shown(restarted)
    );
    assert!(made.total().max(restarted.total()) <= MOST, "the limit is {MOST} MiB");
}
