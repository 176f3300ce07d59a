//! The limits of one binding on a server, and the broker's access when clients have used all other connections; also
//! the expiry of bindings by the server's clock.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::{Client, error::SqlState};

use crate::{
    clock,
    platform::{Platform, text},
    postgres::{ADMIN, Postgres},
    server::{connect, is_refused},
};

/// Opens sessions until the server refuses one.
async fn take(server: &Postgres, credentials: &Value) -> Vec<Client> {
    let mut taken = Vec::new();
    loop {
        match connect(server, credentials).await {
            Ok(session) => taken.push(session),
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::TOO_MANY_CONNECTIONS), "{error:?}");
                return taken;
            }
        }
    }
}

/// The number of sessions on a [`small`] server.
const ROOM: usize = 8;
/// The server's log message for a session that exceeds the limit.
const REFUSED: &str = "remaining connection slots are reserved";

/// Opens sessions until all connections are used. A session that is ending keeps its connection for a moment.
async fn take_all(server: &Postgres, credentials: &Value) -> Vec<Client> {
    let full = format!(
        "SELECT count(*) = {ROOM} FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'postgres'"
    );
    let mut taken = take(server, credentials).await;
    while server.psql(&full) != ["t"] {
        taken.extend(take(server, credentials).await);
    }
    taken
}

fn limit_of(server: &Postgres, credentials: &Value) -> String {
    let login = text(credentials, "username");
    server.psql(&format!("SELECT rolconnlimit FROM pg_roles WHERE rolname = '{login}'")).remove(0)
}

/// Limits a server to a few sessions in addition to those of superusers.
fn small(server: Postgres) -> Postgres {
    let max: usize = server.psql("SHOW max_connections")[0].parse().unwrap();
    server.set("superuser_reserved_connections", &(max - ROOM).to_string());
    server
}

/// A broker whose plan does not limit bindings, as in earlier releases, and a login of instance `i`.
async fn without_limit(server: &Postgres) -> (Platform, Value) {
    let platform = Platform::postgresql(server, "maxConnectionsPerBinding: unlimited").await;
    platform.provisioned("i").await;
    let greedy = platform.reader("i", "greedy").await;
    (platform, greedy)
}

/// Stops the broker and its sessions, as in a crash.
async fn end_broker(server: &Postgres, platform: &Platform) {
    platform.broker.drain().await;
    server.psql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ADMIN}'"));
    server.until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '{ADMIN}'")).await;
}

#[tokio::test]
async fn a_binding_has_at_most_the_connections_of_its_plan() {
    let server = Postgres::shared();
    let mut platform = Platform::postgresql(&server, "maxConnectionsPerBinding: 3").await;
    platform.provisioned("few").await;
    let greedy = platform.reader("few", "greedy").await;
    let other = platform.credentials("few", "other").await;
    let taken = take(&server, &greedy).await;
    assert_eq!(taken.len(), 3);
    connect(&server, &other).await.unwrap();

    platform.restart().await;
    assert_eq!(platform.unbind("few", "greedy").await, (200, json!({})));
    assert!(is_refused(&server, &greedy).await);
    for session in &taken {
        session.batch_execute("SELECT 1").await.unwrap_err();
    }
    platform.deprovisioned("few").await;
}

/// A login keeps its limit until its instance is updated or the login is recreated.
#[tokio::test]
async fn the_connection_limit_has_a_default_and_an_update_applies_it_to_existing_logins() {
    let server = Postgres::shared();
    let mut platform = Platform::postgresql(&server, "extensions: [hstore]").await;
    platform.provisioned("limit").await;
    let login = platform.credentials("limit", "b").await;
    assert_eq!(limit_of(&server, &login), "40");
    platform.restart_with("extensions:", "maxConnectionsPerBinding: unlimited, extensions:").await;
    let unlimited = platform.credentials("limit", "unlimited").await;
    assert_eq!(limit_of(&server, &unlimited), "-1");
    assert_eq!(platform.update("limit", json!({"extensions": ["hstore"]})).await.0, 200);
    assert_eq!(limit_of(&server, &login), "-1");
    platform.deprovisioned("limit").await;
}

/// Logins of earlier releases, and of plans with `unlimited`.
#[tokio::test]
async fn a_running_broker_can_revoke_a_binding_that_uses_all_connections() {
    let server = small(Postgres::start("127.0.0.1", &["127.0.0.1"]));
    let (platform, greedy) = without_limit(&server).await;
    let foreign = text(&platform.credentials("i", "foreign").await, "username").to_owned();
    assert_eq!(platform.unbind("i", "foreign").await.0, 200);
    server.psql(&format!("CREATE ROLE \"{foreign}\""));
    let mut taken = take_all(&server, &greedy).await;
    assert!(!taken.is_empty());
    // A failed request does not cost the broker its session.
    assert_eq!(platform.bind("i", "foreign").await.0, 500);
    taken.extend(take_all(&server, &greedy).await);
    assert_eq!(platform.unbind("i", "greedy").await, (200, json!({})));
    assert!(is_refused(&server, &greedy).await);
    platform.deprovisioned("i").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_broker_waits_for_a_connection_and_reports_the_missing_right() {
    let server = small(Postgres::start("127.0.0.1", &["127.0.0.1"]));
    let (mut platform, greedy) = without_limit(&server).await;
    end_broker(&server, &platform).await;
    let mut taken = take_all(&server, &greedy).await;
    platform.restart().await;
    let checking = async { platform.broker.check_servers().await.remove(0).result.unwrap_err().to_string() };
    let error = tokio::time::timeout(Duration::from_secs(40), checking).await.unwrap();
    assert!(error.contains("takes no more connections") && error.contains("reserved_connections"), "{error}");

    let refused = server.times_logged(REFUSED);
    let unbinding = platform.unbind("i", "greedy");
    let leaving = async {
        server.logs_more(REFUSED, refused).await;
        taken.pop();
    };
    let (unbound, ()) = tokio::join!(unbinding, leaving);
    assert_eq!(unbound, (200, json!({})));
    assert!(is_refused(&server, &greedy).await);
    platform.deprovisioned("i").await;
}

/// `reserved_connections` exists since PostgreSQL 16.
#[tokio::test]
async fn a_broker_that_starts_on_a_full_server_uses_the_reserved_connections() {
    let server = small(Postgres::version(18));
    server.set("reserved_connections", "3");
    server.psql(&format!("GRANT pg_use_reserved_connections TO {ADMIN}"));
    let (mut platform, greedy) = without_limit(&server).await;
    end_broker(&server, &platform).await;
    let taken = take(&server, &greedy).await;
    platform.restart().await;
    assert!(taken.len() >= ROOM - 4, "{}", taken.len());
    assert_eq!(platform.unbind("i", "greedy").await, (200, json!({})));
    assert!(is_refused(&server, &greedy).await);
    platform.deprovisioned("i").await;
}

/// By the broker's clock, a server that is two hours ahead would end the credentials at once, and one that is behind
/// two hours late.
#[tokio::test]
async fn a_binding_expires_by_the_clock_of_its_server() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    server.start_again_with(&clock::ahead("+2h"));
    let platform = Platform::postgresql(&server, "").await;
    platform.provisioned("clock").await;
    let (credentials, ends_at) = platform.credentials_by_a_clock_ahead("clock").await;
    connect(&server, &credentials).await.unwrap();
    let login = text(&credentials, "username");
    let recorded = format!("SELECT rolvaliduntil = '{ends_at}' FROM pg_roles WHERE rolname = '{login}'");
    assert_eq!(server.psql(&recorded), ["t"]);
    platform.deprovisioned("clock").await;
}
