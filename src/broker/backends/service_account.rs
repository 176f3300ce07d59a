//! The service account whose pods get a role instead of a key: the parameter of a binding, and the namespace that the platform
//! names.

use serde_json::Value;

use crate::osb::Object;

/// The service account of pods that name none.
pub(crate) const DEFAULT: &str = "default";

/// A service account of the binding's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ServiceAccount {
    /// The service account that a binding asks for in the platform's context.
    ///
    /// # Errors
    /// Returns the parameter and what is wrong with it.
    pub(crate) fn read(asked: Option<&str>, context: &Object) -> Result<Self, (&'static str, &'static str)> {
        let name = asked.unwrap_or(DEFAULT);
        if !is_name(name, 253) {
            return Err(("serviceAccount", "is no name of a service account"));
        }
        // Only the platform says in which namespace a binding is.
        let namespace = context.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if !is_name(namespace, 63) {
            return Err(("credentials", "needs a namespace of Kubernetes in the platform's context"));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

fn is_name(text: &str, longest: usize) -> bool {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    !text.is_empty() && text.len() <= longest && text.chars().all(fits)
}
