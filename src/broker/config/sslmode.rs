//! How a connection to a database server is protected. The names of the modes are libpq's
//! (<https://www.postgresql.org/docs/15/libpq-ssl.html>, "Protection Provided in Different Modes").

use std::fmt;

use serde::Deserialize;

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
