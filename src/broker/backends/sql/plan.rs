//! The settings of a database plan: what instances start from, which parameters users may set, and how long bindings
//! last. `schemas` publishes what a plan allows to platforms as JSON Schemas.

mod schemas;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{connection_limit::ConnectionLimit, service_kind::ServiceKind, settings::ServerSettings};
use crate::broker::{
    backends::{
        choice::{Choice, refuse_repeated},
        validity::Validity,
    },
    config::{ConfigError, Kinds, ReclaimPolicy, SslMode},
};

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

impl DatabasePlan {
    /// Checks that the fields are consistent and that the kind of service supports them; `field` is the plan's path.
    pub(crate) fn check(&self, kind: ServiceKind, field: &str) -> Result<(), ConfigError> {
        let at = |name: &str| format!("{field}.{name}");
        self.access.check(&at("access"))?;
        self.reclaim_policy.check(&at("reclaimPolicy"))?;
        refuse_repeated(&self.encodings, &at("encodings"))?;
        refuse_repeated(&self.extensions, &at("extensions"))?;
        self.valid_for.check(&at("validFor"))?;
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

#[cfg(test)]
mod tests;
