//! What the annotations of a ServiceBinding add to its Secrets: labels, annotations, and keys with facts about the instance, as
//! replicators and libraries of other platforms expect them. Pure. A user of a namespace writes the annotations, so names that
//! bindery or Kubernetes itself interprets are refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::key_names::{is_key, shortened};
use crate::contract::{GROUP, binding as contract};

/// How many entries an annotation may have.
const MAX_ENTRIES: usize = 64;
/// How long the texts of an annotation may be together.
const MAX_LENGTH: usize = 64 << 10;
/// The longest name of a label or annotation after its prefix, and the longest value of a label.
const MAX_NAME: usize = 63;
/// Domains whose names Kubernetes or the catalog interprets.
const RESERVED_DOMAINS: [&str; 3] = [GROUP, "kubernetes.io", "k8s.io"];
/// A reserved domain whose names are only informative, except for the label with which bindery marks its objects.
const APP_DOMAIN: &str = "app.kubernetes.io";

/// An annotation cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("annotation {annotation}: {problem}")]
pub(crate) struct ExtrasError {
    annotation: &'static str,
    problem: String,
}

/// What the annotations add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    keys: BTreeMap<String, Fact>,
}

/// What a key can tell about the binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    InstanceName,
    InstanceGuid,
    Plan,
    Service,
    Tags,
}

/// The names are those of the SAP BTP operator's Secrets. `label` and `type` are both the service's name.
const FACTS: [(&str, Fact); 6] = [
    ("instance_name", Fact::InstanceName),
    ("instance_guid", Fact::InstanceGuid),
    ("plan", Fact::Plan),
    ("type", Fact::Service),
    ("label", Fact::Service),
    ("tags", Fact::Tags),
];

/// The facts about a binding that its Secret can tell.
pub(crate) struct Facts<'a> {
    pub(crate) instance_name: &'a str,
    pub(crate) instance_id: &'a str,
    pub(crate) service: &'a str,
    pub(crate) plan: &'a str,
    pub(crate) tags: &'a [String],
}

impl Extras {
    /// Reads the annotations of a binding.
    pub(crate) fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, ExtrasError> {
        let read = |annotation: &'static str, check: fn(&str, &str) -> Result<(), String>| {
            let Some(text) = annotations.get(annotation) else { return Ok(BTreeMap::new()) };
            let wrong = |problem| ExtrasError { annotation, problem };
            let entries = entries(text, annotation == contract::SECRET_KEYS).map_err(wrong)?;
            for (name, value) in &entries {
                check(name, value).map_err(wrong)?;
            }
            Ok(entries)
        };
        let keys = read(contract::SECRET_KEYS, check_fact)?;
        Ok(Self {
            labels: read(contract::SECRET_LABELS, check_label)?,
            annotations: read(contract::SECRET_ANNOTATIONS, |name, _| check_name(name))?,
            keys: keys.into_iter().filter_map(|(key, fact)| Some((key, Fact::named(&fact)?))).collect(),
        })
    }

    /// The additional keys with their values.
    pub(crate) fn facts(&self, facts: &Facts<'_>) -> BTreeMap<String, String> {
        let value = |fact: &Fact| match fact {
            Fact::InstanceName => facts.instance_name.to_owned(),
            Fact::InstanceGuid => facts.instance_id.to_owned(),
            Fact::Plan => facts.plan.to_owned(),
            Fact::Service => facts.service.to_owned(),
            Fact::Tags => json!(facts.tags).to_string(),
        };
        self.keys.iter().map(|(key, fact)| (key.clone(), value(fact))).collect()
    }

    /// The names of the labels and annotations, as the Secret records them, so that a later version can remove them.
    pub(crate) fn recorded(&self) -> Option<String> {
        if self.labels.is_empty() && self.annotations.is_empty() {
            return None;
        }
        let names = |entries: &BTreeMap<String, String>| entries.keys().cloned().collect::<Vec<_>>();
        Some(json!([names(&self.labels), names(&self.annotations)]).to_string())
    }
}

/// The names of the labels and annotations that a Secret records as written for a binding. Users can change the record, so only
/// names that a binding can add are returned.
pub(crate) fn formerly_written(record: Option<&String>) -> (Vec<String>, Vec<String>) {
    let (mut labels, mut annotations): (Vec<String>, Vec<String>) =
        record.and_then(|record| serde_json::from_str(record).ok()).unwrap_or_default();
    for names in [&mut labels, &mut annotations] {
        names.retain(|name| check_name(name).is_ok());
    }
    (labels, annotations)
}

/// All the annotations that a binding can have for its Secrets, as one text that changes with any of them; `None` without any.
pub(crate) fn source(annotations: &BTreeMap<String, String>) -> Option<String> {
    let names = [contract::SECRET_LABELS, contract::SECRET_ANNOTATIONS, contract::SECRET_KEYS];
    let texts = names.map(|name| annotations.get(name));
    texts.iter().any(Option::is_some).then(|| json!(texts).to_string())
}

impl Fact {
    fn named(name: &str) -> Option<Self> {
        FACTS.iter().find(|(known, _)| *known == name).map(|(_, fact)| *fact)
    }
}

/// A JSON object of strings, or `name=value` separated by commas or line breaks. With `short`, a name alone is its own value.
fn entries(text: &str, short: bool) -> Result<BTreeMap<String, String>, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} bytes"));
    }
    let mut entries = BTreeMap::new();
    if text.trim_start().starts_with('{') {
        let object: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|error| {
            format!("it is no JSON object (line {}, column {})", error.line(), error.column())
        })?;
        for (name, value) in object {
            let Value::String(value) = value else {
                return Err(format!("the value of {:?} must be a string", shortened(&name)));
            };
            entries.insert(name, value);
        }
    } else {
        for entry in text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty()) {
            let pair = entry.split_once('=').or_else(|| short.then_some((entry, entry)));
            let Some((name, value)) = pair.map(|(name, value)| (name.trim(), value.trim())) else {
                return Err(format!("entry {:?}: write it as name=value", shortened(entry)));
            };
            if entries.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(format!("{:?} is named twice", shortened(name)));
            }
        }
    }
    if entries.len() > MAX_ENTRIES {
        return Err(format!("it has more than {MAX_ENTRIES} entries"));
    }
    Ok(entries)
}

fn check_fact(key: &str, fact: &str) -> Result<(), String> {
    if !is_key(key) {
        return Err(format!("{:?} cannot be a key of a Secret", shortened(key)));
    }
    if Fact::named(fact).is_none() {
        let known = FACTS.map(|(name, _)| name).join(", ");
        return Err(format!("{:?} is not known; write one of {known}, or key=one of them", shortened(fact)));
    }
    Ok(())
}

fn check_label(name: &str, value: &str) -> Result<(), String> {
    check_name(name)?;
    if value.is_empty() || is_label_text(value) {
        return Ok(());
    }
    Err(format!(
        "the value {:?} of label {name:?} is invalid; use at most {MAX_NAME} letters, digits, -, _ and ., beginning and ending \
        with a letter or digit",
        shortened(value)
    ))
}

/// Whether Kubernetes accepts the name, and neither bindery nor Kubernetes interprets it.
fn check_name(name: &str) -> Result<(), String> {
    let (domain, short) = name.split_once('/').map_or((None, name), |(domain, short)| (Some(domain), short));
    if !is_label_text(short) || !domain.is_none_or(is_domain) {
        return Err(format!(
            "the name {:?} is invalid; write [domain/]name with at most {MAX_NAME} letters, digits, -, _ and . after the domain",
            shortened(name)
        ));
    }
    let is_reserved = domain.is_some_and(|domain| {
        RESERVED_DOMAINS.iter().any(|reserved| {
            domain == *reserved || domain.strip_suffix(reserved).is_some_and(|rest| rest.ends_with('.'))
        })
    });
    let is_informative = domain == Some(APP_DOMAIN) && name != contract::MANAGED_BY.0;
    if is_reserved && !is_informative {
        return Err(format!(
            "the name {:?} is reserved for bindery and Kubernetes; choose another",
            shortened(name)
        ));
    }
    Ok(())
}

fn is_label_text(text: &str) -> bool {
    let is_outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= MAX_NAME
        && is_outer(text.bytes().next())
        && is_outer(text.bytes().next_back())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_domain(domain: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    domain.len() <= 253 && domain.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(annotation: &str, text: &str) -> Result<Extras, ExtrasError> {
        Extras::parse(&BTreeMap::from([(annotation.to_owned(), text.to_owned())]))
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn annotations_are_pairs_or_json() {
        let labels =
            parse(contract::SECRET_LABELS, "team=a, example.com/tier=db\napp.kubernetes.io/name=x").unwrap();
        assert_eq!(
            labels.labels,
            map(&[("team", "a"), ("example.com/tier", "db"), ("app.kubernetes.io/name", "x")])
        );
        let json = r#"{"replicator.example.com/to": "a,b=c"}"#;
        let annotations = parse(contract::SECRET_ANNOTATIONS, json).unwrap();
        assert_eq!(annotations.annotations, map(&[("replicator.example.com/to", "a,b=c")]));
        assert_eq!(Extras::parse(&BTreeMap::new()).unwrap(), Extras::default());
    }

    #[test]
    fn keys_tell_facts_about_the_instance() {
        let extras =
            parse(contract::SECRET_KEYS, "instance_name,plan,service=type,tags,id=instance_guid").unwrap();
        let tags = ["sql".to_owned()];
        let facts = Facts {
            instance_name: "db",
            instance_id: "i-1",
            service: "postgresql",
            plan: "small",
            tags: &tags,
        };
        let expected = [
            ("instance_name", "db"),
            ("plan", "small"),
            ("service", "postgresql"),
            ("tags", "[\"sql\"]"),
            ("id", "i-1"),
        ];
        assert_eq!(extras.facts(&facts), map(&expected));
    }

    #[test]
    fn hostile_or_invalid_entries_are_refused() {
        for (annotation, text, words) in [
            (contract::SECRET_LABELS, "bindery.dev/binding=other", "reserved"),
            (contract::SECRET_LABELS, "x.bindery.dev/a=b", "reserved"),
            (contract::SECRET_LABELS, "app.kubernetes.io/managed-by=me", "reserved"),
            (contract::SECRET_ANNOTATIONS, "kubernetes.io/service-account.name=admin", "reserved"),
            (contract::SECRET_ANNOTATIONS, "bindery.dev/revision=9", "reserved"),
            (contract::SECRET_LABELS, "a b=c", "invalid"),
            (contract::SECRET_LABELS, "a=b c", "invalid"),
            (contract::SECRET_LABELS, "Example.com/a=c", "invalid"),
            (contract::SECRET_LABELS, "a", "name=value"),
            (contract::SECRET_LABELS, "a=1,a=2", "named twice"),
            (contract::SECRET_LABELS, "{\"a\": 1}", "must be a string"),
            (contract::SECRET_LABELS, "{\"a\"", "no JSON object"),
            (contract::SECRET_KEYS, "password", "is not known"),
            (contract::SECRET_KEYS, "a/b=plan", "cannot be a key"),
        ] {
            let error = parse(annotation, text).unwrap_err().to_string();
            assert!(error.contains(annotation) && error.contains(words), "{text}: {error}");
        }
        let many: String = (0..65).map(|number| format!("a{number}=b,")).collect();
        assert!(parse(contract::SECRET_LABELS, &many).unwrap_err().to_string().contains("64"));
    }

    #[test]
    fn a_record_names_what_can_be_removed_again() {
        let extras = parse(contract::SECRET_LABELS, "team=a").unwrap();
        assert_eq!(formerly_written(extras.recorded().as_ref()), (vec!["team".to_owned()], vec![]));
        let forged = json!([["bindery.dev/binding", "x"], ["bindery.dev/revision"]]).to_string();
        assert_eq!(formerly_written(Some(&forged)), (vec!["x".to_owned()], vec![]));
        assert_eq!(formerly_written(None), (vec![], vec![]));
        assert_eq!(Extras::default().recorded(), None);
    }
}
