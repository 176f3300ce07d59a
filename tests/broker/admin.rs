//! Changes of the administrator's password while brokers run, through the command and through its library function.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use bindery::broker::config::next_to;

use crate::{
    keeper::{Cut, begin_to_change, change},
    platform::Platform,
    postgres::{ADMIN, ADMIN_PASSWORD, Postgres},
};

fn in_file(server: &Postgres) -> String {
    fs::read_to_string(server.password_file()).unwrap().trim().to_owned()
}

async fn is_refused(server: &Postgres, password: &str) -> bool {
    let url = format!("postgresql://{ADMIN}:{password}@127.0.0.1:{}/postgres?sslmode=require", server.port());
    match server.connect(&url).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD), "{error}");
            true
        }
    }
}

/// Binds and unbinds over sessions that this broker has to reconnect.
async fn works(server: &Postgres, platform: &Platform, binding: &str) {
    let sessions = format!("FROM pg_stat_activity WHERE usename = '{ADMIN}'");
    server.psql(&format!("SELECT pg_terminate_backend(pid) {sessions}"));
    server.until(&format!("SELECT count(*) = 0 {sessions}")).await;
    platform.provision(binding).await;
    platform.credentials(binding, binding).await;
    assert_eq!(platform.deprovision(binding).await.0, 200);
}

#[tokio::test]
async fn an_interrupted_password_change_is_completed_by_repeating_the_command() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let file = server.password_file();
    let before = Platform::on(&server).await;
    works(&server, &before, "before").await;
    for cut in [Cut::AfterStaging, Cut::BeforePromotion] {
        let old = in_file(&server);
        begin_to_change(&before.config().services, &file, cut).await;
        assert_eq!(in_file(&server), old, "{cut:?}");
        assert_eq!(is_refused(&server, &old).await, cut == Cut::BeforePromotion, "{cut:?}");
        let meanwhile = Platform::on(&server).await;
        works(&server, &meanwhile, "meanwhile").await;
        works(&server, &before, "meanwhile").await;

        change(&before.config().services, &file).await.unwrap();
        assert!(is_refused(&server, &old).await, "{cut:?}");
        assert!(!is_refused(&server, &in_file(&server)).await, "{cut:?}");
        assert!(!next_to(&file).exists());
        for platform in [&before, &meanwhile, &Platform::on(&server).await] {
            works(&server, platform, "after").await;
        }
    }
}

#[tokio::test]
async fn the_command_writes_the_new_password_to_the_file() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let platform = Platform::on(&server).await;
    works(&server, &platform, "before").await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bindery.yaml");
    fs::write(&config, &platform.text).unwrap();
    let rotate = |server: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bindery"));
        command.arg("rotate-admin").arg("--config").arg(&config).args(["--backend", server]);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };

    let (succeeds, output) = rotate("other");
    assert!(!succeeds && output.contains("other") && in_file(&server) == ADMIN_PASSWORD, "{output}");
    fs::set_permissions(server.password_file(), PermissionsExt::from_mode(0o640)).unwrap();
    let (succeeds, output) = rotate("main");
    assert!(succeeds && output.contains("backend main"), "{output}");
    let password = in_file(&server);
    for secret in [ADMIN_PASSWORD, &password] {
        assert!(!output.contains(secret), "{output}");
    }
    assert!(is_refused(&server, ADMIN_PASSWORD).await && !is_refused(&server, &password).await);
    let mode = fs::metadata(server.password_file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "the same users may read it");
    works(&server, &platform, "after").await;
}
