//! Changes of the administrator's password while brokers run.

use std::fs;

use bindery::broker::config::next_to;
use serde_json::Value;

use crate::{
    keeper::{Cut, begin_to_change, change},
    mariadb::{ADMIN, ADMIN_PASSWORD, MariaDb},
    platform::Platform,
    server::description,
};

/// The administrator with the current password in its file.
fn in_file(server: &MariaDb) -> Value {
    let mut administrator = server.administrator();
    administrator["password"] = fs::read_to_string(server.password_file()).unwrap().trim().into();
    administrator
}

/// Binds and unbinds over sessions that this broker has to reconnect.
async fn works(server: &MariaDb, platform: &Platform, binding: &str) {
    server.root(&format!("KILL USER {ADMIN}"));
    platform.provision(binding).await;
    platform.credentials(binding, binding).await;
    assert_eq!(platform.deprovision(binding).await.0, 200);
}

#[tokio::test]
async fn an_interrupted_password_change_is_completed_by_repeating_the_command() {
    let server = MariaDb::start("127.0.0.1");
    let file = server.password_file();
    let before = Platform::on(&server).await;
    works(&server, &before, "before").await;
    for cut in [Cut::AfterStaging, Cut::BeforePromotion] {
        let old = in_file(&server);
        begin_to_change(&before.config().services, &file, cut).await;
        assert_eq!(in_file(&server), old, "{cut:?}");
        assert_eq!(server.is_refused(&old), cut == Cut::BeforePromotion, "{cut:?}");
        let meanwhile = Platform::on(&server).await;
        works(&server, &meanwhile, "meanwhile").await;
        works(&server, &before, "meanwhile").await;

        change(&before.config().services, &file).await.unwrap();
        assert!(server.is_refused(&old), "{cut:?}");
        server.query(&in_file(&server), "SELECT 1").unwrap();
        assert!(!next_to(&file).exists());
        for platform in [&before, &meanwhile, &Platform::on(&server).await] {
            works(&server, platform, "after").await;
        }
    }
}

/// The account's other properties stay unchanged, and no log contains the password.
#[tokio::test]
async fn only_the_password_is_changed() {
    let server = MariaDb::start("127.0.0.1");
    let account = || {
        let account = server.root("SHOW CREATE USER bindery");
        let grants = server.root("SHOW GRANTS FOR bindery");
        let text = [account, grants].concat().join("\n");
        let hash = server.root("SELECT authentication_string FROM mysql.user WHERE User = 'bindery'");
        text.replace(&hash[0], "the hash")
    };
    let before = account();
    let platform = Platform::on(&server).await;
    change(&platform.config().services, &server.password_file()).await.unwrap();
    assert_eq!(account(), before);
    let new = in_file(&server);
    assert!(!server.statements().contains(new["password"].as_str().unwrap()));
}

/// A change only starts when the server is available to finish it.
#[tokio::test]
async fn an_unreachable_server_is_reported_and_the_change_is_resumed_later() {
    let server = MariaDb::start("127.0.0.1");
    let file = server.password_file();
    let platform = Platform::on(&server).await;
    server.stop();
    let error = change(&platform.config().services, &file).await.unwrap_err().to_string();
    assert!(error.contains("backend main") || error.contains("main (127.0.0.1"), "{error}");
    assert!(error.contains("repeat") && !error.contains(ADMIN_PASSWORD), "{error}");
    server.start_again();
    works(&server, &platform, "between").await;
    change(&platform.config().services, &file).await.unwrap();
    assert!(server.is_refused(&server.administrator()));
    works(&server, &platform, "after").await;

    // If neither password works, the broker can only report it.
    fs::write(&file, "wrong").unwrap();
    server.root(&format!("KILL USER {ADMIN}"));
    let (status, body) = platform.provision("refused").await;
    assert!(status == 500 && description(&body).contains("cannot be used at present"), "{status} {body}");
    let told = platform.broker.check_servers().await.remove(0).result.unwrap_err().to_string();
    assert!(told.contains("passwordFile"), "{told}");
}
