//! A private certificate authority and the serving certificates that it signs (X.509 by `rcgen`). No IO:
//! `certificates` stores them in a Secret, and `bindery certs` prints them.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use secrecy::{ExposeSecret, SecretString};

const DAY: Duration = Duration::from_hours(24);
/// An authority is valid for ten years and is replaced in the last year.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3650);
const AUTHORITY_RENEWAL: Duration = DAY.saturating_mul(365);
/// A serving certificate is valid for a month and is replaced in its last third.
const LEAF_LIFE: Duration = DAY.saturating_mul(30);
const LEAF_RENEWAL: Duration = DAY.saturating_mul(10);
/// The clocks of API servers and nodes differ.
const CLOCK_SKEW: Duration = Duration::from_mins(10);

/// A certificate with its private key, both PEM. `Debug` does not show the key.
#[derive(Clone, Debug)]
pub struct KeyedCertificate {
    /// The certificate, or a chain that begins with it.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: SecretString,
}

/// The certificate of a server, and what its clients must trust.
#[derive(Clone, Debug)]
pub struct ServingCertificate {
    /// The authority that signs. Its key is absent if another program keeps it.
    pub authority: Option<KeyedCertificate>,
    /// The certificates that clients trust: the authority's, and after a change of authority also the former one's.
    pub bundle: String,
    /// The certificate that the server presents.
    pub leaf: KeyedCertificate,
}

/// Why a certificate could not be created or parsed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The names or keys do not make a valid certificate.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A certificate cannot be parsed.
    #[error("cannot read the certificate: {0}; expected PEM")]
    Read(String),
}

impl ServingCertificate {
    /// Creates an authority and a certificate for these DNS names or IP addresses.
    pub fn generate(names: &[String], now: Timestamp) -> Result<Self, PkiError> {
        let authority = new_authority(now)?;
        let leaf = sign(&authority, names, now)?;
        Ok(Self { bundle: authority.certificate.clone(), leaf, authority: Some(authority) })
    }

    /// The successor of this certificate if one is due at `now`, or if the certificate is for other names. `None`
    /// also if the authority's key is absent: every holder of the key renews.
    pub fn renewed(&self, names: &[String], now: Timestamp) -> Result<Option<Self>, PkiError> {
        let Some(authority) = &self.authority else { return Ok(None) };
        if due(&authority.certificate, now, AUTHORITY_RENEWAL)? {
            let authority = new_authority(now)?;
            let leaf = sign(&authority, names, now)?;
            // The former authority stays trusted, because other replicas serve its certificate until they have read
            // this one.
            let former = first_certificate(&self.bundle);
            return Ok(Some(Self {
                bundle: format!("{}{former}", authority.certificate),
                leaf,
                authority: Some(authority),
            }));
        }
        if due(&self.leaf.certificate, now, LEAF_RENEWAL)? || !is_for(&self.leaf.certificate, names)? {
            return Ok(Some(Self { leaf: sign(authority, names, now)?, ..self.clone() }));
        }
        Ok(None)
    }
}

/// When a PEM certificate expires.
pub fn expiry(certificate: &str) -> Result<Timestamp, PkiError> {
    with_parsed(certificate, |parsed| {
        let seconds = parsed.validity().not_after.timestamp();
        Timestamp::from_second(seconds).map_err(|error| PkiError::Read(error.to_string()))
    })?
}

fn new_authority(now: Timestamp) -> Result<KeyedCertificate, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "bindery");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, now, AUTHORITY_LIFE)?;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(KeyedCertificate { certificate, key: key.serialize_pem().into() })
}

fn sign(
    authority: &KeyedCertificate,
    names: &[String],
    now: Timestamp,
) -> Result<KeyedCertificate, PkiError> {
    let issuer =
        Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(authority.key.expose_secret())?)?;
    let mut params = CertificateParams::new(names)?;
    // RFC 5280 limits a common name to 64 characters; clients check only the alternative names.
    params.distinguished_name.push(DnType::CommonName, "bindery serving");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, now, LEAF_LIFE)?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(KeyedCertificate { certificate, key: key.serialize_pem().into() })
}

fn valid_for(params: &mut CertificateParams, now: Timestamp, life: Duration) -> Result<(), PkiError> {
    let at = |time: Timestamp| {
        x509_parser::time::ASN1Time::from_timestamp(time.as_second())
            .map(|time| time.to_datetime())
            .map_err(|error| PkiError::Read(error.to_string()))
    };
    params.not_before = at(now - CLOCK_SKEW)?;
    params.not_after = at(now + life)?;
    Ok(())
}

fn due(certificate: &str, now: Timestamp, before: Duration) -> Result<bool, PkiError> {
    Ok(expiry(certificate)? <= now + before)
}

fn is_for(certificate: &str, names: &[String]) -> Result<bool, PkiError> {
    with_parsed(certificate, |parsed| {
        let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return false };
        names.iter().all(|name| {
            alternatives.value.general_names.iter().any(|alternative| match alternative {
                x509_parser::extensions::GeneralName::DNSName(dns) => dns == name,
                _ => false,
            })
        })
    })
}

fn with_parsed<T>(
    pem: &str,
    read: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>) -> T,
) -> Result<T, PkiError> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .map_err(|error| PkiError::Read(error.to_string()))?;
    let parsed = pem.parse_x509().map_err(|error| PkiError::Read(error.to_string()))?;
    Ok(read(&parsed))
}

/// The first PEM block of a bundle.
pub(crate) fn first_certificate(bundle: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    bundle.find(END).map_or(bundle, |at| {
        let end = at + END.len();
        &bundle[..bundle[end..].find('\n').map_or(end, |newline| end + newline + 1)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["bindery-admission.bindery.svc".to_owned()]
    }

    #[test]
    fn a_fresh_certificate_is_not_renewed() {
        let now = Timestamp::now();
        let made = ServingCertificate::generate(&names(), now).unwrap();
        assert!(made.renewed(&names(), now).unwrap().is_none());
        assert!(expiry(&made.leaf.certificate).unwrap() > now + DAY * 29);
    }

    #[test]
    fn a_leaf_in_its_last_third_is_renewed_under_the_same_authority() {
        let now = Timestamp::now();
        let made = ServingCertificate::generate(&names(), now).unwrap();
        let renewed = made.renewed(&names(), now + DAY * 21).unwrap().expect("a new leaf");
        assert_eq!(renewed.bundle, made.bundle);
        assert_ne!(renewed.leaf.certificate, made.leaf.certificate);
    }

    #[test]
    fn a_certificate_for_other_names_is_replaced() {
        let now = Timestamp::now();
        let made = ServingCertificate::generate(&["elsewhere.svc".to_owned()], now).unwrap();
        assert!(made.renewed(&names(), now).unwrap().is_some());
    }

    #[test]
    fn a_new_authority_keeps_only_the_former_one_trusted() {
        let now = Timestamp::now();
        let first = ServingCertificate::generate(&names(), now).unwrap();
        let second = first.renewed(&names(), now + DAY * 3300).unwrap().expect("a new authority");
        assert!(second.bundle.ends_with(&first.bundle) && second.bundle.len() > first.bundle.len());
        let third = second.renewed(&names(), now + DAY * 6600).unwrap().expect("a third authority");
        assert_eq!(third.bundle.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(!third.bundle.contains(&first.bundle));
    }

    #[test]
    fn without_the_authoritys_key_nothing_is_renewed() {
        let now = Timestamp::now();
        let made =
            ServingCertificate { authority: None, ..ServingCertificate::generate(&names(), now).unwrap() };
        assert!(made.renewed(&names(), now + DAY * 29).unwrap().is_none());
    }

    #[test]
    fn debug_shows_no_key() {
        let made = ServingCertificate::generate(&names(), Timestamp::now()).unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE KEY"));
    }
}
