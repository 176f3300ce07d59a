//! What one binding may take of a server, and the broker's way in when clients have taken the rest. How long a binding and its
//! password last.

use jiff::Timestamp;
use serde_json::json;

use crate::{clock, mariadb::MariaDb, platform::Platform, server::text};

#[tokio::test]
async fn a_binding_has_no_more_connections_than_its_plan_says() {
    let server = MariaDb::shared();
    let mut platform = Platform::with_plan(&server, "{maxConnectionsPerBinding: 2}").await;
    assert_eq!(platform.provision("few").await.0, 201);
    let greedy = platform.credentials_with("few", "greedy", json!({"access": "readonly"})).await;
    let other = platform.credentials("few", "other").await;
    let sessions = [server.session(&greedy).await, server.session(&greedy).await];
    let error = server.query(&greedy, "SELECT 1").unwrap_err();
    assert!(error.contains("ERROR 1226") && error.contains("max_user_connections"), "{error}");
    server.query(&other, "SELECT 1").unwrap();

    platform.restart().await;
    assert_eq!(platform.unbind("few", "greedy").await, (200, json!({})));
    for session in sessions {
        session.ended().await;
    }
    assert!(server.is_refused(&greedy));
    assert_eq!(platform.deprovision("few").await.0, 200);
}

#[tokio::test]
async fn the_limit_has_a_default() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("limit").await.0, 201);
    let login = platform.credentials("limit", "b").await;
    let limit =
        format!("SELECT max_user_connections FROM mysql.user WHERE User = '{}'", text(&login, "username"));
    assert_eq!(server.root(&limit), ["40"]);
    assert_eq!(platform.deprovision("limit").await.0, 200);
}

/// `default_password_lifetime` counts from the last change; after that a client may do nothing but set another password.
#[tokio::test]
async fn a_password_does_not_expire_by_the_servers_default() {
    let server = MariaDb::start("127.0.0.1");
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("old").await.0, 201);
    let credentials = platform.credentials("old", "b").await;
    server.root(&format!(
        "UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.password_last_changed', 1600000000) WHERE User = '{}'; \
         FLUSH PRIVILEGES",
        text(&credentials, "username")
    ));
    // It holds for root, too, which can do nothing more from here on.
    server.root("SET GLOBAL default_password_lifetime = 1");
    server.query(&credentials, "CREATE TABLE t (a INT)").unwrap();
    assert_eq!(platform.deprovision("old").await.0, 200);
}

/// A server that is two hours ahead would end the credentials at once, and one behind two hours late.
#[tokio::test]
async fn a_binding_ends_by_the_clock_of_its_server() {
    let server = MariaDb::start("127.0.0.1");
    server.start_again_with(&clock::ahead("+2h"));
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("clock").await.0, 201);
    let (status, body) = platform.bind_with("clock", "b", json!({"validFor": "1h"})).await;
    assert_eq!(status, 201, "{body}");
    let ends_at: Timestamp = body["metadata"]["expires_at"].as_str().unwrap().parse().unwrap();
    let minutes = ends_at.duration_since(Timestamp::now()).as_mins();
    assert!((178..=181).contains(&minutes), "{minutes}");
    server.query(&body["credentials"], "SELECT 1").unwrap();
    assert_eq!(platform.deprovision("clock").await.0, 200);
}
