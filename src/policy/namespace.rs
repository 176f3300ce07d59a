//! The Namespace of a pod.

use std::collections::BTreeMap;

use crate::contract;

/// The label with a Namespace's name, which the API server sets.
pub(super) const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What a policy may ask about a Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    name: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Namespace {
    /// A Namespace with these labels and annotations.
    #[must_use]
    pub fn new(
        name: &str,
        mut labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        labels.insert(NAME_LABEL.to_owned(), name.to_owned());
        Self { name: name.to_owned(), labels, annotations }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// The bindings of pods that name none themselves.
    pub(super) fn default_bind(&self) -> Option<&str> {
        let (label, enabled) = contract::namespace::INJECT;
        let is_enabled = self.labels.get(label).is_some_and(|value| value == enabled);
        self.annotations.get(contract::pod::BIND).filter(|_| is_enabled).map(String::as_str)
    }
}
