//! Certificates of a private CA, in files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A CA that signs certificates.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Creates a CA with this name, and writes its certificate.
    pub(crate) fn create(name: &str, certificate_file: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(certificate_file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    /// Writes the CA's key, so that [`Self::open`] can sign with it.
    pub(crate) fn write_key(&self, file: &Path) {
        fs::write(file, self.0.key().serialize_pem()).unwrap();
    }

    /// Reads the CA from these files.
    pub(crate) fn open((certificate_file, key_file): &(PathBuf, PathBuf)) -> Self {
        let key = KeyPair::from_pem(&fs::read_to_string(key_file).unwrap()).unwrap();
        Self(Issuer::from_ca_cert_pem(&fs::read_to_string(certificate_file).unwrap(), key).unwrap())
    }

    /// Writes a certificate for this subject, valid for these names, and its key. The subject must differ from the CA's
    /// name, or OpenSSL treats the certificate as self-signed.
    pub(crate) fn issue(&self, subject: &str, names: &[&str], certificate_file: &Path, key_file: &Path) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, subject);
        let key = KeyPair::generate().unwrap();
        fs::write(certificate_file, params.signed_by(&key, &self.0).unwrap().pem()).unwrap();
        fs::write(key_file, key.serialize_pem()).unwrap();
        fs::set_permissions(key_file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}
