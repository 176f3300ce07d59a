//! The memory of all roles with many bindings. `BINDERY_SOAK_BINDINGS=10000` is the full size, at which the memory is
//! limited; with few bindings it says nothing.

use std::{collections::HashSet, pin::pin, time::Duration};

use bindery::apis::servicecatalog::{ConditionType, ServiceBinding, ServiceInstance};
use futures::{StreamExt, stream};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    installation::{Installation, NAMESPACE},
    scenario::{LIMIT, Scenario, run},
};

/// The limit for all roles in one process, in MiB.
const MOST: u64 = 64;
const ROLES: [&str; 3] = ["admission", "broker", "catalog"];
/// How many bindings one instance has.
const PER_INSTANCE: usize = 50;
/// How many bindings are created concurrently.
const CLIENTS: usize = 16;

struct Bindings<'a> {
    scenario: &'a Scenario,
    size: usize,
    began: Instant,
}

impl Bindings<'_> {
    /// Creates instances and bindings, and waits until all bindings are ready.
    async fn make(&self) {
        let instances = self.scenario.api::<ServiceInstance>();
        for number in 0..self.size.div_ceil(PER_INSTANCE) {
            let spec = json!({"clusterServiceClassExternalName": "cockroachdb",
                "clusterServicePlanExternalName": "default"});
            create(&instances, "ServiceInstance", &format!("db-{number}"), spec).await;
        }
        let bindings = self.scenario.api::<ServiceBinding>();
        let created = stream::iter(0..self.size).for_each_concurrent(CLIENTS, async |number| {
            let instance = format!("db-{}", number / PER_INSTANCE);
            let spec = json!({"instanceRef": {"name": instance}});
            create(&bindings, "ServiceBinding", &format!("binding-{number}"), spec).await;
        });
        tokio::join!(created, self.all_ready());
    }

    async fn all_ready(&self) {
        let api = self.scenario.api::<ServiceBinding>();
        let mut changes = pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
        let mut ready = HashSet::new();
        while ready.len() < self.size {
            self.in_time();
            // An interrupted watch restarts.
            let Some(Ok(binding)) = changes.next().await else { continue };
            let status = binding.status.as_ref();
            if status.is_some_and(|status| status.conditions.is_true(ConditionType::Ready)) {
                ready.insert(binding.name_any());
            }
        }
    }

    /// Deletes all bindings, and waits until they are gone.
    async fn remove(&self) {
        let api = self.scenario.api::<ServiceBinding>();
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        while !api.list_metadata(&ListParams::default().limit(1)).await.unwrap().items.is_empty() {
            self.in_time();
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until a new catalog has looked at all bindings.
    async fn all_reconciled(&self) {
        let counter = r#"bindery_reconcile_duration_seconds_count{kind="ServiceBinding"} "#;
        loop {
            let mut reconciled = 0;
            for pod in self.scenario.installation.pods("catalog").await {
                let port = format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:9090/proxy", pod.name_any());
                // A pod that starts does not answer yet.
                let metrics = run("kubectl", &["get", "--raw", &format!("{port}/metrics")], "").await.stdout;
                let counts = metrics.lines().filter_map(|line| line.strip_prefix(counter));
                reconciled += counts.map(|count| count.parse::<usize>().unwrap()).sum::<usize>();
            }
            if reconciled >= self.size {
                return;
            }
            self.in_time();
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn in_time(&self) {
        let limit = LIMIT + Duration::from_millis(300) * u32::try_from(self.size).unwrap();
        assert!(self.began.elapsed() < limit, "{} bindings take longer than {limit:?}", self.size);
    }
}

async fn create<K>(api: &Api<K>, kind: &str, name: &str, spec: Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object = json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": kind,
        "metadata": {"name": name}, "spec": spec});
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// What one process with all roles would have at most, in MiB, and the share of each role. The processes of the roles
/// have the program in common, and otherwise each has everything that all roles need.
async fn memory(installation: &Installation) -> (u64, String) {
    let (mut anonymous, mut of_files, mut shares) = (0, 0, Vec::new());
    for role in ROLES {
        let memory = installation.memory(role).await;
        anonymous += memory.anonymous;
        of_files = memory.of_files.max(of_files);
        shares.push(format!("{role} {}", memory.resident() / 1024));
    }
    ((anonymous + of_files).div_ceil(1024), shares.join(", "))
}

#[tokio::test]
async fn many_bindings_take_little_memory() {
    let scenario = Scenario::alone("memory").await;
    let installation = scenario.installation;
    let wanted = std::env::var("BINDERY_SOAK_BINDINGS").ok();
    let size = wanted.as_ref().map_or(10, |text| text.parse().unwrap());
    let bindings = Bindings { scenario: &scenario, size, began: Instant::now() };
    let (before, none) = memory(installation).await;
    bindings.make().await;
    let took = bindings.began.elapsed();
    let (after_creation, created) = memory(installation).await;
    for role in ROLES {
        installation.kill(role).await;
    }
    installation.recovered().await;
    bindings.all_reconciled().await;
    let (after_restart, restarted) = memory(installation).await;
    println!(
        "soak: {size} bindings, ready after {took:.1?}; memory of all roles without them {before} MiB ({none}), after \
         their creation {after_creation} MiB ({created}), after a restart {after_restart} MiB ({restarted})"
    );
    if wanted.is_some() {
        assert!(after_restart <= MOST && after_creation <= MOST, "the limit is {MOST} MiB");
    }
    bindings.remove().await;
    scenario.finish(&[]).await;
}
