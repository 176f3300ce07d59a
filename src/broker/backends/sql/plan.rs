//! The settings of a database plan: what instances start from, which parameters users may set, and how long bindings
//! last. `schemas` publishes what a plan allows to platforms as JSON Schemas.

mod schemas;

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::{connection_limit::ConnectionLimit, service_kind::ServiceKind, settings::ServerSettings};
use crate::broker::config::{ConfigError, Kinds, Lifetime, ReclaimPolicy, SslMode};

/// The settings of a database plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DatabasePlan {
    /// The access of bindings to the data.
    pub(crate) access: Choice<Access>,
    /// The lifetime of bindings.
    pub(crate) valid_for: Validity,
    /// The allowed encodings, or character sets; the first is the default. Empty: the engine's default only.
    pub(crate) encodings: Vec<String>,
    /// The extensions that an instance may have.
    pub(crate) extensions: Vec<String>,
    /// The databases that an instance may start as a copy of: the name for users, and the name on the server.
    pub(crate) templates: BTreeMap<String, String>,
    /// What happens to the data when an instance is deleted.
    pub(crate) reclaim_policy: Choice<ReclaimPolicy>,
    /// The TLS mode in bindings; see [`DatabasePlan::sslmode_on`] for the default.
    pub(crate) sslmode: Option<SslMode>,
    /// How bindings authenticate.
    pub(crate) credentials: CredentialKind,
    /// The connection limit of each binding; the default is [`ConnectionLimit::DEFAULT`] on engines that have such a
    /// limit.
    pub(crate) max_connections_per_binding: Option<ConnectionLimit>,
}

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

/// A binding's access to an instance's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    /// Everything, including the schema.
    #[default]
    Owner,
    /// Read and change rows.
    ReadWrite,
    /// Read rows.
    ReadOnly,
}

/// How a binding authenticates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CredentialKind {
    /// A password.
    #[default]
    Password,
    /// A client certificate, signed by the server's client CA.
    Certificate,
}

/// The lifetime of bindings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Validity {
    /// For bindings that set none; unlimited if absent.
    pub(crate) default: Option<Lifetime>,
    /// The maximum; unlimited if absent.
    pub(crate) maximum: Option<Lifetime>,
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

    fn check(&self, field: &str) -> Result<(), ConfigError> {
        let words: Vec<_> = self.allowed.iter().map(|allowed| allowed.as_str()).collect();
        refuse_repeated(&words, &format!("{field}.allowed"))?;
        if self.allowed.contains(&self.default) {
            return Ok(());
        }
        let problem = format!("is {:?}, which `allowed` does not hold; add it there", self.default.as_str());
        Err(ConfigError::invalid(format!("{field}.default"), problem))
    }
}

impl DatabasePlan {
    /// Checks that the fields are consistent and that the kind of service supports them; `field` is the plan's path.
    pub(crate) fn check(&self, kind: ServiceKind, field: &str) -> Result<(), ConfigError> {
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

    /// The TLS mode in bindings on a server. Without a setting in the plan, applications encrypt if the broker does.
    pub(crate) fn sslmode_on(&self, server: &ServerSettings) -> SslMode {
        self.sslmode.unwrap_or(match server.sslmode {
            SslMode::Disable => SslMode::Disable,
            _ => SslMode::Require,
        })
    }

    /// The connection limit of each binding; `None` is the server's limit.
    pub(crate) fn connections(&self) -> Option<u32> {
        self.max_connections_per_binding.unwrap_or(ConnectionLimit::DEFAULT).at_most()
    }
}

/// The values become an `enum` of a JSON Schema, which must not repeat a value.
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
}

#[cfg(test)]
mod tests;
