//! Many branches at once, with a controller that is killed meanwhile, compared with the same statements and calls one
//! after the other. `BINDERY_SOAK_NAMESPACES=1000` is the full size.

use std::{
    collections::HashMap,
    pin::pin,
    sync::Mutex,
    time::{Duration, Instant},
};

use bindery::{apis::servicecatalog::ServiceBinding, namespace_bindings::NamespaceBinding};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    installation::{Installation, kubectl},
    scenario::Scenario,
};

/// How many namespaces are created concurrently, like that many pipelines.
const PIPELINES: usize = 16;

fn size() -> usize {
    std::env::var("BINDERY_SOAK_NAMESPACES").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// The namespaces of a run.
struct Many {
    client: Client,
    prefix: String,
    label: String,
    size: usize,
}

impl Many {
    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    /// Creates the namespaces, some concurrently, and returns when each was created.
    async fn make(&self) -> HashMap<String, Instant> {
        let made = Mutex::new(HashMap::new());
        stream::iter(0..self.size)
            .for_each_concurrent(PIPELINES, async |number| {
                let name = format!("{}-{number}", self.prefix);
                let namespace = json!({"metadata": {"name": name, "labels": {"many": self.label}}});
                let namespace = serde_json::from_value(namespace).unwrap();
                self.namespaces().create(&PostParams::default(), &namespace).await.unwrap();
                made.lock().unwrap().insert(name, Instant::now());
            })
            .await;
        made.into_inner().unwrap()
    }

    /// Creates the namespaces, and returns the sorted times until each had instance and binding.
    async fn delays(&self) -> Vec<Duration> {
        let (made, bound) = tokio::join!(self.make(), self.bound());
        let mut delays: Vec<Duration> = bound.iter().map(|(name, seen)| *seen - made[name]).collect();
        delays.sort_unstable();
        delays
    }

    /// When each namespace's binding was first seen, regardless of its state.
    async fn bound(&self) -> HashMap<String, Instant> {
        let api: Api<PartialObjectMeta<ServiceBinding>> = Api::all(self.client.clone());
        let ours = watcher::Config::default().labels("bindery.dev/namespace-binding");
        let mut watched = pin!(watcher(api, ours).default_backoff().applied_objects());
        let mut seen = HashMap::new();
        while let Some(binding) = watched.next().await {
            // An interrupted watch restarts.
            let Ok(binding) = binding else { continue };
            let namespace = binding.namespace().unwrap();
            if namespace.starts_with(&self.prefix) {
                seen.entry(namespace).or_insert_with(Instant::now);
            }
            if seen.len() == self.size {
                break;
            }
        }
        seen
    }

    /// Deletes the namespaces and waits until they are gone.
    async fn remove(&self) -> Duration {
        let started = Instant::now();
        stream::iter(0..self.size)
            .for_each_concurrent(PIPELINES, async |number| {
                let name = format!("{}-{number}", self.prefix);
                self.namespaces().delete(&name, &DeleteParams::default()).await.unwrap();
            })
            .await;
        let labelled = ListParams::default().labels(&format!("many={}", self.label));
        while !self.namespaces().list_metadata(&labelled).await.unwrap().items.is_empty() {
            self.in_time(started);
            sleep(Duration::from_millis(200)).await;
        }
        started.elapsed()
    }

    fn in_time(&self, started: Instant) {
        let limit = Duration::from_mins(2) + Duration::from_secs(2) * u32::try_from(self.size).unwrap();
        assert!(started.elapsed() < limit, "{} take longer than {limit:?}", self.prefix);
    }

    /// Sends the requests and statements that bindery needs for one namespace, for all namespaces one after the
    /// other. Returns the times for creation and removal.
    async fn by_hand(&self, installation: &Installation) -> (Duration, Duration) {
        let (server, kinds) =
            (&installation.postgres, ["instance", "binding", "claim-1", "claim-2", "env", "secret"]);
        let (session, connection) = tokio_postgres::Config::new()
            .host_path(server.sockets())
            .port(server.port())
            .user("postgres")
            .dbname("postgres")
            .connect(tokio_postgres::NoTls)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "default");
        let started = Instant::now();
        for number in 0..self.size {
            for sql in [
                format!("create role floor_{number}_owner"),
                format!("create database floor_{number} owner floor_{number}_owner"),
                format!("create role floor_{number}_login login password 'x' in role floor_{number}_owner"),
            ] {
                session.batch_execute(&sql).await.unwrap();
            }
            for kind in kinds {
                let object = json!({"metadata": {"name": format!("{}-{kind}-{number}", self.prefix)}});
                let object = serde_json::from_value(object).unwrap();
                secrets.create(&PostParams::default(), &object).await.unwrap();
            }
        }
        let (made, began) = (started.elapsed(), Instant::now());
        for number in 0..self.size {
            session.batch_execute(&format!("drop database floor_{number}")).await.unwrap();
            let roles = format!("drop role floor_{number}_login; drop role floor_{number}_owner");
            session.batch_execute(&roles).await.unwrap();
            for kind in kinds {
                let name = format!("{}-{kind}-{number}", self.prefix);
                secrets.delete(&name, &DeleteParams::default()).await.unwrap();
            }
        }
        connection.abort();
        (made, began.elapsed())
    }
}

#[tokio::test]
async fn many_branches_are_created_and_deleted_while_the_controller_is_killed() {
    let scenario = Scenario::alone("many").await;
    let (client, installation) = (scenario.client.clone(), scenario.installation);
    let many = |kind: &str, size: usize| {
        let prefix = format!("{}-{kind}", scenario.namespace);
        Many { client: client.clone(), label: format!("{}-branch", scenario.namespace), prefix, size }
    };
    let plain = Many { label: "nobody".to_owned(), ..many("plain", size()) };
    let (one, branches) = (many("one", 1), many("branch", size()));
    let (mut floor, removal_by_hand) = plain.by_hand(installation).await;
    let started = Instant::now();
    plain.make().await;
    floor += started.elapsed();
    let plain_removal = plain.remove().await;

    let rule = json!({"apiVersion": "bindery.dev/v1alpha1", "kind": "NamespaceBinding",
        "metadata": {"name": scenario.namespace},
        "spec": {"namespaceSelector": {"matchLabels": {"many": branches.label}}, "bindingName": "db",
            "clusterServiceClassExternalName": "cockroachdb", "clusterServicePlanExternalName": "default"}});
    scenario.apply(&rule.to_string()).await.expect_success();
    let alone = one.delays().await[0];
    one.remove().await;
    let memory = async || installation.memory("catalog").await.resident() / 1024;
    let before = memory().await;
    let started = Instant::now();
    let halfway = async {
        let rules: Api<NamespaceBinding> = Api::all(client.clone());
        let mut killed = size() < 2;
        loop {
            let status = rules.get(&scenario.namespace).await.unwrap().status.unwrap_or_default();
            let ready = usize::try_from(status.ready).unwrap();
            if !killed && ready * 2 >= size() {
                killed = true;
                installation.kill("catalog").await;
            }
            if ready == size() {
                return;
            }
            branches.in_time(started);
            sleep(Duration::from_millis(200)).await;
        }
    };
    let (delays, ()) = tokio::join!(branches.delays(), halfway);
    let creation = started.elapsed();
    let delay = |part: usize| delays[(delays.len() - 1) * part / 100];
    // The process that was killed last may not be back yet.
    installation.recovered().await;
    let (after, removal) = (memory().await, branches.remove().await);
    println!(
        "soak: {} namespaces, controller killed once: instance and binding made after {:.1?} (median), {:.1?} (99 of 100; \
         for one alone {alone:.0?}); \
         ready after {creation:.1?} (by hand, one by one: {floor:.1?}), gone after {removal:.1?} (without services: \
         {plain_removal:.1?}, and {removal_by_hand:.1?} for those by hand), memory {before} to {after} MiB",
        size(),
        delay(50),
        delay(99),
    );
    kubectl(&["delete", "namespacebinding", &scenario.namespace]).await;
    scenario
        .finish_with(&[], async || {
            let report = installation.sweep().await;
            assert!(report.contains("nothing left over"), "{report}");
        })
        .await;
}
