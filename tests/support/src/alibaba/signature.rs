//! The two signatures that Alibaba Cloud accepts here, computed from what arrived: ACS3-HMAC-SHA256 for RDS, RAM and STS
//! (help page "Request syntax and signature method V3") and OSS4-HMAC-SHA256 for OSS (help page "Include signatures in the
//! Authorization header", OSS developer reference). `tests.rs` has the vectors of both.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// RFC 3986: letters, digits and `-_.~` remain.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same in a path, where slashes remain.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Names and values of a query, decoded.
pub(super) type Query = Vec<(String, String)>;
/// Headers by their names in lower case.
pub(super) type Headers = BTreeMap<String, String>;

/// What is signed of a request.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// The decoded path; for OSS always `/BUCKET/KEY`, also when the bucket is in the host's name.
    pub(super) path: &'a str,
    pub(super) query: &'a Query,
    pub(super) headers: &'a Headers,
}

/// The parts of the `Authorization` header.
pub(super) struct Authorization {
    pub(super) credential: String,
    /// The names of `SignedHeaders` or `AdditionalHeaders`.
    pub(super) headers: Vec<String>,
    pub(super) signature: String,
}

impl Authorization {
    /// Reads `ALGORITHM Credential=…,NAMES=a;b,Signature=…`.
    pub(super) fn read(header: &str, algorithm: &str, names: &str) -> Option<Self> {
        let parts = header.strip_prefix(algorithm)?.trim_start();
        let part = |name: &str| {
            let found = parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            found.map(ToOwned::to_owned)
        };
        let headers = part(names).unwrap_or_default();
        Some(Self {
            credential: part("Credential")?,
            headers: headers.split(';').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect(),
            signature: part("Signature")?,
        })
    }
}

impl Signed<'_> {
    /// The signature of version 3 over these headers. The secret itself is the key.
    pub(super) fn acs3(&self, secret: &str, signed_headers: &[String], content_hash: &str) -> String {
        let mut query: Vec<_> =
            self.query.iter().map(|(name, value)| (encode(name), encode(value))).collect();
        query.sort();
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers: String = signed_headers.iter().map(|name| self.header_line(name)).collect();
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{}\n{content_hash}",
            self.method,
            encode_path(self.path),
            query.join("&"),
            signed_headers.join(";"),
        );
        hex(&mac(secret.as_bytes(), &format!("ACS3-HMAC-SHA256\n{}", sha256(canonical.as_bytes()))))
    }

    /// The signature of version 4 of OSS. `date` is the header `x-oss-date`.
    pub(super) fn oss4(&self, secret: &str, region: &str, date: &str, additional: &[String]) -> String {
        let mut query: Vec<_> =
            self.query.iter().map(|(name, value)| (encode(name), encode(value))).collect();
        query.sort();
        let pair = |(name, value): &(String, String)| {
            if value.is_empty() { name.clone() } else { format!("{name}={value}") }
        };
        let query: Vec<_> = query.iter().map(pair).collect();
        let is_signed = |name: &str| {
            name.starts_with("x-oss-")
                || matches!(name, "content-type" | "content-md5")
                || additional.iter().any(|each| each == name)
        };
        let headers: String =
            self.headers.keys().filter(|name| is_signed(name)).map(|name| self.header_line(name)).collect();
        let payload = self.headers.get("x-oss-content-sha256").map_or("UNSIGNED-PAYLOAD", String::as_str);
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{}\n{payload}",
            self.method,
            encode_path(self.path),
            query.join("&"),
            additional.join(";"),
        );
        let day = date.split('T').next().unwrap_or_default();
        let scope = format!("{day}/{region}/oss/aliyun_v4_request");
        let text = format!("OSS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let first = format!("aliyun_v4{secret}").into_bytes();
        let key = scope.split('/').fold(first, |key, part| mac(&key, part));
        hex(&mac(&key, &text))
    }

    fn header_line(&self, name: &str) -> String {
        format!("{name}:{}\n", self.headers.get(name).map_or("", |value| value.trim()))
    }
}

/// The decoded pairs of a query or a form.
pub(super) fn pairs(text: &str) -> Query {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(name), decode(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// A query of encoded pairs.
pub(super) fn query_text(query: &Query) -> String {
    let pairs: Vec<_> =
        query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

pub(super) fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, ENCODED_IN_PATH).to_string()
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length of key is accepted");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
