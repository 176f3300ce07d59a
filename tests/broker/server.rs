//! A broker with a service on PostgreSQL, and what tests do as an application: sessions with the credentials it was given.

use serde_json::Value;
use tokio_postgres::{Client, error::SqlState};

use crate::{
    platform::{PLAN, Platform, SERVICE},
    postgres::{ADMIN, Postgres},
};

impl Platform {
    pub(crate) async fn on(server: &Postgres) -> Self {
        let tls = format!("caFile: {}", server.ca_file().display());
        Self::with(server, "127.0.0.1", &tls).await
    }

    /// With a service of type postgresql, and what its plan says of its databases.
    pub(crate) async fn postgresql(server: &Postgres, database: &str) -> Self {
        Self::postgresql_with(server, "", database).await
    }

    /// The same, with more settings of the server.
    pub(crate) async fn postgresql_with(server: &Postgres, settings: &str, database: &str) -> Self {
        Self::open(&format!(
            "servers: {{main: {{host: 127.0.0.1, port: {}, user: {ADMIN}, passwordFile: {}, caFile: {}, {settings}}}}}\n\
             services: [{{id: {SERVICE}, name: postgresql, type: postgresql, description: d, plan_updateable: true,\n\
                plans: [{{id: {PLAN}, name: default, description: d, server: main, database: {{{database}}}}}]}}]",
            server.port(),
            server.password_file().display(),
            server.ca_file().display(),
        ))
        .await
    }

    /// With the server's host and TLS settings as given.
    pub(crate) async fn with(server: &Postgres, host: &str, tls: &str) -> Self {
        Self::open(&format!(
            "servers: {{main: {{host: {host}, port: {}, user: {ADMIN}, passwordFile: {}, {tls}}}}}\n\
             services: [{{id: {SERVICE}, name: cockroachdb, type: cockroachdb, description: d,\n\
                plans: [{{name: default, description: d, server: main}}]}}]",
            server.port(),
            server.password_file().display(),
        ))
        .await
    }
}

/// A session with a binding's `uri`, the server's certificate verified.
pub(crate) async fn connect(server: &Postgres, credentials: &Value) -> Result<Client, tokio_postgres::Error> {
    server.connect(credentials["uri"].as_str().unwrap()).await
}

/// Whether credentials are refused, and not for want of a server.
pub(crate) async fn is_refused(server: &Postgres, credentials: &Value) -> bool {
    match connect(server, credentials).await {
        Ok(_) => false,
        Err(error) => [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
            .contains(error.code().unwrap_or_else(|| panic!("{error:?}"))),
    }
}
