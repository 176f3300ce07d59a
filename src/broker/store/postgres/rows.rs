//! Records, tombstones and leases as rows of the tables, and the statements that write them.

use std::time::Duration;

use tokio_postgres::{Transaction, types::Type};

use super::{
    super::{Change, Key, Lease, Row, State, Store, StoreError, cipher::Sealed},
    Postgres,
    connection::Parameter,
};

pub(super) const ROW: &str = "instance, is_binding, binding, state, server, key_id, sealed";
pub(super) const KEY: &str = "instance, is_binding, binding";
pub(super) const IS_KEY: &str = "instance = $1 AND is_binding = $2 AND binding = $3";

pub(super) async fn make_change(
    transaction: &Transaction<'_>,
    change: &Change,
) -> Result<(), tokio_postgres::Error> {
    let (Change::Put(Row { key, .. }) | Change::Remove(key) | Change::Tombstone(key, _)) = change;
    let parts = Parts::of(key);
    let [instance, is_binding, binding] = parts.parameters();
    match change {
        Change::Put(Row { key: _, state, server, sealed }) => {
            let sql = "INSERT INTO bindery_records (instance, is_binding, binding, state, server, key_id, sealed) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (instance, is_binding, binding) DO UPDATE SET \
                       state = excluded.state, server = excluded.server, key_id = excluded.key_id, sealed = excluded.sealed";
            let parameters: [Parameter<'_>; 7] = [
                instance,
                is_binding,
                binding,
                (&state.as_str(), Type::TEXT),
                (&server.as_str(), Type::TEXT),
                (&sealed.key_id, Type::TEXT),
                (&sealed.bytes, Type::BYTEA),
            ];
            transaction.execute_typed(sql, &parameters).await?;
        }
        Change::Remove(_) => {
            let sql = format!("DELETE FROM bindery_records WHERE {IS_KEY}");
            transaction.execute_typed(&sql, &[instance, is_binding, binding]).await?;
        }
        Change::Tombstone(_, operation) => {
            let sql = "INSERT INTO bindery_tombstones (instance, is_binding, binding, operation, ended_at) \
                       VALUES ($1, $2, $3, $4, now()) ON CONFLICT (instance, is_binding, binding) DO UPDATE SET \
                       operation = excluded.operation, ended_at = excluded.ended_at";
            let parameters = [instance, is_binding, binding, (operation as _, Type::TEXT)];
            transaction.execute_typed(sql, &parameters).await?;
        }
    }
    Ok(())
}

/// Writes a record and, if `$9` is true, releases the lease. Writes nothing without the lease.
pub(super) const PUT: &str = "WITH lease AS ( \
        SELECT 1 FROM bindery_leases WHERE instance = $1 AND token = $8 AND expires_at > now() FOR UPDATE \
    ), written AS ( \
        INSERT INTO bindery_records (instance, is_binding, binding, state, server, key_id, sealed) \
        SELECT $1, $2, $3, $4, $5, $6, $7 FROM lease ON CONFLICT (instance, is_binding, binding) DO UPDATE SET \
        state = excluded.state, server = excluded.server, key_id = excluded.key_id, sealed = excluded.sealed RETURNING 1 \
    ), released AS ( \
        DELETE FROM bindery_leases WHERE $9 AND instance = $1 AND token = $8 AND EXISTS (SELECT 1 FROM lease) RETURNING 1 \
    ) SELECT count(*) FROM written";

/// Removes a record and keeps the tombstone `$5`, if there is one; if `$6` is true, releases the lease. Changes nothing
/// without the lease.
pub(super) const REMOVE: &str = "WITH lease AS ( \
        SELECT 1 FROM bindery_leases WHERE instance = $1 AND token = $4 AND expires_at > now() FOR UPDATE \
    ), removed AS ( \
        DELETE FROM bindery_records WHERE instance = $1 AND is_binding = $2 AND binding = $3 \
        AND EXISTS (SELECT 1 FROM lease) RETURNING 1 \
    ), kept AS ( \
        INSERT INTO bindery_tombstones (instance, is_binding, binding, operation, ended_at) \
        SELECT $1, $2, $3, $5, now() FROM lease WHERE $5 IS NOT NULL ON CONFLICT (instance, is_binding, binding) DO UPDATE SET \
        operation = excluded.operation, ended_at = excluded.ended_at RETURNING 1 \
    ), released AS ( \
        DELETE FROM bindery_leases WHERE $6 AND instance = $1 AND token = $4 AND EXISTS (SELECT 1 FROM lease) RETURNING 1 \
    ) SELECT count(*) FROM lease";

/// A commit that one statement makes, which also releases the lease.
#[derive(Clone, Copy)]
pub(super) enum Single<'a> {
    Put(&'a Row),
    /// Removes a record, and keeps a tombstone if there is one.
    Remove(&'a Key, Option<&'a str>),
}

impl<'a> Single<'a> {
    /// `None` if the changes take several statements.
    pub(super) fn of(changes: &'a [Change]) -> Option<Self> {
        match changes {
            [Change::Put(row)] => Some(Self::Put(row)),
            [Change::Remove(key)] => Some(Self::Remove(key, None)),
            [Change::Remove(key), Change::Tombstone(of, operation)] if key == of => {
                Some(Self::Remove(key, Some(operation)))
            }
            _ => None,
        }
    }
}

/// A key in the columns of the tables: an instance has no binding, while a binding may have an empty id.
pub(super) struct Parts<'a> {
    instance: &'a [u8],
    is_binding: bool,
    binding: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn of(key: &'a Key) -> Self {
        Self {
            instance: key.instance.as_str().as_bytes(),
            is_binding: key.binding.is_some(),
            binding: key.binding.as_ref().map_or(&[], |binding| binding.as_str().as_bytes()),
        }
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 3] {
        [(&self.instance, Type::BYTEA), (&self.is_binding, Type::BOOL), (&self.binding, Type::BYTEA)]
    }
}

/// The parameters that identify a lease: the instance as bytes (`id`) and the token.
pub(super) fn lease_parameters<'a>(lease: &'a Lease, id: &'a &'a [u8]) -> [Parameter<'a>; 2] {
    [(id, Type::BYTEA), (&lease.token, Type::UUID)]
}

pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

impl Postgres {
    pub(super) fn key_of(&self, row: &tokio_postgres::Row) -> Result<Key, StoreError> {
        let text = |column: usize| {
            String::from_utf8(row.get(column)).map_err(|_| self.damaged("an id that is not UTF-8"))
        };
        let is_binding: bool = row.get(1);
        let binding = is_binding.then(|| text(2)).transpose()?;
        Ok(Key { instance: text(0)?.into(), binding: binding.map(Into::into) })
    }

    pub(super) fn row_of(&self, row: &tokio_postgres::Row) -> Result<Row, StoreError> {
        let word: &str = row.get(3);
        Ok(Row {
            key: self.key_of(row)?,
            state: State::parse(word).ok_or_else(|| self.damaged(&format!("the unknown state {word:?}")))?,
            server: row.get::<_, String>(4).into(),
            sealed: Sealed { key_id: row.get(5), bytes: row.get(6) },
        })
    }

    /// Whether the tables show that a commit was made. Sealed bytes differ with each write, so they identify a record;
    /// a record that is gone is removed, no matter who removed it.
    pub(super) async fn is_made(&self, single: Single<'_>) -> Result<bool, StoreError> {
        Ok(match single {
            Single::Put(wanted) => {
                self.row(&wanted.key).await?.is_some_and(|found| found.sealed == wanted.sealed)
            }
            Single::Remove(key, None) => self.row(key).await?.is_none(),
            Single::Remove(key, Some(operation)) => {
                self.row(key).await?.is_none() && self.tombstone(key).await?.as_deref() == Some(operation)
            }
        })
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Failed {
            store: self.name.to_string(),
            problem: format!("table bindery_records holds {what}; restore the store from a backup"),
        }
    }
}
