//! TLS for PostgreSQL and CockroachDB by libpq's `sslmode`, for services and for the store. The CA and the client
//! certificate are read again for each connection, so that mounted Secrets may change.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::broker::config::SslMode;

/// The protection of a connection; not for `sslmode: disable`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protection<'a> {
    pub(crate) sslmode: SslMode,
    pub(crate) ca_file: Option<&'a Path>,
    pub(crate) cert_file: Option<&'a Path>,
    pub(crate) key_file: Option<&'a Path>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("TLS file {}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("TLS cannot be set up: {0}")]
    SetUp(#[from] rustls::Error),
}

impl TlsError {
    fn file(path: &Path, problem: impl fmt::Display) -> Self {
        Self::File { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// The TLS configuration of a connection.
pub(crate) async fn client_config(protection: Protection<'_>) -> Result<ClientConfig, TlsError> {
    let Protection { sslmode, ca_file, cert_file, key_file } = protection;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path).await? {
                roots.add(certificate).map_err(|error| TlsError::file(path, error))?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|error| TlsError::file(path, error))?;
            match sslmode {
                SslMode::VerifyFull => builder.with_webpki_verifier(verifier),
                // libpq: `require` with a CA behaves like `verify-ca`.
                _ => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier))),
            }
        }
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
    };
    Ok(match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => {
            let key = read(key_file).await?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| TlsError::file(key_file, error))?;
            builder
                .with_client_auth_cert(certificates(cert_file).await?, key)
                .map_err(|error| TlsError::file(cert_file, error))?
        }
        _ => builder.with_no_client_auth(),
    })
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path).await?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| TlsError::file(path, error))?;
    if found.is_empty() { Err(TlsError::file(path, "holds no PEM certificate")) } else { Ok(found) }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(path).await.map_err(|error| TlsError::file(path, error))
}

/// `verify-ca`: the CA must have signed the certificate; any name is accepted.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

/// `require` without a CA: the server proves only that it has the key of its certificate.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // rustls checks the name last, after the chain was verified.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
