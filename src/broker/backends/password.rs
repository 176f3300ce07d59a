//! Passwords of the users that backends create.

use rand::distr::{Alphanumeric, SampleString};
use secrecy::{ExposeSecret, SecretString};

/// 190 bits; only letters and digits, so that no URL needs to encode them.
const LENGTH: usize = 32;

/// One character of each class that MySQL's `validate_password.policy=MEDIUM` requires, all of which are valid in a
/// URL: <https://dev.mysql.com/doc/refman/8.4/en/validate-password-options-variables.html>.
const EVERY_KIND: &str = "-0aA";

/// A new password from the thread's cryptographic random generator.
pub(super) fn generate() -> SecretString {
    Alphanumeric.sample_string(&mut rand::rng(), LENGTH).into()
}

/// A password that also satisfies a server's password policy.
pub(super) fn of_every_kind(generated: &SecretString) -> SecretString {
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
