//! The credentials' `jdbcURL` as Java applications use it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::{jdbc::PGJDBC, platform::Platform, postgres::Postgres};

fn url(credentials: &Value) -> &str {
    credentials["jdbcURL"].as_str().unwrap()
}

fn encrypted(credentials: &Value) -> String {
    format!("{} encrypted by PostgreSQL JDBC Driver", credentials["username"].as_str().unwrap())
}

/// Writes the keys as a pod mounts them, and returns the URL for this folder.
fn mounted(credentials: &Value, folder: &Path, name: &str) -> String {
    for key in ["ca.crt", "tls.crt", "tls.key"] {
        let Some(text) = credentials[key].as_str() else { continue };
        let path = folder.join(key);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let at = format!("/var/secrets/{name}/");
    assert!(url(credentials).contains(&at), "{credentials}");
    url(credentials).replace(&at, &format!("{}/", folder.display()))
}

#[tokio::test]
async fn jdbc_accepts_the_url_of_each_service() {
    let server = Postgres::shared();
    for platform in [Platform::on(&server).await, Platform::postgresql(&server, "").await] {
        platform.provision("java").await;
        let credentials = platform.credentials("java", "b").await;
        assert_eq!(PGJDBC.connect(url(&credentials)), Ok(encrypted(&credentials)));
        platform.unbind("java", "b").await;
        let error = PGJDBC.connect(url(&credentials)).unwrap_err();
        assert!(error.contains("password authentication failed"), "{error}");
        platform.deprovision("java").await;
    }
}

#[tokio::test]
async fn jdbc_connects_with_the_url_of_a_plan_that_verifies_the_server() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "sslmode: verify-full").await;
    platform.provision("java-verified").await;
    let credentials = platform.credentials_named("java-verified", "db").await;
    let folder = tempfile::tempdir().unwrap();
    let url = mounted(&credentials, folder.path(), "db");
    assert_eq!(PGJDBC.connect(&url), Ok(encrypted(&credentials)));
    let error = PGJDBC.connect(&url.replace("127.0.0.1", "localhost")).unwrap_err();
    assert!(error.contains("hostname"), "{error}");
    let other = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    fs::copy(other.ca_file(), folder.path().join("ca.crt")).unwrap();
    let error = PGJDBC.connect(&url).unwrap_err();
    assert!(error.contains("SSL error") && !error.contains("No such file"), "{error}");
    platform.deprovision("java-verified").await;
}

#[tokio::test]
async fn jdbc_connects_with_the_url_of_a_plan_with_client_certificates() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let (certificate, key) = server.want_certificates();
    let ca = format!("clientCa: {{certFile: {}, keyFile: {}}}", certificate.display(), key.display());
    let plan = "sslmode: verify-full, credentials: certificate, validFor: {maximum: 1h}";
    let platform = Platform::postgresql_with(&server, &ca, plan).await;
    platform.provision("java-certified").await;
    let credentials = platform.credentials_named("java-certified", "db").await;
    let folder = tempfile::tempdir().unwrap();
    let url = mounted(&credentials, folder.path(), "db");
    assert_eq!(PGJDBC.connect(&url), Ok(encrypted(&credentials)));
    platform.deprovision("java-certified").await;
}
