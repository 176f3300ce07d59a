//! The settings of a database server: how bindery connects as the administrator, and where applications connect.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    broker::{
        config::{BackendName, BackendSettings, ConfigError, PasswordSource, SslMode},
        tls::Protection,
    },
    osb::Endpoint,
};

/// A database server and how its administrator logs in.
#[derive(Clone, Debug)]
pub(crate) struct ServerSettings {
    /// The backend's name in plans and records.
    pub(crate) name: BackendName,
    /// Host name or address.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// The host for applications, such as a connection pooler's; the default is `host`.
    pub(crate) client_host: Option<String>,
    /// The TCP port for applications; the default is `port`.
    pub(crate) client_port: Option<u16>,
    /// The administrator; not a superuser. `docs/databases.md` lists the rights that it needs.
    pub(crate) user: String,
    /// The administrator's password; none if a client certificate is enough.
    pub(crate) password: Option<PasswordSource>,
    /// The database to connect to while others are created and dropped; unused on MySQL.
    pub(crate) database: String,
    /// The TLS mode of the connection.
    pub(crate) sslmode: SslMode,
    /// The CA's certificates, PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// The client's certificate, PEM.
    pub(crate) cert_file: Option<PathBuf>,
    /// The client's key, PEM.
    pub(crate) key_file: Option<PathBuf>,
    /// The maximum number of sessions that the broker has open on the server.
    pub(crate) max_connections: usize,
    /// The CA that signs the client certificates of bindings.
    pub(crate) client_ca: Option<ClientCa>,
}

/// A certificate authority whose client certificates a server accepts for logins (`cert` authentication).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ClientCa {
    /// Its certificate, PEM.
    pub(crate) cert_file: PathBuf,
    /// Its key, PEM.
    pub(crate) key_file: PathBuf,
}

/// The settings of a backend that is a database server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fields {
    host: String,
    port: u16,
    client_host: Option<String>,
    client_port: Option<u16>,
    user: String,
    password_file: Option<PathBuf>,
    database: Option<String>,
    #[serde(default)]
    sslmode: SslMode,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    max_connections: Option<usize>,
    client_ca: Option<ClientCa>,
}

/// The secret of [`BackendSettings`] that holds the administrator's password if no file does.
const PASSWORD: &str = "password";

impl ServerSettings {
    /// The maintenance database, which exists on PostgreSQL and on CockroachDB.
    const DEFAULT_DATABASE: &str = "postgres";
    /// The default of [`ServerSettings::max_connections`].
    const DEFAULT_CONNECTIONS: usize = 32;

    /// Parses the settings of a backend.
    ///
    /// # Errors
    /// When a field is unknown, missing or invalid; the error names its path.
    pub(crate) fn read(backend: &BackendSettings) -> Result<Self, ConfigError> {
        let fields: Fields = backend.settings.parse()?;
        let given = backend.settings.secret(PASSWORD).cloned().map(PasswordSource::Given);
        let settings = Self {
            name: backend.name.clone(),
            host: fields.host,
            port: fields.port,
            client_host: fields.client_host,
            client_port: fields.client_port,
            user: fields.user,
            password: fields.password_file.map(PasswordSource::File).or(given),
            database: fields.database.unwrap_or_else(|| Self::DEFAULT_DATABASE.to_owned()),
            sslmode: fields.sslmode,
            ca_file: fields.ca_file,
            cert_file: fields.cert_file,
            key_file: fields.key_file,
            max_connections: fields.max_connections.unwrap_or(Self::DEFAULT_CONNECTIONS),
            client_ca: fields.client_ca,
        };
        settings.checked(backend.settings.field())
    }

    /// Logs a warning if the connection is encrypted but the server is not verified.
    pub(crate) fn warn_of_missing_ca(&self) {
        if self.sslmode == SslMode::Require && self.ca_file.is_none() {
            tracing::warn!(
                server = %self.name,
                "sslmode is require and there is no CA file: the connection is encrypted, but the server is not verified; \
                 set caFile and sslmode: verify-full"
            );
        }
    }

    /// The protection of the connection.
    pub(crate) fn protection(&self) -> Protection<'_> {
        Protection {
            sslmode: self.sslmode,
            ca_file: self.ca_file.as_deref(),
            cert_file: self.cert_file.as_deref(),
            key_file: self.key_file.as_deref(),
        }
    }

    /// The server's name in the log.
    pub(crate) fn address(&self) -> String {
        format!("{} ({}:{})", self.name, self.host, self.port)
    }

    /// The endpoint that a binding publishes.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let (host, port) = self.for_clients();
        Endpoint { host: host.to_owned(), ports: vec![port.to_string()], protocol: Some("tcp".to_owned()) }
    }

    /// The host and port for applications.
    pub(crate) fn for_clients(&self) -> (&str, u16) {
        (self.client_host.as_deref().unwrap_or(&self.host), self.client_port.unwrap_or(self.port))
    }

    /// Checks that the fields are consistent; `field` is the backend's path.
    fn checked(self, field: &str) -> Result<Self, ConfigError> {
        if self.host.is_empty() {
            return Err(ConfigError::missing(format!("{field}.host"), "name the server's host"));
        }
        if self.port == 0 {
            return Err(ConfigError::invalid(format!("{field}.port"), "is 0; name the server's TCP port"));
        }
        if self.client_host.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::invalid(
                format!("{field}.clientHost"),
                "is empty; name the host that applications connect to, or leave it out if it is `host`",
            ));
        }
        if self.client_port == Some(0) {
            return Err(ConfigError::invalid(
                format!("{field}.clientPort"),
                "is 0; name the TCP port that applications connect to, or leave it out if it is `port`",
            ));
        }
        if self.max_connections < 3 {
            return Err(ConfigError::invalid(
                format!("{field}.maxConnections"),
                "is less than 3; work on an instance takes two sessions, the look for expired logins one",
            ));
        }
        if self.sslmode.verifies() && self.ca_file.is_none() {
            return Err(ConfigError::missing(
                format!("{field}.caFile"),
                format!(
                    "sslmode {} verifies the server's certificate and there is no default CA; name the CA's file, \
                     or set sslmode to `require` to encrypt without verifying",
                    self.sslmode
                ),
            ));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(ConfigError::invalid(
                format!("{field}.certFile"),
                "and keyFile belong together; name both or neither",
            ));
        }
        Ok(self)
    }
}
