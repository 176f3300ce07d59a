//! The queue for bindings on an instance whose lease another operation has. If the platform polls, its request is
//! recorded and answered 202, and any broker carries it out afterwards.

use std::sync::Arc;

use super::{
    super::store::{
        Change, Key, Lease, State, StoreError, Then,
        records::{Binding, Instance, Operation, Record, Verb},
    },
    Refusal, Shared, tombstone,
};
use crate::osb::{BindingId, InstanceId};

impl Shared {
    /// Withdraws a queued binding before anything is created for it; returns whether that succeeded.
    pub(super) async fn withdraw(&self, mut record: Binding) -> Result<bool, Refusal> {
        let Some(lease) = self.records.store.current_lease(&record.instance).await? else { return Ok(false) };
        record.begin(Operation::begin(Verb::Unbind, None));
        let removed = Change::Remove(record.key());
        let changes = [removed].into_iter().chain(tombstone::of(&record)).collect();
        self.commit_beside(&lease, changes).await
    }

    /// The current lease on a ready instance, if its operation is on another binding, so that the operation does not
    /// write this binding's record.
    pub(super) async fn lease_beside(
        &self,
        instance: &InstanceId,
        id: &BindingId,
    ) -> Result<Option<(Lease, Instance)>, Refusal> {
        let Some(lease) = self.records.store.current_lease(instance).await? else { return Ok(None) };
        let on = self.records.instance(instance).await?.filter(|on| on.state == State::Ready);
        let Some(on) = on else { return Ok(None) };
        let bindings = self.records.bindings_that_open(instance).await?;
        let is_at_another = bindings
            .into_iter()
            .filter_map(|(_, binding)| binding)
            .any(|other| other.spec.id != *id && other.operation.is_in_progress());
        Ok(is_at_another.then_some((lease, on)))
    }

    /// Queues a binding under another operation's lease.
    pub(super) async fn record_beside(
        self: &Arc<Self>,
        lease: &Lease,
        record: &Binding,
    ) -> Result<Option<String>, Refusal> {
        if !self.commit_beside(lease, vec![self.records.put(record)]).await? {
            return Ok(None);
        }
        // A delete of the instance may have begun and listed the bindings in the meantime.
        let on = self.records.instance(&record.instance).await?;
        if on.is_none_or(|on| on.state == State::Deleting) && record.is_queued {
            self.commit_beside(lease, vec![Change::Remove(record.key())]).await?;
            return Err(Refusal::Concurrency(record.instance.clone()));
        }
        self.carry_out_later(record.key());
        Ok(Some(record.operation.id.clone()))
    }

    async fn commit_beside(&self, lease: &Lease, changes: Vec<Change>) -> Result<bool, Refusal> {
        match self.records.store.commit(lease, changes, Then::Keep).await {
            Ok(()) => Ok(true),
            Err(StoreError::LeaseLost { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Carries out the queued request once the lease is free. If this broker ends first, recovery does.
    fn carry_out_later(self: &Arc<Self>, key: Key) {
        let engine = self.clone();
        self.operations.spawn(async move {
            let taking = engine.leases.acquire(&key.instance, engine.timing.give_up);
            let taken = tokio::select! {
                () = engine.stop.cancelled() => return,
                taken = taking => taken,
            };
            let carried_out = match taken {
                Ok(Some(lease)) => engine.finish_leased(lease, &key).await,
                Ok(None) => return,
                Err(error) => Err(error.into()),
            };
            match carried_out {
                Ok(_) | Err(Refusal::Interrupted) => {}
                Err(error) => tracing::debug!(%key, %error, "a queued operation did not succeed"),
            }
        });
    }
}
