//! The TLS mode of a connection to a database server. The names of the modes are libpq's
//! (<https://www.postgresql.org/docs/15/libpq-ssl.html>, "Protection Provided in Different Modes").

use std::fmt;

use serde::Deserialize;

/// The protection of a connection, in libpq's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS; verified against the CA if there is one, as in libpq, and not verified otherwise.
    Require,
    /// TLS with a certificate of the CA, for any name.
    VerifyCa,
    /// TLS with a certificate of the CA for this host.
    #[default]
    VerifyFull,
}

impl SslMode {
    /// Whether the mode needs a CA.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }

    /// The mode's name.
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
