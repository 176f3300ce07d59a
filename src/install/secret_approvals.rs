//! Approvals prove that the webhook allowed an author to make bindery read Secrets. An approval is an HMAC over the
//! checked content; the webhook issues it, and bindery verifies it before it reads a Secret. The key is in a Secret
//! of bindery's own, so no user can forge an approval, whatever objects the user may write and whether or not the
//! webhook is registered.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use rand::Rng;
use sha2::Sha256;

use super::own_secret::{OwnSecret, OwnSecretError};

/// The prefix of an approval; the HMAC follows.
const VERSION: &str = "v1.";
/// The Secret's key.
const KEY: &str = "key";
/// What to do when the key is unusable.
const REMEDY: &str = "it must be 64 bytes: delete the Secret, and bindery makes it anew";
/// How long the key is cached.
const KEPT: Duration = Duration::from_mins(1);
/// How soon the key is read again after an invalid approval, which may use a new key.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Issues and verifies the approvals of one installation.
#[derive(Clone)]
pub struct Approvals {
    secret: OwnSecret,
    known: Arc<Mutex<Option<(Instant, Key)>>>,
}

type Key = [u8; 64];

impl fmt::Debug for Approvals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approvals")
            .field("namespace", &self.secret.namespace())
            .field("name", &self.secret.name())
            .finish_non_exhaustive()
    }
}

impl Approvals {
    /// Uses the key in this Secret of the installation's namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { secret: OwnSecret::new(client, namespace, name), known: Arc::default() }
    }

    /// Approves the checked content. The first approval of an installation creates the key.
    ///
    /// # Errors
    /// When the key can neither be read nor created.
    pub async fn issue(&self, checked: &str) -> Result<String, OwnSecretError> {
        let key = match self.read(KEPT).await? {
            Some(key) => key,
            None => self.create().await?,
        };
        Ok(format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(mac(&key, checked).finalize().into_bytes())))
    }

    /// Whether this installation's webhook issued this approval for exactly this content.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub async fn verify(&self, checked: &str, approval: &str) -> Result<bool, OwnSecretError> {
        let Some(given) = approval.strip_prefix(VERSION).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        else {
            return Ok(false);
        };
        for age in [KEPT, READ_AGAIN] {
            let Some(key) = self.read(age).await? else { return Ok(false) };
            if mac(&key, checked).verify_slice(&given).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The key, read at most this long ago; `None` if no approval was issued yet.
    async fn read(&self, age: Duration) -> Result<Option<Key>, OwnSecretError> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, key)) = known
            && at.elapsed() < age
        {
            return Ok(Some(key));
        }
        match self.secret.get_opt().await? {
            Some(secret) => self.cache(&secret).map(Some),
            None => Ok(None),
        }
    }

    /// Creates the key.
    async fn create(&self) -> Result<Key, OwnSecretError> {
        let generate = || {
            let mut key: Key = [0; 64];
            rand::rng().fill_bytes(&mut key);
            [(KEY, key.to_vec())]
        };
        self.cache(&self.secret.get_or_create(generate).await?)
    }

    fn cache(&self, secret: &Secret) -> Result<Key, OwnSecretError> {
        let key = self.secret.value(secret, KEY, REMEDY, |value| Key::try_from(value).ok())?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), key));
        Ok(key)
    }
}

fn mac(key: &Key, checked: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new(key.into());
    mac.update(checked.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{
        Json, Router,
        extract::State,
        http::{Method, StatusCode},
        response::{IntoResponse, Response},
        routing::any,
    };
    use serde_json::{Value, json};

    use super::*;

    /// A Secret that can be created once and then replaced.
    #[derive(Clone, Default)]
    struct Cluster {
        secret: Arc<Mutex<Option<Value>>>,
        reads: Arc<AtomicUsize>,
    }

    async fn answer(State(cluster): State<Cluster>, method: Method, body: String) -> Response {
        let mut secret = cluster.secret.lock().unwrap();
        if method == Method::POST {
            *secret = Some(serde_json::from_str(&body).unwrap());
        } else {
            cluster.reads.fetch_add(1, Ordering::Relaxed);
        }
        let missing =
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": ""});
        match &*secret {
            Some(secret) => Json(secret.clone()).into_response(),
            None => (StatusCode::NOT_FOUND, Json(missing)).into_response(),
        }
    }

    impl Cluster {
        fn approvals(&self) -> Approvals {
            let router = Router::new().fallback(any(answer)).with_state(self.clone());
            Approvals::new(Client::new(router, "bindery"), "bindery", "bindery-approvals")
        }
    }

    #[tokio::test]
    async fn an_approval_holds_only_for_the_checked_content() {
        let cluster = Cluster::default();
        let (webhook, catalog) = (cluster.approvals(), cluster.approvals());
        assert!(!catalog.verify("a", "v1.AAAA").await.unwrap(), "no key exists yet");
        let approval = webhook.issue("a").await.unwrap();
        assert_eq!(approval, webhook.issue("a").await.unwrap(), "the same each time");
        assert!(catalog.verify("a", &approval).await.unwrap());
        for (checked, given) in
            [("b", approval.as_str()), ("a", ""), ("a", "check"), ("a", "v1."), ("a", "v1.?")]
        {
            assert!(!catalog.verify(checked, given).await.unwrap(), "{given}");
        }
    }

    #[tokio::test]
    async fn the_key_is_cached_for_a_minute_and_never_shown() {
        let cluster = Cluster::default();
        let approvals = cluster.approvals();
        let approval = approvals.issue("a").await.unwrap();
        let reads = cluster.reads.load(Ordering::Relaxed);
        for _ in 0..9 {
            assert!(approvals.verify("a", &approval).await.unwrap());
        }
        assert_eq!(cluster.reads.load(Ordering::Relaxed), reads);
        let shown = format!("{approvals:?}");
        assert_eq!(shown, r#"Approvals { namespace: "bindery", name: "bindery-approvals", .. }"#);
    }

    #[tokio::test]
    async fn a_secret_without_a_key_is_named() {
        let cluster = Cluster::default();
        *cluster.secret.lock().unwrap() = Some(json!({"metadata": {"name": "x"}, "data": {"key": "AAAA"}}));
        let error = cluster.approvals().issue("a").await.unwrap_err().to_string();
        assert!(error.contains("bindery/bindery-approvals") && error.contains("delete"), "{error}");
    }
}
