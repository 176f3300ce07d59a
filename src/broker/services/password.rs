//! Passwords of logins.

use rand::distr::{Alphanumeric, SampleString};
use secrecy::SecretString;

/// 190 bits; letters and digits only, so that no URL needs to quote them.
const LENGTH: usize = 32;

/// A new password, from the thread's cryptographic generator.
pub(crate) fn generate() -> SecretString {
    Alphanumeric.sample_string(&mut rand::rng(), LENGTH).into()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn passwords_are_long_plain_and_different() {
        let (one, other) = (generate(), generate());
        assert_ne!(one.expose_secret(), other.expose_secret());
        let one = one.expose_secret();
        assert!(one.len() >= 24 && one.chars().all(|c| c.is_ascii_alphanumeric()));
    }
}
