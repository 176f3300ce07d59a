//! The webhook's replicas are replaced under load: with failurePolicy Fail each request that got no answer would show.
//!
//! `BINDERY_SOAK_ADMISSIONS` says how many pods are asked about at least.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use tokio::task::JoinSet;

use crate::{
    installation::{NAMESPACE, kubectl},
    scenario::{POD, Scenario},
};

const WORKERS: usize = 8;

#[tokio::test]
async fn no_admission_fails_while_the_webhooks_are_rolled() {
    let soak = std::env::var("BINDERY_SOAK_ADMISSIONS").ok().map(|count| count.parse().unwrap());
    let (least, pause) =
        soak.map_or((300, Duration::from_millis(50)), |count: usize| (count, Duration::ZERO));
    let scenario = Scenario::alone("rolled").await;
    let pod: Pod = serde_saphyr::from_str(POD).unwrap();
    let (over, admitted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (pods, pod): (Api<Pod>, _) = (scenario.api(), pod.clone());
        let (over, admitted) = (over.clone(), admitted.clone());
        workers.spawn(async move {
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            while !over.load(Ordering::Relaxed) {
                let made = pods.create(&dry_run, &pod).await;
                let made = made.unwrap_or_else(|error| panic!("an admission failed: {error}"));
                assert!(made.spec.unwrap().containers[0].env_from.is_some(), "a pod was not injected");
                admitted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(pause).await;
            }
        });
    }
    let mut rolls = 0;
    while rolls == 0 || admitted.load(Ordering::Relaxed) < least {
        let before: Vec<_> = uids(&scenario).await;
        kubectl(&["--namespace", NAMESPACE, "rollout", "restart", "deployment/e2e-admission"]).await;
        let status = ["rollout", "status", "deployment/e2e-admission", "--timeout=120s"];
        kubectl(&[&["--namespace", NAMESPACE][..], &status].concat()).await;
        // The new servers are ready, but the old ones are still draining.
        scenario.installation.settled("admission", 2).await;
        assert!(uids(&scenario).await.iter().all(|uid| !before.contains(uid)), "a replica was not replaced");
        rolls += 1;
        if let Some(failed) = workers.try_join_next() {
            failed.unwrap();
        }
    }
    over.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    println!("soak: {} admissions, {rolls} rolling updates, 0 failed", admitted.load(Ordering::Relaxed));
    scenario.finish(&[]).await;
}

async fn uids(scenario: &Scenario) -> Vec<Option<String>> {
    scenario.installation.pods("admission").await.into_iter().map(|pod| pod.metadata.uid).collect()
}
