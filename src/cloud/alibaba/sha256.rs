//! SHA-256, as signatures need it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The digest of a text, in hexadecimal digits.
pub(super) fn digest(text: &[u8]) -> String {
    hex::encode(Sha256::digest(text))
}

/// The authentication code of a text.
pub(super) fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // A key of HMAC has any length: longer ones are hashed, shorter ones padded.
    #[expect(clippy::expect_used, reason = "a key of any length is valid")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is valid");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
