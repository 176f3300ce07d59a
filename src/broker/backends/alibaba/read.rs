//! Reads the parameters of users.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{broker::backends::Unacceptable, osb::Object};

/// Reads parameters. The error names the parameter and never its value, which may be a password.
pub(super) fn read<T: DeserializeOwned>(given: &Object) -> Result<T, Unacceptable> {
    serde_path_to_error::deserialize(Value::Object(given.clone())).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner().to_string());
        Unacceptable::Invalid(match path.as_str() {
            "." => format!("the parameters are not understood: {problem}"),
            "Password" => "parameter Password is not understood: a text is expected".to_owned(),
            _ => format!("parameter {path} is not understood: {problem}"),
        })
    })
}

/// A parameter that cannot be had.
pub(super) fn invalid(name: &str, problem: &str) -> Unacceptable {
    Unacceptable::Invalid(format!("parameter {name}: {problem}"))
}
