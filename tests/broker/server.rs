//! Application sessions with the broker's credentials.

use serde_json::Value;
use tokio_postgres::{Client, error::SqlState};

use crate::{platform::text, postgres::Postgres};

/// Opens a session with a binding's `uri`, and verifies the server's certificate.
pub(crate) async fn connect(server: &Postgres, credentials: &Value) -> Result<Client, tokio_postgres::Error> {
    server.connect(credentials["uri"].as_str().unwrap()).await
}

/// Opens a session of a login outside of its database, in the maintenance database.
pub(crate) async fn outside(server: &Postgres, credentials: &Value) -> Client {
    let uri = text(credentials, "uri").replace(&format!("/{}?", text(credentials, "database")), "/postgres?");
    server.connect(&uri).await.unwrap()
}

/// Whether the server refuses the credentials; an unavailable server does not count.
pub(crate) async fn is_refused(server: &Postgres, credentials: &Value) -> bool {
    match connect(server, credentials).await {
        Ok(_) => false,
        Err(error) => [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
            .contains(error.code().unwrap_or_else(|| panic!("{error:?}"))),
    }
}
