//! The store in Amazon DynamoDB: one table for any number of brokers. This module has the connection, reads and the
//! implementation of [`Store`]. `table` creates and checks the table, `items` defines its layout, `leases` grants
//! leases, `commit` changes records under a lease, and `error` explains the errors of AWS.

mod commit;
mod error;
mod items;
mod leases;
mod table;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_config::ConfigLoader;
use aws_sdk_dynamodb::{
    Client,
    config::{Region, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::scan::builders::ScanFluentBuilder,
};

use self::items::{BINDING_PREFIX, ENDED_AT, INSTANCE, Item, PK, Place, SK, number, partition, string, text};
use super::{Change, Frozen, Key, Lease, Renewal, Row, Store, StoreError, Then};
use crate::{broker::config::DynamoDbTable, cloud::aws::sdk, osb::InstanceId};

/// The timeout of one HTTP request. DynamoDB may take five seconds to detect a repeated transaction.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The timeout of a call with its retries; shorter than a lease.
const OPERATION: Duration = Duration::from_secs(12);
const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 5;
/// DynamoDB answers within milliseconds, so the SDK's default of a second is too long.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// The durations of leases and freezes.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// A lease without renewal.
    lease: Duration,
    /// How long after its expiry another broker may take over a lease: the clocks of brokers may differ. AWS keeps its
    /// hosts' clocks within a second (Amazon Time Sync). Clocks cannot corrupt records, because a commit checks its
    /// lease.
    margin: Duration,
    /// A freeze without renewal.
    freeze: Duration,
    /// How long a freeze waits for leases to end.
    patience: Duration,
}

/// Longer than a call with its retries.
const LEASE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_mins(1);

impl Times {
    fn of(lease: Duration) -> Self {
        Self { lease, margin: lease / 6, freeze: lease * 2, patience: PATIENCE }
    }
}

/// A table and a client. Clones share connections and credentials.
#[derive(Clone)]
pub(crate) struct DynamoDb {
    client: Client,
    table: Arc<str>,
    name: Arc<str>,
    times: Times,
}

impl DynamoDb {
    /// Opens the table, creates it if needed, and checks its schema.
    pub(crate) async fn open(address: &DynamoDbTable) -> Result<Self, StoreError> {
        let store = Self::connect(address, sdk::default_chain(), Times::of(LEASE)).await?;
        store.prepare().await?;
        Ok(store)
    }

    /// Opens an existing broker's table; creates nothing.
    pub(crate) async fn open_existing(address: &DynamoDbTable) -> Result<Option<Self>, StoreError> {
        let store = Self::connect(address, sdk::default_chain(), Times::of(LEASE)).await?;
        Ok(store.is_prepared().await?.then_some(store))
    }

    async fn connect(
        address: &DynamoDbTable,
        mut chain: ConfigLoader,
        times: Times,
    ) -> Result<Self, StoreError> {
        if let Some(region) = &address.region {
            chain = chain.region(Region::new(region.clone()));
        }
        let shared = chain.load().await;
        if shared.region().is_none() {
            let problem =
                "no AWS region is configured; add `?region=REGION` to the address, or set AWS_REGION";
            return Err(error::failed(&address.to_string(), problem));
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_BACKOFF);
        let config = aws_sdk_dynamodb::config::Builder::from(&shared);
        let mut config = config.timeout_config(timeouts).retry_config(retries);
        if let Some(endpoint) = &address.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Self {
            client: Client::from_conf(config.build()),
            table: address.table.as_str().into(),
            name: address.to_string().into(),
            times,
        })
    }

    fn failed(&self, problem: impl Into<String>) -> StoreError {
        error::failed(&self.name, problem)
    }

    fn refused<E, R>(&self, error: &SdkError<E, R>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug,
    {
        self.failed(error::explain(error))
    }

    /// Reads an item consistently.
    async fn get(&self, place: &Place) -> Result<Option<Item>, StoreError> {
        if !place.fits() {
            return Ok(None);
        }
        let get = self.client.get_item().table_name(&*self.table).set_key(Some(place.key()));
        let got = get.consistent_read(true).send().await.map_err(|error| self.refused(&error))?;
        Ok(got.item)
    }

    /// Reads the whole table consistently.
    fn scan(&self) -> ScanFluentBuilder {
        self.client.scan().table_name(&*self.table).consistent_read(true)
    }

    /// Reads the index of [outstanding](items::OUTSTANDING) items. Indexes are eventually consistent.
    fn scan_outstanding(&self) -> ScanFluentBuilder {
        self.client.scan().table_name(&*self.table).index_name(items::OUTSTANDING)
    }

    /// Reads all pages.
    async fn all(&self, scan: ScanFluentBuilder) -> Result<Vec<Item>, StoreError> {
        let pages = scan.into_paginator().items().send();
        pages.collect::<Result<_, _>>().await.map_err(|error| self.refused(&error))
    }

    fn rows(&self, items: &[Item]) -> Result<Vec<Row>, StoreError> {
        items.iter().map(items::row).collect::<Result<_, _>>().map_err(|problem| self.failed(problem))
    }
}

#[async_trait]
impl Store for DynamoDb {
    fn name(&self) -> &str {
        &self.name
    }

    async fn installation(&self, proposed: &str) -> Result<String, StoreError> {
        self.record_installation(proposed).await
    }

    async fn recorded_installation(&self) -> Result<Option<String>, StoreError> {
        let meta = self.get(&Place::meta()).await?;
        Ok(meta.and_then(|meta| text(&meta, table::INSTALLATION).map(ToOwned::to_owned)))
    }

    async fn row(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        let item = self.get(&Place::row(key)).await?;
        let row = item.map(|item| items::row(&item)).transpose();
        row.map_err(|problem| self.failed(problem))
    }

    /// Reads the whole table, because partitions have no order.
    async fn instances(&self) -> Result<Vec<Row>, StoreError> {
        let scan = self.scan().filter_expression(format!("{SK} = :instance"));
        let items = self.all(scan.expression_attribute_values(":instance", string(INSTANCE))).await?;
        let mut rows = self.rows(&items)?;
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(rows)
    }

    async fn bindings(&self, instance: &InstanceId) -> Result<Vec<Row>, StoreError> {
        if !Place::lease(instance).fits() {
            return Ok(Vec::new());
        }
        let query = self.client.query().table_name(&*self.table).consistent_read(true);
        let pages = query
            .key_condition_expression(format!("{PK} = :partition AND begins_with({SK}, :binding)"))
            .expression_attribute_values(":partition", string(partition(instance)))
            .expression_attribute_values(":binding", string(BINDING_PREFIX))
            .into_paginator()
            .items()
            .send();
        let items: Vec<Item> = pages.collect::<Result<_, _>>().await.map_err(|error| self.refused(&error))?;
        // DynamoDB orders sort keys by bytes, which is the order that ids need.
        self.rows(&items)
    }

    /// Reads the index, which may be stale. A listed operation may have ended, so recovery reads the record again
    /// under a lease; an operation that began just now may be missing until the next run.
    async fn unfinished(&self) -> Result<Vec<Key>, StoreError> {
        let scan = self.scan_outstanding().filter_expression(format!("attribute_not_exists({ENDED_AT})"));
        Ok(keys(&self.all(scan).await?))
    }

    /// Reads the whole table.
    async fn sealed_otherwise(&self, key_id: &str) -> Result<Vec<Key>, StoreError> {
        let scan = self
            .scan()
            .filter_expression("attribute_exists(key_id) AND key_id <> :key_id")
            .expression_attribute_values(":key_id", string(key_id))
            .projection_expression(format!("{PK}, {SK}"));
        Ok(keys(&self.all(scan).await?))
    }

    async fn tombstone(&self, key: &Key) -> Result<Option<String>, StoreError> {
        let item = self.get(&Place::tombstone(key)).await?;
        Ok(item.and_then(|item| text(&item, "operation").map(ToOwned::to_owned)))
    }

    async fn forget_tombstones(&self, age: Duration) -> Result<(), StoreError> {
        let before = number(leases::now().saturating_sub(leases::millis(age)));
        let scan = self.scan_outstanding().filter_expression(format!("{ENDED_AT} < :before"));
        for item in self.all(scan.expression_attribute_values(":before", before.clone())).await? {
            let Some(place) = Place::of(&item) else { continue };
            // Do not delete a tombstone that was replaced meanwhile.
            let old = format!("{ENDED_AT} < :before");
            let values = Item::from([(":before".to_owned(), before.clone())]);
            self.delete_if(&place, old, values).await?;
        }
        Ok(())
    }

    fn lease_duration(&self) -> Option<Duration> {
        Some(self.times.lease)
    }

    async fn acquire(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        self.take(instance).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        self.prolong(lease).await
    }

    async fn current_lease(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        self.lease_on(instance).await
    }

    async fn interrupt(&self, instance: &InstanceId) -> Result<(), StoreError> {
        self.want(instance).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.give_back(lease).await
    }

    async fn commit(&self, lease: &Lease, changes: Vec<Change>, then: Then) -> Result<(), StoreError> {
        self.change(lease, changes, then).await
    }

    async fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        Ok(Box::new(self.halt().await?))
    }
}

/// The keys of the rows among these items.
fn keys(items: &[Item]) -> Vec<Key> {
    items.iter().filter_map(|item| Place::of(item)?.row_key()).collect()
}
