//! The limits of one binding on a server, and the broker's access when clients have used all other connections; also
//! the expiry of bindings and of their passwords.

use serde_json::json;

use crate::{clock, mariadb::MariaDb, platform::Platform, server::text};

#[tokio::test]
async fn a_binding_has_at_most_the_connections_of_its_plan() {
    let server = MariaDb::shared();
    let mut platform = Platform::mysql(&server, "{maxConnectionsPerBinding: 2}").await;
    platform.provisioned("few").await;
    let greedy = platform.reader("few", "greedy").await;
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
    platform.deprovisioned("few").await;
}

#[tokio::test]
async fn the_connection_limit_has_a_default() {
    let server = MariaDb::shared();
    let platform = Platform::on(&server).await;
    platform.provisioned("limit").await;
    let login = platform.credentials("limit", "b").await;
    let limit =
        format!("SELECT max_user_connections FROM mysql.user WHERE User = '{}'", text(&login, "username"));
    assert_eq!(server.root(&limit), ["40"]);
    platform.deprovisioned("limit").await;
}

/// `default_password_lifetime` counts from the last change; after that a client may only set another password.
#[tokio::test]
async fn the_servers_default_password_expiry_does_not_apply() {
    let server = MariaDb::start("127.0.0.1");
    let platform = Platform::on(&server).await;
    platform.provisioned("old").await;
    let credentials = platform.credentials("old", "b").await;
    server.root(&format!(
        "UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.password_last_changed', 1600000000) WHERE User = '{}'; \
         FLUSH PRIVILEGES",
        text(&credentials, "username")
    ));
    // The setting also applies to root, which can do nothing more from here on.
    server.root("SET GLOBAL default_password_lifetime = 1");
    server.query(&credentials, "CREATE TABLE t (a INT)").unwrap();
    platform.deprovisioned("old").await;
}

/// By the broker's clock, a server that is two hours ahead would end the credentials at once, and one that is behind
/// two hours late.
#[tokio::test]
async fn a_binding_expires_by_the_clock_of_its_server() {
    let server = MariaDb::start("127.0.0.1");
    server.start_again_with(&clock::ahead("+2h"));
    let platform = Platform::on(&server).await;
    platform.provisioned("clock").await;
    let (credentials, _) = platform.credentials_by_a_clock_ahead("clock").await;
    server.query(&credentials, "SELECT 1").unwrap();
    platform.deprovisioned("clock").await;
}
