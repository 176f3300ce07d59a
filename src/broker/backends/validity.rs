//! How long the credentials of bindings are valid: the default and the maximum of a plan.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::broker::config::{ConfigError, LIFETIME_PATTERN, Lifetime};

/// The lifetime of bindings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Validity {
    /// For bindings that set none; unlimited if absent.
    pub(crate) default: Option<Lifetime>,
    /// The maximum; unlimited if absent.
    pub(crate) maximum: Option<Lifetime>,
}

impl Validity {
    /// The lifetime of a binding that requests `asked`; `None` is unlimited.
    ///
    /// # Errors
    /// Names the maximum that the plan allows.
    pub(crate) fn take(self, asked: Option<Lifetime>) -> Result<Option<Lifetime>, String> {
        match (asked, self.maximum) {
            (None, maximum) => Ok(self.default.or(maximum)),
            (Some(asked), Some(maximum)) if asked > maximum => {
                Err(format!("{asked} is more than the plan allows; ask for {maximum} at most"))
            }
            (asked, _) => Ok(asked),
        }
    }

    /// Refuses a default above the maximum; `field` is the path of the setting.
    pub(crate) fn check(self, field: &str) -> Result<(), ConfigError> {
        if let (Some(default), Some(maximum)) = (self.default, self.maximum)
            && default > maximum
        {
            let problem = format!("is {default}, and `maximum` is {maximum}; take at most that");
            return Err(ConfigError::invalid(format!("{field}.default"), problem));
        }
        Ok(())
    }

    /// The JSON Schema of the parameter.
    pub(crate) fn schema(self) -> Value {
        json!({"type": "string", "pattern": LIFETIME_PATTERN, "description": self.description()})
    }

    fn description(self) -> String {
        let mut text = "How long the credentials last, as 90m, 24h or 30d".to_owned();
        if let Some(default) = self.default {
            text = format!("{text}; {default} if left out");
        }
        if let Some(maximum) = self.maximum {
            text = format!("{text}; at most {maximum}");
        }
        text + "."
    }
}
