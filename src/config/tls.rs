//! The files of a server that speaks TLS itself.

use std::path::PathBuf;

/// What a server presents, and whom it asks for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, or a chain that begins with it, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// The CAs whose clients may connect, PEM. Without them clients need no certificate.
    pub client_ca_file: Option<PathBuf>,
}
