//! The layout of items: their keys, and the conversion between rows and items.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};

use crate::{
    broker::store::{Key, Row, State, cipher::Sealed},
    osb::InstanceId,
};

/// Attributes by name. No name is a reserved word, so expressions can use the names directly.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The partition key: [`META`], or an instance.
pub(super) const PK: &str = "pk";
/// The sort key: the kind of item.
pub(super) const SK: &str = "sk";
/// Items with unfinished work repeat their partition key in this attribute. It is the key of an index of only those
/// items.
pub(super) const OUTSTANDING: &str = "outstanding";
/// The end of the delete, in tombstones, in epoch milliseconds.
pub(super) const ENDED_AT: &str = "ended_at";

/// The one item that belongs to no instance.
const META: &str = "meta";
/// The prefix of an instance's partition key: DynamoDB's keys must not be empty, but ids may be.
const INSTANCE_PREFIX: &str = "i:";
/// The sort key of an instance's row.
pub(super) const INSTANCE: &str = "i";
/// The prefix of the sort keys of bindings.
pub(super) const BINDING_PREFIX: &str = "b:";
/// The sort key of a lease.
pub(super) const LEASE: &str = "l";
/// The sort key of an instance's tombstone; a binding's tombstone appends a colon and the binding's id.
const TOMBSTONE: &str = "t";

/// DynamoDB's limits, in bytes.
const LONGEST_PK: usize = 2048;
const LONGEST_SK: usize = 1024;
const LARGEST_ITEM: usize = 400 * 1024;

/// The age at which DynamoDB may delete a tombstone, if the table's time to live is enabled (attribute `ttl`). The
/// engine deletes tombstones at about the same age.
const TTL_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The key of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pk: String,
    sk: String,
}

impl Place {
    pub(super) fn meta() -> Self {
        Self { pk: META.to_owned(), sk: META.to_owned() }
    }

    pub(super) fn row(key: &Key) -> Self {
        let sk = match &key.binding {
            Some(binding) => format!("{BINDING_PREFIX}{}", binding.as_str()),
            None => INSTANCE.to_owned(),
        };
        Self { pk: partition(&key.instance), sk }
    }

    pub(super) fn lease(instance: &InstanceId) -> Self {
        Self { pk: partition(instance), sk: LEASE.to_owned() }
    }

    pub(super) fn tombstone(key: &Key) -> Self {
        let sk = match &key.binding {
            Some(binding) => format!("{TOMBSTONE}:{}", binding.as_str()),
            None => TOMBSTONE.to_owned(),
        };
        Self { pk: partition(&key.instance), sk }
    }

    /// The key of an item that was read.
    pub(super) fn of(item: &Item) -> Option<Self> {
        Some(Self { pk: text(item, PK)?.to_owned(), sk: text(item, SK)?.to_owned() })
    }

    /// Whether the key is within DynamoDB's limits. An item whose key is not cannot exist.
    pub(super) fn fits(&self) -> bool {
        self.pk.len() <= LONGEST_PK && self.sk.len() <= LONGEST_SK
    }

    pub(super) fn key(&self) -> Item {
        Item::from([(PK.to_owned(), string(&self.pk)), (SK.to_owned(), string(&self.sk))])
    }

    /// The instance of the partition.
    pub(super) fn instance(&self) -> Option<InstanceId> {
        self.pk.strip_prefix(INSTANCE_PREFIX).map(Into::into)
    }

    /// The row's key, if the item is a row.
    pub(super) fn row_key(&self) -> Option<Key> {
        let instance = self.instance()?;
        if self.sk == INSTANCE {
            return Some(Key { instance, binding: None });
        }
        let binding = self.sk.strip_prefix(BINDING_PREFIX)?;
        Some(Key { instance, binding: Some(binding.into()) })
    }
}

/// The partition key of an instance.
pub(super) fn partition(instance: &InstanceId) -> String {
    format!("{INSTANCE_PREFIX}{}", instance.as_str())
}

pub(super) fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn text<'item>(item: &'item Item, name: &str) -> Option<&'item str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn count(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(super) fn of_row(row: Row) -> Item {
    let place = Place::row(&row.key);
    let mut item = place.key();
    if row.state.is_unfinished() {
        item.insert(OUTSTANDING.to_owned(), string(place.pk));
    }
    item.insert("state".to_owned(), string(row.state.as_str()));
    item.insert("server".to_owned(), string(row.server.as_str()));
    item.insert("key_id".to_owned(), string(row.sealed.key_id));
    item.insert("sealed".to_owned(), AttributeValue::B(Blob::new(row.sealed.bytes)));
    item
}

/// Converts an item to a row; the error says what is wrong with the item.
pub(super) fn row(item: &Item) -> Result<Row, String> {
    let key = Place::of(item)
        .and_then(|place| place.row_key())
        .ok_or("an item whose key is none of bindery's was read; let nobody else write to the table")?;
    let damaged = |name: &str| {
        format!("the item of {key} has no usable attribute `{name}`; restore the table, see docs/restore.md")
    };
    let of = |name| text(item, name).ok_or_else(|| damaged(name));
    let state = State::parse(of("state")?).ok_or_else(|| damaged("state"))?;
    let (server, key_id) = (of("server")?.into(), of("key_id")?.to_owned());
    let sealed = item.get("sealed").and_then(|value| value.as_b().ok()).ok_or_else(|| damaged("sealed"))?;
    let sealed = Sealed { key_id, bytes: sealed.as_ref().to_vec() };
    Ok(Row { key, state, server, sealed })
}

pub(super) fn of_tombstone(key: &Key, operation: String, now: u64) -> Item {
    let place = Place::tombstone(key);
    let mut item = place.key();
    item.insert(OUTSTANDING.to_owned(), string(place.pk));
    item.insert("operation".to_owned(), string(operation));
    item.insert(ENDED_AT.to_owned(), number(now));
    item.insert("ttl".to_owned(), number(now / 1000 + TTL_SECONDS));
    item
}

/// Rejects an item that DynamoDB would reject; the error names the limit.
pub(super) fn check_size(item: &Item) -> Result<(), String> {
    let length = |name| text(item, name).map_or(0, str::len);
    if length(PK) > LONGEST_PK || length(SK) > LONGEST_SK {
        return Err("an id is longer than DynamoDB's keys, which hold service instance ids of up to \
             2046 bytes and binding ids of up to 1022; use shorter ids"
            .to_owned());
    }
    let size: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
    if size > LARGEST_ITEM {
        return Err(format!(
            "a record takes {size} bytes, and DynamoDB's items at most {LARGEST_ITEM} (400 KB); send smaller parameters, \
             or keep the records in PostgreSQL"
        ));
    }
    Ok(())
}

fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        // DynamoDB stores two digits per byte plus one byte; 38 digits at most.
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        _ => 1,
    }
}
