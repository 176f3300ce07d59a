//! Servers that are unavailable, refuse statements or lack something.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::{
    mariadb::{ADMIN_PASSWORD, MariaDb},
    platform::Platform,
    server::{description, text},
};

#[tokio::test]
async fn a_wrong_password_and_a_stopped_server_are_reported_and_the_broker_recovers() {
    let server = MariaDb::start("127.0.0.1");
    std::fs::write(server.password_file(), "wrong").unwrap();
    let platform = Platform::on(&server).await;
    let (status, body) = platform.provision("i").await;
    assert_eq!(status, 500);
    assert!(description(&body).contains("cannot be used at present"), "{body}");
    assert!(
        !description(&body).contains("127.0.0.1") && !description(&body).contains("passwordFile"),
        "{body}"
    );
    let told = platform.broker.check_servers().await.remove(0).result.unwrap_err().to_string();
    assert!(told.contains("backend main (127.0.0.1:") && told.contains("passwordFile"), "{told}");
    std::fs::write(server.password_file(), ADMIN_PASSWORD).unwrap();
    assert_eq!(platform.provision("i").await.0, 201, "an interrupted create goes on");
    let credentials = platform.credentials("i", "b").await;

    server.stop();
    let (status, body) = platform.bind("i", "c").await;
    assert_eq!(status, 500);
    assert!(description(&body).contains("cannot be used at present"), "{body}");
    let told = platform.broker.check_servers().await.remove(0).result.unwrap_err().to_string();
    assert!(told.contains("cannot be reached"), "{told}");
    assert_eq!(
        platform.bind("i", "b").await.1["credentials"],
        credentials,
        "what is recorded needs no server"
    );
    assert_eq!(platform.unbind("i", "b").await.0, 500);

    server.start_again();
    assert_eq!(platform.bind("i", "c").await.0, 201);
    assert_eq!(platform.unbind("i", "b").await.0, 200);
    assert_eq!(platform.deprovision("i").await.0, 200);
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new());
}

/// After a restart of the server the broker's sessions are dead; users must not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_during_every_operation_leaves_nothing_behind() {
    let server = MariaDb::start("127.0.0.1");
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("restarted").await.0, 201);
    let kept = platform.credentials("restarted", "kept").await;
    let done = AtomicUsize::new(0);
    let worker = async |worker: usize| {
        for round in 0..20 {
            let binding = format!("{worker}-{round}");
            // Some requests fail; the platform then deletes the binding.
            let _ = platform.bind("restarted", &binding).await;
            while ![200, 410].contains(&platform.unbind("restarted", &binding).await.0) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let restart = async {
        for after in [3, 20] {
            while done.load(Ordering::Relaxed) < after {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::task::block_in_place(|| {
                server.stop();
                server.start_again();
            });
        }
    };
    tokio::join!(worker(0), worker(1), restart);
    let logins = server.root("SELECT User FROM mysql.db WHERE Db LIKE 'cf%' AND User <> 'bindery'");
    assert_eq!(logins, [text(&kept, "username")]);
    server.query(&kept, "SELECT 1").unwrap();
    assert_eq!(platform.deprovision("restarted").await.0, 200);
    assert_eq!(server.left_of(&[&kept]), Vec::<String>::new());
}

#[tokio::test]
async fn missing_rights_are_named() {
    let server = MariaDb::start("127.0.0.1");
    let platform = Platform::on(&server).await;
    let check = async || platform.broker.check_servers().await.remove(0).result;
    assert!(check().await.unwrap().starts_with("MariaDB 1"));
    server.root("REVOKE CONNECTION ADMIN ON *.* FROM 'bindery'@'%'");
    server.root(r"REVOKE GRANT OPTION, EVENT ON `cf\_%`.* FROM 'bindery'@'%'");
    let error = check().await.unwrap_err().to_string();
    assert!(
        error.contains(r"administrator bindery lacks CONNECTION ADMIN; EVENT, GRANT OPTION on `cf\_%`.*;"),
        "{error}"
    );
    assert_eq!(platform.provision("i").await.0, 201);
    let (status, body) = platform.bind("i", "b").await;
    assert_eq!(status, 500);
    assert!(
        description(&body).contains("cannot grant the login its access")
            && !description(&body).contains("1044")
            && !description(&body).contains("127.0.0.1"),
        "{body}"
    );
    assert_eq!(platform.unbind("i", "b").await.0, 200);
    assert_eq!(platform.deprovision("i").await.0, 200);
    assert_eq!(server.root("SELECT COUNT(*) FROM mysql.user WHERE LENGTH(User) = 32"), ["0"]);
}

/// The modes in libpq's documentation, "Protection Provided in Different Modes".
#[tokio::test]
async fn sslmodes_check_what_libpq_checks() {
    let server = MariaDb::shared();
    let strange = MariaDb::start("other.example");
    let (right, wrong) = (server.ca_file().display().to_string(), strange.ca_file().display().to_string());
    let works = async |server: &MariaDb, tls: String| {
        let platform = Platform::mysql_with(server, &tls, "{}").await;
        platform.broker.check_servers().await.remove(0).result
    };
    works(&server, format!("sslmode: verify-full, caFile: {right}")).await.unwrap();
    works(&server, "sslmode: require".to_owned()).await.unwrap();
    for mode in ["require", "verify-ca", "verify-full"] {
        let tls = format!("sslmode: {mode}, caFile: {wrong}");
        let error = works(&server, tls).await.unwrap_err().to_string();
        assert!(error.contains("caFile"), "{mode}: {error}");
    }
    works(&strange, format!("sslmode: verify-ca, caFile: {wrong}")).await.unwrap();
    works(&strange, format!("sslmode: require, caFile: {wrong}")).await.unwrap();
    works(&strange, format!("sslmode: verify-full, caFile: {wrong}")).await.unwrap_err();
    works(&server, "sslmode: disable".to_owned()).await.unwrap_err();
    let error = works(&server, "caFile: /nowhere/ca.crt".to_owned()).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/ca.crt"), "{error}");
}

#[tokio::test]
async fn the_administrator_may_use_a_client_certificate() {
    let server = MariaDb::start("127.0.0.1");
    server.root("ALTER USER 'bindery'@'%' REQUIRE X509");
    let ca = format!("caFile: {}", server.ca_file().display());
    let [certificate, key] = server.client_files();
    let with = format!("{ca}, certFile: {}, keyFile: {}", certificate.display(), key.display());
    let check = async |platform: &Platform| platform.broker.check_servers().await.remove(0).result;
    let platform = Platform::mysql_with(&server, &with, "{}").await;
    check(&platform).await.unwrap();
    let without = check(&Platform::mysql_with(&server, &ca, "{}").await).await.unwrap_err().to_string();
    assert!(without.contains("certFile"), "{without}");

    // The file is read again for each connection; existing connections continue.
    std::fs::write(&certificate, "none").unwrap();
    check(&platform).await.unwrap();
    let broken = check(&Platform::mysql_with(&server, &with, "{}").await).await.unwrap_err().to_string();
    assert!(broken.contains(&certificate.display().to_string()), "{broken}");
}

/// The server is read-only, like a replica.
#[tokio::test]
async fn a_read_only_server_is_reported() {
    let server = MariaDb::start("127.0.0.1");
    let platform = Platform::on(&server).await;
    server.root("SET GLOBAL read_only = ON");
    let said = platform.checked().await.unwrap_err();
    assert!(said.contains("read_only is on"), "{said}");
    let (status, body) = platform.provision("i").await;
    assert!(status == 500 && description(&body).contains("cannot be used at present"), "{status} {body}");
}

/// The state after a restore without the marks.
#[tokio::test]
async fn objects_that_lost_their_mark_are_not_reported_as_removed() {
    let server = MariaDb::start("127.0.0.1");
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("i").await.0, 201);
    let credentials = platform.credentials("i", "b").await;
    let schema = server
        .root("SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_NAME = 'marks'")
        .remove(0);
    server.root(&format!("RENAME TABLE {schema}.marks TO {schema}.lost"));
    server.root(&format!("CREATE TABLE {schema}.marks LIKE {schema}.lost"));
    let (status, body) = platform.unbind("i", "b").await;
    assert!(
        status == 500 && description(&body).contains("does not carry this installation's mark"),
        "{status} {body}"
    );
    server.query(&credentials, "SELECT 1").unwrap();
    let (status, body) = platform.deprovision("i").await;
    assert!(
        status == 500 && description(&body).contains("does not carry this installation's mark"),
        "{status} {body}"
    );
    server.root(&format!("DROP TABLE {schema}.marks; RENAME TABLE {schema}.lost TO {schema}.marks"));
    // The broker retries a failed removal itself, and may finish before the platform's retry.
    assert!([200, 410].contains(&platform.deprovision("i").await.0));
    assert_eq!(server.left_of(&[&credentials]), Vec::<String>::new());
}
