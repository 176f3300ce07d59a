//! A binding's credentials: the well-known keys of the Service Binding specification, a URI, a `jdbcURL` that both JDBC
//! drivers take, and the server's CA where the plan says that applications verify it.

use secrecy::{ExposeSecret, SecretString};

use crate::{
    config::{ServerSettings, SslMode},
    osb::{Credentials, Object},
};

/// What an application is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) database: &'a str,
    pub(super) login: &'a str,
    pub(super) password: &'a SecretString,
    pub(super) sslmode: SslMode,
    /// The CA's certificates, PEM.
    pub(super) ca: Option<&'a str>,
}

/// The credentials as an application gets them.
pub(super) fn credentials(server: &ServerSettings, told: Told<'_>) -> Credentials {
    let ServerSettings { host, port, .. } = server;
    let Told { database, login, password, sslmode, ca } = told;
    let (password, mode) = (password.expose_secret(), mode(sslmode));
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let keys = [
        ("type", "mysql".to_owned()),
        ("provider", "bindery".to_owned()),
        ("host", host.clone()),
        ("port", port.to_string()),
        ("database", database.to_owned()),
        ("username", login.to_owned()),
        ("password", password.to_owned()),
        ("uri", format!("mysql://{login}:{password}@{address}/{database}?ssl-mode={mode}")),
        // MySQL Connector/J takes these words for sslMode, MariaDB Connector/J 3 takes them as aliases of its own
        // (org.mariadb.jdbc.export.SslMode), and `jdbc:mysql` only with permitMysqlScheme, which the other ignores.
        (
            "jdbcURL",
            format!(
                "jdbc:mysql://{address}/{database}?user={login}&password={password}&sslMode={mode}&permitMysqlScheme=true"
            ),
        ),
    ];
    let ca = ca.map(|ca| ("ca.crt", ca.to_owned()));
    keys.into_iter().chain(ca).map(|(key, value)| (key.to_owned(), value.into())).collect::<Object>().into()
}

/// MySQL's word for it: <https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode>.
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
    use crate::config::Protocol;

    fn server(host: &str) -> ServerSettings {
        ServerSettings {
            name: "main".into(),
            protocol: Protocol::MySql,
            host: host.to_owned(),
            port: 3306,
            user: "bindery".to_owned(),
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

    fn told(sslmode: SslMode, ca: Option<&'static str>) -> impl Fn(&str) -> Credentials {
        let password = SecretString::from("pw");
        move |host| {
            let told = Told { database: "cf_d", login: "u", password: &password, sslmode, ca };
            credentials(&server(host), told)
        }
    }

    #[test]
    fn the_keys_are_those_of_the_binding_specification_and_urls() {
        let shown = serde_json::to_value(told(SslMode::Require, None)("db.example")).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({
                "type": "mysql", "provider": "bindery",
                "host": "db.example", "port": "3306", "database": "cf_d", "username": "u", "password": "pw",
                "uri": "mysql://u:pw@db.example:3306/cf_d?ssl-mode=REQUIRED",
                "jdbcURL": "jdbc:mysql://db.example:3306/cf_d?user=u&password=pw&sslMode=REQUIRED&permitMysqlScheme=true",
            })
        );
    }

    #[test]
    fn a_plan_that_verifies_gives_the_ca() {
        let credentials = told(SslMode::VerifyFull, Some("PEM"))("::1");
        assert_eq!(credentials.expose()["ca.crt"], "PEM");
        assert_eq!(credentials.expose()["uri"], "mysql://u:pw@[::1]:3306/cf_d?ssl-mode=VERIFY_IDENTITY");
    }
}
