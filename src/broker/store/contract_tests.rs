//! Tests that every [`Store`] must pass: `rows` for the records, `leases` for leases and freezes. A store implements
//! [`Testbed`] and calls `trials::contract!(ItsTestbed)` in its own tests, next to tests of what only that store does.

pub(crate) mod leases;
pub(crate) mod rows;

use std::time::Duration;

use uuid::Uuid;

use super::{Change, Key, Lease, Row, State, Store, StoreError, Then, cipher::Sealed};
use crate::osb::InstanceId;

/// Longer than any test takes.
pub(crate) const LONG_LEASE: Duration = Duration::from_mins(5);
/// Short enough to wait for its expiry, and long enough to be renewed on a busy machine.
pub(crate) const SHORT_LEASE: Duration = Duration::from_secs(2);
/// The timeout of every wait.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Sets up a store for one test: records that no other test sees, empty at first.
pub(crate) trait Testbed: Sized {
    type Store: Store + 'static;

    async fn new() -> Self;

    /// Opens a broker's own handle on the records. Two handles stand for two replicas if the store supports several
    /// brokers; they may share everything if the store is for one process.
    async fn open(&self, lease: Duration) -> Self::Store;
}

/// Generates the tests of a store: `trials::contract!(ItsTestbed);`
macro_rules! contract {
    ($testbed:ty) => {
        $crate::broker::store::contract_tests::contract! { $testbed, rows:
            installation_is_proposed_once,
            brokers_that_start_at_once_agree_on_the_installation,
            rows_are_put_replaced_and_removed,
            every_part_of_a_row_comes_back,
            odd_ids_are_kept_apart,
            rows_come_in_the_order_of_their_ids,
            unfinished_rows_are_found,
            rows_sealed_otherwise_are_found,
            deletes_are_remembered_and_forgotten,
            a_commit_without_changes_is_one,
        }
        $crate::broker::store::contract_tests::contract! { $testbed, leases:
            an_instance_has_one_lease_and_other_instances_are_free,
            a_released_lease_is_lost,
            only_its_holder_can_release_a_lease,
            a_commit_without_the_lease_changes_nothing,
            other_processes_can_commit_under_a_current_lease,
            a_commit_keeps_or_releases_the_lease,
            a_released_instance_is_free_although_it_is_recorded,
            leases_of_one_instance_are_exclusive,
            a_renewal_reports_an_interruption,
            no_lease_is_granted_while_frozen,
            a_freeze_waits_for_leases,
            nothing_is_committed_while_frozen,
            two_freeze_one_after_the_other_or_at_once,
            a_lease_expires_unless_it_is_renewed,
            a_renewed_lease_stays_valid,
            freezing_does_not_wait_for_the_dead,
            a_freeze_lasts_until_it_is_dropped,
        }
    };
    ($testbed:ty, $group:ident: $($trial:ident,)+) => {
        mod $group {
            use super::*;

            $(
                #[tokio::test]
                async fn $trial() {
                    $crate::broker::store::contract_tests::$group::$trial::<$testbed>().await;
                }
            )+
        }
    };
}
pub(crate) use contract;

pub(crate) fn sealed(content: &str) -> Sealed {
    Sealed { key_id: "k1".to_owned(), bytes: content.as_bytes().to_vec() }
}

pub(crate) fn row(key: &Key, state: State, content: &str) -> Row {
    Row { key: key.clone(), state, server: "main".into(), sealed: sealed(content) }
}

/// A change that writes a ready row.
pub(crate) fn put(key: &Key, content: &str) -> Change {
    Change::Put(row(key, State::Ready, content))
}

pub(crate) fn instance(id: &str) -> Key {
    Key::instance(&id.into())
}

pub(crate) fn binding(instance: &str, id: &str) -> Key {
    Key::binding(&instance.into(), &id.into())
}

/// Acquires the lease on an instance that has none.
pub(crate) async fn take(store: &impl Store, instance: &InstanceId) -> Lease {
    store.acquire(instance).await.unwrap().expect("nobody holds it")
}

/// Acquires the lease, commits the changes and releases the lease.
pub(crate) async fn change(store: &impl Store, instance: &str, changes: Vec<Change>) {
    let lease = take(store, &instance.into()).await;
    store.commit(&lease, changes, Then::Release).await.unwrap();
}

/// A lease that was never granted.
pub(crate) fn made_up(instance: &InstanceId) -> Lease {
    Lease { instance: instance.clone(), token: Uuid::new_v4() }
}

/// Waits until the instance's lease is free, and acquires it.
pub(crate) async fn take_when_free(store: &impl Store, instance: &InstanceId) -> Lease {
    let taken = async {
        loop {
            match store.acquire(instance).await.unwrap() {
                Some(lease) => return lease,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("it becomes free")
}

pub(crate) fn is_lost(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::LeaseLost { .. }))
}
