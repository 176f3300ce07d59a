//! A configured backend: what a constructor in the registry returns, and what the constructor receives about each plan.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use super::Provider;
use crate::{
    broker::config::{ConfigError, PasswordSource, RawSettings},
    osb::{PlanId, Service},
};

/// A backend whose settings are parsed. No connection is open yet.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Services that the backend discovers by itself, such as one for each template that it finds. The broker offers
    /// them in addition to the configured services and checks both in the same way.
    ///
    /// # Errors
    /// When the services cannot be read; the error names the field and the remedy.
    async fn services(&self) -> Result<Vec<Service>, ConfigError> {
        Ok(Vec::new())
    }

    /// The provider that manages instances and bindings. The provider marks everything it creates with `installation`.
    fn provider(&self, installation: &str) -> Arc<dyn Provider>;

    /// The account that the backend logs in with, if the account has a password.
    fn administrator(&self) -> Option<Administrator> {
        None
    }
}

/// A provider without settings is a backend by itself.
impl Backend for Arc<dyn Provider> {
    fn provider(&self, _installation: &str) -> Arc<dyn Provider> {
        self.clone()
    }
}

/// The account that a backend logs in with.
#[derive(Clone, Debug)]
pub struct Administrator {
    /// Identifies the account: equal for two backends that log in to the same server with the same account.
    pub account: String,
    /// The account's password.
    pub password: Option<PasswordSource>,
    /// Generates a new password that the backend accepts.
    pub new_password: fn() -> SecretString,
}

/// A configured plan of a backend.
#[derive(Clone, Debug)]
pub struct PlanSettings {
    /// The id of the plan.
    pub id: PlanId,
    /// The type of the plan's service.
    pub service_type: String,
    /// Whether the configuration contains JSON Schemas for the plan's parameters.
    pub has_schemas: bool,
    /// Settings that only the backend parses.
    pub settings: RawSettings,
}
