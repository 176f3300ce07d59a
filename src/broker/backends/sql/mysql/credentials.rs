//! A binding's credentials: the well-known keys of the Service Binding specification, a URI for the Node.js driver
//! `mysql2`, a `jdbcURL` for both JDBC drivers, and the server's CA. `docs/clients.md` describes what each client does
//! with them.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    broker::{backends::mounted, config::SslMode},
    osb::{Credentials, Object},
};

/// The values that become credentials.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownFields<'a> {
    pub(super) database: &'a str,
    pub(super) login: &'a str,
    pub(super) password: &'a SecretString,
    pub(super) sslmode: SslMode,
    /// The CA's certificates, PEM.
    pub(super) ca: Option<&'a str>,
    /// The folder where applications find the credentials as files.
    pub(super) mounted_at: Option<&'a str>,
}

/// The credentials of an application, with the host and port that it connects to.
pub(super) fn credentials((host, port): (&str, u16), shown: ShownFields<'_>) -> Credentials {
    let ShownFields { database, login, password, ca, .. } = shown;
    let password = password.expose_secret();
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let keys = [
        ("type", "mysql".to_owned()),
        ("provider", "bindery".to_owned()),
        ("host", host.to_owned()),
        ("port", port.to_string()),
        ("database", database.to_owned()),
        ("username", login.to_owned()),
        ("password", password.to_owned()),
        (
            "uri",
            format!(
                "mysql://{login}:{password}@{address}/{database}?{}",
                tls_parameters(shown.sslmode, shown.ca_file().as_deref())
            ),
        ),
        (
            "jdbcURL",
            format!(
                "jdbc:mysql://{address}/{database}?user={login}&password={password}&{}",
                shown.tls_for_java()
            ),
        ),
    ];
    let ca = ca.map(|ca| ("ca.crt", ca.to_owned()));
    keys.into_iter().chain(ca).map(|(key, value)| (key.to_owned(), value.into())).collect::<Object>().into()
}

/// The TLS parameters of a URI: `ssl-mode` and `ssl-ca` are MySQL's own
/// (<https://dev.mysql.com/doc/refman/8.4/en/connecting-using-uri-or-key-value-pairs.html>). `mysql2` ignores both
/// and reads `ssl` as JSON (`lib/connection_config.js`, `parseUrl`); without `ssl` it does not encrypt. The path of the
/// CA's file is percent-encoded.
pub(crate) fn tls_parameters(sslmode: SslMode, ca_file: Option<&str>) -> String {
    let mut parameters = format!("ssl-mode={}", mode(sslmode));
    if let Some(file) = ca_file {
        parameters = format!("{parameters}&ssl-ca={file}");
    }
    let for_node = match sslmode {
        SslMode::Disable => return parameters,
        SslMode::Require => r#"{"rejectUnauthorized":false}"#,
        SslMode::VerifyCa => r#"{"rejectUnauthorized":true}"#,
        SslMode::VerifyFull => r#"{"rejectUnauthorized":true,"verifyIdentity":true}"#,
    };
    format!("{parameters}&ssl={}", utf8_percent_encode(for_node, NON_ALPHANUMERIC))
}

impl ShownFields<'_> {
    /// The TLS parameters of the `jdbcURL`. MySQL Connector/J accepts these values of `sslMode`; MariaDB Connector/J 3
    /// accepts them as aliases of its own (`org.mariadb.jdbc.export.SslMode`), and accepts `jdbc:mysql` only with
    /// `permitMysqlScheme`. Only MariaDB's driver reads a CA from a PEM file, `serverSslCert`. Each driver ignores the
    /// other's parameters.
    fn tls_for_java(&self) -> String {
        let parameters = format!("sslMode={}&permitMysqlScheme=true", mode(self.sslmode));
        match self.ca_file() {
            Some(file) => format!("{parameters}&serverSslCert={file}"),
            None => parameters,
        }
    }

    /// The percent-encoded path of the CA file, if the plan verifies the server.
    fn ca_file(&self) -> Option<String> {
        let folder = self.mounted_at.filter(|_| self.sslmode.verifies() && self.ca.is_some())?;
        Some(mounted::file(folder, "ca.crt"))
    }
}

/// MySQL's name of the mode:
/// <https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode>.
fn mode(sslmode: SslMode) -> &'static str {
    match sslmode {
        SslMode::Disable => "DISABLED",
        SslMode::Require => "REQUIRED",
        SslMode::VerifyCa => "VERIFY_CA",
        SslMode::VerifyFull => "VERIFY_IDENTITY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sslmode: SslMode, ca: Option<&'static str>) -> impl Fn(&str) -> Credentials {
        let password = SecretString::from("pw");
        move |host| {
            let mounted_at = ca.and(Some("/var/secrets/my db"));
            let shown =
                ShownFields { database: "cf_d", login: "u", password: &password, sslmode, ca, mounted_at };
            credentials((host, 3306), shown)
        }
    }

    #[test]
    fn the_keys_are_those_of_the_binding_specification_and_urls() {
        let shown = serde_json::to_value(shown(SslMode::Require, None)("db.example")).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({
                "type": "mysql", "provider": "bindery",
                "host": "db.example", "port": "3306", "database": "cf_d", "username": "u", "password": "pw",
                "uri": "mysql://u:pw@db.example:3306/cf_d?ssl-mode=REQUIRED&ssl=%7B%22rejectUnauthorized%22%3Afalse%7D",
                "jdbcURL": "jdbc:mysql://db.example:3306/cf_d?user=u&password=pw&sslMode=REQUIRED&permitMysqlScheme=true",
            })
        );
    }

    #[test]
    fn a_plan_that_verifies_gives_the_ca() {
        let credentials = shown(SslMode::VerifyFull, Some("PEM"))("::1");
        let text = |key: &str| credentials.expose()[key].as_str().unwrap();
        assert_eq!(text("ca.crt"), "PEM");
        let (address, ssl) = text("uri").split_once("&ssl=").unwrap();
        assert_eq!(
            address,
            "mysql://u:pw@[::1]:3306/cf_d?ssl-mode=VERIFY_IDENTITY&ssl-ca=/var/secrets/my%20db/ca.crt"
        );
        let ssl = percent_encoding::percent_decode_str(ssl).decode_utf8().unwrap();
        assert_eq!(ssl, r#"{"rejectUnauthorized":true,"verifyIdentity":true}"#);
        assert!(
            text("jdbcURL").ends_with("&serverSslCert=/var/secrets/my%20db/ca.crt"),
            "{}",
            text("jdbcURL")
        );
    }

    #[test]
    fn clients_that_only_encrypt_get_the_ca_and_urls_that_need_no_file() {
        let credentials = shown(SslMode::Require, Some("PEM"))("db.example");
        assert_eq!(credentials.expose()["ca.crt"], "PEM");
        for url in ["uri", "jdbcURL"] {
            assert!(!credentials.expose()[url].as_str().unwrap().contains("ca.crt"), "{url}");
        }
    }
}
