//! Whether a pooler keeps each session on one server process. One that does not (`PgBouncer`: `pool_mode = transaction` or
//! `statement`) would run a session's statements in the state of another session.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::error::ConnectError;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections may still be on their way to the pool at the first.
const ROUNDS: usize = 3;
/// A pool that hands its connections out in turn gives the session another one by then.
const IN_A_ROW: usize = 3;

/// Looks at the processes that two sessions of the same kind meet. A pooler that shares processes gives the session
/// another one soon if it hands them out in turn; if it hands out the one that was used last, the twin gets the session's.
///
/// # Errors
/// When it does not keep sessions, or that cannot be told.
pub(super) async fn must_keep_sessions(session: &Client, twin: &Client) -> Result<(), ConnectError> {
    match timeout(ANSWER_TIMEOUT, look(session, twin)).await {
        Ok(Ok(true)) => Ok(()),
        // Statement pooling refuses BEGIN.
        Ok(Ok(false) | Err(_)) => Err(ConnectError::Pooler),
        Err(_) => Err(ConnectError::PoolTooSmall),
    }
}

async fn look(session: &Client, twin: &Client) -> Result<bool, ConnectError> {
    let own = process(session).await?;
    for _ in 0..ROUNDS {
        for _ in 0..IN_A_ROW {
            if process(session).await? != own {
                return Ok(false);
            }
        }
        twin.batch_execute("BEGIN").await?;
        if process(twin).await? == own || process(session).await? != own {
            return Ok(false);
        }
        twin.batch_execute("COMMIT").await?;
    }
    Ok(true)
}

async fn process(client: &Client) -> Result<Option<i32>, ConnectError> {
    let rows = client.query_typed("SELECT pg_catalog.pg_backend_pid()", &[]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}
