//! Records and tombstones as rows of the tables.

use jiff::Timestamp;
use rusqlite::{
    Connection, ToSql, named_params,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use super::super::{Change, Key, Row, State, cipher::Sealed};

pub(super) const ROW: &str = "is_binding, instance, binding, state, server, key_id, sealed";
pub(super) const KEY: &str = "is_binding, instance, binding";
pub(super) const IS_KEY: &str = "is_binding = :is_binding AND instance = :instance AND binding = :binding";

pub(super) fn make_change(transaction: &Connection, change: &Change) -> rusqlite::Result<()> {
    let (Change::Put(Row { key, .. }) | Change::Remove(key) | Change::Tombstone(key, _)) = change;
    let (is_binding, instance, binding) = parts(key);
    let written = match change {
        Change::Put(Row { key: _, state, server, sealed }) => transaction
            .prepare_cached(
                "INSERT INTO records (is_binding, instance, binding, state, server, key_id, sealed) \
                 VALUES (:is_binding, :instance, :binding, :state, :server, :key_id, :sealed) \
                 ON CONFLICT (is_binding, instance, binding) DO UPDATE SET \
                 state = excluded.state, server = excluded.server, key_id = excluded.key_id, sealed = excluded.sealed",
            )?
            .execute(named_params! {
                ":is_binding": is_binding, ":instance": instance, ":binding": binding,
                ":state": state, ":server": server.as_str(), ":key_id": sealed.key_id, ":sealed": sealed.bytes,
            }),
        Change::Remove(_) => transaction.prepare_cached(&format!("DELETE FROM records WHERE {IS_KEY}"))?.execute(
            named_params! {":is_binding": is_binding, ":instance": instance, ":binding": binding},
        ),
        Change::Tombstone(_, operation) => transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO tombstones (is_binding, instance, binding, operation, ended_at) \
                 VALUES (:is_binding, :instance, :binding, :operation, :ended_at)",
            )?
            .execute(named_params! {
                ":is_binding": is_binding, ":instance": instance, ":binding": binding,
                ":operation": operation, ":ended_at": Timestamp::now().as_millisecond(),
            }),
    };
    written.map(drop)
}

/// A key in the columns of the tables: an instance has no binding, while a binding may have an empty id.
pub(super) fn parts(key: &Key) -> (bool, &str, &str) {
    match &key.binding {
        Some(binding) => (true, key.instance.as_str(), binding.as_str()),
        None => (false, key.instance.as_str(), ""),
    }
}

pub(super) fn key(row: &rusqlite::Row<'_>) -> rusqlite::Result<Key> {
    let is_binding: bool = row.get(0)?;
    let binding = is_binding.then(|| row.get::<_, String>(2)).transpose()?;
    Ok(Key { instance: row.get::<_, String>(1)?.into(), binding: binding.map(Into::into) })
}

pub(super) fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        key: key(row)?,
        state: row.get(3)?,
        server: row.get::<_, String>(4)?.into(),
        sealed: Sealed { key_id: row.get(5)?, bytes: row.get(6)? },
    })
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_str()))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        Self::parse(word).ok_or_else(|| FromSqlError::Other(format!("unknown state {word:?}").into()))
    }
}
