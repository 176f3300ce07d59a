//! The callers of the broker. Several may be valid at once, so that a password or a token can be rotated without an
//! outage.

use super::{ConfigError, PasswordSource};

/// A caller of the broker.
#[derive(Clone, Debug)]
pub enum Login {
    /// A user with a password (HTTP basic authentication). The same user may appear again with another password.
    Basic {
        /// The user's name, without a colon.
        username: String,
        /// The password.
        password: PasswordSource,
    },
    /// The owner of a token (HTTP bearer authentication).
    Bearer {
        /// The tokens, one per line.
        tokens: PasswordSource,
    },
}

impl Login {
    /// Rejects names that HTTP basic authentication cannot carry; `field` is the name's path.
    pub(super) fn basic(
        username: String,
        password: PasswordSource,
        field: &str,
    ) -> Result<Self, ConfigError> {
        if username.is_empty() {
            return Err(ConfigError::missing(field, "name the user that the platform calls as"));
        }
        if username.contains(':') {
            let problem = format!("is {username:?}, but the name of a user cannot hold a colon; take it out");
            return Err(ConfigError::invalid(field, problem));
        }
        Ok(Self::Basic { username, password })
    }

    /// The source of the password or of the tokens.
    pub(crate) fn source(&self) -> &PasswordSource {
        match self {
            Self::Basic { password, .. } => password,
            Self::Bearer { tokens } => tokens,
        }
    }
}
