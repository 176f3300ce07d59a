//! Credentials of plans with verified TLS or with certificates instead of passwords, used by `psql` as in a pod.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{platform::Platform, postgres::Postgres};

/// Runs a query with these keys as files, as a pod mounts them.
fn psql(keys: &Value, folder: &Path, uri: &str) -> Result<String, String> {
    for key in ["ca.crt", "tls.crt", "tls.key"] {
        let Some(text) = keys[key].as_str() else { continue };
        let path = folder.join(key);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let output = Command::new("psql").args(["-XAtq", uri, "-c", "SELECT session_user"]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test]
async fn a_plan_that_verifies_the_server_gives_clients_its_ca() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "sslmode: verify-full").await;
    platform.provision("verified").await;
    let credentials = platform.credentials("verified", "b").await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    let uri = credentials["uri"].as_str().unwrap();
    assert!(uri.ends_with("?sslmode=verify-full"), "no path is known without the platform's word: {uri}");
    let with_ca = format!("{uri}&sslrootcert={}", ca.display());
    let user = credentials["username"].as_str().unwrap();
    assert_eq!(psql(&credentials, folder.path(), &with_ca).unwrap(), user);
    let renamed = with_ca.replace("127.0.0.1", "localhost");
    let refused = psql(&credentials, folder.path(), &renamed).unwrap_err();
    assert!(refused.contains("does not match host name"), "{refused}");
    platform.deprovision("verified").await;
}

#[tokio::test]
async fn client_certificates_replace_passwords() {
    let server = Postgres::start("127.0.0.1", &["127.0.0.1"]);
    let (certificate, key) = server.want_certificates();
    let ca = format!("clientCa: {{certFile: {}, keyFile: {}}}", certificate.display(), key.display());
    let plan = "sslmode: verify-full, credentials: certificate, validFor: {maximum: 1h}";
    let platform = Platform::postgresql_with(&server, &ca, plan).await;
    platform.provision("certified").await;
    let (status, body) = platform.bind("certified", "b").await;
    assert_eq!(status, 201, "{body}");
    assert!(body["metadata"]["expires_at"].is_string(), "{body}");
    let keys = &body["credentials"];
    assert!(keys["password"].is_null() && !keys["uri"].as_str().unwrap().contains(":@"), "{keys}");
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).display().to_string();
    let uri = format!(
        "{}&sslrootcert={}&sslcert={}&sslkey={}",
        keys["uri"].as_str().unwrap(),
        at("ca.crt"),
        at("tls.crt"),
        at("tls.key")
    );
    let user = keys["username"].as_str().unwrap();
    assert_eq!(psql(keys, folder.path(), &uri).unwrap(), user);

    // The certificate is valid only for its own login, and only while the binding exists.
    let mut other = platform.credentials("certified", "other").await;
    (other["tls.crt"], other["tls.key"]) = (keys["tls.crt"].clone(), keys["tls.key"].clone());
    let crossed = uri.replace(user, other["username"].as_str().unwrap());
    let refused = psql(&other, folder.path(), &crossed).unwrap_err();
    assert!(refused.contains("certificate authentication failed"), "{refused}");
    platform.unbind("certified", "b").await;
    let refused = psql(keys, folder.path(), &uri).unwrap_err();
    assert!(
        refused.contains("certificate authentication failed") || refused.contains("does not exist"),
        "{refused}"
    );
    platform.deprovision("certified").await;
}

#[tokio::test]
async fn a_plan_with_client_certificates_needs_a_ca() {
    let server = Postgres::shared();
    let platform = Platform::postgresql(&server, "credentials: certificate").await;
    platform.provision("no-authority").await;
    let (status, body) = platform.bind("no-authority", "b").await;
    let told = body["description"].as_str().unwrap();
    assert!(
        status == 500 && told.contains("its operator finds the reason in the broker's log"),
        "{status} {body}"
    );
    platform.deprovision("no-authority").await;
}
