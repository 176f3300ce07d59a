//! The source of a certificate: a Secret that all replicas share, in which bindery creates and renews it, or files of
//! another program. The parent module publishes and presents it.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::PostParams};
use secrecy::ExposeSecret;

use super::CertificateError;
use crate::{
    k8s::own,
    server::pki::{KeyedCertificate, PkiError, ServingCertificate},
};

/// The source of a role's certificate.
#[derive(Clone)]
pub enum CertificateSource {
    /// bindery creates the certificate and stores it in this Secret.
    Secret {
        /// Reads and writes the Secret.
        client: Client,
        /// The Secret's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// The names for which the certificate is valid.
        dns_names: Vec<String>,
    },
    /// Another program creates the certificate, such as cert-manager.
    Files {
        /// The certificate, or a chain that begins with it, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
}

impl CertificateSource {
    pub(super) async fn load(&self, now: Timestamp) -> Result<ServingCertificate, CertificateError> {
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

/// Errors of the Secret. An error of the API server needs the Secret's name and namespace added.
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

/// The certificate in the Secret, which is created or renewed first if that is due. If several replicas write at
/// once, one succeeds, by create and by `resourceVersion`, and the others read what it wrote.
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

/// The Secret that stores a certificate: type `kubernetes.io/tls`, with the authority in additional keys.
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
    Secret {
        metadata: own(name),
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
    use std::time::Duration;

    use super::*;
    use crate::server::PresentedCertificate;

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
    async fn files_of_another_program_are_read_again_each_time() {
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
        assert!(message.contains("tls.key") && message.contains("delete the Secret"), "{message}");
    }
}
