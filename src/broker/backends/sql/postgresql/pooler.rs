//! Detects whether a pooler keeps each session on one server process. A pooler that does not, such as `PgBouncer` with
//! `pool_mode = transaction` or `statement`, would run a session's statements with the state of another session.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::error::ConnectError;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// In the first round, connections may still be returning to the pool.
const ROUNDS: usize = 3;
/// A pool that rotates its connections assigns the session another one within this many statements.
const IN_A_ROW: usize = 3;

/// Compares the server processes of two sessions of the same kind. A pooler that shares processes either rotates them,
/// so that the session soon gets another process, or hands out the one that was used last, so that the second session
/// gets the first one's.
///
/// # Errors
/// When the pooler does not keep sessions, or the check times out.
pub(super) async fn must_keep_sessions(session: &Client, twin: &Client) -> Result<(), ConnectError> {
    match timeout(ANSWER_TIMEOUT, look(session, twin)).await {
        Ok(Ok(true)) => Ok(()),
        // Statement pooling rejects BEGIN.
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
