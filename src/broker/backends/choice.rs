//! A choice between words that a plan leaves to its users: a default and the allowed values.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::broker::config::{ConfigError, Kinds};

/// A default and the allowed values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Stated<T>", bound = "T: Kinds + Deserialize<'de>")]
pub(crate) struct Choice<T: Kinds> {
    /// The value when a user sets none.
    pub(crate) default: T,
    /// The values that a user may set.
    pub(crate) allowed: Vec<T>,
}

/// A [`Choice`] as written in the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated<T> {
    default: Option<T>,
    allowed: Option<Vec<T>>,
}

impl<T: Kinds> Default for Choice<T> {
    fn default() -> Self {
        Self { default: T::default(), allowed: T::ALLOWED.to_vec() }
    }
}

/// Without `allowed`, the default is allowed, in addition to the values that are always allowed.
impl<T: Kinds> From<Stated<T>> for Choice<T> {
    fn from(Stated { default, allowed }: Stated<T>) -> Self {
        let default = default.unwrap_or_default();
        let allowed = allowed.unwrap_or_else(|| {
            let beside = (!T::ALLOWED.contains(&default)).then_some(default);
            T::ALLOWED.iter().copied().chain(beside).collect()
        });
        Self { default, allowed }
    }
}

impl<T: Kinds> Choice<T> {
    /// The requested value, or the default.
    ///
    /// # Errors
    /// Names the allowed values.
    pub(crate) fn take(&self, asked: Option<T>) -> Result<T, String> {
        match asked {
            None => Ok(self.default),
            Some(asked) if self.allowed.contains(&asked) => Ok(asked),
            Some(asked) => Err(format!("{:?} is not allowed by the plan; {}", asked.as_str(), self.remedy())),
        }
    }

    fn remedy(&self) -> String {
        let words: Vec<_> = self.allowed.iter().map(|allowed| allowed.as_str()).collect();
        format!("ask for {}", words.join(" or "))
    }

    /// Checks that the default is allowed and no word is repeated; `field` is the path of the setting.
    pub(crate) fn check(&self, field: &str) -> Result<(), ConfigError> {
        let words: Vec<_> = self.allowed.iter().map(|allowed| allowed.as_str()).collect();
        refuse_repeated(&words, &format!("{field}.allowed"))?;
        if self.allowed.contains(&self.default) {
            return Ok(());
        }
        let problem = format!("is {:?}, which `allowed` does not hold; add it there", self.default.as_str());
        Err(ConfigError::invalid(format!("{field}.default"), problem))
    }

    /// The JSON Schema of the parameter.
    pub(crate) fn schema(&self, description: &str) -> Value {
        let words: Vec<_> = self.allowed.iter().map(|allowed| allowed.as_str()).collect();
        json!({"type": "string", "enum": words, "default": self.default.as_str(), "description": description})
    }
}

/// The values become an `enum` of a JSON Schema, which must not repeat a value.
pub(crate) fn refuse_repeated(words: &[impl AsRef<str>], field: &str) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    match words.iter().map(AsRef::as_ref).find(|word| !seen.insert(*word)) {
        None => Ok(()),
        Some(word) => {
            let problem = format!("has {word:?} twice; write it once");
            Err(ConfigError::invalid(field, problem))
        }
    }
}
