//! Freezes: a time in the database until which no lease is granted. The freezing process extends the time while the
//! freeze lasts; if the process dies, the freeze expires.

use std::time::Duration;

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    connection::{Pool, Problem},
    seconds,
};
use crate::broker::store::Frozen;

/// How long a freeze waits for active leases and for another freeze.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);

/// Why a freeze failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfrozen {
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("instances are being worked on all the time, or another sweep goes on; try again later")]
    Busy,
    #[error("it was frozen for too long without an answer; try again")]
    Lost,
}

/// Ends the freeze when dropped.
pub(super) struct Freeze {
    /// Dropping this tells the task to end the freeze; the task's end tells that the freeze is lost.
    end: oneshot::Sender<()>,
}

impl Frozen for Freeze {
    fn is_lost(&self) -> bool {
        self.end.is_closed()
    }
}

/// Waits for any other freeze to end, freezes, and waits until no lease is left. Without extension a freeze lasts
/// `lease`.
pub(super) async fn freeze(pool: &Pool, lease: Duration) -> Result<Freeze, Unfrozen> {
    let token = Uuid::new_v4();
    let deadline = Instant::now() + PATIENCE;
    while !push(pool, token, lease, true).await? {
        wait(deadline).await?;
    }
    let (end, ended) = oneshot::channel();
    tokio::spawn(keep(pool.clone(), token, lease, ended));
    let freeze = Freeze { end };
    loop {
        // This waits for a commit under a lease that expired meanwhile, and prevents later ones.
        pool.rows("DELETE FROM bindery_leases WHERE expires_at <= now()", &[]).await?;
        let sql = "SELECT freezer = $1 AND frozen_until > now(), EXISTS (SELECT 1 FROM bindery_leases) FROM bindery_meta";
        let rows = pool.rows(sql, &[(&token, Type::UUID)]).await?;
        let is_ours = rows.first().and_then(|row| row.get(0)).unwrap_or(false);
        if !is_ours {
            return Err(Unfrozen::Lost);
        }
        if rows.iter().all(|row| !row.get::<_, bool>(1)) {
            return Ok(freeze);
        }
        wait(deadline).await?;
    }
}

async fn wait(deadline: Instant) -> Result<(), Unfrozen> {
    if Instant::now() >= deadline {
        return Err(Unfrozen::Busy);
    }
    sleep(POLL).await;
    Ok(())
}

/// Begins the freeze or extends it. Does nothing if another freeze is active.
async fn push(pool: &Pool, token: Uuid, lease: Duration, may_begin: bool) -> Result<bool, Problem> {
    let sql = "UPDATE bindery_meta SET freezer = $1, frozen_until = now() + $2 * INTERVAL '1 second' \
               WHERE freezer = $1 AND frozen_until > now() \
               OR $3 AND (freezer IS NULL OR frozen_until <= now()) RETURNING 1";
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&token, Type::UUID), (&seconds(lease), Type::FLOAT8), (&may_begin, Type::BOOL)];
    Ok(!pool.rows(sql, &parameters).await?.is_empty())
}

/// Extends the freeze until it is ended, then lifts it.
async fn keep(pool: Pool, token: Uuid, lease: Duration, mut ended: oneshot::Receiver<()>) {
    let mut pushed = Instant::now();
    while timeout(lease / 4, &mut ended).await.is_err() {
        let asked = Instant::now();
        match push(&pool, token, lease, false).await {
            Ok(true) => pushed = asked,
            Ok(false) => return,
            Err(_) if pushed.elapsed() + lease / 4 >= lease => return,
            Err(problem) => tracing::warn!("cannot keep the store frozen, trying again: {problem}"),
        }
    }
    let sql = "UPDATE bindery_meta SET freezer = NULL, frozen_until = NULL WHERE freezer = $1";
    if let Err(problem) = pool.rows(sql, &[(&token, Type::UUID)]).await {
        tracing::warn!("the store stays frozen for {} seconds: {problem}", lease.as_secs());
    }
}
