//! Faults between the broker and the server: wherever one happens, the request succeeds, or its retry does. Always on
//! the stand-in.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cluster::{Cluster, connect, is_refused},
    platform::Platform,
    postgres::Postgres,
    stand_in::{Fault, Faults},
};

/// How often the platform retries.
const REQUESTS: usize = 8;

/// Repeats a request until it succeeds.
async fn until_done(what: &str, request: impl AsyncFn() -> (u16, Value)) -> Value {
    let mut answers = Vec::new();
    for _ in 0..REQUESTS {
        let (status, body) = request().await;
        match status {
            200 | 201 | 410 => return body,
            _ => answers.push(format!("{status} {body}")),
        }
    }
    panic!("{what}: {answers:#?}");
}

/// Provisions an instance, binds twice, uses the database, and removes everything.
async fn life(cluster: &Cluster, platform: &Platform, instance: &str) {
    let bind = async |binding: &'static str| {
        until_done("bind", async || platform.bind(instance, binding).await).await["credentials"].take()
    };
    until_done("provision", async || platform.provision(instance).await).await;
    let one = bind("one").await;
    let two = bind("two").await;
    let first = connect(cluster, &one).await.unwrap();
    let second = connect(cluster, &two).await.unwrap();
    first.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();
    second.batch_execute("INSERT INTO t VALUES (2); CREATE TABLE u (a int)").await.unwrap();
    first.batch_execute("INSERT INTO u VALUES (3)").await.unwrap();
    assert_eq!(bind("one").await, one, "the password that was given works on");

    until_done("unbind", async || platform.unbind(instance, "one").await).await;
    assert!(is_refused(cluster, &one).await);
    first.batch_execute("SELECT 1").await.unwrap_err();
    second.batch_execute("INSERT INTO t VALUES (4); INSERT INTO u VALUES (5)").await.unwrap();
    until_done("deprovision", async || platform.deprovision(instance).await).await;
    assert_eq!(cluster.left_of(&[&one, &two]).await, Vec::<String>::new());
}

fn start() -> (Arc<Postgres>, Cluster) {
    let server = Postgres::shared();
    (Arc::clone(&server), Cluster::stand_in_before(server))
}

#[tokio::test]
async fn every_kind_of_statement_may_fail_once() {
    each_kind_once(Fault::Refused("40001"), "conflict").await;
}

#[tokio::test]
async fn a_connection_may_drop_before_every_kind_of_statement() {
    each_kind_once(Fault::LostBefore, "before").await;
}

async fn each_kind_once(fault: Fault, instance: &str) {
    let (_server, cluster) = start();
    let platform = cluster.platform().await;
    let stand_in = cluster.stand_in();
    stand_in.faults().at_each_form(fault);
    life(&cluster, &platform, instance).await;
    let mut kinds = stand_in.faults().seen().to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    assert!(kinds.len() >= 20, "{kinds:#?}");
}

/// The number of concurrent lives.
const WORKERS: usize = 4;

/// The server executed a statement but bindery did not get the answer: tested for each statement that changes
/// something, in a separate life. Losing the connection before the next statement has the same effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_drop_after_any_statement() {
    let (server, cluster) = start();
    let platform = cluster.platform().await;
    let stand_in = cluster.stand_in();
    *stand_in.faults() = Faults::default();
    life(&cluster, &platform, "undisturbed").await;
    let seen = stand_in.faults().seen().to_vec();
    // A statement with the same predecessor needs no second test: the second binding repeats the first one's
    // statements.
    let mut known = BTreeSet::new();
    let mut former = "";
    let places: Vec<_> = (0..seen.len())
        .filter(|&number| !seen[number].starts_with("SELECT"))
        .filter(|&number| known.insert((std::mem::replace(&mut former, seen[number]), seen[number])))
        .collect();
    assert!(places.len() > 20, "{seen:#?}");
    let each = async |worker: usize| {
        let cluster = Cluster::stand_in_before(Arc::clone(&server));
        let platform = cluster.platform().await;
        for place in places.iter().skip(worker).step_by(WORKERS) {
            cluster.stand_in().faults().at(*place, Fault::LostAfter);
            life(&cluster, &platform, &format!("after-{place}")).await;
        }
    };
    futures::future::join_all((0..WORKERS).map(each)).await;
}

/// The login exists without any membership: a retry of the request completes it, and deleting removes it.
#[tokio::test]
async fn an_incomplete_login_is_completed_or_removed() {
    let (_server, cluster) = start();
    let platform = cluster.platform().await;
    assert_eq!(platform.provision("half").await.0, 201);
    let stand_in = cluster.stand_in();
    stand_in.faults().at(0, Fault::Refused("40001"));
    let whole = platform.credentials("half", "whole").await;
    let create = stand_in.faults().seen().iter().position(|form| form.starts_with("CREATE USER")).unwrap();
    // Without the refusal at 0 there is one statement less, so this is the number of the statement after CREATE USER.
    let after = create;

    for (binding, goes_on) in [("finished", true), ("removed", false)] {
        // This error is not temporary, so the request fails.
        stand_in.faults().at(after, Fault::Refused("XXA00"));
        let (status, body) = platform.bind("half", binding).await;
        assert_eq!(status, 500, "{body}");
        let made = "SELECT rolname::text FROM pg_catalog.pg_roles r WHERE rolcanlogin AND rolname ~ '^[a-p]{32}$' \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid)";
        assert_eq!(cluster.texts("postgres", made).await.len(), 1, "{:?}", stand_in.faults().seen());
        if goes_on {
            let credentials = platform.credentials("half", binding).await;
            connect(&cluster, &credentials)
                .await
                .unwrap()
                .batch_execute("CREATE TABLE t (a int)")
                .await
                .unwrap();
        } else {
            let (status, body) = platform.unbind("half", binding).await;
            assert!([200, 410].contains(&status), "{status} {body}");
        }
        // The broker retries the rollback of a failed request after a while.
        let deadline = Instant::now() + Duration::from_mins(1);
        while !cluster.texts("postgres", made).await.is_empty() {
            assert!(Instant::now() < deadline, "{binding}: a half-made login stays");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(platform.deprovision("half").await.0, 200);
    assert_eq!(cluster.left_of(&[&whole]).await, Vec::<String>::new());
}
