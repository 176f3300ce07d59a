//! The life of a role's serving certificate: made once and kept in a Secret that all replicas share, or read from
//! files that somebody else renews; published to those who must trust it, then presented.

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

/// How a keeper goes about its work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How often source, trust and expiry are looked at; the latter by wall-clock time, so that a suspended machine
    /// catches up.
    pub(crate) every: Duration,
    /// The least time between two looks, whoever asks for them and however often somebody else undoes the last one.
    pub(crate) least: Duration,
    /// How long clients may be late to hear of a new bundle. Until then the former certificate is presented, which both
    /// bundles trust; API servers learn of their webhook configurations by a watch.
    pub(crate) spread: Duration,
}

impl Pace {
    const DEFAULT: Self = Self {
        every: Duration::from_secs(10),
        least: Duration::from_secs(1),
        spread: Duration::from_secs(10),
    };
}

/// Tells clients of a server which authority to trust.
#[async_trait]
pub trait TrustAnchors: Send + Sync {
    /// Makes the clients trust this PEM bundle and no other; changes nothing when they already do.
    async fn publish(&self, bundle: &str) -> Result<(), PublishError>;

    /// An item each time that somebody may have changed what the clients trust; none where nobody tells.
    fn changes(&self) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }
}

/// The bundle could not be published.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {reason}; {remedy}")]
pub struct PublishError {
    /// What holds the bundle.
    pub object: String,
    /// Why it could not be changed.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}

/// For certificates whose trust is somebody else's task.
pub struct TrustedElsewhere;

#[async_trait]
impl TrustAnchors for TrustedElsewhere {
    async fn publish(&self, _: &str) -> Result<(), PublishError> {
        Ok(())
    }
}

/// Why there is no certificate that is trusted.
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
    #[error("Secret {name} has no usable key {key:?}; delete it and bindery makes it anew")]
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
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate cannot be made or read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificate cannot be served.
    #[error(transparent)]
    Unusable(#[from] UnusableCertificate),
    /// Nobody can be told to trust it.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Keeps one role's certificate right.
pub struct CertificateKeeper {
    /// The role, as metric label and readiness part.
    pub role: &'static str,
    /// Where the certificate comes from.
    pub source: CertificateSource,
    /// Whom to tell.
    pub anchors: Box<dyn TrustAnchors>,
    /// What the server presents.
    pub presented: PresentedCertificate,
    /// Learns when the certificate ends.
    pub metrics: Arc<Metrics>,
    /// Waits for the first certificate that is trusted.
    pub readiness: Readiness,
}

impl CertificateKeeper {
    /// Looks once, for those who want to know at the start whether there is a certificate.
    ///
    /// # Errors
    /// When there is none that can be served and is trusted.
    pub async fn look(&self) -> Result<(), CertificateError> {
        self.check(&mut Progress::default(), Pace::DEFAULT.spread).await
    }

    /// Keeps the certificate until `stop`. The role is ready once a certificate is presented and trusted; later
    /// troubles are logged and retried, while the former certificate goes on being presented.
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
                    warn!(role = self.role, %error, "the serving certificate is not in order");
                    if !trusted {
                        self.readiness.wait_for(self.role, error.to_string());
                    }
                }
            }
            // Until the certificate is trusted somebody is waiting, so look again soon.
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

    /// One look. A bundle that changed is published, and has to spread, before its certificate is presented, so that
    /// nobody meets an authority that he does not trust yet; under the same bundle a new certificate is presented at
    /// once. So is the first, for which clients wait, and one whose bundle has no place for the former authority, as when
    /// the Secret was deleted: nobody who hears of it trusts what was presented before.
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

/// How far a keeper is.
#[derive(Default)]
struct Progress {
    presented: Option<Presented>,
    /// The bundle that was published last, and since when.
    published: Option<(String, Instant)>,
}

impl Progress {
    /// Whether who trusts this bundle does not trust what is presented.
    fn is_distrusted_in(&self, bundle: &str) -> bool {
        let presented = self.presented.as_ref();
        presented.is_some_and(|presented| !bundle.contains(pki::first_certificate(&presented.bundle)))
    }

    /// Notes that this bundle is published; whether it has been for so long.
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

/// What is presented, and the bundle that goes with it.
struct Presented {
    bundle: String,
    certificate: String,
}
