//! Brokers that are killed under load: several processes on one store in PostgreSQL, and one on a store in a file. A
//! platform that retries and cleans up according to the specification must end with exactly the objects that it was
//! told exist.
//!
//! `BINDERY_SOAK_SECONDS` sets the duration of the load; the default is a few seconds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails in a test fails the test; the counts are for `make soak`"
)]

mod check;
mod cluster;
mod load;
mod platform;

use std::time::{Duration, Instant};

use bindery_test_support::postgres::{self, Postgres};

use self::{cluster::Cluster, load::Load, platform::Platform};

/// The number of concurrent workers.
const WORKERS: usize = 6;
/// The minimum time before a broker is killed; the maximum is three times as long.
const LIFE: Duration = Duration::from_millis(1200);

/// Two tests at a time would slow each other down.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_on_one_database_lose_and_duplicate_nothing_when_killed() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    server.psql(&format!("CREATE DATABASE records OWNER {}", postgres::ADMIN));
    let store = format!(
        "postgresql://{}:{}@127.0.0.1:{}/records?sslrootcert={}",
        postgres::ADMIN,
        postgres::ADMIN_PASSWORD,
        server.port(),
        server.ca_file().display()
    );
    run(Cluster::start(&server, 2, &store).await, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_on_a_file_loses_and_duplicates_nothing_when_killed() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("broker.db").display());
    run(Cluster::start(&server, 1, &store).await, &server).await;
}

async fn run(cluster: Cluster, server: &Postgres) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let seconds = std::env::var("BINDERY_SOAK_SECONDS").map_or(4, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let platform = Platform::new(cluster.addresses());
    let load = Load::until(end, &platform);
    let workers = (0..WORKERS).map(|_| load.work());
    let (kills, worked) = tokio::join!(cluster.kill_until(end, LIFE), futures::future::join_all(workers));
    let held: Vec<_> = worked.into_iter().flatten().collect();
    check::exactly(&held, &platform, server).await;
    check::nothing_is_left_over(&cluster);
    check::no_secret_was_logged(&held, &cluster);
    assert!(kills > 0, "no broker was killed");
    let counted = platform.counted();
    println!("soak: {} requests, {kills} kills, {counted}", counted.requests());
}
