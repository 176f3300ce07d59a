//! Encrypted connections to database servers.

use std::io::Write;

use rstest::rstest;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::cloud::{Cloud, MYSQL, POSTGRESQL, SELF_DEFINE, text};

fn ca() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"PEM of the CA").unwrap();
    file
}

async fn with(ca: &NamedTempFile) -> Cloud {
    Cloud::with(&format!("rdsCaFile: {}", ca.path().display())).await
}

#[rstest]
#[case(MYSQL, "ssl-mode=VERIFY_IDENTITY")]
#[case(POSTGRESQL, "sslmode=verify-full")]
#[tokio::test]
async fn a_server_gets_a_certificate_for_its_address_and_clients_verify_it(
    #[case] plan: (&str, &str),
    #[case] parameter: &str,
) {
    let ca = ca();
    let cloud = with(&ca).await;
    cloud.provisioned(plan, "i", json!({})).await;
    let bound = cloud.bound(plan, "i", "b", json!({})).await["credentials"].take();
    let asked = cloud.server.parameters("ModifyDBInstanceSSL");
    assert_eq!(asked.len(), 1, "RDS restarts the server for each");
    assert_eq!(asked[0]["ConnectionString"], text(&bound, "host"));
    assert_eq!(text(&bound, "ca.crt"), "PEM of the CA");
    assert!(text(&bound, "uri").contains(parameter), "{bound}");
    cloud.unbound(plan, "i", "b").await;
    cloud.deprovisioned(plan, "i").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_certificate_that_ends_is_renewed_with_the_next_update() {
    let ca = ca();
    let cloud = with(&ca).await;
    cloud.provisioned(MYSQL, "i", json!({})).await;
    cloud.server.end_certificates();
    for (protected, certificates) in [(true, 2), (false, 2)] {
        let answer = cloud.update(MYSQL, "i", json!({"DeletionProtection": protected})).await;
        cloud.succeeded(answer, "i").await;
        assert_eq!(
            cloud.server.parameters("ModifyDBInstanceSSL").len(),
            certificates,
            "only what RDS asks for"
        );
    }
}

#[tokio::test]
async fn a_server_of_before_has_bindings_without_a_ca_until_its_next_update() {
    let cloud = Cloud::with("").await;
    cloud.provisioned(MYSQL, "i", json!({})).await;
    let ca = ca();
    let cloud = cloud.again_with(&format!("rdsCaFile: {}", ca.path().display())).await;
    let before = cloud.bound(MYSQL, "i", "before", json!({})).await["credentials"].take();
    assert!(before.get("ca.crt").is_none(), "{before}");
    let answer = cloud.update(MYSQL, "i", json!({"DeletionProtection": true})).await;
    cloud.succeeded(answer, "i").await;
    let after = cloud.bound(MYSQL, "i", "after", json!({})).await["credentials"].take();
    assert_eq!(text(&after, "ca.crt"), "PEM of the CA");
}

/// RDS begins some looks after the request, and each look at the server also looks at its certificate.
#[rstest]
#[case::lasts(false, 1)]
#[case::ends(true, 2)]
#[tokio::test]
async fn a_resize_of_an_encrypted_server_is_asked_for_once(
    #[case] certificate_ends: bool,
    #[case] certificates: usize,
) {
    let ca = ca();
    let cloud = with(&ca).await;
    cloud.provisioned(SELF_DEFINE, "i", json!({"Storage": 50})).await;
    if certificate_ends {
        cloud.server.end_certificates();
    }
    cloud.server.set(|settings| (settings.changing, settings.changing_unseen) = (3, 4));
    let answer = cloud.update(SELF_DEFINE, "i", json!({"Storage": 100})).await;
    cloud.succeeded(answer, "i").await;
    let asked = cloud.server.parameters("ModifyDBInstanceSpec");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(cloud.server.parameters("ModifyDBInstanceSSL").len(), certificates);
    cloud.deprovisioned(SELF_DEFINE, "i").await;
}
