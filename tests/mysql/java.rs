//! The credentials' `jdbcURL` as Java applications use it, unchanged, with both drivers.

use crate::{
    jdbc::{MARIADB, MYSQL},
    mariadb::MariaDb,
    platform::Platform,
    server::text,
};

#[tokio::test]
async fn both_drivers_accept_the_url() {
    let server = MariaDb::shared();
    for (plan, how) in [("{}", "encrypted"), ("{sslmode: disable}", "in the clear")] {
        let platform = Platform::mysql(&server, plan).await;
        platform.provision("java").await;
        let credentials = platform.credentials("java", "b").await;
        let (url, login) = (text(&credentials, "jdbcURL"), text(&credentials, "username"));
        assert_eq!(MYSQL.connect(url), Ok(format!("{login} {how} by MySQL Connector/J")));
        assert_eq!(MARIADB.connect(url), Ok(format!("{login} {how} by MariaDB Connector/J")));
        platform.unbind("java", "b").await;
        for driver in [MYSQL, MARIADB] {
            let error = driver.connect(url).unwrap_err();
            assert!(error.contains("Access denied"), "{driver:?}: {error}");
        }
        platform.deprovision("java").await;
    }
}

/// The server's certificate is verified with the CAs that the application's JVM trusts. MariaDB Connector/J also
/// accepts another proof if the server provides it: see [`proves_its_certificate_by_the_password`].
#[tokio::test]
async fn both_drivers_verify_the_server_with_the_url_of_a_plan_that_verifies() {
    let server = MariaDb::shared();
    let platform = Platform::mysql(&server, "{sslmode: verify-full}").await;
    platform.provision("java-verified").await;
    let credentials = platform.credentials("java-verified", "b").await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, text(&credentials, "ca.crt")).unwrap();
    let (url, login) = (text(&credentials, "jdbcURL"), text(&credentials, "username"));
    for (driver, needs_ca) in [(MYSQL, true), (MARIADB, !proves_its_certificate_by_the_password(&server))] {
        let connected = driver.connect_trusting(&ca, url).unwrap();
        assert!(connected.starts_with(&format!("{login} encrypted by ")), "{driver:?}: {connected}");
        driver.connect_trusting(&ca, &url.replace("127.0.0.1", "localhost")).unwrap_err();
        if needs_ca {
            driver.connect(url).unwrap_err();
        } else {
            let connected = driver.connect(url).unwrap();
            assert!(connected.starts_with(&format!("{login} encrypted by ")), "{driver:?}: {connected}");
            // Without the right password there is no proof.
            driver.connect(&url.replace(text(&credentials, "password"), "another")).unwrap_err();
        }
    }
    platform.deprovision("java-verified").await;
}

/// Whether the server uses the account's password to prove that the certificate is its own. MariaDB 11.4 and newer send
/// a hash of the password's hash, the scramble and the certificate's fingerprint with the answer to the login
/// ("Zero-Configuration SSL",
/// <https://mariadb.com/docs/server/security/encryption/data-in-transit-encryption/zero-configuration-ssl>). MariaDB
/// Connector/J accepts this proof in place of a trusted CA when the URL names no CA, and does not compare host names
/// then (mariadb-corporation/mariadb-connector-j, `client/tls/MariaDbX509EphemeralTrustingManager.java`).
fn proves_its_certificate_by_the_password(server: &MariaDb) -> bool {
    let version = server.root("SELECT VERSION()").concat();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= (11, 4)
}
