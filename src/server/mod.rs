//! HTTP servers that drain when told to stop, with TLS certificates that can change while the server runs.

pub mod certificates;
pub mod client_cas;
mod connections;
mod lingering;
pub(crate) mod load_shed;
pub mod pki;
mod roster;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use axum::Router;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::connections::Limits;
use crate::server::{client_cas::TrustedClients, pki::KeyedCertificate};

/// How long connections may continue after the stop.
pub const LONGEST_DRAIN: Duration = Duration::from_secs(10);

/// The certificate that a server presents. Clones share it; without a certificate, handshakes fail.
#[derive(Clone, Debug, Default)]
pub struct PresentedCertificate(Arc<ArcSwapOption<CertifiedKey>>);

/// A certificate and key that a TLS server cannot use.
#[derive(Debug, thiserror::Error)]
#[error("the certificate cannot be served: {0}; expected a PEM certificate chain and its PKCS #8 key")]
pub struct UnusableCertificate(String);

impl PresentedCertificate {
    /// Presents this certificate to new connections.
    pub fn present(&self, leaf: &KeyedCertificate) -> Result<(), UnusableCertificate> {
        let unusable = |error: &dyn std::fmt::Display| UnusableCertificate(error.to_string());
        let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&error))?;
        let key = PrivateKeyDer::from_pem_slice(leaf.key.expose_secret().as_bytes())
            .map_err(|error| unusable(&error))?;
        let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
            .map_err(|error| unusable(&error))?;
        self.0.store(Some(Arc::new(key)));
        Ok(())
    }
}

impl ResolvesServerCert for PresentedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The TLS settings of a server.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The certificate to present.
    pub certificate: PresentedCertificate,
    /// The clients to accept. Default: all clients.
    pub clients: Option<TrustedClients>,
}

impl TlsSettings {
    fn config(self) -> Result<rustls::ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let strict = self.clients.is_some();
        let builder = match self.clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(self.certificate));
        if strict {
            // A resumed session would accept a client without checking its certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Serves HTTPS (HTTP/1.1 and HTTP/2) until `stop`, then drains.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve_tls(
    address: SocketAddr,
    router: Router,
    tls: TlsSettings,
    stop: CancellationToken,
) -> std::io::Result<()> {
    serve_tls_on(TcpListener::bind(address).await?, router, tls, Limits::DEFAULT, stop).await
}

async fn serve_tls_on(
    listener: TcpListener,
    router: Router,
    tls: TlsSettings,
    limits: Limits,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let config = tls.config().map_err(std::io::Error::other)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    connections::serve(listener, Some(acceptor), router, limits, stop).await;
    Ok(())
}

/// Serves the operations port, plain HTTP, until `stop`, then drains. The port has its own limit of connections, so
/// that probes are answered whatever happens on the other ports.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve_ops(address: SocketAddr, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    connections::serve(TcpListener::bind(address).await?, None, router, Limits::OPS, stop).await;
    Ok(())
}

/// Serves plain HTTP until `stop`, then drains.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve_plain(
    address: SocketAddr,
    router: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    connections::serve(TcpListener::bind(address).await?, None, router, Limits::DEFAULT, stop).await;
    Ok(())
}

#[cfg(test)]
mod tests;
