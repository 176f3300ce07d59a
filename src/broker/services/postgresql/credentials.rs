//! A binding's credentials: the password, and the seven keys that the CockroachDB broker of seed 002 gives
//! (cockroachdb/pcf-crdb-service-broker at 90b9186, `broker.go`), with a `jdbcURL` that JDBC understands.

use secrecy::{ExposeSecret, SecretString};

use crate::{
    config::{ServerSettings, SslMode},
    osb::{Credentials, Object},
};

/// What the server stores instead of the password (RFC 5803), made here so that no statement carries the password.
pub(super) fn verifier(password: &SecretString) -> String {
    postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes())
}

/// The credentials as an application gets them.
pub(super) fn credentials(
    server: &ServerSettings,
    database: &str,
    login: &str,
    password: &SecretString,
) -> Credentials {
    let ServerSettings { host, port, .. } = server;
    let password = password.expose_secret();
    // An application has no file with the CA: it encrypts, as with the broker of the seed.
    let sslmode = if server.sslmode == SslMode::Disable { "disable" } else { "require" };
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let keys = [
        ("host", host.clone()),
        ("port", port.to_string()),
        ("database", database.to_owned()),
        ("username", login.to_owned()),
        ("password", password.to_owned()),
        ("uri", format!("postgres://{login}:{password}@{address}/{database}?sslmode={sslmode}")),
        (
            "jdbcURL",
            format!(
                "jdbc:postgresql://{address}/{database}?user={login}&password={password}&sslmode={sslmode}"
            ),
        ),
    ];
    keys.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect::<Object>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;

    fn server(host: &str) -> ServerSettings {
        ServerSettings {
            name: "main".into(),
            protocol: Protocol::PostgreSql,
            host: host.to_owned(),
            port: 26257,
            user: "root".to_owned(),
            password: None,
            database: "postgres".to_owned(),
            sslmode: SslMode::VerifyFull,
            ca_file: None,
            cert_file: None,
            key_file: None,
            max_connections: 2,
            client_ca: None,
        }
    }

    #[test]
    fn the_seven_keys_of_the_seed() {
        let credentials = credentials(&server("db.example"), "cf_d", "u", &"pw".into());
        let shown = serde_json::to_value(&credentials).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({
                "host": "db.example", "port": "26257", "database": "cf_d", "username": "u", "password": "pw",
                "uri": "postgres://u:pw@db.example:26257/cf_d?sslmode=require",
                "jdbcURL": "jdbc:postgresql://db.example:26257/cf_d?user=u&password=pw&sslmode=require",
            })
        );
    }

    #[test]
    fn an_ipv6_address_is_bracketed() {
        let credentials = credentials(&server("::1"), "d", "u", &"p".into());
        assert_eq!(credentials.expose()["uri"], "postgres://u:p@[::1]:26257/d?sslmode=require");
    }

    #[test]
    fn a_verifier_does_not_hold_the_password() {
        let verifier = verifier(&"correct-horse".into());
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:") && !verifier.contains("correct-horse"));
    }
}
