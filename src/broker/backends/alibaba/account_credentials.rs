//! What an application gets of its account: address, name and password, and with TLS the CA.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::catalog::Engine;
use crate::{
    broker::{
        backends::{mounted, sql::mysql::tls_parameters},
        config::SslMode,
    },
    osb::Object,
};

/// What becomes the credentials of a binding.
pub(super) struct AccountCredentials<'a> {
    pub(super) engine: Engine,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) name: &'a str,
    pub(super) password: &'a SecretString,
    /// The certificates of Alibaba Cloud's CA (PEM), if the server takes encrypted connections.
    pub(super) ca: Option<&'a str>,
    /// The folder where applications find the credentials as files.
    pub(super) mounted_at: Option<&'a str>,
}

impl AccountCredentials<'_> {
    /// The keys of the binding.
    pub(super) fn keys(&self) -> Object {
        let scheme = match self.engine {
            Engine::MySQL => "mysql",
            Engine::PostgreSQL => "postgres",
        };
        let password = self.password.expose_secret();
        let encoded = utf8_percent_encode(password, NON_ALPHANUMERIC);
        let Self { host, port, database, name, .. } = self;
        let keys = [
            ("uri", format!("{scheme}://{name}:{encoded}@{host}:{port}/{database}{}", self.tls())),
            ("host", (*host).to_owned()),
            ("port", port.to_string()),
            ("database", (*database).to_owned()),
            ("username", (*name).to_owned()),
            ("password", password.to_owned()),
        ];
        let ca = self.ca.map(|ca| ("ca.crt", ca.to_owned()));
        keys.into_iter().chain(ca).map(|(key, value)| (key.to_owned(), value.into())).collect()
    }

    /// The query of the URI. The server's certificate is for its host name, so clients verify both.
    fn tls(&self) -> String {
        if self.ca.is_none() {
            return String::new();
        }
        let ca_file = self.mounted_at.map(|folder| mounted::file(folder, "ca.crt"));
        match (self.engine, ca_file) {
            (Engine::MySQL, file) => format!("?{}", tls_parameters(SslMode::VerifyFull, file.as_deref())),
            (Engine::PostgreSQL, None) => "?sslmode=verify-full".to_owned(),
            (Engine::PostgreSQL, Some(file)) => format!("?sslmode=verify-full&sslrootcert={file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(engine: Engine, ca: Option<&str>) -> Object {
        let password = "p@ss/w0rd".into();
        let (host, database, name, mounted_at) = ("h", "d", "u", Some("/var/secrets/my db"));
        AccountCredentials { engine, host, port: 3306, database, name, password: &password, ca, mounted_at }
            .keys()
    }

    #[test]
    fn the_credentials_have_six_keys_and_a_uri_that_any_password_fits() {
        let keys = keys(Engine::MySQL, None);
        assert_eq!(keys.len(), 6);
        assert_eq!(keys["uri"], "mysql://u:p%40ss%2Fw0rd@h:3306/d");
        assert_eq!(keys["port"], "3306");
    }

    #[test]
    fn with_a_ca_clients_are_told_to_verify_the_server() {
        let of_mysql = keys(Engine::MySQL, Some("PEM"));
        let uri = of_mysql["uri"].as_str().unwrap();
        let expected = "?ssl-mode=VERIFY_IDENTITY&ssl-ca=/var/secrets/my%20db/ca.crt&ssl=";
        assert!(uri.contains(expected), "{uri}");
        assert_eq!(of_mysql["ca.crt"], "PEM");
        let uri = keys(Engine::PostgreSQL, Some("PEM"))["uri"].to_string();
        assert!(uri.contains("?sslmode=verify-full&sslrootcert=/var/secrets/my%20db/ca.crt"), "{uri}");
    }
}
