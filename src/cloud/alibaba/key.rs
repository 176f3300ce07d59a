//! Access keys, and the sessions that some of them belong to.

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

/// An access key. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The id of the key.
    pub id: String,
    /// The secret.
    pub secret: SecretString,
    /// The token of the session that the key belongs to.
    pub token: Option<SecretString>,
}

/// The key of a session, and when the session ends.
#[derive(Clone, Debug)]
pub struct Session {
    /// The key, with a token.
    pub key: AccessKey,
    /// The end, as Alibaba Cloud says.
    pub expires_at: Timestamp,
}

/// A key in use.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    pub(super) key: AccessKey,
    /// None for a key that does not end by itself.
    pub(super) expires_at: Option<Timestamp>,
}

impl Cached {
    /// Whether the key is still valid after this time.
    pub(super) fn lasts(&self, for_this: SignedDuration) -> bool {
        self.expires_at.is_none_or(|end| end.duration_since(Timestamp::now()) > for_this)
    }
}

impl From<Session> for Cached {
    fn from(Session { key, expires_at }: Session) -> Self {
        Self { key, expires_at: Some(expires_at) }
    }
}
