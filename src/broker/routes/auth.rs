//! HTTP basic authentication (RFC 7617).

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{ConfigError, Login};

/// The users that may call. Only digests are kept; comparing them tells nothing about lengths.
pub(crate) struct Logins(Vec<[u8; 32]>);

impl Logins {
    /// Reads the passwords.
    pub(crate) async fn read(logins: &[Login]) -> Result<Self, ConfigError> {
        let mut digests = Vec::new();
        for login in logins {
            let password = login.password.read().await?;
            if login.username.is_empty() || password.expose_secret().is_empty() {
                let problem =
                    format!("has user {:?} with an empty name or password; set both", login.username);
                return Err(ConfigError::invalid("auth", problem));
            }
            digests.push(digest(format!("{}:{}", login.username, password.expose_secret()).as_bytes()));
        }
        Ok(Self(digests))
    }

    /// Whether a request names one of the users with its password.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(given) = given(headers) else { return false };
        let given = digest(&given);
        // All of them are compared, whichever fits.
        self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&given)).into()
    }
}

fn given(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(encoded.trim()).ok())?
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PasswordSource;

    fn login(username: &str, password: &str) -> Login {
        Login { username: username.to_owned(), password: PasswordSource::Given(password.into()) }
    }

    fn admitted(header: &str) -> bool {
        let logins =
            futures::executor::block_on(Logins::read(&[login("user", "pass"), login("other", "p:w")]))
                .unwrap();
        logins.admit(&HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]))
    }

    #[test]
    fn any_of_the_users_is_admitted() {
        for pair in ["user:pass", "other:p:w"] {
            assert!(admitted(&format!("Basic {}", BASE64_STANDARD.encode(pair))), "{pair}");
            assert!(admitted(&format!("basic {}", BASE64_STANDARD.encode(pair))), "{pair}");
        }
    }

    #[test]
    fn nobody_else_is() {
        for pair in ["user:", "user:other", "user:pass ", ":pass", "", "user:p:w", "user:pas", "USER:pass"] {
            assert!(!admitted(&format!("Basic {}", BASE64_STANDARD.encode(pair))), "{pair}");
        }
        for header in ["Bearer dXNlcjpwYXNz", "Basic", "Basic !", "dXNlcjpwYXNz"] {
            assert!(!admitted(header), "{header}");
        }
        assert!(
            !futures::executor::block_on(Logins::read(&[login("user", "pass")]))
                .unwrap()
                .admit(&HeaderMap::new())
        );
    }

    #[test]
    fn empty_passwords_are_refused() {
        let error =
            futures::executor::block_on(Logins::read(&[login("user", "")])).err().unwrap().to_string();
        assert!(error.contains("auth") && error.contains("\"user\""), "{error}");
    }
}
