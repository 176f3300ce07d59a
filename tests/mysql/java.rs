//! The `jdbcURL` of credentials, as Java applications use it: either driver takes it as it is.

use crate::{
    jdbc::{MARIADB, MYSQL},
    mariadb::MariaDb,
    platform::Platform,
    server::text,
};

#[tokio::test]
async fn both_drivers_take_the_url() {
    let server = MariaDb::shared();
    for (plan, how) in [("{}", "encrypted"), ("{sslmode: disable}", "in the clear")] {
        let platform = Platform::with_plan(&server, plan).await;
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

/// Against what the application's JVM trusts.
#[tokio::test]
async fn the_url_of_a_plan_that_verifies_is_verified_by_both_drivers() {
    let server = MariaDb::shared();
    let platform = Platform::with_plan(&server, "{sslmode: verify-full}").await;
    platform.provision("java-verified").await;
    let credentials = platform.credentials("java-verified", "b").await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, text(&credentials, "ca.crt")).unwrap();
    let (url, login) = (text(&credentials, "jdbcURL"), text(&credentials, "username"));
    for driver in [MYSQL, MARIADB] {
        let connected = driver.connect_trusting(&ca, url).unwrap();
        assert!(connected.starts_with(&format!("{login} encrypted by ")), "{driver:?}: {connected}");
        driver.connect(url).unwrap_err();
        driver.connect_trusting(&ca, &url.replace("127.0.0.1", "localhost")).unwrap_err();
    }
    platform.deprovision("java-verified").await;
}
