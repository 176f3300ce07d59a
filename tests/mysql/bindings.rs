//! The life of instances and bindings from provisioning to deprovisioning, as applications see it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    mariadb::MariaDb,
    platform::Platform,
    server::{description, text},
};

#[tokio::test]
async fn bindings_share_a_database_and_are_deleted_separately() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("share").await.0, 201);
    assert_eq!(platform.provision("share").await.0, 200);
    let one = platform.credentials("share", "one").await;
    let mut keys: Vec<_> = one.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["ca.crt", "database", "host", "jdbcURL", "password", "port", "provider", "type", "uri", "username"]
    );
    let uri = from_uri(text(&one, "uri"));
    server.query(&uri, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)").unwrap();
    let encrypted = server.query(&uri, "SHOW STATUS LIKE 'Ssl_version'").unwrap().remove(0);
    assert!(encrypted.starts_with("Ssl_version\tTLSv1."), "{encrypted}");
    let error = MariaDb::query_plainly(&uri, "SELECT 1").unwrap_err();
    assert!(error.contains("ERROR 1045"), "{error}");

    let two = platform.credentials("share", "two").await;
    assert_ne!(one["username"], two["username"]);
    let session = server.session(&one).await;
    server.query(&two, "INSERT INTO t VALUES (2); ALTER TABLE t ADD b text; CREATE TABLE u (a int)").unwrap();

    assert_eq!(platform.unbind("share", "one").await, (200, json!({})));
    session.ended().await;
    assert!(server.is_refused(&one));
    assert_eq!(server.query(&two, "SELECT COUNT(*) FROM t").unwrap(), ["2"]);

    assert_eq!(platform.unbind("share", "two").await.0, 200);
    assert_eq!(platform.deprovision("share").await.0, 200);
    assert_eq!(server.left_of(&[&one, &two]), Vec::<String>::new());
    assert_eq!(platform.deprovision("share").await.0, 410);
    assert_eq!(platform.unbind("share", "two").await.0, 410);
}

/// The parts of a binding's `uri`, by the names of the keys.
fn from_uri(uri: &str) -> Value {
    let url = url::Url::parse(uri).unwrap();
    let query = "ssl-mode=REQUIRED&ssl=%7B%22rejectUnauthorized%22%3Afalse%7D";
    assert_eq!((url.scheme(), url.query()), ("mysql", Some(query)));
    json!({"host": url.host_str(), "port": url.port().unwrap().to_string(), "username": url.username(),
        "password": url.password(), "database": url.path().trim_start_matches('/')})
}

#[tokio::test]
async fn no_log_contains_a_password() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("logged").await;
    let credentials = platform.credentials("logged", "b").await;
    let log = server.statements();
    assert!(log.contains(text(&credentials, "username")) && !log.contains(text(&credentials, "password")));
    assert_eq!(platform.deprovision("logged").await.0, 200);
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new(), "the binding goes with its instance");
}

/// If the store lost a binding, it is created again; only the last password works.
#[tokio::test]
async fn a_login_that_is_bound_again_has_one_password_and_one_access_level() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("rebound").await;
    let first = platform.credentials_with("rebound", "b", json!({"access": "owner"})).await;
    server.query(&first, "CREATE TABLE t (a int)").unwrap();
    platform.forget_binding("b");
    let second = platform.credentials_with("rebound", "b", json!({"access": "readonly"})).await;
    assert_eq!(first["username"], second["username"]);
    assert!(server.is_refused(&first));
    assert_eq!(server.query(&second, "SELECT * FROM t").unwrap(), Vec::<String>::new());
    let error = server.query(&second, "INSERT INTO t VALUES (1)").unwrap_err();
    assert!(error.contains("ERROR 1142"), "{error}");
    assert_eq!(platform.deprovision("rebound").await.0, 200);
    assert_eq!(server.left_of(&[&first]), Vec::<String>::new());
}

#[tokio::test]
async fn expired_credentials_are_locked_and_their_sessions_end() {
    let server = MariaDb::shared();
    let platform = Platform::mysql(&server, "{validFor: {maximum: 1h}}").await;
    platform.provision("short").await;
    let (status, mut body) = platform.bind_with("short", "b", json!({"validFor": "3s"})).await;
    assert_eq!(status, 201, "{body}");
    assert!(body["metadata"]["expires_at"].is_string(), "{body}");
    let credentials = body["credentials"].take();
    let lasting = platform.credentials("short", "lasting").await;
    let session = server.session(&credentials).await;
    session.ended().await;
    assert!(server.is_refused(&credentials));
    server.query(&lasting, "SELECT 1").unwrap();
    // Recorded, so that the login is not checked again.
    let noted = || server.marks("is_locked", text(&credentials, "username"));
    while noted() != ["1"] {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(server.marks("is_locked", text(&lasting, "username")), ["0"]);

    let (status, body) = platform.bind_with("short", "c", json!({"validFor": "2h"})).await;
    assert_eq!(status, 400);
    assert!(description(&body).contains("1h at most"), "{body}");

    // A recreated binding has a new expiry.
    platform.forget_binding("b");
    let again = platform.credentials_with("short", "b", json!({"validFor": "1h"})).await;
    server.query(&again, "SELECT 1").unwrap();
    assert_eq!(platform.unbind("short", "b").await.0, 200);
    assert_eq!(platform.deprovision("short").await.0, 200);
    assert_eq!(server.left_of(&[&credentials, &lasting]), Vec::<String>::new());
}

/// The marks of an earlier version are replaced at the start.
#[tokio::test]
async fn marks_contain_digests_of_ids() {
    let server = MariaDb::shared();
    let mut platform = Platform::on(&server).await;
    assert_eq!(platform.provision("capability").await.0, 201);
    let credentials = platform.credentials("capability", "also-one").await;
    let ids = || server.marks("id", text(&credentials, "database"));
    let digests = ids();
    assert_eq!(digests.len(), 2);
    assert!(digests.iter().all(|id| id.len() == 71 && id.starts_with("sha256:")), "{digests:?}");

    platform.keep_installation().await;
    assert_eq!(platform.provision("former").await.0, 201);
    let credentials = platform.credentials("former", "b").await;
    let ids = || server.marks("id", text(&credentials, "database"));
    let digests = ids();
    let marks = platform.mark();
    server.root(&format!("UPDATE {marks}.marks SET id = IF(kind = 'database', 'former', 'b')"));
    assert_ne!(ids(), digests);
    platform.restart().await;
    while ids() != digests {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(platform.unbind("former", "b").await.0, 200);
    assert_eq!(platform.deprovision("former").await.0, 200);
}

/// Ids can be any text; names are derived from them, and the marks contain digests of ids for operators.
#[tokio::test]
async fn hostile_ids_do_no_harm() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    let long = "x".repeat(2_000);
    for id in ["a'b\"c`d\\", "\u{fc}\u{1f980}%_", "'; DROP DATABASE mysql; --", long.as_str()] {
        assert_eq!(platform.provision(id).await.0, 201, "{id}");
        let credentials = platform.credentials(id, id).await;
        server.query(&credentials, "CREATE TABLE `a``'b` (a int)").unwrap();
        assert_eq!(platform.unbind(id, id).await.0, 200, "{id}");
        assert_eq!(platform.deprovision(id).await.0, 200, "{id}");
        assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new(), "{id}");
    }
}

/// An encoding from the plan's list, and a plan whose applications verify the server.
#[tokio::test]
async fn a_plan_sets_encoding_and_tls() {
    let server = MariaDb::shared();
    let plan = "{encodings: [latin1, utf8mb4], sslmode: verify-full}";
    let platform = Platform::mysql(&server, plan).await;
    assert_eq!(platform.provision("latin").await.0, 201);
    let credentials = platform.credentials("latin", "b").await;
    let query = "SELECT @@character_set_database";
    assert_eq!(server.query(&credentials, query).unwrap(), ["latin1"]);
    assert_eq!(text(&credentials, "ca.crt"), std::fs::read_to_string(server.ca_file()).unwrap());
    assert!(text(&credentials, "uri").contains("?ssl-mode=VERIFY_IDENTITY&ssl="), "{credentials}");
    let (status, body) = platform.provision_with("no", json!({"encoding": "koi8r"})).await;
    assert_eq!(status, 400);
    assert!(description(&body).contains("encoding"), "{body}");
    assert_eq!(platform.deprovision("latin").await.0, 200);

    let platform = Platform::mysql(&server, "{sslmode: disable}").await;
    assert_eq!(platform.provision("plain").await.0, 201);
    let credentials = platform.credentials("plain", "b").await;
    assert!(text(&credentials, "uri").ends_with("?ssl-mode=DISABLED"), "{credentials}");
    MariaDb::query_plainly(&credentials, "SELECT 1").unwrap();
    assert_eq!(platform.deprovision("plain").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_workers_on_one_database_leave_the_expected_objects() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("busy").await.0, 201);
    let kept = platform.credentials("busy", "kept").await;
    server.query(&kept, "CREATE TABLE t (worker int)").unwrap();
    // A fixed number of rounds each, or as long as `BINDERY_SOAK_SECONDS` says.
    let end = std::env::var("BINDERY_SOAK_SECONDS")
        .ok()
        .map(|seconds| Instant::now() + Duration::from_secs(seconds.parse().unwrap()));
    let is_over = |round: usize| end.map_or(round == 5, |end| Instant::now() > end);
    let workers = (0..4).map(async |worker| {
        let mut round = 0;
        while !is_over(round) {
            let binding = format!("{worker}-{round}");
            let credentials = platform.credentials("busy", &binding).await;
            server.query(&credentials, &format!("INSERT INTO t VALUES ({worker})")).unwrap();
            assert_eq!(platform.unbind("busy", &binding).await, (200, json!({})));
            round += 1;
        }
        round
    });
    let rounds = futures::future::join_all(workers).await;
    let counted = server.query(&kept, "SELECT worker, COUNT(*) FROM t GROUP BY worker").unwrap();
    let expected: Vec<_> =
        rounds.iter().enumerate().map(|(worker, rounds)| format!("{worker}\t{rounds}")).collect();
    assert_eq!(counted, expected);
    let report = bindery::broker::sweep(platform.config(), &[], false).await.unwrap();
    assert!(report.leftover.is_empty() && report.failed.is_empty(), "{report}");
    println!("soak: {} bindings, {} left over", rounds.iter().sum::<usize>(), report.leftover.len());
    let database = text(&kept, "database").replace('_', "\\\\_");
    let users = server.root(&format!("SELECT User FROM mysql.db WHERE Db = '{database}'"));
    assert_eq!(users, [text(&kept, "username")]);
    assert_eq!(platform.deprovision("busy").await.0, 200);
    assert_eq!(server.left_of(&[&kept]), Vec::<String>::new());
}

/// The broker opens few sessions and leaks none.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_opens_few_sessions() {
    let server = MariaDb::start("127.0.0.1");
    let platform = Platform::on(&server).await;
    let most = std::sync::atomic::AtomicUsize::new(0);
    let lives = (0..12).map(async |number| {
        let instance = format!("many-{number}");
        assert_eq!(platform.provision(&instance).await.0, 201);
        for binding in ["a", "b"] {
            platform.credentials(&instance, binding).await;
            most.fetch_max(sessions(&server), std::sync::atomic::Ordering::Relaxed);
        }
        assert_eq!(platform.deprovision(&instance).await, (200, json!({})));
    });
    futures::future::join_all(lives).await;
    // The limit is `maxConnections`.
    assert!(most.into_inner() <= 4);
    assert!((1..=4).contains(&sessions(&server)));
    platform.broker.drain().await;
    drop(platform);
    server.until("SELECT COUNT(*) = 0 FROM information_schema.PROCESSLIST WHERE USER = 'bindery'").await;
}

fn sessions(server: &MariaDb) -> usize {
    let found = server.root("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'bindery'");
    found[0].parse().unwrap()
}

/// No Java client runs here, so the test checks only the parameters of the `jdbcURL`.
#[tokio::test]
async fn the_jdbc_url_agrees_with_the_keys() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provision("jdbc").await;
    let credentials = platform.credentials("jdbc", "b").await;
    let url = url::Url::parse(text(&credentials, "jdbcURL").strip_prefix("jdbc:").unwrap()).unwrap();
    let parameters: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(parameters["user"], text(&credentials, "username"));
    assert_eq!(parameters["password"], text(&credentials, "password"));
    assert_eq!(parameters["sslMode"], "REQUIRED");
    assert_eq!(platform.deprovision("jdbc").await.0, 200);
}
