//! The life of a role's serving certificate: made once and kept in a Secret that all replicas share, or read from
//! files that somebody else renews; published to those who must trust it, then presented.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    explain,
    pki::{self, KeyedCertificate, PkiError, ServingCertificate},
    server::{PresentedCertificate, UnusableCertificate},
};
use crate::{
    contract,
    telemetry::{Metrics, ops::Readiness},
};

/// How a keeper goes about its work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How often source, trust and expiry are looked at; the latter by wall-clock time, so that a suspended machine
    /// catches up.
    pub(super) every: Duration,
    /// The least time between two looks, whoever asks for them and however often somebody else undoes the last one.
    pub(super) least: Duration,
    /// How long clients may be late to hear of a new bundle. Until then the former certificate is presented, which both
    /// bundles trust; API servers learn of their webhook configurations by a watch.
    pub(super) spread: Duration,
}

impl Pace {
    const DEFAULT: Self = Self {
        every: Duration::from_secs(10),
        least: Duration::from_secs(1),
        spread: Duration::from_secs(10),
    };
}

/// Where a role's certificate comes from.
#[derive(Clone)]
pub enum CertificateSource {
    /// bindery makes it and keeps it in this Secret.
    Secret {
        /// Reads and writes the Secret.
        client: Client,
        /// The Secret's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// What the certificate is for.
        dns_names: Vec<String>,
    },
    /// Somebody else makes it, such as cert-manager.
    Files {
        /// The certificate, or a chain that begins with it, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
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

    pub(super) async fn keep(self, pace: Pace, stop: CancellationToken) {
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
    /// once. So is the first, for which clients wait.
    async fn check(&self, progress: &mut Progress, spread: Duration) -> Result<(), CertificateError> {
        let certificate = self.source.load(Timestamp::now()).await?;
        let presented = progress.presented.as_ref();
        if presented.is_none_or(|presented| presented.bundle == certificate.bundle) {
            self.present(&certificate, progress)?;
        }
        self.anchors.publish(&certificate.bundle).await?;
        if progress.has_spread(&certificate.bundle, spread) {
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

impl CertificateSource {
    async fn load(&self, now: Timestamp) -> Result<ServingCertificate, CertificateError> {
        match self {
            Self::Secret { client, namespace, name, dns_names } => {
                let secrets = Api::namespaced(client.clone(), namespace);
                kept(&secrets, name, dns_names, now).await.map_err(|error| match error {
                    KeepError::Api(source) => CertificateError::Secret {
                        namespace: namespace.clone(),
                        name: name.clone(),
                        source: Box::new(source),
                    },
                    KeepError::Other(error) => error,
                })
            }
            Self::Files { certificate, key } => {
                let read = async |path: &PathBuf| {
                    tokio::fs::read_to_string(path)
                        .await
                        .map_err(|source| CertificateError::File { path: path.clone(), source })
                };
                let leaf =
                    KeyedCertificate { certificate: read(certificate).await?, key: read(key).await?.into() };
                Ok(ServingCertificate { authority: None, bundle: String::new(), leaf })
            }
        }
    }
}

/// What can go wrong with the Secret: told apart because the API server's answer needs the Secret's place.
enum KeepError {
    Api(kube::Error),
    Other(CertificateError),
}

impl From<kube::Error> for KeepError {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

impl From<CertificateError> for KeepError {
    fn from(error: CertificateError) -> Self {
        Self::Other(error)
    }
}

impl From<PkiError> for KeepError {
    fn from(error: PkiError) -> Self {
        Self::Other(error.into())
    }
}

/// The certificate in the Secret, made or renewed first where that is due. Of several replicas that want to write at
/// once one succeeds, by create and by `resourceVersion`; the others read what it wrote.
async fn kept(
    secrets: &Api<Secret>,
    name: &str,
    dns_names: &[String],
    now: Timestamp,
) -> Result<ServingCertificate, KeepError> {
    let Some(secret) = secrets.get_opt(name).await? else {
        let made = ServingCertificate::generate(dns_names, now)?;
        return match secrets.create(&PostParams::default(), &to_secret(name, &made)).await {
            Ok(_) => Ok(made),
            Err(error) if is_conflict(&error) => Ok(from_secret(&secrets.get(name).await?)?),
            Err(error) => Err(error.into()),
        };
    };
    let certificate = from_secret(&secret)?;
    let Some(renewed) = certificate.renewed(dns_names, now)? else {
        return Ok(certificate);
    };
    let mut replacement = to_secret(name, &renewed);
    replacement.metadata.resource_version = secret.metadata.resource_version;
    match secrets.replace(name, &PostParams::default(), &replacement).await {
        Ok(_) => Ok(renewed),
        Err(error) if is_conflict(&error) => Ok(from_secret(&secrets.get(name).await?)?),
        Err(error) => Err(error.into()),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The Secret that keeps a certificate: type `kubernetes.io/tls` with the authority beside it.
#[must_use]
pub fn to_secret(name: &str, certificate: &ServingCertificate) -> Secret {
    let mut data = BTreeMap::from([
        ("ca.crt".to_owned(), bytes(&certificate.bundle)),
        ("tls.crt".to_owned(), bytes(&certificate.leaf.certificate)),
        ("tls.key".to_owned(), bytes(certificate.leaf.key.expose_secret())),
    ]);
    if let Some(authority) = &certificate.authority {
        data.insert("ca.key".to_owned(), bytes(authority.key.expose_secret()));
    }
    let (label, value) = contract::binding::MANAGED_BY;
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn from_secret(secret: &Secret) -> Result<ServingCertificate, CertificateError> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let text = |key: &'static str| {
        let value = secret.data.as_ref()?.get(key)?;
        std::str::from_utf8(&value.0).ok().map(str::to_owned)
    };
    let required = |key| text(key).ok_or_else(|| CertificateError::Incomplete { name: name.to_owned(), key });
    let bundle = required("ca.crt")?;
    let leaf = KeyedCertificate { certificate: required("tls.crt")?, key: required("tls.key")?.into() };
    let authority =
        text("ca.key").map(|key| KeyedCertificate { certificate: bundle.clone(), key: key.into() });
    Ok(ServingCertificate { authority, bundle, leaf })
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_survives_its_secret() {
        let names = ["bindery-admission.bindery.svc".to_owned()];
        let now = Timestamp::now();
        let made = ServingCertificate::generate(&names, now).unwrap();
        let read = from_secret(&to_secret("bindery-admission-tls", &made)).unwrap();
        assert_eq!(read.bundle, made.bundle);
        assert_eq!(read.leaf.certificate, made.leaf.certificate);
        assert!(read.renewed(&names, now + Duration::from_hours(25 * 24)).unwrap().is_some());
    }

    #[tokio::test]
    async fn files_of_somebody_else_are_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let at = |file: &str| folder.path().join(file);
        let source = CertificateSource::Files { certificate: at("tls.crt"), key: at("tls.key") };
        let message = source.load(Timestamp::now()).await.unwrap_err().to_string();
        assert!(message.contains("tls.crt"), "{message}");
        for _ in 0..2 {
            let made = ServingCertificate::generate(&["a.svc".to_owned()], Timestamp::now()).unwrap();
            std::fs::write(folder.path().join("tls.crt"), &made.leaf.certificate).unwrap();
            std::fs::write(folder.path().join("tls.key"), made.leaf.key.expose_secret()).unwrap();
            let read = source.load(Timestamp::now()).await.unwrap();
            assert_eq!(read.leaf.certificate, made.leaf.certificate);
            PresentedCertificate::default().present(&read.leaf).unwrap();
        }
    }

    #[test]
    fn a_secret_without_a_key_names_it_and_the_remedy() {
        let mut secret =
            to_secret("bindery-admission-tls", &ServingCertificate::generate(&[], Timestamp::now()).unwrap());
        secret.data.as_mut().unwrap().remove("tls.key");
        let message = from_secret(&secret).unwrap_err().to_string();
        assert!(message.contains("tls.key") && message.contains("delete it"), "{message}");
    }
}
