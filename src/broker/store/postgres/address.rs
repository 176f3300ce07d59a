//! The store's address, parsed from a libpq URL
//! (<https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING>). Parameters that bindery does not
//! support are rejected.

use std::{path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::{Config, config::TargetSessionAttrs};

use crate::broker::config::{ConfigError, PasswordSource, PostgresUrl, SslMode};

/// The server's timeouts are shorter than [`super::connection::ANSWER_TIMEOUT`], so that the server reports the
/// timeout.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// If the peer does not acknowledge data within this time, the connection is dropped and the work retried on another.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(8);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 2;

const EXAMPLE: &str = "write it as `postgresql://user@host:26257/database?sslrootcert=/path/to/ca.crt`, with %-escapes for odd characters";

/// A database and the login for it.
#[derive(Clone)]
pub(crate) struct Address {
    /// The URL without password and parameters.
    pub(super) name: String,
    /// Without password.
    pub(super) config: Config,
    pub(super) connect_timeout: Duration,
    pub(super) password: Option<PasswordSource>,
    pub(super) sslmode: SslMode,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
}

impl Address {
    /// Parses the URL. The password is in the URL or in `password`, if there is one.
    ///
    /// # Errors
    /// When the URL is invalid or requests something unsupported. The message does not show the URL.
    pub(crate) fn parse(url: &PostgresUrl, password: Option<PasswordSource>) -> Result<Self, ConfigError> {
        let whole = url.expose();
        let (base, parameters) = whole.split_once('?').unwrap_or((whole, ""));
        if !is_clear(base) {
            return Err(invalid(EXAMPLE));
        }
        // The parser's errors may show a part of the URL.
        let parsed: Config = base.parse().map_err(|_| invalid(EXAMPLE))?;
        if parsed.get_hosts().is_empty() || parsed.get_dbname().is_none_or(str::is_empty) {
            return Err(invalid(EXAMPLE));
        }
        let mut address = Self {
            name: url.to_string(),
            config: parsed.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            password,
            sslmode: SslMode::VerifyFull,
            ca_file: None,
            cert_file: None,
            key_file: None,
        };
        address.config.application_name("bindery");
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            address.set(parameter)?;
        }
        if let Some(given) = parsed.get_password() {
            if address.password.is_some() {
                return Err(invalid(
                    "has a password, and a password file is named too; leave one of them out",
                ));
            }
            let given = String::from_utf8_lossy(given).into_owned();
            address.password = Some(PasswordSource::Given(given.into()));
        }
        address.checked()
    }

    fn set(&mut self, parameter: &str) -> Result<(), ConfigError> {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| invalid(format!("has a parameter {key:?} that is not UTF-8")))?;
        match key {
            "sslmode" => {
                let modes = [SslMode::Disable, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];
                let mode = modes.into_iter().find(|mode| mode.as_str() == value);
                self.sslmode = mode.ok_or_else(|| {
                    invalid("has another sslmode than disable, require, verify-ca and verify-full; take one of them")
                })?;
            }
            "sslrootcert" => self.ca_file = Some(PathBuf::from(&*value)),
            "sslcert" => self.cert_file = Some(PathBuf::from(&*value)),
            "sslkey" => self.key_file = Some(PathBuf::from(&*value)),
            "application_name" => {
                self.config.application_name(&*value);
            }
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                let seconds = seconds.ok_or_else(|| {
                    invalid("has a connect_timeout that is no number of seconds; write one, such as 10")
                })?;
                self.connect_timeout = Duration::from_secs(seconds);
            }
            // Do not print the parameter: it may be a part of a password that was not encoded.
            _ => {
                return Err(invalid(
                    "has an unknown parameter; known are sslmode, sslrootcert, sslcert, sslkey, connect_timeout and \
                     application_name",
                ));
            }
        }
        Ok(())
    }

    fn checked(mut self) -> Result<Self, ConfigError> {
        if self.sslmode.verifies() && self.ca_file.is_none() {
            return Err(invalid(format!(
                "has sslmode {}, which verifies the server's certificate, and no CA; add `sslrootcert=/path/to/ca.crt`, or \
                 `sslmode=require` to encrypt without verifying",
                self.sslmode.as_str()
            )));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(invalid("has one of sslcert and sslkey; name both or neither"));
        }
        self.config
            .connect_timeout(self.connect_timeout)
            .tcp_user_timeout(ACKNOWLEDGE_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        self.set_options(true);
        Ok(self)
    }

    /// Sets the options of each session. CockroachDB accepts session variables in this way, too
    /// (<https://www.cockroachlabs.com/docs/stable/connection-parameters>, "Supported options parameters"). The
    /// timeouts keep a broker that hangs in a transaction from blocking the others.
    pub(super) fn set_options(&mut self, writable: bool) {
        let timeout = SERVER_TIMEOUT.as_millis();
        let mut options =
            format!("-c statement_timeout={timeout} -c idle_in_transaction_session_timeout={timeout}");
        // Of several hosts, use the writable one: a standby may lag behind.
        self.config.target_session_attrs(if writable {
            TargetSessionAttrs::ReadWrite
        } else {
            TargetSessionAttrs::Any
        });
        if !writable {
            options.push_str(" -c default_transaction_read_only=on");
        }
        self.config.options(options);
    }
}

fn invalid(problem: impl Into<String>) -> ConfigError {
    ConfigError::invalid("store", problem)
}

/// Whether the password in the URL can be recognized unambiguously.
fn is_clear(base: &str) -> bool {
    let parts = || {
        let (authority, database) = base.split_once("://")?.1.split_once('/')?;
        let (login, hosts) = authority.split_once('@')?;
        Some((login.split(':').next()?, hosts, database))
    };
    parts().is_some_and(|(user, hosts, database)| {
        !user.is_empty() && !hosts.is_empty() && !hosts.contains('@') && !database.contains(['/', '@'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::config::StoreUrl;

    impl Address {
        /// Parses the address in a configuration.
        pub(in super::super) fn of(url: &str, password: Option<PasswordSource>) -> Result<Self, ConfigError> {
            let StoreUrl::Postgres(url) = url.parse()? else { panic!("{url}") };
            Self::parse(&url, password)
        }
    }

    #[test]
    fn a_url_says_where_and_how() {
        let url = "postgresql://me:s%40cret@one:1,two:2/db?sslmode=verify-ca&sslrootcert=/a%20b&sslcert=/c&sslkey=/k\
                   &connect_timeout=3&application_name=x";
        let address = Address::of(url, None).unwrap();
        assert_eq!(address.name, "postgresql://me@one:1,two:2/db");
        assert_eq!((address.sslmode, address.connect_timeout), (SslMode::VerifyCa, Duration::from_secs(3)));
        let files = [&address.ca_file, &address.cert_file, &address.key_file];
        assert_eq!(files.map(|file| file.clone().unwrap()), ["/a b", "/c", "/k"].map(PathBuf::from));
        let config = &address.config;
        assert_eq!((config.get_user(), config.get_dbname()), (Some("me"), Some("db")));
        assert_eq!((config.get_ports(), config.get_application_name()), ([1, 2].as_slice(), Some("x")));
        let Some(PasswordSource::Given(password)) = &address.password else { panic!("no password") };
        assert_eq!(secrecy::ExposeSecret::expose_secret(password), "s@cret");
    }

    #[test]
    fn the_server_is_verified_unless_the_url_says_otherwise() {
        let address = Address::of("postgres://me@h/db?sslrootcert=/ca", None).unwrap();
        assert_eq!(address.sslmode, SslMode::VerifyFull);
        assert_eq!(
            Address::of("postgres://me@h/db?sslmode=disable", None).unwrap().sslmode,
            SslMode::Disable
        );
    }

    #[rstest::rstest]
    #[case::no_user("postgres://h/db?sslmode=disable", "postgresql://user@host")]
    #[case::no_database("postgres://me:hunter2@h?sslmode=disable", "postgresql://user@host")]
    #[case::empty_database("postgres://me:hunter2@h/?sslmode=disable", "postgresql://user@host")]
    #[case::slash_in_password("postgres://me:hun/ter2@h/db?sslmode=disable", "%-escapes")]
    #[case::at_in_password("postgres://me:hun@ter2@h/db?sslmode=disable", "%-escapes")]
    #[case::question_mark_in_password("postgres://me:hun?ter2@h/db", "%-escapes")]
    #[case::bad_port("postgres://me:hunter2@h:port/db?sslmode=disable", "%-escapes")]
    #[case::no_ca("postgres://me:hunter2@h/db", "sslrootcert")]
    #[case::half_a_certificate("postgres://me:hunter2@h/db?sslmode=require&sslcert=/c", "sslkey")]
    #[case::prefer("postgres://me:hunter2@h/db?sslmode=prefer", "verify-full")]
    #[case::no_time("postgres://me:hunter2@h/db?sslmode=require&connect_timeout=0", "connect_timeout")]
    #[case::unknown("postgres://me@h/db?sslmode=require&password=hunter2", "unknown parameter")]
    fn what_is_wrong_is_named_and_no_password_shown(#[case] url: &str, #[case] told: &str) {
        let message = Address::of(url, None).err().expect("it is refused").to_string();
        assert!(message.starts_with("store ") && message.contains(told), "{message}");
        assert!(!message.contains("hun") && !message.contains("ter2"), "{message}");
    }

    #[test]
    fn there_is_one_password() {
        let file = PasswordSource::File("/password".into());
        let url = "postgres://me:hunter2@h/db?sslmode=require";
        let message = Address::of(url, Some(file.clone())).err().unwrap().to_string();
        assert!(message.contains("leave one of them out") && !message.contains("hunter2"), "{message}");
        let address = Address::of("postgres://me@h/db?sslmode=require", Some(file)).unwrap();
        assert!(matches!(address.password, Some(PasswordSource::File(_))));
    }
}
