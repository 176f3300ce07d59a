//! Client certificates for logins. The common name is the login's name (PostgreSQL's `cert` authentication, auth-cert;
//! CockroachDB's client certificates). A new certificate does not revoke an earlier one of the same login: the server
//! must lock the login out.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
};
use secrecy::SecretString;
use x509_parser::time::ASN1Time;

use super::super::parameters::Expiry;
use crate::broker::backends::sql::settings::ClientCa;

/// Certificates are valid from this many seconds before the server's time, because clocks differ.
const CLOCKS_DIFFER: i64 = 300;

/// Why a certificate could not be created.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    #[error(
        "the plan gives certificates, and the server's settings name no clientCa; add certFile and keyFile"
    )]
    NoCa,
    #[error("the client CA's file {}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("cannot make a client certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot make a client certificate that ends at {0}; take a shorter validFor")]
    Time(Timestamp),
}

/// A certificate and its key.
pub(super) struct Issued {
    /// PEM.
    pub(super) certificate: String,
    /// PEM, PKCS #8.
    pub(super) key: SecretString,
}

/// Creates a key and a certificate for it.
pub(super) async fn issue(ca: &ClientCa, login: &str, expiry: Expiry) -> Result<Issued, CertificateError> {
    let key = read(&ca.key_file).await?;
    let key = KeyPair::from_pem(&key).map_err(|error| bad(&ca.key_file, &error))?;
    let issuer = Issuer::from_ca_cert_pem(&read(&ca.cert_file).await?, key)
        .map_err(|error| bad(&ca.cert_file, &error))?;
    let mut wanted = CertificateParams::default();
    wanted.distinguished_name = DistinguishedName::new();
    wanted.distinguished_name.push(DnType::CommonName, login);
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let until = expiry.ends_at;
    let at = |seconds: i64| {
        ASN1Time::from_timestamp(seconds)
            .map(|time| time.to_datetime())
            .map_err(|_| CertificateError::Time(until))
    };
    wanted.not_before = at(expiry.begins_at.as_second() - CLOCKS_DIFFER)?;
    wanted.not_after = at(until.as_second())?;
    let own = KeyPair::generate()?;
    let certificate = wanted.signed_by(&own, &issuer)?.pem();
    Ok(Issued { certificate, key: own.serialize_pem().into() })
}

fn bad(path: &Path, problem: &rcgen::Error) -> CertificateError {
    CertificateError::File { path: path.to_owned(), problem: problem.to_string() }
}

async fn read(path: &Path) -> Result<String, CertificateError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|error| CertificateError::File { path: path.to_owned(), problem: error.to_string() })
}
