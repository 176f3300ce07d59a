//! The serving certificate of a role: created once and stored in a Secret that all replicas share, or read from files
//! that another program renews. Its CA bundle is published to the clients first, then the certificate is presented.

mod source;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::source::{CertificateSource, to_secret};
use super::{
    PresentedCertificate, UnusableCertificate,
    pki::{self, PkiError, ServingCertificate},
};
use crate::k8s::explain;
use crate::telemetry::{Metrics, ops::Readiness};

/// The intervals of a certificate keeper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The interval between checks of source, bundle and expiry. Expiry is checked by wall-clock time, so that a
    /// suspended machine catches up.
    pub(crate) every: Duration,
    /// The shortest time between two checks, for all callers together, however often another writer undoes the last
    /// one.
    pub(crate) least: Duration,
    /// How long clients may take to learn of a new bundle. Until then the former certificate is presented, which both
    /// bundles trust. API servers learn of their webhook configurations by a watch.
    pub(crate) spread: Duration,
}

impl Pace {
    const DEFAULT: Self = Self {
        every: Duration::from_secs(10),
        least: Duration::from_secs(1),
        spread: Duration::from_secs(10),
    };
}

/// Publishes to a server's clients which authority to trust.
#[async_trait]
pub trait TrustAnchors: Send + Sync {
    /// Makes the clients trust exactly this PEM bundle. Changes nothing if they already do.
    async fn publish(&self, bundle: &str) -> Result<(), PublishError>;

    /// An item for each possible change of what the clients trust; empty if there is nothing to watch.
    fn changes(&self) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }
}

/// The bundle could not be published.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {reason}; {remedy}")]
pub struct PublishError {
    /// The object that holds the bundle.
    pub object: String,
    /// Why it could not be changed.
    pub reason: String,
    /// The remedy.
    pub remedy: &'static str,
}

/// For certificates whose CA another program or a user publishes.
pub struct TrustedElsewhere;

#[async_trait]
impl TrustAnchors for TrustedElsewhere {
    async fn publish(&self, _: &str) -> Result<(), PublishError> {
        Ok(())
    }
}

/// Why there is no trusted certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The Secret cannot be read or written.
    #[error("Secret {namespace}/{name}: {}; bindery needs get, create and update on it", explain(source))]
    Secret {
        /// The Secret's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// The API server's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Secret lacks a key.
    #[error("Secret {name} has no usable key {key:?}; delete the Secret, and bindery creates a new one")]
    Incomplete {
        /// The Secret's name.
        name: String,
        /// The missing key.
        key: &'static str,
    },
    /// A file cannot be read.
    #[error("{path}: {source}; expected a PEM file that bindery may read")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The certificate cannot be created or parsed.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificate cannot be served.
    #[error(transparent)]
    Unusable(#[from] UnusableCertificate),
    /// The bundle cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Maintains one role's certificate.
pub struct CertificateKeeper {
    /// The role, as metric label and readiness part.
    pub role: &'static str,
    /// Where the certificate comes from.
    pub source: CertificateSource,
    /// Publishes the bundle to the clients.
    pub anchors: Box<dyn TrustAnchors>,
    /// The certificate that the server presents.
    pub presented: PresentedCertificate,
    /// Gets the expiry of the certificate.
    pub metrics: Arc<Metrics>,
    /// Becomes ready with the first trusted certificate.
    pub readiness: Readiness,
}

impl CertificateKeeper {
    /// Checks once, for callers that need to know at start whether there is a certificate.
    ///
    /// # Errors
    /// When there is no usable and trusted certificate.
    pub async fn look(&self) -> Result<(), CertificateError> {
        self.check(&mut Progress::default(), Pace::DEFAULT.spread).await
    }

    /// Maintains the certificate until `stop` is cancelled. The role is ready once a trusted certificate is
    /// presented. Later failures are logged and retried, and the former certificate stays in use.
    pub async fn maintain(self, stop: CancellationToken) {
        self.keep(Pace::DEFAULT, stop).await;
    }

    pub(crate) async fn keep(self, pace: Pace, stop: CancellationToken) {
        self.readiness.wait_for(self.role, "no serving certificate yet");
        let mut changes = self.anchors.changes();
        let mut progress = Progress::default();
        let mut trusted = false;
        loop {
            let looked = Instant::now();
            match self.check(&mut progress, pace.spread).await {
                Ok(()) => {
                    if !trusted {
                        info!(role = self.role, "the serving certificate is in place");
                        self.readiness.ready(self.role);
                        trusted = true;
                    }
                }
                Err(error) => {
                    warn!(role = self.role, %error, "the serving certificate cannot be maintained");
                    if !trusted {
                        self.readiness.wait_for(self.role, error.to_string());
                    }
                }
            }
            // Clients wait until the certificate is trusted, so the next check comes soon.
            let pause = if trusted { pace.every } else { pace.least };
            let again = async {
                tokio::select! {
                    () = sleep(pause) => {}
                    Some(()) = changes.next() => sleep_until(looked + pace.least).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = again => {}
            }
        }
    }

    /// Checks once. A changed bundle is published and must spread before its certificate is presented, so that no
    /// client meets an authority that it does not trust yet. Under an unchanged bundle a new certificate is presented
    /// at once. So is the first certificate, because clients wait for it, and one whose bundle lacks the former
    /// authority, as after the deletion of the Secret: clients with the new bundle do not trust the former
    /// certificate.
    async fn check(&self, progress: &mut Progress, spread: Duration) -> Result<(), CertificateError> {
        let certificate = self.source.load(Timestamp::now()).await?;
        let presented = progress.presented.as_ref();
        if presented.is_none_or(|presented| presented.bundle == certificate.bundle) {
            self.present(&certificate, progress)?;
        }
        self.anchors.publish(&certificate.bundle).await?;
        if progress.has_spread(&certificate.bundle, spread) || progress.is_distrusted_in(&certificate.bundle)
        {
            self.present(&certificate, progress)?;
        }
        Ok(())
    }

    fn present(
        &self,
        certificate: &ServingCertificate,
        progress: &mut Progress,
    ) -> Result<(), CertificateError> {
        let ServingCertificate { bundle, leaf, .. } = certificate;
        let presented = progress.presented.as_ref();
        if presented.is_none_or(|presented| presented.certificate != leaf.certificate) {
            self.presented.present(leaf)?;
            self.metrics.certificate_expires(self.role, pki::expiry(&leaf.certificate)?);
        }
        progress.presented =
            Some(Presented { bundle: bundle.clone(), certificate: leaf.certificate.clone() });
        Ok(())
    }
}

/// The state of a keeper.
#[derive(Default)]
struct Progress {
    presented: Option<Presented>,
    /// The bundle that was published last, and when.
    published: Option<(String, Instant)>,
}

impl Progress {
    /// Whether clients with this bundle distrust the certificate that is presented.
    fn is_distrusted_in(&self, bundle: &str) -> bool {
        let presented = self.presented.as_ref();
        presented.is_some_and(|presented| !bundle.contains(pki::first_certificate(&presented.bundle)))
    }

    /// Records that this bundle is published. Returns whether it has been published for as long as `spread`.
    fn has_spread(&mut self, bundle: &str, spread: Duration) -> bool {
        match &self.published {
            Some((published, since)) if published == bundle => since.elapsed() >= spread,
            _ => {
                self.published = Some((bundle.to_owned(), Instant::now()));
                spread.is_zero()
            }
        }
    }
}

/// The certificate that is presented, and its bundle.
struct Presented {
    bundle: String,
    certificate: String,
}
