//! Passwords of logins.

use rand::distr::{Alphanumeric, SampleString};
use secrecy::{ExposeSecret, SecretString};

/// 190 bits; letters and digits only, so that no URL needs to quote them.
const LENGTH: usize = 32;

/// One of each kind of characters that `validate_password.policy=MEDIUM` of MySQL asks for, all of which a URL takes as they
/// are: <https://dev.mysql.com/doc/refman/8.4/en/validate-password-options-variables.html>.
const EVERY_KIND: &str = "-0aA";

/// A new password, from the thread's cryptographic generator.
pub(crate) fn generate() -> SecretString {
    Alphanumeric.sample_string(&mut rand::rng(), LENGTH).into()
}

/// A password that a server's policy takes, too.
pub(crate) fn of_every_kind(generated: &SecretString) -> SecretString {
    format!("{}{EVERY_KIND}", generated.expose_secret()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_plain_and_different() {
        let (one, other) = (generate(), generate());
        assert_ne!(one.expose_secret(), other.expose_secret());
        let one = one.expose_secret();
        assert!(one.len() >= 24 && one.chars().all(|c| c.is_ascii_alphanumeric()));
    }
}
