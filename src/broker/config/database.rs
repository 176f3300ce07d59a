//! What a plan of a database service says about its instances and bindings: where they start from, what they may ask for,
//! how long they last. Whoever asks names only what the plan allows; the JSON Schemas made here tell platforms what that
//! is.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Value, json};

pub use crate::contract::ReclaimPolicy;

use super::{ConfigError, ConnectionLimit, ServerSettings, ServiceKind, SslMode, schema};

/// The form of [`Lifetime`], for JSON Schema.
const LIFETIME_PATTERN: &str = "^([0-9]+(w|d|h|m|s) ?)+$";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct DatabasePlan {
    /// What bindings may do with the data.
    pub access: Choice<Access>,
    /// How long bindings last.
    pub valid_for: Validity,
    /// The encodings, or character sets, that an instance may have; the first is the default. Empty: the engine's own.
    pub encodings: Vec<String>,
    /// The extensions that an instance may have.
    pub extensions: Vec<String>,
    /// The databases that an instance may start as a copy of: what users call each, and its name on the server.
    pub templates: BTreeMap<String, String>,
    /// What becomes of the data when an instance is deleted.
    pub reclaim_policy: Choice<ReclaimPolicy>,
    /// What bindings say about TLS; see [`DatabasePlan::sslmode_on`] for when it is left out.
    pub sslmode: Option<SslMode>,
    /// What bindings log in with.
    pub credentials: CredentialKind,
    /// How many connections each binding may have open; [`ConnectionLimit::DEFAULT`] where it is left out and the engine has
    /// such a limit.
    pub max_connections_per_binding: Option<ConnectionLimit>,
}

/// A default, and what may be asked for instead.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Stated<T>", bound = "T: Kinds + Deserialize<'de>")]
pub struct Choice<T: Kinds> {
    /// For whoever asks for nothing.
    pub default: T,
    /// All that may be asked for.
    pub allowed: Vec<T>,
}

/// A [`Choice`] as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated<T> {
    default: Option<T>,
    allowed: Option<Vec<T>>,
}

/// A closed set of words.
pub trait Kinds: Copy + Default + PartialEq + 'static {
    /// All of them.
    const ALL: &'static [Self];
    /// Those that plans allow which say nothing.
    const ALLOWED: &'static [Self] = Self::ALL;
    /// The word.
    fn as_str(self) -> &'static str;
}

/// What a binding may do with an instance's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everything, the schema included.
    #[default]
    Owner,
    /// Read and change rows.
    ReadWrite,
    /// Read.
    ReadOnly,
}

/// What a binding logs in with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// A password.
    #[default]
    Password,
    /// A client certificate, which the server's client CA signs.
    Certificate,
}

/// How long bindings last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Validity {
    /// Those that do not say; for good if left out.
    pub default: Option<Lifetime>,
    /// At most; for good if left out.
    pub maximum: Option<Lifetime>,
}

/// A length of time, written with the units w, d (of 24 hours), h, m and s: `30d`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(Duration);

impl Lifetime {
    /// How long a binding lasts that has a certificate and says nothing of it: 90 days.
    pub const OF_CERTIFICATES: Self = Self(Duration::from_hours(90 * 24));

    /// As a duration of whole seconds.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is no length of time; write it as 90m, 24h or 30d");
        let span: jiff::Span = text.parse().map_err(|_| malformed())?;
        let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| malformed())?;
        match u64::try_from(length.as_secs()) {
            // Of the years that are left, databases take no more than some ten thousand.
            Ok(seconds @ 1..=3_155_760_000) => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(format!("{text:?} is not between 1s and 100 years; write it as 90m, 24h or 30d")),
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{length:#}")
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Kinds for Access {
    const ALL: &'static [Self] = &[Self::Owner, Self::ReadWrite, Self::ReadOnly];

    fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::ReadWrite => "readwrite",
            Self::ReadOnly => "readonly",
        }
    }
}

impl Kinds for ReclaimPolicy {
    const ALL: &'static [Self] = &[Self::Delete, Self::Retain];
    // Or anybody could leave databases behind.
    const ALLOWED: &'static [Self] = &[Self::Delete];

    fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Retain => "retain",
        }
    }
}

impl<T: Kinds> Default for Choice<T> {
    fn default() -> Self {
        Self { default: T::default(), allowed: T::ALLOWED.to_vec() }
    }
}

/// Without a word on what is allowed, the default is, beside what always is.
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
    /// What is asked for, or the default.
    ///
    /// # Errors
    /// Names what is allowed.
    pub fn take(&self, asked: Option<T>) -> Result<T, String> {
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

    fn check(&self, field: &str) -> Result<(), ConfigError> {
        let words: Vec<_> = self.allowed.iter().map(|allowed| allowed.as_str()).collect();
        refuse_repeated(&words, &format!("{field}.allowed"))?;
        if self.allowed.contains(&self.default) {
            return Ok(());
        }
        let problem = format!("is {:?}, which `allowed` does not hold; add it there", self.default.as_str());
        Err(ConfigError::invalid(format!("{field}.default"), problem))
    }

    fn schema(&self, description: &str) -> Value {
        let words: Vec<_> = self.allowed.iter().map(|allowed| allowed.as_str()).collect();
        json!({"type": "string", "enum": words, "default": self.default.as_str(), "description": description})
    }
}

impl DatabasePlan {
    /// Checks what the fields say together, and that the kind of service can do it; `field` is where they stand.
    pub(super) fn check(&self, kind: ServiceKind, field: &str) -> Result<(), ConfigError> {
        let at = |name: &str| format!("{field}.{name}");
        self.access.check(&at("access"))?;
        self.reclaim_policy.check(&at("reclaimPolicy"))?;
        refuse_repeated(&self.encodings, &at("encodings"))?;
        refuse_repeated(&self.extensions, &at("extensions"))?;
        if let (Some(default), Some(maximum)) = (self.valid_for.default, self.valid_for.maximum)
            && default > maximum
        {
            let problem = format!("is {default}, and `maximum` is {maximum}; take at most that");
            return Err(ConfigError::invalid(at("validFor.default"), problem));
        }
        let only_postgresql =
            [("extensions", self.extensions.is_empty()), ("templates", self.templates.is_empty())];
        for (name, is_empty) in only_postgresql {
            if kind != ServiceKind::PostgreSql && !is_empty {
                let problem = format!("is for services of type postgresql only, not {kind}; leave it out");
                return Err(ConfigError::invalid(at(name), problem));
            }
        }
        if kind == ServiceKind::MySql && self.credentials == CredentialKind::Certificate {
            let problem = "is certificate, which services of type mysql have not; take password";
            return Err(ConfigError::invalid(at("credentials"), problem));
        }
        let utf8 = |encoding: &String| encoding.eq_ignore_ascii_case("utf8");
        if kind == ServiceKind::CockroachDb && !self.encodings.iter().all(utf8) {
            return Err(ConfigError::invalid(at("encodings"), "CockroachDB has UTF8 only; leave it out"));
        }
        Ok(())
    }

    /// What bindings on a server say about TLS: without a word from the plan, applications encrypt if the broker does.
    #[must_use]
    pub fn sslmode_on(&self, server: &ServerSettings) -> SslMode {
        self.sslmode.unwrap_or(match server.sslmode {
            SslMode::Disable => SslMode::Disable,
            _ => SslMode::Require,
        })
    }

    /// How many connections each binding may have open at the same time; `None` is as many as the server has.
    #[must_use]
    pub fn connections(&self) -> Option<u32> {
        self.max_connections_per_binding.unwrap_or(ConnectionLimit::DEFAULT).at_most()
    }

    /// The Schemas Object of a plan whose configuration gives none (spec.md, "Schemas Object").
    #[must_use]
    pub fn schemas(&self) -> Value {
        let mut create = serde_json::Map::new();
        create.insert(
            "reclaimPolicy".to_owned(),
            self.reclaim_policy.schema("What becomes of the data when the instance is deleted."),
        );
        if let Some(default) = self.encodings.first() {
            let described = json!({"type": "string", "enum": self.encodings, "default": default,
                "description": "How the database encodes text."});
            create.insert("encoding".to_owned(), described);
        }
        if !self.templates.is_empty() {
            let names: Vec<_> = self.templates.keys().collect();
            let described = json!({"type": "string", "enum": names,
                "description": "The database to start as a copy of."});
            create.insert("template".to_owned(), described);
        }
        if !self.extensions.is_empty() {
            let described = json!({"type": "array", "uniqueItems": true,
                "items": {"type": "string", "enum": self.extensions},
                "description": "The extensions to have in the database."});
            create.insert("extensions".to_owned(), described);
        }
        let bind = json!({
            "access": self.access.schema("What the binding may do with the data."),
            "validFor": {"type": "string", "pattern": LIFETIME_PATTERN,
                "description": self.valid_for.description()},
        });
        let object = |properties: Value| {
            json!({"parameters": {"$schema": schema::DIALECT, "type": "object",
                "additionalProperties": false, "properties": properties}})
        };
        let instance = object(create.into());
        json!({
            "service_instance": {"create": instance, "update": instance},
            "service_binding": {"create": object(bind)},
        })
    }
}

/// The words become an `enum` of a JSON Schema, which holds each once.
fn refuse_repeated(words: &[impl AsRef<str>], field: &str) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    match words.iter().map(AsRef::as_ref).find(|word| !seen.insert(*word)) {
        None => Ok(()),
        Some(word) => {
            let problem = format!("has {word:?} twice; write it once");
            Err(ConfigError::invalid(field, problem))
        }
    }
}

impl Validity {
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

    /// How long a binding lasts that asks for so much; `None` is for good.
    ///
    /// # Errors
    /// Names the most that the plan allows.
    pub fn take(self, asked: Option<Lifetime>) -> Result<Option<Lifetime>, String> {
        match (asked, self.maximum) {
            (None, maximum) => Ok(self.default.or(maximum)),
            (Some(asked), Some(maximum)) if asked > maximum => {
                Err(format!("{asked} is more than the plan allows; ask for {maximum} at most"))
            }
            (asked, _) => Ok(asked),
        }
    }
}

#[cfg(test)]
mod tests;
