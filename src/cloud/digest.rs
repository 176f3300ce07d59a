//! Hashes of texts, for names, tags and tokens.

use sha2::{Digest, Sha256};

/// The first hexadecimal digits of a hash of all parts. Parts of any length and any content give another hash in another
/// order or when they are divided differently.
#[must_use]
pub fn digest(parts: &[&str], digits: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut digest = hex::encode(hash.finalize());
    digest.truncate(digits);
    digest
}
