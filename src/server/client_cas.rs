//! Decides which clients a TLS server accepts: those with a certificate of the CAs in a file, which is reloaded when
//! it changes. Open connections continue.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The interval between checks of the file.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The CAs that are trusted now. Clones share them.
#[derive(Clone)]
pub struct TrustedClients(Arc<Trusted>);

struct Trusted {
    file: PathBuf,
    now: ArcSwap<Authorities>,
}

/// The content of the file, and the verifier for it.
struct Authorities {
    text: Vec<u8>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why clients cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum TrustedClientsError {
    /// The file cannot be read.
    #[error("the clients' CAs {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no usable certificate.
    #[error("the clients' CAs {}: {problem}; expected PEM certificates of CAs", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl TrustedClients {
    /// Reads the CAs.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate of a CA.
    pub async fn of_file(file: &Path) -> Result<Self, TrustedClientsError> {
        let now = ArcSwap::from_pointee(Authorities::read(file).await?);
        Ok(Self(Arc::new(Trusted { file: file.to_owned(), now })))
    }

    /// Reloads the CAs, and returns whether they changed. After an error the former CAs stay trusted.
    ///
    /// # Errors
    /// As for [`TrustedClients::of_file`].
    pub async fn reload(&self) -> Result<bool, TrustedClientsError> {
        let read = Authorities::read(&self.0.file).await?;
        let changed = self.0.now.load().text != read.text;
        if changed {
            self.0.now.store(Arc::new(read));
        }
        Ok(changed)
    }

    /// Checks the file until `stop` is cancelled.
    pub async fn watch(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => {}
            }
            match self.reload().await {
                Ok(true) => info!("the clients' CAs were reloaded"),
                Ok(false) => {}
                Err(error) => warn!(%error, "the former CAs stay trusted"),
            }
        }
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.0.now.load().verifier.clone()
    }
}

impl Authorities {
    async fn read(file: &Path) -> Result<Self, TrustedClientsError> {
        let text = tokio::fs::read(file)
            .await
            .map_err(|source| TrustedClientsError::File { path: file.to_owned(), source })?;
        let unusable = |problem: String| TrustedClientsError::Unusable { path: file.to_owned(), problem };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { text, verifier })
    }
}

impl fmt::Debug for TrustedClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustedClients").field(&self.0.file).finish()
    }
}

impl ClientCertVerifier for TrustedClients {
    /// No hints, because the CAs may change. Clients then offer the certificate that they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verifier().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier().supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::server::pki::ServingCertificate;

    #[tokio::test(start_paused = true)]
    async fn the_file_is_checked_until_the_stop() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clients.crt");
        let authority = || ServingCertificate::generate(&[], Timestamp::now()).unwrap().bundle;
        std::fs::write(&file, authority()).unwrap();
        let clients = TrustedClients::of_file(&file).await.unwrap();
        let stop = CancellationToken::new();
        let (watched, stopped) = (clients.clone(), stop.clone());
        let watching = tokio::spawn(async move { watched.watch(stopped).await });
        std::fs::remove_file(&file).unwrap();
        tokio::time::sleep(CHECK_EVERY * 2).await;
        let second = authority();
        std::fs::write(&file, &second).unwrap();
        let changed = async {
            while clients.0.now.load().text != second.as_bytes() {
                tokio::time::sleep(CHECK_EVERY).await;
            }
        };
        tokio::time::timeout(CHECK_EVERY * 10, changed).await.unwrap();
        stop.cancel();
        watching.await.unwrap();
    }
}
