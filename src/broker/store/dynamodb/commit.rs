//! Commits: one transaction makes all changes, on the condition that the lease is still valid.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput},
    types::{CancellationReason, ConditionCheck, Delete, Put, TransactWriteItem},
};
use uuid::Uuid;

use super::{
    DynamoDb, error,
    items::{self, Item, Place, number, string},
    leases::{self, EXPIRES_AT, LEASE_TOKEN},
};
use crate::broker::store::{Change, Lease, StoreError, Then};

/// DynamoDB's limit per transaction, including the action on the lease.
const MOST_ACTIONS: usize = 100;

/// What a commit does to one item.
enum Action {
    Put(Item),
    Delete,
}

impl DynamoDb {
    pub(super) async fn change(
        &self,
        lease: &Lease,
        changes: Vec<Change>,
        then: Then,
    ) -> Result<(), StoreError> {
        let now = leases::now();
        let mut transaction = vec![self.still_leased(lease, then, now)?];
        for (place, action) in actions(changes, now) {
            transaction.push(self.action(&place, action)?);
        }
        if transaction.len() > MOST_ACTIONS {
            return Err(self.failed(format!(
                "{} changes at once, and DynamoDB takes {MOST_ACTIONS} with the lease; report this",
                transaction.len() - 1
            )));
        }
        match self.transact(transaction).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.cancelled(lease, &error)),
        }
    }

    /// Sends the same token with every attempt, so that a transaction whose answer was lost is not applied twice:
    /// DynamoDB remembers tokens for ten minutes, and the retries end within two.
    async fn transact(
        &self,
        transaction: Vec<TransactWriteItem>,
    ) -> Result<TransactWriteItemsOutput, SdkError<TransactWriteItemsError>> {
        let call = self
            .client
            .transact_write_items()
            .set_transact_items(Some(transaction))
            .client_request_token(Uuid::new_v4().to_string());
        error::past_conflicts(may_pass, || call.clone().send()).await
    }

    /// The lease condition, combined with the change of the lease: a transaction allows one action per item.
    fn still_leased(&self, lease: &Lease, then: Then, now: u64) -> Result<TransactWriteItem, StoreError> {
        let place = Place::lease(&lease.instance);
        let condition = format!("{LEASE_TOKEN} = :token AND {EXPIRES_AT} > :now");
        let (token, now) = (string(lease.token.to_string()), number(now));
        let built = match then {
            Then::Keep => ConditionCheck::builder()
                .table_name(&*self.table)
                .set_key(Some(place.key()))
                .condition_expression(condition)
                .expression_attribute_values(":token", token)
                .expression_attribute_values(":now", now)
                .build()
                .map(|check| TransactWriteItem::builder().condition_check(check)),
            Then::Release => Delete::builder()
                .table_name(&*self.table)
                .set_key(Some(place.key()))
                .condition_expression(condition)
                .expression_attribute_values(":token", token)
                .expression_attribute_values(":now", now)
                .build()
                .map(|delete| TransactWriteItem::builder().delete(delete)),
        };
        Ok(built.map_err(|error| self.failed(error.to_string()))?.build())
    }

    fn action(&self, place: &Place, action: Action) -> Result<TransactWriteItem, StoreError> {
        let built = match action {
            Action::Put(item) => {
                items::check_size(&item).map_err(|problem| self.failed(problem))?;
                let put = Put::builder().table_name(&*self.table).set_item(Some(item)).build();
                put.map(|put| TransactWriteItem::builder().put(put))
            }
            Action::Delete => {
                let delete = Delete::builder().table_name(&*self.table).set_key(Some(place.key())).build();
                delete.map(|delete| TransactWriteItem::builder().delete(delete))
            }
        };
        Ok(built.map_err(|error| self.failed(error.to_string()))?.build())
    }

    fn cancelled(&self, lease: &Lease, error: &SdkError<TransactWriteItemsError>) -> StoreError {
        let reasons = reasons(error);
        // The lease is the first action and the only one with a condition.
        if reasons.iter().any(|reason| reason.code() == Some("ConditionalCheckFailed")) {
            return StoreError::LeaseLost { store: self.name.to_string(), instance: lease.instance.clone() };
        }
        let described: Vec<String> = reasons
            .iter()
            .filter(|reason| !is_fine(reason))
            .map(|reason| {
                let message = reason.message().unwrap_or("without a message");
                format!("{}: {message}", reason.code().unwrap_or("an error without a code"))
            })
            .collect();
        if described.is_empty() {
            return self.refused(error);
        }
        self.failed(format!("a transaction was cancelled: {}; repeat the request", described.join(", ")))
    }
}

/// The action for each item. The last of several changes to an item wins, as if they were applied in order.
fn actions(changes: Vec<Change>, now: u64) -> Vec<(Place, Action)> {
    let mut actions: Vec<(Place, Action)> = Vec::with_capacity(changes.len());
    for change in changes {
        let (place, action) = match change {
            Change::Put(row) => (Place::row(&row.key), Action::Put(items::of_row(row))),
            Change::Remove(key) => (Place::row(&key), Action::Delete),
            Change::Tombstone(key, operation) => {
                (Place::tombstone(&key), Action::Put(items::of_tombstone(&key, operation, now)))
            }
        };
        actions.retain(|(other, _)| *other != place);
        actions.push((place, action));
    }
    actions
}

fn reasons(error: &SdkError<TransactWriteItemsError>) -> &[CancellationReason] {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons()
        }
        _ => &[],
    }
}

/// AWS also lists the actions that did not cause the cancellation.
fn is_fine(reason: &CancellationReason) -> bool {
    matches!(reason.code(), None | Some("None"))
}

/// Whether only temporary causes cancelled the transaction: conflicts on the same items, or throttling.
fn may_pass(error: &SdkError<TransactWriteItemsError>) -> bool {
    let mut blamed = reasons(error).iter().filter(|reason| !is_fine(reason)).peekable();
    let passes = |reason: &CancellationReason| {
        matches!(
            reason.code(),
            Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
        )
    };
    error::is_conflict(error) || (blamed.peek().is_some() && blamed.all(passes))
}
