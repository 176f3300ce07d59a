//! A binding's credentials. Those of `cockroachdb` are the seven keys of the CockroachDB broker of seed 002
//! (cockroachdb/pcf-crdb-service-broker at 90b9186, `broker.go`), with a `jdbcURL` that works with JDBC; other
//! services add the well-known keys of the Service Binding specification ("Well-known Secret Entries") and the
//! server's CA. A plan with TLS verification or client certificates adds files.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::{
    super::parameters::Expiry,
    certificate::{self, CertificateError, Issued},
    error::SqlError,
};
use crate::{
    broker::{
        backends::sql::{
            plan::CredentialKind,
            service_kind::ServiceKind,
            settings::{ClientCa, ServerSettings},
        },
        backends::{mounted, password},
        config::SslMode,
    },
    osb::{Credentials, Object},
};

/// What a login authenticates with.
pub(super) enum Credential {
    Password(SecretString),
    Certificate {
        /// PEM.
        certificate: String,
        /// PEM, PKCS #8.
        key: SecretString,
    },
}

impl Credential {
    /// Creates a credential for a login.
    pub(super) async fn new(
        kind: CredentialKind,
        login: &str,
        ca: Option<&ClientCa>,
        expiry: Option<Expiry>,
    ) -> Result<Self, SqlError> {
        Ok(match (kind, ca, expiry) {
            (CredentialKind::Certificate, Some(ca), Some(expiry)) => {
                let Issued { certificate, key } = certificate::issue(ca, login, expiry).await?;
                Self::Certificate { certificate, key }
            }
            (CredentialKind::Certificate, ..) => return Err(CertificateError::NoCa.into()),
            (CredentialKind::Password, ..) => Self::Password(password::generate()),
        })
    }

    /// The password's SCRAM verifier (RFC 5803), which the server stores; computed here so that no statement contains
    /// the password.
    pub(super) fn verifier(&self) -> Option<String> {
        match self {
            Self::Password(password) => Some(verifier(password)),
            Self::Certificate { .. } => None,
        }
    }
}

/// See [`Credential::verifier`].
pub(super) fn verifier(password: &SecretString) -> String {
    postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes())
}

/// Where and how a login connects.
pub(super) struct Place<'a> {
    pub(super) server: &'a ServerSettings,
    pub(super) kind: ServiceKind,
    pub(super) sslmode: SslMode,
    pub(super) database: &'a str,
    /// The folder where applications find the credentials as files.
    pub(super) mounted_at: Option<String>,
}

impl Place<'_> {
    /// The credentials of an application.
    ///
    /// # Errors
    /// When the CA file cannot be read.
    pub(super) async fn credentials(
        &self,
        login: &str,
        credential: &Credential,
    ) -> Result<Credentials, SqlError> {
        let ca = match &self.server.ca_file {
            Some(file) if self.gives_ca() => Some(read(file).await?),
            _ => None,
        };
        Ok(self.keys(login, credential, ca).into())
    }

    /// Whether applications get the server's CA: if the plan verifies the server; and, for services other than
    /// `cockroachdb` (whose keys are fixed by the seed), also if applications can choose to verify.
    fn gives_ca(&self) -> bool {
        self.sslmode.verifies() || (self.kind != ServiceKind::CockroachDb && self.sslmode != SslMode::Disable)
    }

    fn keys(&self, login: &str, credential: &Credential, ca: Option<String>) -> Object {
        let (host, port) = self.server.for_clients();
        let database = self.database;
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let tls = self.tls(credential, ca.is_some());
        let (password, for_java) = match credential {
            Credential::Password(password) => (Some(password.expose_secret()), ""),
            // pgjdbc reads PEM since 42.7.9, and assumes an RSA key by default.
            Credential::Certificate { .. } => (None, "&pemKeyAlgorithm=EC"),
        };
        let with = |before: &str| password.map_or_else(String::new, |password| format!("{before}{password}"));
        let mut keys = vec![
            ("host", host.to_owned()),
            ("port", port.to_string()),
            ("database", database.to_owned()),
            ("username", login.to_owned()),
            ("uri", format!("postgres://{login}{}@{address}/{database}?{tls}", with(":"))),
            (
                "jdbcURL",
                format!(
                    "jdbc:postgresql://{address}/{database}?user={login}{}&{tls}{for_java}",
                    with("&password=")
                ),
            ),
        ];
        match credential {
            Credential::Password(password) => keys.push(("password", password.expose_secret().to_owned())),
            Credential::Certificate { certificate, key } => {
                keys.push(("tls.crt", certificate.clone()));
                keys.push(("tls.key", key.expose_secret().to_owned()));
            }
        }
        keys.extend(ca.map(|ca| ("ca.crt", ca)));
        if self.kind != ServiceKind::CockroachDb {
            keys.push(("type", self.kind.to_string()));
            keys.push(("provider", "bindery".to_owned()));
        }
        keys.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
    }

    /// The TLS parameters of a URL (libpq-connect, "Parameter Key Words"; pgjdbc has the same names).
    fn tls(&self, credential: &Credential, has_ca: bool) -> String {
        let mut parameters = format!("sslmode={}", self.sslmode);
        let Some(folder) = &self.mounted_at else { return parameters };
        let mut files = Vec::new();
        // With `require` and a CA, libpq and other clients would verify the server, too.
        if has_ca && self.sslmode.verifies() {
            files.push(("sslrootcert", "ca.crt"));
        }
        if let Credential::Certificate { .. } = credential {
            files.extend([("sslcert", "tls.crt"), ("sslkey", "tls.key")]);
        }
        for (name, file) in files {
            parameters = format!("{parameters}&{name}={}", mounted::file(folder, file));
        }
        parameters
    }
}

async fn read(file: &Path) -> Result<String, SqlError> {
    tokio::fs::read_to_string(file)
        .await
        .map_err(|error| SqlError::File { path: file.to_owned(), problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str) -> ServerSettings {
        ServerSettings {
            name: "main".into(),
            host: host.to_owned(),
            port: 26257,
            client_host: None,
            client_port: None,
            user: "root".to_owned(),
            password: None,
            database: "postgres".to_owned(),
            sslmode: SslMode::VerifyFull,
            ca_file: None,
            cert_file: None,
            key_file: None,
            max_connections: 3,
            client_ca: None,
        }
    }

    fn place(server: &ServerSettings, kind: ServiceKind) -> Place<'_> {
        Place { server, kind, sslmode: SslMode::Require, database: "cf_d", mounted_at: None }
    }

    #[test]
    fn the_seven_keys_of_the_seed() {
        let server = server("db.example");
        let password = Credential::Password("pw".into());
        let keys = place(&server, ServiceKind::CockroachDb).keys("u", &password, None);
        assert_eq!(
            serde_json::Value::from(keys),
            serde_json::json!({
                "host": "db.example", "port": "26257", "database": "cf_d", "username": "u", "password": "pw",
                "uri": "postgres://u:pw@db.example:26257/cf_d?sslmode=require",
                "jdbcURL": "jdbc:postgresql://db.example:26257/cf_d?user=u&password=pw&sslmode=require",
            })
        );
    }

    #[test]
    fn other_services_add_the_well_known_keys() {
        let server = server("db.example");
        let keys =
            place(&server, ServiceKind::PostgreSql).keys("u", &Credential::Password("pw".into()), None);
        assert_eq!((&keys["type"], &keys["provider"]), (&"postgresql".into(), &"bindery".into()));
        for key in ["host", "port", "database", "username", "password", "uri", "jdbcURL"] {
            assert!(keys.contains_key(key), "{key}");
        }
    }

    #[test]
    fn clients_that_only_encrypt_get_the_ca_and_a_url_that_needs_no_file() {
        let server = server("db.example");
        let mounted_at = Some("/var/secrets/db".to_owned());
        let place = Place { mounted_at, ..place(&server, ServiceKind::PostgreSql) };
        assert!(place.gives_ca());
        let keys = place.keys("u", &Credential::Password("pw".into()), Some("PEM".to_owned()));
        assert_eq!(
            (&keys["ca.crt"], &keys["uri"]),
            (&"PEM".into(), &"postgres://u:pw@db.example:26257/cf_d?sslmode=require".into())
        );
    }

    #[rstest::rstest]
    #[case::the_seed(ServiceKind::CockroachDb, SslMode::Require, false)]
    #[case::the_seed_and_a_plan_that_verifies(ServiceKind::CockroachDb, SslMode::VerifyCa, true)]
    #[case::without_tls(ServiceKind::PostgreSql, SslMode::Disable, false)]
    fn the_ca_is_of_use_or_left_out(
        #[case] kind: ServiceKind,
        #[case] sslmode: SslMode,
        #[case] given: bool,
    ) {
        let server = server("db.example");
        assert_eq!(Place { sslmode, ..place(&server, kind) }.gives_ca(), given);
    }

    #[test]
    fn a_plan_that_verifies_gives_the_ca_and_its_path() {
        let server = server("db.example");
        let place = Place {
            sslmode: SslMode::VerifyFull,
            mounted_at: Some("/var/secrets/my db&x".to_owned()),
            ..place(&server, ServiceKind::CockroachDb)
        };
        let keys = place.keys("u", &Credential::Password("pw".into()), Some("PEM".to_owned()));
        assert_eq!(keys["ca.crt"], "PEM");
        let tls = "?sslmode=verify-full&sslrootcert=/var/secrets/my%20db%26x/ca.crt";
        assert!(keys["uri"].as_str().unwrap().ends_with(tls), "{}", keys["uri"]);
    }

    #[test]
    fn a_certificate_takes_the_place_of_the_password() {
        let server = server("db.example");
        let place = Place {
            sslmode: SslMode::VerifyFull,
            mounted_at: Some("/s".to_owned()),
            ..place(&server, ServiceKind::CockroachDb)
        };
        let credential = Credential::Certificate { certificate: "CERT".to_owned(), key: "KEY".into() };
        let keys = place.keys("u", &credential, Some("CA".to_owned()));
        assert!(!keys.contains_key("password"));
        assert_eq!((&keys["tls.crt"], &keys["tls.key"]), (&"CERT".into(), &"KEY".into()));
        assert_eq!(
            keys["uri"],
            "postgres://u@db.example:26257/cf_d?sslmode=verify-full&sslrootcert=/s/ca.crt&sslcert=/s/tls.crt&sslkey=/s/tls.key"
        );
        assert!(
            keys["jdbcURL"].as_str().unwrap().ends_with("&sslkey=/s/tls.key&pemKeyAlgorithm=EC"),
            "{}",
            keys["jdbcURL"]
        );
    }

    #[test]
    fn applications_get_the_poolers_address() {
        let mut server = server("db.example");
        (server.client_host, server.client_port) = (Some("pool.example".to_owned()), Some(6432));
        let keys =
            place(&server, ServiceKind::CockroachDb).keys("u", &Credential::Password("p".into()), None);
        assert_eq!((&keys["host"], &keys["port"]), (&"pool.example".into(), &"6432".into()));
        assert_eq!(keys["uri"], "postgres://u:p@pool.example:6432/cf_d?sslmode=require");
        assert!(keys["jdbcURL"].as_str().unwrap().starts_with("jdbc:postgresql://pool.example:6432/cf_d?"));
    }

    #[test]
    fn an_ipv6_address_is_bracketed() {
        let server = server("::1");
        let keys =
            place(&server, ServiceKind::CockroachDb).keys("u", &Credential::Password("p".into()), None);
        assert_eq!(keys["uri"], "postgres://u:p@[::1]:26257/cf_d?sslmode=require");
    }

    #[test]
    fn a_verifier_does_not_contain_the_password() {
        let verifier = verifier(&"correct-horse".into());
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:") && !verifier.contains("correct-horse"));
    }
}
