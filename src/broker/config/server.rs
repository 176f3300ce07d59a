//! How to reach a database server as its administrator. The names of the TLS modes are libpq's
//! (<https://www.postgresql.org/docs/15/libpq-ssl.html>, "Protection Provided in Different Modes").

use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What a configuration calls a backend; the records of the broker's store refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendName(String);

impl BackendName {
    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for BackendName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl From<&str> for BackendName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// PostgreSQL and CockroachDB; which of them it is turns out at the first connection.
    #[default]
    PostgreSql,
    /// MySQL and MariaDB; which of them it is turns out at the first connection.
    MySql,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PostgreSql => "postgresql",
            Self::MySql => "mysql",
        })
    }
}

/// A database server and how its administrator logs in.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// What plans and records call it.
    pub name: BackendName,
    /// What it speaks.
    pub protocol: Protocol,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The host that applications get, such as a pooler's; `host` if there is none.
    pub client_host: Option<String>,
    /// The TCP port that applications get; `port` if there is none.
    pub client_port: Option<u16>,
    /// The administrator; `docs/databases.md` tells the rights that it needs. No superuser.
    pub user: String,
    /// The administrator's password; none when a client certificate is enough.
    pub password: Option<PasswordSource>,
    /// The database to be in while others are made and dropped; of no use on MySQL.
    pub database: String,
    /// How the connection is protected.
    pub sslmode: SslMode,
    /// The CA's certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// The client's key, PEM.
    pub key_file: Option<PathBuf>,
    /// Sessions that the broker has open there at the same time, at most.
    pub max_connections: usize,
    /// What signs the client certificates of bindings that have one.
    pub client_ca: Option<ClientCa>,
}

/// A certificate authority whose client certificates a server takes as a login (`cert` authentication).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClientCa {
    /// Its certificate, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
}

impl ServerSettings {
    /// The maintenance database that exists on PostgreSQL and on CockroachDB alike.
    pub const DEFAULT_DATABASE: &str = "postgres";
    /// [`ServerSettings::max_connections`] unless told otherwise.
    pub const DEFAULT_CONNECTIONS: usize = 32;

    /// Where applications connect to: host and port.
    #[must_use]
    pub fn for_clients(&self) -> (&str, u16) {
        (self.client_host.as_deref().unwrap_or(&self.host), self.client_port.unwrap_or(self.port))
    }

    /// Checks what the fields say together; `field` is where they stand.
    pub(super) fn checked(self, field: &str) -> Result<Self, ConfigError> {
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
        if self.protocol == Protocol::MySql && self.client_ca.is_some() {
            return Err(ConfigError::invalid(
                format!("{field}.clientCa"),
                "is for servers that speak postgresql; leave it out",
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

/// A password, or the file that holds it. Files are read when the password is needed, so that a mounted Secret may
/// change; a line break at the end is not part of the password.
#[derive(Clone, Debug)]
pub enum PasswordSource {
    /// The password itself.
    Given(SecretString),
    /// A file.
    File(PathBuf),
}

impl PasswordSource {
    /// The password as of now.
    ///
    /// # Errors
    /// When the file cannot be read; the error names it.
    pub async fn read(&self) -> Result<SecretString, ConfigError> {
        match self {
            Self::Given(password) => Ok(password.clone()),
            Self::File(path) => read_password(path).await,
        }
    }

    /// The password to try when `refused` was refused: the one that is going to take its place, or that has just done so.
    ///
    /// # Errors
    /// As [`PasswordSource::read_next`] and [`PasswordSource::read`].
    pub async fn read_changed(&self, refused: &SecretString) -> Result<Option<SecretString>, ConfigError> {
        // In this order: it is gone from there only once it is here.
        if let Some(next) = self.read_next().await? {
            return Ok(Some(next));
        }
        let current = self.read().await?;
        Ok((current.expose_secret() != refused.expose_secret()).then_some(current))
    }

    /// The password that is going to take its place, while it is being changed: in a file beside it, with `.next` added.
    ///
    /// # Errors
    /// When there is such a file and it cannot be read.
    pub async fn read_next(&self) -> Result<Option<SecretString>, ConfigError> {
        let Self::File(path) = self else { return Ok(None) };
        match read_password(&next_to(path)).await {
            Ok(next) => Ok(Some(next)),
            Err(ConfigError::Unreadable { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where the password is written that is going to take the place of the one in a file.
#[must_use]
pub fn next_to(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

async fn read_password(path: &Path) -> Result<SecretString, ConfigError> {
    tokio::fs::read_to_string(path)
        .await
        .map(|text| text.trim_end_matches(['\r', '\n']).to_owned().into())
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })
}

/// How a connection is protected, in libpq's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS; verified against the CA if there is one, as libpq does, and otherwise not at all.
    Require,
    /// TLS with a certificate of the CA, for whatever name.
    VerifyCa,
    /// TLS with a certificate of the CA for this host.
    #[default]
    VerifyFull,
}

impl SslMode {
    /// Whether a CA is needed.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_that_changes_is_found_before_and_after_it_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let source = PasswordSource::File(file.clone());
        let instead_of = async |refused: &str| {
            let changed = source.read_changed(&refused.into()).await.unwrap();
            changed.map(|changed| changed.expose_secret().to_owned())
        };
        std::fs::write(&file, "old\n").unwrap();
        assert_eq!(instead_of("old").await, None);
        std::fs::write(next_to(&file), "new\n").unwrap();
        assert_eq!(instead_of("old").await.as_deref(), Some("new"));
        std::fs::rename(next_to(&file), &file).unwrap();
        assert_eq!(instead_of("old").await.as_deref(), Some("new"));
        assert_eq!(instead_of("new").await, None);
    }
}
