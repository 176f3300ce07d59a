//! How many sessions the broker has open, and what is there after many at once.

use futures::future::join_all;

use crate::{
    platform::Platform,
    postgres::{ADMIN, Postgres},
    server::connect,
};

const WORKERS: usize = 6;
const CYCLES: usize = 5;
const MAX: usize = 4;

fn sessions(server: &Postgres) -> usize {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ADMIN}'");
    server.psql(&sql)[0].parse().unwrap()
}

/// Some binds read and write, so that sessions in the instance's database are needed beside those elsewhere.
#[tokio::test]
async fn workers_at_once_leave_just_their_roles_and_never_too_many_sessions() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::postgresql_with(&server, &format!("maxConnections: {MAX}"), "").await;
    for instance in ["shared", "other"] {
        assert_eq!(platform.provision(instance).await.0, 201);
    }
    let work = (0..WORKERS).map(async |worker| {
        let instance = if worker % 2 == 0 { "shared" } else { "other" };
        let access = ["owner", "readwrite", "readonly"][worker % 3];
        let mut last = None;
        for cycle in 0..CYCLES {
            let binding = format!("{worker}-{cycle}");
            let parameters = serde_json::json!({"access": access});
            let bound = platform.credentials_with(instance, &binding, parameters).await;
            assert!(sessions(&server) <= MAX, "{} sessions", sessions(&server));
            if cycle + 1 < CYCLES {
                let answer = platform.unbind(instance, &binding).await;
                assert_eq!(answer.0, 200, "{answer:?}");
            } else {
                last = Some(bound);
            }
        }
        last.unwrap()
    });
    let left = join_all(work).await;
    for credentials in &left {
        connect(&server, credentials).await.unwrap();
    }
    let mut expected: Vec<_> =
        left.iter().map(|kept| kept["username"].as_str().unwrap().to_owned()).collect();
    let mut found = server.psql("SELECT rolname FROM pg_roles WHERE rolname ~ '^[a-p]{32}$'");
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    platform.broker.drain().await;
    drop(platform);
    server.until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '{ADMIN}'")).await;
}
