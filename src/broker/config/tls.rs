//! The TLS files of a server.

use std::path::PathBuf;

use serde::Deserialize;

/// A server's certificate, and the CAs of its clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, or a chain that begins with it, PEM.
    #[serde(rename = "certFile")]
    pub certificate: PathBuf,
    /// Its private key, PEM.
    #[serde(rename = "keyFile")]
    pub key: PathBuf,
    /// The CAs whose clients may connect, PEM. Without them, clients need no certificate.
    #[serde(rename = "clientCaFile")]
    pub client_ca: Option<PathBuf>,
}
