//! Encryption of records at rest: AES-256-GCM (NIST SP 800-38D) with a random nonce per record. The record's key is
//! authenticated, so that a record that was moved to another key does not decrypt.

use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aes_gcm::{
    Aes256Gcm, Key as AesKey, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Key;
use crate::broker::config::StoreKey;

const NONCE_LENGTH: usize = 12;
const KEY_LENGTH: usize = 32;

/// An encrypted record and the id of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) key_id: String,
    /// The nonce, then the ciphertext with its tag.
    pub(crate) bytes: Vec<u8>,
}

/// The current key, which seals records, and former keys, which still open the records that they sealed.
pub(crate) struct Cipher {
    current: SealingKey,
    former: Vec<SealingKey>,
}

struct SealingKey {
    id: String,
    aes: Aes256Gcm,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("key_id", &self.current.id).finish_non_exhaustive()
    }
}

/// A store key that cannot be used, or a record that no key opens.
#[derive(Debug, thiserror::Error)]
pub enum CipherError {
    /// The key's file cannot be read.
    #[error("store key {}: cannot be read: {error}; restore the file, or make one for an empty store with `openssl rand -base64 32`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The key's file cannot be written.
    #[error("store key {}: cannot be made: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The key is not 32 bytes in base64.
    #[error("the store key is not {KEY_LENGTH} bytes in base64; make one with `openssl rand -base64 32`")]
    Malformed,
    /// The record was sealed with a key that is not configured.
    #[error(
        "{record} was sealed with store key {sealed_with}, the configured key is {configured}; \
         restore the former key, or name it among `formerStoreKeyFiles`"
    )]
    WrongKey {
        /// The name of the record.
        record: String,
        /// The id of the key that the record needs.
        sealed_with: String,
        /// The id of the configured key.
        configured: String,
    },
    /// The sealed bytes were changed or belong to another record.
    #[error("{record} is damaged in the store; restore the store from a backup, or see docs/restore.md")]
    Damaged {
        /// The name of the record.
        record: String,
    },
}

impl Cipher {
    /// Loads the configured keys. Creates a missing key only if the store does not exist yet.
    pub(crate) fn load(key: &StoreKey, former: &[PathBuf], store_exists: bool) -> Result<Self, CipherError> {
        let current = SealingKey::load(key, store_exists)?;
        let former = former.iter().map(|path| SealingKey::read(path)).collect::<Result<_, _>>()?;
        Ok(Self { current, former })
    }

    pub(crate) fn has_former_keys(&self) -> bool {
        !self.former.is_empty()
    }

    /// The id of the current key in the store.
    pub(crate) fn key_id(&self) -> &str {
        &self.current.id
    }

    #[expect(
        clippy::expect_used,
        reason = "records are structs with string keys, and AES-GCM takes up to 64 GiB"
    )]
    pub(crate) fn seal(&self, about: &Key, record: &impl Serialize) -> Sealed {
        let clear = Zeroizing::new(serde_json::to_vec(record).expect("a record is JSON"));
        let mut nonce = [0; NONCE_LENGTH];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: &clear, aad: &associated(about) };
        let ciphertext = self.current.aes.encrypt(&Nonce::from(nonce), payload).expect("a short message");
        Sealed { key_id: self.current.id.clone(), bytes: [nonce.as_slice(), &ciphertext].concat() }
    }

    pub(crate) fn open<T: DeserializeOwned>(&self, about: &Key, sealed: &Sealed) -> Result<T, CipherError> {
        let keys = [&self.current].into_iter().chain(&self.former);
        let key =
            keys.into_iter().find(|key| key.id == sealed.key_id).ok_or_else(|| CipherError::WrongKey {
                record: about.to_string(),
                sealed_with: sealed.key_id.clone(),
                configured: self.current.id.clone(),
            })?;
        let damaged = || CipherError::Damaged { record: about.to_string() };
        let (nonce, ciphertext) = sealed.bytes.split_first_chunk::<NONCE_LENGTH>().ok_or_else(damaged)?;
        let payload = Payload { msg: ciphertext, aad: &associated(about) };
        let clear = key.aes.decrypt(&Nonce::from(*nonce), payload).map_err(|_| damaged())?;
        serde_json::from_slice(&Zeroizing::new(clear)).map_err(|_| damaged())
    }
}

impl SealingKey {
    fn load(key: &StoreKey, store_exists: bool) -> Result<Self, CipherError> {
        match key {
            StoreKey::Given(text) => Self::from_base64(text),
            StoreKey::FileOrNew(path) if !store_exists && !path.exists() => {
                let mut key = [0; KEY_LENGTH];
                rand::rng().fill_bytes(&mut key);
                let text = SecretString::from(BASE64_STANDARD.encode(key));
                write_new(path, &text)
                    .map_err(|error| CipherError::Unwritable { path: path.clone(), error })?;
                Self::from_base64(&text)
            }
            StoreKey::File(path) | StoreKey::FileOrNew(path) => Self::read(path),
        }
    }

    fn read(path: &Path) -> Result<Self, CipherError> {
        let text = fs::read_to_string(path)
            .map_err(|error| CipherError::Unreadable { path: path.to_owned(), error })?;
        Self::from_base64(&text.into())
    }

    fn from_base64(text: &SecretString) -> Result<Self, CipherError> {
        let bytes =
            BASE64_STANDARD.decode(text.expose_secret().trim()).map_err(|_| CipherError::Malformed)?;
        let bytes: [u8; KEY_LENGTH] = bytes.try_into().map_err(|_| CipherError::Malformed)?;
        let id = hex::encode(&Sha256::digest(bytes)[..8]);
        Ok(Self { id, aes: Aes256Gcm::new(&AesKey::<Aes256Gcm>::from(bytes)) })
    }
}

/// The authenticated data: an encoding of the ids in which no two keys are equal.
fn associated(Key { instance, binding }: &Key) -> Vec<u8> {
    let instance = instance.as_str().as_bytes();
    let mut bytes = [&(instance.len() as u64).to_be_bytes(), instance].concat();
    if let Some(binding) = binding {
        bytes.push(1);
        bytes.extend_from_slice(binding.as_str().as_bytes());
    }
    bytes
}

fn write_new(path: &Path, text: &SecretString) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.expose_secret().as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> StoreKey {
        StoreKey::Given(BASE64_STANDARD.encode([byte; KEY_LENGTH]).into())
    }

    fn cipher(current: u8) -> Cipher {
        Cipher::load(&key(current), &[], false).unwrap()
    }

    fn about(binding: &str) -> Key {
        Key::binding(&"i".into(), &binding.into())
    }

    fn secret() -> String {
        "hunter2".to_owned()
    }

    #[test]
    fn a_sealed_record_opens_for_its_key_only() {
        let cipher = cipher(1);
        let sealed = cipher.seal(&about("b"), &secret());
        assert_eq!(cipher.open::<String>(&about("b"), &sealed).unwrap(), secret());
        assert!(!String::from_utf8_lossy(&sealed.bytes).contains("hunter2"));
        for other in [about("other"), Key::instance(&"i".into())] {
            let error = cipher.open::<String>(&other, &sealed).unwrap_err();
            assert!(matches!(error, CipherError::Damaged { .. }), "{error}");
        }
        assert_ne!(sealed, cipher.seal(&about("b"), &secret()), "a nonce was used twice");
    }

    #[test]
    fn a_wrong_key_is_distinguished_from_damage() {
        let sealed = cipher(1).seal(&about("b"), &secret());
        let error = cipher(2).open::<String>(&about("b"), &sealed).unwrap_err().to_string();
        assert!(error.contains("binding b of service instance i"), "{error}");
        assert!(error.contains("restore the former key"), "{error}");
    }

    #[test]
    fn a_former_key_opens_what_it_sealed_and_seals_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let former = folder.path().join("former");
        fs::write(&former, BASE64_STANDARD.encode([1; KEY_LENGTH])).unwrap();
        let sealed = cipher(1).seal(&about("b"), &secret());
        let both = Cipher::load(&key(2), &[former], true).unwrap();
        assert_eq!(both.open::<String>(&about("b"), &sealed).unwrap(), secret());
        assert_eq!(both.seal(&about("b"), &secret()).key_id, both.key_id());
        assert_ne!(both.key_id(), sealed.key_id);
    }

    #[test]
    fn a_key_is_made_only_for_a_new_store() {
        let folder = tempfile::tempdir().unwrap();
        let key = StoreKey::FileOrNew(folder.path().join("key"));
        let error = Cipher::load(&key, &[], true).unwrap_err().to_string();
        assert!(error.contains("key: cannot be read"), "{error}");
        let made = Cipher::load(&key, &[], false).unwrap().key_id().to_owned();
        assert_eq!(Cipher::load(&key, &[], true).unwrap().key_id(), made);
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        for text in ["", "c2hvcnQ=", "not base64!"] {
            let loaded = Cipher::load(&StoreKey::Given(text.into()), &[], false);
            assert!(matches!(loaded, Err(CipherError::Malformed)));
        }
    }
}
