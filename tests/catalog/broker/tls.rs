//! The broker's TLS: certificates that are right, and certificates that are wrong in one way each.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{io, pin::Pin, sync::Arc};

use axum_server::accept::Accept;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Accepts connections with TLS.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

impl<S: Send + 'static> Accept<TcpStream, S> for Tls {
    type Stream = TlsStream<TcpStream>;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, S)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepting = self.0.accept(stream);
        Box::pin(async move { Ok((accepting.await?, service)) })
    }
}

impl Tls {
    /// A certificate that no authority signed, valid for `localhost`, and the certificate as a CA bundle.
    pub(crate) fn self_signed() -> (Self, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters("localhost").self_signed(&key).unwrap();
        (Self::new(certificate.der(), &key), STANDARD.encode(certificate.pem()))
    }

    fn new(certificate: &CertificateDer<'static>, key: &KeyPair) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        Self(TlsAcceptor::from(Arc::new(config)))
    }
}

/// An authority that signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// As `spec.caBundle` has it.
    pub(crate) bundle: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let bundle = STANDARD.encode(parameters.self_signed(&key).unwrap().pem());
        Self { issuer: Issuer::new(parameters, key), bundle }
    }

    /// A certificate for this name.
    pub(crate) fn issue(&self, name: &str) -> Tls {
        self.sign(&parameters(name))
    }

    /// A certificate for `localhost` that ended years ago.
    pub(crate) fn expired(&self) -> Tls {
        let mut parameters = parameters("localhost");
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
        self.sign(&parameters)
    }

    fn sign(&self, parameters: &CertificateParams) -> Tls {
        let key = KeyPair::generate().unwrap();
        Tls::new(parameters.signed_by(&key, &self.issuer).unwrap().der(), &key)
    }
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, "broker");
    parameters
}
