//! The number of the broker's sessions, and the result of many concurrent workers: a fixed number of rounds each, or as
//! long as `BINDERY_SOAK_SECONDS` says.

use std::time::{Duration, Instant};

use bindery::broker::sweep;
use futures::future::join_all;

use crate::{
    platform::Platform,
    postgres::{ADMIN, Postgres},
    server::{connect, is_refused},
};

const WORKERS: usize = 6;
const ROUNDS: usize = 5;
const MAX: usize = 3;

fn sessions(server: &Postgres) -> usize {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ADMIN}'");
    server.psql(&sql)[0].parse().unwrap()
}

/// Some workers bind with read and write access, so that the broker needs sessions in the instance's database and
/// elsewhere. Each worker keeps its last binding.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_workers_leave_only_their_roles_and_stay_below_the_session_limit() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::postgresql_with(&server, &format!("maxConnections: {MAX}"), "").await;
    for instance in ["shared", "other"] {
        assert_eq!(platform.provision(instance).await.0, 201);
    }
    let end = std::env::var("BINDERY_SOAK_SECONDS")
        .ok()
        .map(|seconds| Instant::now() + Duration::from_secs(seconds.parse().unwrap()));
    let is_over = |round: usize| end.map_or(round == ROUNDS, |end| Instant::now() > end);
    let work = (0..WORKERS).map(async |worker| {
        let instance = if worker % 2 == 0 { "shared" } else { "other" };
        let access = ["owner", "readwrite", "readonly"][worker % 3];
        let mut round = 1;
        loop {
            let binding = format!("{worker}-{round}");
            let parameters = serde_json::json!({"access": access});
            let credentials = platform.credentials_with(instance, &binding, parameters).await;
            let session = connect(&server, &credentials).await.unwrap();
            if access == "owner" {
                let sql = format!("CREATE TABLE IF NOT EXISTS of_{worker} (a int)");
                session.batch_execute(&sql).await.unwrap();
            }
            let open = sessions(&server);
            assert!(open <= MAX, "{open} sessions");
            if is_over(round) {
                return (round, credentials);
            }
            let answer = platform.unbind(instance, &binding).await;
            assert_eq!(answer.0, 200, "{answer:?}");
            assert!(is_refused(&server, &credentials).await);
            round += 1;
        }
    });
    let left = join_all(work).await;
    let mut expected: Vec<_> =
        left.iter().map(|(_, kept)| kept["username"].as_str().unwrap().to_owned()).collect();
    let mut found = server.psql("SELECT rolname FROM pg_roles WHERE rolname ~ '^[a-p]{32}$'");
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let report = sweep(platform.config(), &[], false).await.unwrap();
    assert!(report.leftover.is_empty() && report.failed.is_empty(), "{report}");
    let bindings: usize = left.iter().map(|(rounds, _)| rounds).sum();
    println!("soak: {bindings} bindings, {} left over", report.leftover.len());
    drop(platform);
    server.until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '{ADMIN}'")).await;
}
