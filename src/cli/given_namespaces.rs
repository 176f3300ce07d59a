//! The Namespaces among the manifests and their defaults for pods, applied as by the webhook.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    cli::manifest::documents,
    contract::namespace,
    injection::{
        InjectError, InjectSettings, Injection, NamespaceDefaults, inject, inject_defaults, takes_defaults,
        workload::Workload,
    },
};

/// The Namespaces that are known offline.
#[derive(Debug, Default)]
pub(super) struct GivenNamespaces {
    /// The defaults of Namespaces that have some, by name.
    defaults: BTreeMap<String, NamespaceDefaults>,
    /// The namespace of manifests that name none.
    otherwise: Option<String>,
}

impl GivenNamespaces {
    /// Collects the Namespaces in these files. Unreadable documents are skipped; the injection reports them.
    pub(super) fn among<'a>(files: impl Iterator<Item = &'a str>, otherwise: Option<String>) -> Self {
        let mut given = Self { defaults: BTreeMap::new(), otherwise };
        // Parses only documents that may be a Namespace with defaults.
        for document in files.flat_map(documents).filter(|it| it.text.contains(namespace::INJECT.0)) {
            if let Ok(value) = document.parse() {
                given.add(&value);
            }
        }
        given
    }

    fn add(&mut self, manifest: &Value) {
        for item in manifest.get("items").and_then(Value::as_array).into_iter().flatten() {
            self.add(item);
        }
        let is = |field: &str, value: &str| manifest.get(field).and_then(Value::as_str) == Some(value);
        let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
        if let Some(name) = name.filter(|_| is("apiVersion", "v1") && is("kind", "Namespace")) {
            let (labels, annotations) = (texts(manifest, "labels"), texts(manifest, "annotations"));
            if let Some(defaults) = NamespaceDefaults::read(name, &labels, &annotations) {
                self.defaults.insert(name.to_owned(), defaults);
            }
        }
    }

    /// Injects the bindings that the workload's pods ask for, or else those of the Namespace's defaults.
    pub(super) fn inject(
        &self,
        workload: &Workload<'_>,
        settings: &InjectSettings,
    ) -> Result<Injection, InjectError> {
        let defaults = self.namespace_of(workload).and_then(|name| self.defaults.get(name));
        match defaults {
            Some(defaults) if takes_defaults(workload.template) => {
                inject_defaults(workload.template, defaults, settings)
            }
            _ => inject(workload.template, settings),
        }
    }

    /// Whether the Namespace defaults may be missing because the workload's namespace is not known.
    pub(super) fn may_miss(&self, workload: &Workload<'_>) -> bool {
        !self.defaults.is_empty()
            && self.namespace_of(workload).is_none()
            && takes_defaults(workload.template)
    }

    /// The namespace of a workload.
    pub(super) fn namespace_of<'a>(&'a self, workload: &Workload<'a>) -> Option<&'a str> {
        let named = workload.object.pointer("/metadata/namespace").and_then(Value::as_str);
        named.filter(|name| !name.is_empty()).or(self.otherwise.as_deref())
    }
}

/// The string values of a metadata map, such as labels.
pub(super) fn texts(manifest: &Value, field: &str) -> BTreeMap<String, String> {
    let entries = manifest.get("metadata").and_then(|metadata| metadata.get(field)?.as_object());
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    entries.into_iter().flatten().filter_map(text).collect()
}
