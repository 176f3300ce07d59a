//! A backend as it is configured: what the registry's constructors answer, and what they are given of the plans.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use super::Provider;
use crate::{
    broker::config::{ConfigError, PasswordSource, RawSettings},
    osb::{PlanId, Service},
};

/// A backend whose settings have been read. Nothing is connected.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The services that the backend offers by itself, beside those of the configuration, such as one for each template that it
    /// finds. They are checked like the configured ones.
    ///
    /// # Errors
    /// When they cannot be read; the error names the field and the remedy.
    async fn services(&self) -> Result<Vec<Service>, ConfigError> {
        Ok(Vec::new())
    }

    /// What makes instances and bindings. The installation's id marks all that is made.
    fn provider(&self, installation: &str) -> Arc<dyn Provider>;

    /// The account that the backend logs in with, if it has a password.
    fn administrator(&self) -> Option<Administrator> {
        None
    }
}

/// A provider that needs no settings is a backend.
impl Backend for Arc<dyn Provider> {
    fn provider(&self, _installation: &str) -> Arc<dyn Provider> {
        self.clone()
    }
}

/// The account that a backend logs in with.
#[derive(Clone, Debug)]
pub struct Administrator {
    /// The same for two backends that log in as the same account at the same place.
    pub account: String,
    /// The account's password.
    pub password: Option<PasswordSource>,
    /// Makes another password that the backend accepts.
    pub new_password: fn() -> SecretString,
}

/// A plan on a backend, as the configuration has it.
#[derive(Clone, Debug)]
pub struct PlanSettings {
    /// Its id.
    pub id: PlanId,
    /// The type of its service.
    pub service_type: String,
    /// Whether the configuration gives the JSON Schemas of its parameters.
    pub has_schemas: bool,
    /// What only the backend understands.
    pub settings: RawSettings,
}
