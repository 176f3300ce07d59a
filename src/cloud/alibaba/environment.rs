//! The environment variables that credentials are found with, by the names of the official SDK.

use std::{collections::BTreeMap, fmt};

const PREFIX: &str = "ALIBABA_CLOUD_";

/// The variables whose name begins with `ALIBABA_CLOUD_`. `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Keeps the variables that matter.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with(PREFIX) && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
    }

    /// The value of a variable, named without its prefix.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&format!("{PREFIX}{name}")).map(String::as_str)
    }

    /// Whether a variable is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown() {
        let variables = [
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET".to_owned(), "s3cret".to_owned()),
            ("HOME".to_owned(), "/".to_owned()),
        ];
        let environment = Environment::new(variables);
        assert_eq!(format!("{environment:?}"), r#"{"ALIBABA_CLOUD_ACCESS_KEY_SECRET"}"#);
        assert_eq!(environment.get("ACCESS_KEY_SECRET"), Some("s3cret"));
    }
}
