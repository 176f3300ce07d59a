//! The store in PostgreSQL or CockroachDB, for several brokers at once. Leases are rows that expire by the database's
//! clock. The store uses only what both databases support at their default isolation level: no advisory locks, LISTEN
//! or LOCK TABLE. In PostgreSQL, row locks order the transactions; in CockroachDB, where row locks are best effort and
//! shared locks are off by default, serializable isolation does
//! (<https://www.cockroachlabs.com/docs/stable/select-for-update>). Every statement is idempotent and is retried after
//! a conflict or a lost connection: a commit states the final rows and checks its lease again, and a lease is acquired
//! with the same token. A commit that writes or removes one record, the most frequent case, is one statement that also
//! releases the lease; if its answer is lost, the record shows whether it was committed. A commit of several changes
//! releases its lease in a second statement, so that a retry still finds the lease; if the broker dies between the
//! statements, the lease expires.

mod address;
mod connection;
mod freeze;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::Retryable;
use tokio_postgres::{Client, types::Type};
use uuid::Uuid;

pub(crate) use self::address::Address;
use self::{
    connection::{Parameter, Pool, Problem, retries},
    rows::{IS_KEY, KEY, PUT, Parts, REMOVE, ROW, Single, lease_parameters, make_change, seconds},
    schema::KNOWN,
};
use super::{Change, Frozen, Key, Lease, Renewal, Row, State, Store, StoreError, Then};
use crate::osb::InstanceId;

/// How long a lease lasts without renewal.
const LEASE: Duration = Duration::from_secs(15);

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub(crate) struct Postgres {
    name: Arc<str>,
    pool: Pool,
    lease: Duration,
}

impl Postgres {
    /// Connects and upgrades the schema, in the first schema of the user's search path.
    pub(crate) async fn open(address: Address) -> Result<Self, StoreError> {
        Self::open_with(address, LEASE).await
    }

    async fn open_with(address: Address, lease: Duration) -> Result<Self, StoreError> {
        let store = Self::at(address, lease);
        let found = schema::migrate(&store.pool).await;
        let found = found.map_err(|problem| store.failed("prepare its tables", &problem))?;
        store.of_version(found)
    }

    /// Opens an existing store; creates and migrates nothing, and is read-only unless `writable`.
    pub(crate) async fn open_existing(mut address: Address, writable: bool) -> Result<Self, StoreError> {
        address.set_options(writable);
        let store = Self::at(address, LEASE);
        let found = schema::version(&store.pool).await;
        let found = found.map_err(|problem| store.failed("look at its tables", &problem))?;
        store.of_version(found)
    }

    fn at(address: Address, lease: Duration) -> Self {
        Self { name: address.name.as_str().into(), pool: Pool::new(address), lease }
    }

    fn of_version(self, found: i64) -> Result<Self, StoreError> {
        let remedy = match found {
            KNOWN => return Ok(self),
            0..KNOWN => "start this bindery's broker on it first",
            _ => "run the newer bindery that wrote it, or restore the store from a backup",
        };
        Err(StoreError::OtherVersion { store: self.name.to_string(), found, known: KNOWN, remedy })
    }

    fn failed(&self, does: &str, problem: &Problem) -> StoreError {
        StoreError::Failed { store: self.name.to_string(), problem: format!("cannot {does}: {problem}") }
    }

    /// The rows of a query that may be sent twice.
    async fn rows(
        &self,
        does: &str,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        self.pool.rows(sql, parameters).await.map_err(|problem| self.failed(does, &problem))
    }

    /// Writes or removes one record if the lease is valid, in a single round trip; returns whether the lease is valid.
    async fn single_once(&self, lease: &Lease, single: Single<'_>, then: Then) -> Result<bool, Problem> {
        match single {
            Single::Put(row) => self.put_once(lease, row, then).await,
            Single::Remove(key, tombstone) => self.remove_once(lease, key, tombstone, then).await,
        }
    }

    async fn remove_once(
        &self,
        lease: &Lease,
        key: &Key,
        tombstone: Option<&str>,
        then: Then,
    ) -> Result<bool, Problem> {
        let parts = Parts::of(key);
        let [instance, is_binding, binding] = parts.parameters();
        let is_released = then == Then::Release;
        let parameters: [Parameter<'_>; 6] = [
            instance,
            is_binding,
            binding,
            (&lease.token, Type::UUID),
            (&tombstone, Type::TEXT),
            (&is_released, Type::BOOL),
        ];
        self.counts(REMOVE, &parameters).await
    }

    /// Whether a statement that must be sent once counts something.
    async fn counts(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<bool, Problem> {
        let rows =
            self.pool.once(async |client: &mut Client| client.query_typed(sql, parameters).await).await?;
        Ok(rows.first().is_some_and(|row| row.get::<_, i64>(0) > 0))
    }

    async fn put_once(&self, lease: &Lease, row: &Row, then: Then) -> Result<bool, Problem> {
        let parts = Parts::of(&row.key);
        let [instance, is_binding, binding] = parts.parameters();
        let (state, server, is_released) = (row.state.as_str(), row.server.as_str(), then == Then::Release);
        let parameters: [Parameter<'_>; 9] = [
            instance,
            is_binding,
            binding,
            (&state, Type::TEXT),
            (&server, Type::TEXT),
            (&row.sealed.key_id, Type::TEXT),
            (&row.sealed.bytes, Type::BYTEA),
            (&lease.token, Type::UUID),
            (&is_released, Type::BOOL),
        ];
        self.counts(PUT, &parameters).await
    }

    /// Makes the changes if the lease is valid; returns whether the lease is valid.
    async fn commit_once(&self, lease: &Lease, changes: &[Change]) -> Result<bool, Problem> {
        self.pool
            .once(async |client: &mut Client| {
                let transaction = client.transaction().await?;
                let sql = "SELECT 1 FROM bindery_leases WHERE instance = $1 AND token = $2 AND expires_at > now() FOR UPDATE";
                let id = lease.instance.as_str().as_bytes();
                if transaction.query_typed(sql, &lease_parameters(lease, &id)).await?.is_empty() {
                    transaction.rollback().await?;
                    return Ok(false);
                }
                for change in changes {
                    make_change(&transaction, change).await?;
                }
                transaction.commit().await?;
                Ok(true)
            })
            .await
    }
}

#[async_trait]
impl Store for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    async fn installation(&self, proposed: &str) -> Result<String, StoreError> {
        let sql = "UPDATE bindery_meta SET installation = COALESCE(installation, $1) RETURNING installation";
        let rows = self.rows("record the installation", sql, &[(&proposed, Type::TEXT)]).await?;
        rows.first().map(|row| row.get(0)).ok_or_else(|| StoreError::Failed {
            store: self.name.to_string(),
            problem: "table bindery_meta has lost its row; restore the store from a backup".to_owned(),
        })
    }

    async fn recorded_installation(&self) -> Result<Option<String>, StoreError> {
        let rows = self.rows("read the installation", "SELECT installation FROM bindery_meta", &[]).await?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    async fn row(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        let sql = format!("SELECT {ROW} FROM bindery_records WHERE {IS_KEY}");
        let rows = self.rows("read a record", &sql, &Parts::of(key).parameters()).await?;
        rows.first().map(|row| self.row_of(row)).transpose()
    }

    async fn instances(&self) -> Result<Vec<Row>, StoreError> {
        let sql = format!("SELECT {ROW} FROM bindery_records WHERE NOT is_binding ORDER BY instance");
        self.rows("read the records", &sql, &[]).await?.iter().map(|row| self.row_of(row)).collect()
    }

    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Row>, StoreError> {
        let sql =
            format!("SELECT {ROW} FROM bindery_records WHERE is_binding AND instance = $1 ORDER BY binding");
        let rows =
            self.rows("read the records", &sql, &[(&instance.as_str().as_bytes(), Type::BYTEA)]).await?;
        rows.iter().map(|row| self.row_of(row)).collect()
    }

    async fn unfinished(&self) -> Result<Vec<Key>, StoreError> {
        let unfinished = State::ALL.into_iter().filter(|state| state.is_unfinished());
        let states: Vec<&str> = unfinished.map(State::as_str).collect();
        let sql = format!("SELECT {KEY} FROM bindery_records WHERE state = ANY ($1)");
        let rows = self.rows("read the records", &sql, &[(&states, Type::TEXT_ARRAY)]).await?;
        rows.iter().map(|row| self.key_of(row)).collect()
    }

    async fn sealed_otherwise(&self, key_id: &str) -> Result<Vec<Key>, StoreError> {
        let sql = format!("SELECT {KEY} FROM bindery_records WHERE key_id <> $1");
        let rows = self.rows("read the records", &sql, &[(&key_id, Type::TEXT)]).await?;
        rows.iter().map(|row| self.key_of(row)).collect()
    }

    async fn tombstone(&self, key: &Key) -> Result<Option<String>, StoreError> {
        let sql = format!("SELECT operation FROM bindery_tombstones WHERE {IS_KEY}");
        let rows = self.rows("read a deletion", &sql, &Parts::of(key).parameters()).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    async fn forget_tombstones(&self, age: Duration) -> Result<(), StoreError> {
        let sql = "DELETE FROM bindery_tombstones WHERE ended_at < now() - $1 * INTERVAL '1 second'";
        self.rows("forget deletions", sql, &[(&seconds(age), Type::FLOAT8)]).await.map(drop)
    }

    fn lease_duration(&self) -> Option<Duration> {
        Some(self.lease)
    }

    /// Does not wait for the disk: the log is written in order, so a lease is durable before anything recorded under
    /// it. A server crash can only lose a lease under which nothing was recorded.
    async fn acquire(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        // Locking the freeze row makes a freeze wait until this lease is visible, and makes this wait until a freeze
        // is.
        let sql = "INSERT INTO bindery_leases (instance, token, expires_at, interrupted) \
                   SELECT $1, $2, now() + $3 * INTERVAL '1 second', FALSE FROM bindery_meta \
                   WHERE (frozen_until IS NULL OR frozen_until <= now()) \
                   AND set_config('synchronous_commit', 'off', TRUE) IS NOT NULL FOR SHARE \
                   ON CONFLICT (instance) DO UPDATE SET \
                   token = excluded.token, expires_at = excluded.expires_at, interrupted = excluded.interrupted \
                   WHERE bindery_leases.expires_at <= now() OR bindery_leases.token = excluded.token RETURNING 1";
        let lease = Lease { instance: instance.clone(), token: Uuid::new_v4() };
        let id = instance.as_str().as_bytes();
        let [id, token] = lease_parameters(&lease, &id);
        let rows =
            self.rows("acquire a lease", sql, &[id, token, (&seconds(self.lease), Type::FLOAT8)]).await?;
        Ok((!rows.is_empty()).then_some(lease))
    }

    async fn current_lease(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        let sql = "SELECT token FROM bindery_leases WHERE instance = $1 AND expires_at > now()";
        let id = instance.as_str().as_bytes();
        let rows = self.rows("read a lease", sql, &[(&id, Type::BYTEA)]).await?;
        Ok(rows.first().map(|row| Lease { instance: instance.clone(), token: row.get(0) }))
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let sql = "UPDATE bindery_leases SET expires_at = now() + $3 * INTERVAL '1 second' \
                   WHERE instance = $1 AND token = $2 AND expires_at > now() RETURNING interrupted";
        let id = lease.instance.as_str().as_bytes();
        let [id, token] = lease_parameters(lease, &id);
        let rows =
            self.rows("renew a lease", sql, &[id, token, (&seconds(self.lease), Type::FLOAT8)]).await?;
        Ok(rows.first().map_or(Renewal::Lost, |row| Renewal::Renewed { interrupted: row.get(0) }))
    }

    async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError> {
        let sql = "UPDATE bindery_leases SET interrupted = TRUE WHERE instance = $1 AND expires_at > now()";
        let id = instance.as_str().as_bytes();
        self.rows("interrupt what is being done", sql, &[(&id, Type::BYTEA)]).await.map(drop)
    }

    /// Does not wait for the disk: a server crash can only bring back a lease, which expires.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let sql = "DELETE FROM bindery_leases WHERE instance = $1 AND token = $2 \
                   AND set_config('synchronous_commit', 'off', TRUE) IS NOT NULL";
        let id = lease.instance.as_str().as_bytes();
        self.rows("release a lease", sql, &lease_parameters(lease, &id)).await.map(drop)
    }

    async fn commit(&self, lease: &Lease, changes: Vec<Change>, then: Then) -> Result<(), StoreError> {
        // The error of an earlier attempt that may have committed.
        let mut doubt = None;
        let single = Single::of(&changes);
        let once = async || match single {
            Some(single) => self.single_once(lease, single, then).await,
            None => self.commit_once(lease, &changes).await,
        };
        let committed = once
            .retry(retries())
            .when(Problem::is_passing)
            .notify(|problem, _| {
                tracing::debug!("the store is asked again: {problem}");
                if problem.leaves_doubt() {
                    doubt = Some(problem.to_string());
                }
            })
            .await;
        match (committed.map_err(|problem| self.failed("record what was done", &problem))?, doubt) {
            (true, _) => {}
            // An attempt whose answer was lost has also released the lease.
            (false, Some(_))
                if then == Then::Release
                    && let Some(single) = single
                    && self.is_made(single).await? =>
            {
                return Ok(());
            }
            (false, None) => {
                return Err(StoreError::LeaseLost {
                    store: self.name.to_string(),
                    instance: lease.instance.clone(),
                });
            }
            (false, Some(problem)) => {
                let problem =
                    format!("may or may not have recorded what was done: {problem}; repeat the request");
                return Err(StoreError::Failed { store: self.name.to_string(), problem });
            }
        }
        if then == Then::Release
            && single.is_none()
            && let Err(error) = self.release(lease).await
        {
            // The changes are committed, so this is not a failure.
            tracing::warn!(instance = %lease.instance, "a lease stays until it expires: {error}");
        }
        Ok(())
    }

    /// The freeze of a crashed sweep expires after twice the duration of a lease.
    async fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        let frozen =
            freeze::freeze(&self.pool, self.lease * 2).await.map_err(|problem| StoreError::Failed {
                store: self.name.to_string(),
                problem: format!("cannot be frozen: {problem}"),
            })?;
        Ok(Box::new(frozen))
    }
}
