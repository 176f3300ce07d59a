//! Leases, each an item with a token and an expiry that its broker extends, and the freeze, during which no lease is
//! granted. A broker writes its lease and then checks whether the store is frozen; a freeze is written before it
//! checks for leases. Both reads are consistent, so at least one side sees the other. A transaction over both items
//! would also work, but all leases would conflict on the freeze's item.

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::types::ReturnValue;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    DynamoDb, error,
    items::{self, Item, LEASE, PK, Place, SK, count, number, string},
};
use crate::{
    broker::store::{Frozen, Lease, Renewal, StoreError},
    osb::InstanceId,
};

/// The lease's token.
pub(super) const LEASE_TOKEN: &str = "lease_token";
/// The lease's expiry, in epoch milliseconds by the clock of its broker.
pub(super) const EXPIRES_AT: &str = "expires_at";
const INTERRUPTED: &str = "interrupted";
/// The freeze's token and its expiry.
const FROZEN_BY: &str = "frozen_by";
const FROZEN_UNTIL: &str = "frozen_until";

const POLL: Duration = Duration::from_millis(250);

/// The current time in epoch milliseconds.
pub(super) fn now() -> u64 {
    millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl DynamoDb {
    /// Acquires the lease on an instance. `None` if another broker has it or the store is frozen.
    pub(super) async fn take(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        let lease = Lease { instance: instance.clone(), token: Uuid::new_v4() };
        let mut item = Place::lease(instance).key();
        items::check_size(&item).map_err(|problem| self.failed(problem))?;
        let now = now();
        item.insert(LEASE_TOKEN.to_owned(), string(lease.token.to_string()));
        item.insert(EXPIRES_AT.to_owned(), number(now + millis(self.times.lease)));
        let put = self
            .client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(item))
            // Accept our own token: an earlier attempt may have succeeded without an answer.
            .condition_expression(format!(
                "attribute_not_exists({PK}) OR {EXPIRES_AT} < :free OR {LEASE_TOKEN} = :token"
            ))
            .expression_attribute_values(":free", number(now.saturating_sub(millis(self.times.margin))))
            .expression_attribute_values(":token", string(lease.token.to_string()));
        let taken = error::conditional(|| put.clone().send()).await;
        if taken.map_err(|error| self.refused(&error))?.is_none() {
            return Ok(None);
        }
        match self.is_frozen().await {
            Ok(false) => Ok(Some(lease)),
            Ok(true) => self.give_back(&lease).await.map(|()| None),
            Err(error) => {
                if let Err(error) = self.give_back(&lease).await {
                    tracing::warn!(%instance, "a lease is left until it runs out: {error}");
                }
                Err(error)
            }
        }
    }

    /// Renews a lease.
    pub(super) async fn prolong(&self, lease: &Lease) -> Result<Renewal, StoreError> {
        let now = now();
        let update = self
            .client
            .update_item()
            .table_name(&*self.table)
            .set_key(Some(Place::lease(&lease.instance).key()))
            .update_expression(format!("SET {EXPIRES_AT} = :expires"))
            .condition_expression(format!("{LEASE_TOKEN} = :token AND {EXPIRES_AT} > :now"))
            .expression_attribute_values(":expires", number(now + millis(self.times.lease)))
            .expression_attribute_values(":token", string(lease.token.to_string()))
            .expression_attribute_values(":now", number(now))
            .return_values(ReturnValue::AllNew);
        let renewed = error::conditional(|| update.clone().send()).await;
        Ok(renewed.map_err(|error| self.refused(&error))?.map_or(Renewal::Lost, |updated| {
            let interrupted = updated.attributes().is_some_and(|item| item.contains_key(INTERRUPTED));
            Renewal::Renewed { interrupted }
        }))
    }

    pub(super) async fn lease_on(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        let Some(item) = self.get(&Place::lease(instance)).await? else { return Ok(None) };
        let is_valid = count(&item, EXPIRES_AT).is_some_and(|end| end > now());
        let token = items::text(&item, LEASE_TOKEN).and_then(|token| token.parse().ok());
        Ok(token.filter(|_| is_valid).map(|token| Lease { instance: instance.clone(), token }))
    }

    /// Tells the operation that has the lease that a delete is waiting.
    pub(super) async fn want(&self, instance: &InstanceId) -> Result<(), StoreError> {
        let place = Place::lease(instance);
        if !place.fits() {
            return Ok(());
        }
        let update = format!("SET {INTERRUPTED} = :yes");
        let values = Item::from([(":yes".to_owned(), number(1))]);
        self.update_if(&place, update, format!("attribute_exists({PK})"), values).await.map(drop)
    }

    /// Releases a lease, unless it was lost.
    pub(super) async fn give_back(&self, lease: &Lease) -> Result<(), StoreError> {
        let values = Item::from([(":token".to_owned(), string(lease.token.to_string()))]);
        self.delete_if(&Place::lease(&lease.instance), format!("{LEASE_TOKEN} = :token"), values).await
    }

    /// Marks the store frozen, then waits until no lease is left. Removes expired leases, so that their operations can
    /// never commit.
    pub(super) async fn halt(&self) -> Result<Freeze, StoreError> {
        let deadline = Instant::now() + self.times.patience;
        let (freeze, begun) = Freeze::begin(self.clone());
        match timeout_at(deadline, begun).await {
            Ok(Ok(begun)) => begun?,
            // The task always answers, unless the process ends.
            Ok(Err(_)) => return Err(self.failed("the broker is ending; repeat")),
            Err(_) => {
                return Err(self.failed(
                    "somebody else has stopped all work on it, as a sweep does; repeat when that has ended",
                ));
            }
        }
        let mut leased = self.leased().await?;
        loop {
            let mut still = Vec::new();
            for place in leased {
                if self.is_leased(&place).await? {
                    still.push(place);
                }
            }
            leased = still;
            let Some(first) = leased.first().and_then(Place::instance) else { return Ok(freeze) };
            if Instant::now() > deadline {
                return Err(self.failed(format!(
                    "service instance {first} is still worked on; repeat when its operation has ended"
                )));
            }
            sleep(POLL).await;
        }
    }

    /// The keys of all leases.
    async fn leased(&self) -> Result<Vec<Place>, StoreError> {
        let scan = self.scan().filter_expression(format!("{SK} = :lease"));
        let scan = scan.expression_attribute_values(":lease", string(LEASE));
        let items = self.all(scan.projection_expression(format!("{PK}, {SK}"))).await?;
        Ok(items.iter().filter_map(Place::of).collect())
    }

    async fn is_leased(&self, place: &Place) -> Result<bool, StoreError> {
        let Some(item) = self.get(place).await? else { return Ok(false) };
        let free = now().saturating_sub(millis(self.times.margin));
        if count(&item, EXPIRES_AT).is_some_and(|end| end >= free) {
            return Ok(true);
        }
        let values = Item::from([(":free".to_owned(), number(free))]);
        self.delete_if(place, format!("{EXPIRES_AT} < :free"), values).await?;
        // The lease still exists if it was renewed just now.
        Ok(self.get(place).await?.is_some())
    }

    async fn is_frozen(&self) -> Result<bool, StoreError> {
        let meta = self.get(&Place::meta()).await?;
        Ok(meta.and_then(|meta| count(&meta, FROZEN_UNTIL)).is_some_and(|until| until > now()))
    }

    /// Begins or extends a freeze, unless another freeze is active.
    pub(super) async fn mark_frozen(&self, token: Uuid) -> Result<bool, StoreError> {
        let now = now();
        let condition = format!(
            "attribute_exists({PK}) AND \
             (attribute_not_exists({FROZEN_UNTIL}) OR {FROZEN_UNTIL} < :now OR {FROZEN_BY} = :token)"
        );
        let values = Item::from([
            (":now".to_owned(), number(now)),
            (":until".to_owned(), number(now + millis(self.times.freeze))),
            (":token".to_owned(), string(token.to_string())),
        ]);
        let update = format!("SET {FROZEN_UNTIL} = :until, {FROZEN_BY} = :token");
        self.update_if(&Place::meta(), update, condition, values).await
    }

    async fn end_freeze(&self, token: Uuid) -> Result<(), StoreError> {
        let update = format!("REMOVE {FROZEN_UNTIL}, {FROZEN_BY}");
        let values = Item::from([(":token".to_owned(), string(token.to_string()))]);
        self.update_if(&Place::meta(), update, format!("{FROZEN_BY} = :token"), values).await.map(drop)
    }

    /// Updates the item if the condition holds; returns whether it held.
    async fn update_if(
        &self,
        place: &Place,
        update: String,
        condition: String,
        values: Item,
    ) -> Result<bool, StoreError> {
        let call = self
            .client
            .update_item()
            .table_name(&*self.table)
            .set_key(Some(place.key()))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values));
        let done = error::conditional(|| call.clone().send()).await;
        Ok(done.map_err(|error| self.refused(&error))?.is_some())
    }

    /// Deletes the item if the condition holds.
    pub(super) async fn delete_if(
        &self,
        place: &Place,
        condition: String,
        values: Item,
    ) -> Result<(), StoreError> {
        let call = self
            .client
            .delete_item()
            .table_name(&*self.table)
            .set_key(Some(place.key()))
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values));
        error::conditional(|| call.clone().send()).await.map(drop).map_err(|error| self.refused(&error))
    }
}

/// Keeps the store frozen until dropped. If the process is killed, the freeze expires.
#[derive(Debug)]
pub(super) struct Freeze {
    _ends: DropGuard,
    lost: CancellationToken,
}

impl Frozen for Freeze {
    fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }
}

impl Freeze {
    /// Starts a freeze. The receiver gets the result once no lease can be granted any more.
    fn begin(store: DynamoDb) -> (Self, oneshot::Receiver<Result<(), StoreError>>) {
        let ended = CancellationToken::new();
        let (begun, answer) = oneshot::channel();
        let lost = CancellationToken::new();
        let keep = keep_frozen(store, ended.clone(), begun);
        let at_the_end = lost.clone().drop_guard();
        tokio::spawn(async move {
            keep.await;
            drop(at_the_end);
        });
        (Self { _ends: ended.drop_guard(), lost }, answer)
    }
}

/// Keeps the store frozen until `ended` is cancelled. The cancellation interrupts only pauses, never a request, so the
/// request that ends the freeze comes last.
async fn keep_frozen(
    store: DynamoDb,
    ended: CancellationToken,
    begun: oneshot::Sender<Result<(), StoreError>>,
) {
    let token = Uuid::new_v4();
    let mut marked = store.mark_frozen(token).await;
    while let Ok(false) = marked
        && ended.run_until_cancelled(sleep(POLL)).await.is_some()
    {
        marked = store.mark_frozen(token).await;
    }
    // The caller may have stopped waiting for the freeze.
    let _ = begun.send(marked.map(drop));
    let (mut prolonged, pause) = (Instant::now(), store.times.freeze / 6);
    while ended.run_until_cancelled(sleep(pause)).await.is_some() {
        let asked = Instant::now();
        match store.mark_frozen(token).await {
            Ok(true) => prolonged = asked,
            Ok(false) => return,
            Err(_) if prolonged.elapsed() + pause >= store.times.freeze => return,
            Err(error) => tracing::warn!("the store could not be kept frozen: {error}"),
        }
    }
    if let Err(error) = store.end_freeze(token).await {
        tracing::warn!("the store stays frozen for {} s at most: {error}", store.times.freeze.as_secs());
    }
}
