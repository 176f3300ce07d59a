//! Credentials at rest: AES-256-GCM (NIST SP 800-38D) with a random nonce for each, bound to the record's ids, so that a
//! sealed value moved to another record does not open.

use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aes_gcm::{
    Aes256Gcm, Key, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::{
    config::StoreKey,
    osb::{BindingId, Credentials, InstanceId},
};

const NONCE_LENGTH: usize = 12;
const KEY_LENGTH: usize = 32;

/// Encrypted credentials, and which key opens them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) key_id: String,
    /// The nonce, then the ciphertext with its tag.
    pub(crate) bytes: Vec<u8>,
}

/// A key for credentials at rest.
pub(crate) struct Cipher {
    key_id: String,
    aes: Aes256Gcm,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A store key that cannot be used, or credentials that it does not open.
#[derive(Debug, thiserror::Error)]
pub enum CipherError {
    /// The key's file cannot be read.
    #[error("store key {}: cannot be read: {error}; restore the file, or make one for an empty store with `openssl rand -base64 32`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The key's file cannot be written.
    #[error("store key {}: cannot be made: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The key is not 32 bytes in base64.
    #[error("the store key is not {KEY_LENGTH} bytes in base64; make one with `openssl rand -base64 32`")]
    Malformed,
    /// The credentials were sealed with another key.
    #[error(
        "credentials of binding {binding} were sealed with store key {sealed_with}, the configured key is {configured}; restore the former key"
    )]
    WrongKey {
        /// The record.
        binding: BindingId,
        /// Which key it needs.
        sealed_with: String,
        /// Which key there is.
        configured: String,
    },
    /// The sealed bytes were changed or belong to another record.
    #[error("credentials of binding {binding} are damaged in the store; delete the binding and bind again")]
    Damaged {
        /// The record.
        binding: BindingId,
    },
}

impl Cipher {
    /// Takes the key from where the configuration says. `store_exists` tells whether a new key may be made.
    pub(crate) fn load(key: &StoreKey, store_exists: bool) -> Result<Self, CipherError> {
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
            StoreKey::File(path) | StoreKey::FileOrNew(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| CipherError::Unreadable { path: path.clone(), error })?;
                Self::from_base64(&text.into())
            }
        }
    }

    fn from_base64(text: &SecretString) -> Result<Self, CipherError> {
        let bytes =
            BASE64_STANDARD.decode(text.expose_secret().trim()).map_err(|_| CipherError::Malformed)?;
        let bytes: [u8; KEY_LENGTH] = bytes.try_into().map_err(|_| CipherError::Malformed)?;
        let key_id = Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key_id, aes: Aes256Gcm::new(&Key::<Aes256Gcm>::from(bytes)) })
    }

    #[expect(clippy::expect_used, reason = "maps of strings are always JSON, and AES-GCM takes up to 64 GiB")]
    pub(crate) fn seal(
        &self,
        instance: &InstanceId,
        binding: &BindingId,
        credentials: &Credentials,
    ) -> Sealed {
        let clear = serde_json::to_vec(credentials).expect("a JSON object");
        let mut nonce = [0; NONCE_LENGTH];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: &clear, aad: &associated(instance, binding) };
        let ciphertext = self.aes.encrypt(&Nonce::from(nonce), payload).expect("a short message");
        Sealed { key_id: self.key_id.clone(), bytes: [nonce.as_slice(), &ciphertext].concat() }
    }

    pub(crate) fn open(
        &self,
        instance: &InstanceId,
        binding: &BindingId,
        sealed: &Sealed,
    ) -> Result<Credentials, CipherError> {
        if sealed.key_id != self.key_id {
            return Err(CipherError::WrongKey {
                binding: binding.clone(),
                sealed_with: sealed.key_id.clone(),
                configured: self.key_id.clone(),
            });
        }
        let damaged = || CipherError::Damaged { binding: binding.clone() };
        let (nonce, ciphertext) = sealed.bytes.split_first_chunk::<NONCE_LENGTH>().ok_or_else(damaged)?;
        let payload = Payload { msg: ciphertext, aad: &associated(instance, binding) };
        let clear = self.aes.decrypt(&Nonce::from(*nonce), payload).map_err(|_| damaged())?;
        serde_json::from_slice(&clear).map_err(|_| damaged())
    }
}

/// The ids, so that no two pairs give the same bytes.
fn associated(instance: &InstanceId, binding: &BindingId) -> Vec<u8> {
    let instance = instance.as_str().as_bytes();
    [&(instance.len() as u64).to_be_bytes(), instance, binding.as_str().as_bytes()].concat()
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

    fn credentials() -> Credentials {
        serde_json::from_str(r#"{"password": "hunter2"}"#).unwrap()
    }

    #[test]
    fn sealed_credentials_open_for_their_record_only() {
        let cipher = Cipher::load(&key(1), false).unwrap();
        let (instance, binding) = ("i".into(), "b".into());
        let sealed = cipher.seal(&instance, &binding, &credentials());
        assert_eq!(cipher.open(&instance, &binding, &sealed).unwrap(), credentials());
        assert!(!String::from_utf8_lossy(&sealed.bytes).contains("hunter2"));
        assert!(matches!(cipher.open(&instance, &"other".into(), &sealed), Err(CipherError::Damaged { .. })));
        assert_ne!(sealed, cipher.seal(&instance, &binding, &credentials()), "a nonce was used twice");
    }

    #[test]
    fn another_key_is_told_apart_from_damage() {
        let (instance, binding) = ("i".into(), "b".into());
        let sealed = Cipher::load(&key(1), false).unwrap().seal(&instance, &binding, &credentials());
        let error = Cipher::load(&key(2), false).unwrap().open(&instance, &binding, &sealed).unwrap_err();
        assert!(error.to_string().contains("restore the former key"), "{error}");
    }

    #[test]
    fn a_key_is_made_only_for_a_new_store() {
        let folder = tempfile::tempdir().unwrap();
        let key = StoreKey::FileOrNew(folder.path().join("key"));
        let error = Cipher::load(&key, true).unwrap_err().to_string();
        assert!(error.contains("key: cannot be read"), "{error}");
        let made = Cipher::load(&key, false).unwrap().key_id;
        assert_eq!(Cipher::load(&key, true).unwrap().key_id, made);
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        for text in ["", "c2hvcnQ=", "not base64!"] {
            assert!(matches!(
                Cipher::load(&StoreKey::Given(text.into()), false),
                Err(CipherError::Malformed)
            ));
        }
    }
}
