//! Access keys, and the sessions that some of them belong to.

use jiff::Timestamp;
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
