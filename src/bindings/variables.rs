//! The environment variables of a binding, which are the content of the Secret `<binding>-env`. Pure. The names come
//! from one source, the first of: the binding's annotation `bindery.dev/env`, `metadata.bindery.env` of the plan, that
//! of the service, and bindery's built-in list of well-known services, by the service's name or else by the key `type`
//! of the credentials. An entry is `NAME=key`, the value of a key of the credentials, or `NAME=template`, in which
//! `{key}` stands for the percent-encoded value, `{key|raw}` for the unchanged value, and `{{` and `}}` for braces.
//! Each entry has its own line; entries without a brace may share a line, separated by commas.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::values::{MAX_SIZE, as_text};
use crate::{
    contract::well_known_variables,
    osb::{Credentials, Object},
};

/// The characters of [`Credentials`] that are percent-encoded: all except RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The maximum number of variables of a binding. Users and brokers write the list.
const MOST_VARIABLES: usize = 1000;

/// The definition of a variable is invalid. The error names the source and never shows a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VariablesError {
    /// An entry is invalid.
    #[error("{source_name}, entry {entry:?}: {problem}")]
    Entry {
        /// The annotation, or the metadata of the plan or service.
        source_name: String,
        /// The entry, or its name.
        entry: String,
        /// The problem and its remedy.
        problem: String,
    },
    /// The metadata has the wrong type.
    #[error("{source_name} must be an object of strings or a string")]
    Shape {
        /// The metadata of the plan or service.
        source_name: String,
    },
}

/// Validates the value of a binding's annotation `bindery.dev/env`.
pub(crate) fn check_variables(text: &str) -> Result<(), VariablesError> {
    Variables::parse("what the variables are called", text).map(drop)
}

/// The variables of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variables {
    source_name: String,
    /// Whether a variable whose key is missing is skipped, as in the built-in list, instead of being an error.
    optional: bool,
    entries: Vec<Entry>,
}

/// The variables of a binding with their values, as in the Secret `<binding>-env`: `annotation` is the ServiceBinding's
/// `bindery.dev/env`, `plan` and `class` are their metadata in the broker's catalog, and `service` is the service's
/// name in the catalog. Only the first existing source counts.
///
/// # Errors
/// Fails with an error that names the source and the invalid entry.
pub fn variables(
    annotation: Option<&str>,
    plan: Option<&Object>,
    class: Option<&Object>,
    service: &str,
    credentials: &Credentials,
) -> Result<BTreeMap<String, String>, VariablesError> {
    Variables::find(annotation, plan, class, service)?.render(credentials)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Key { key: String, raw: bool },
}

impl Variables {
    /// The variables that the first existing source names.
    pub(crate) fn find(
        annotation: Option<&str>,
        plan: Option<&Object>,
        class: Option<&Object>,
        service: &str,
    ) -> Result<Self, VariablesError> {
        if let Some(text) = annotation {
            return Self::parse(&format!("annotation {}", crate::contract::binding::ENV), text);
        }
        if let Some((source_name, value)) = named_by_catalog(plan, class) {
            return Self::from_metadata(&format!("metadata.bindery.env of the {source_name}"), value);
        }
        let source_name = format!("what bindery knows of {service}");
        Ok(Self { source_name, optional: true, entries: well_known(service) })
    }

    fn parse(source_name: &str, text: &str) -> Result<Self, VariablesError> {
        let mut all = Self { source_name: source_name.to_owned(), optional: false, entries: Vec::new() };
        for line in text.lines() {
            let entries = if line.contains(['{', '}']) { vec![line] } else { line.split(',').collect() };
            for entry in entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty()) {
                let (name, value) = entry
                    .split_once('=')
                    .ok_or_else(|| all.error(entry, "write it as NAME=key or NAME=template"))?;
                all.add(entry, name.trim(), value.trim())?;
            }
        }
        Ok(all)
    }

    fn from_metadata(source_name: &str, value: &Value) -> Result<Self, VariablesError> {
        match value {
            Value::String(text) => Self::parse(source_name, text),
            Value::Object(names) => {
                let mut all =
                    Self { source_name: source_name.to_owned(), optional: false, entries: Vec::new() };
                for (name, value) in names {
                    let value = value
                        .as_str()
                        .ok_or_else(|| all.error(name, "the value must be a string: a key or a template"))?;
                    all.add(name, name, value)?;
                }
                Ok(all)
            }
            _ => Err(VariablesError::Shape { source_name: source_name.to_owned() }),
        }
    }

    fn add(&mut self, entry: &str, name: &str, value: &str) -> Result<(), VariablesError> {
        if !is_variable_name(name) {
            let problem = format!(
                "{name:?} cannot name a variable: use letters, digits, _, - and ., not beginning with a digit"
            );
            return Err(self.error(entry, &problem));
        }
        if self.entries.len() == MOST_VARIABLES {
            return Err(
                self.error(entry, &format!("a binding has at most {MOST_VARIABLES} variables; name fewer"))
            );
        }
        if self.entries.iter().any(|other| other.name == name) {
            return Err(self.error(entry, &format!("{name} is named twice")));
        }
        let pieces = if value.contains(['{', '}']) {
            template(value).map_err(|problem| self.error(entry, &problem))?
        } else if value.is_empty() {
            return Err(self.error(entry, "the key after = is missing"));
        } else {
            vec![Piece::Key { key: value.to_owned(), raw: true }]
        };
        self.entries.push(Entry { name: name.to_owned(), pieces });
        Ok(())
    }

    /// The variables with their values.
    pub(crate) fn render(
        &self,
        credentials: &Credentials,
    ) -> Result<BTreeMap<String, String>, VariablesError> {
        let (mut values, mut left) = (BTreeMap::new(), MAX_SIZE);
        let of_type;
        let entries = match credentials.expose().get("type") {
            // The key for the type in the Service Binding specification; a service may have any name.
            Some(Value::String(kind)) if self.optional && self.entries.is_empty() => {
                of_type = well_known(kind);
                &of_type
            }
            _ => &self.entries,
        };
        for entry in entries {
            match entry.render(credentials.expose(), &mut left) {
                Ok(value) => {
                    values.insert(entry.name.clone(), value);
                }
                Err(NoValue::TooLarge) => {
                    let problem = format!(
                        "the values of all variables together exceed {MAX_SIZE} bytes, the limit of a Secret; shorten the \
                         templates"
                    );
                    return Err(self.error(&entry.name, &problem));
                }
                Err(NoValue::Missing(_)) if self.optional => {}
                Err(NoValue::Missing(key)) => {
                    let keys: Vec<&str> = credentials.expose().keys().map(String::as_str).collect();
                    let problem =
                        format!("the credentials have no key {key:?}; they have {}", keys.join(", "));
                    return Err(self.error(&entry.name, &problem));
                }
            }
        }
        Ok(values)
    }

    fn error(&self, entry: &str, problem: &str) -> VariablesError {
        VariablesError::Entry {
            source_name: self.source_name.clone(),
            entry: entry.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// The variables in the metadata of the plan, or else of the service, and which of the two it was.
fn named_by_catalog<'a>(
    plan: Option<&'a Object>,
    class: Option<&'a Object>,
) -> Option<(&'static str, &'a Value)> {
    let env = |metadata: Option<&'a Object>| metadata?.get("bindery")?.get("env");
    env(plan).map(|value| ("plan", value)).or_else(|| env(class).map(|value| ("service", value)))
}

/// SHA-256 of the source that names a binding's variables, to detect a change of the source.
pub(crate) fn checksum(
    annotation: Option<&str>,
    plan: Option<&Object>,
    class: Option<&Object>,
    service: &str,
) -> String {
    let text = match (annotation, named_by_catalog(plan, class)) {
        (Some(text), _) => text.to_owned(),
        (None, Some((_, value))) => value.to_string(),
        (None, None) => format!("what bindery knows of {service}"),
    };
    hex::encode(Sha256::digest(text))
}

/// The variables of a well-known service or type of service.
fn well_known(of: &str) -> Vec<Entry> {
    let entry = |(name, key): &(&str, &str)| Entry {
        name: (*name).to_owned(),
        pieces: vec![Piece::Key { key: (*key).to_owned(), raw: true }],
    };
    well_known_variables(of).iter().map(entry).collect()
}

/// Why a variable has no value.
enum NoValue {
    /// The credentials lack this key.
    Missing(String),
    /// The values exceed the size of a Secret.
    TooLarge,
}

impl Entry {
    /// Returns the value, and subtracts its size from `left`. Checks the size with each piece, because a short template
    /// can repeat a long value very often.
    fn render(&self, credentials: &Object, left: &mut usize) -> Result<String, NoValue> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Key { key, raw } => {
                    let value = as_text(credentials.get(key).ok_or_else(|| NoValue::Missing(key.clone()))?);
                    if *raw {
                        text.push_str(&value);
                    } else {
                        text.extend(utf8_percent_encode(&value, ENCODED));
                    }
                }
            }
            if text.len() > *left {
                return Err(NoValue::TooLarge);
            }
        }
        *left -= text.len();
        Ok(text)
    }
}

/// Whether Kubernetes accepts the name as a variable (`IsEnvVarName`) and as a key of a Secret.
fn is_variable_name(name: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    name.bytes().all(ok)
        && name.len() <= 253
        && !matches!(name, "" | ".")
        && !name.starts_with("..")
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn template(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        let after = &rest[at + 1..];
        if let Some(after_pair) = after.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after_pair;
            continue;
        }
        if brace == "}" {
            return Err("} without {; write }} for a brace".to_owned());
        }
        let end = after.find('}').ok_or("{ without }; write {{ for a brace")?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(placeholder(&after[..end])?);
        rest = &after[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

fn placeholder(text: &str) -> Result<Piece, String> {
    let (key, raw) = match text.split_once('|') {
        None => (text, false),
        Some((key, "raw")) => (key, true),
        Some((_, other)) => return Err(format!("{other:?} is not known; after | only raw may stand")),
    };
    if key.is_empty() || key.contains('{') {
        return Err(format!("{{{text}}} names no key"));
    }
    Ok(Piece::Key { key: key.to_owned(), raw })
}

#[cfg(test)]
mod tests;
