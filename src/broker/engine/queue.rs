//! Requests for bindings on an instance that another operation has. A platform that polls is not sent away: its binding, or
//! the end of one, is recorded beside that operation, answered 202, and carried out afterwards, by whichever broker is there.

use std::{sync::Arc, time::Duration};

use super::{
    super::store::{
        Change, Hold, Key, State, StoreError, Then,
        records::{Binding, Instance, Verb},
    },
    Asking, BindResult, Refusal, Shared, Status,
    bind::BindWanted,
    leases::Held,
    provision::begin,
    tombstone,
};
use crate::osb::{BindingId, InstanceId};

/// What comes of waiting for an instance.
pub(super) enum Turn<T> {
    /// It is this request's.
    Now(Held),
    /// The request was recorded, and this is its answer.
    Later(T),
}

impl Shared {
    /// Waits for the instance, to make a binding; who polls does not wait for long.
    pub(super) async fn turn_to_bind(
        self: &Arc<Self>,
        asking: &Asking,
        instance: &InstanceId,
        id: &BindingId,
        wanted: &BindWanted,
    ) -> Result<Turn<BindResult>, Refusal> {
        let patience = self.patience(asking, instance).await?;
        if let Some(held) = self.holds.take(instance, patience).await? {
            return Ok(Turn::Now(held));
        }
        if asking.accepts_incomplete
            && let Some(operation) = self.bind_later(asking, instance, id, wanted).await?
        {
            let status = Status::Accepted(operation);
            return Ok(Turn::Later(BindResult { status, bound: None }));
        }
        self.last_turn(instance, patience).await.map(Turn::Now)
    }

    /// Waits for the instance, to revoke a binding.
    pub(super) async fn turn_to_unbind(
        self: &Arc<Self>,
        asking: &Asking,
        instance: &InstanceId,
        id: &BindingId,
        check: impl Fn(&Binding, &Instance) -> Result<(), Refusal>,
    ) -> Result<Turn<Status>, Refusal> {
        let patience = self.patience(asking, instance).await?;
        if let Some(held) = self.holds.take(instance, patience).await? {
            return Ok(Turn::Now(held));
        }
        if asking.accepts_incomplete
            && let Some(operation) = self.unbind_later(asking, instance, id, check).await?
        {
            return Ok(Turn::Later(Status::Accepted(operation)));
        }
        self.last_turn(instance, patience).await.map(Turn::Now)
    }

    /// What takes long would be waited for in vain.
    async fn patience(&self, asking: &Asking, instance: &InstanceId) -> Result<Duration, Refusal> {
        let on = if asking.accepts_incomplete { self.records.instance(instance).await? } else { None };
        let is_lasting = on.is_some_and(|on| self.is_lasting(&on.spec.service_id, &on.spec.plan_id));
        Ok(if is_lasting { Duration::ZERO } else { self.timing.queue })
    }

    async fn last_turn(&self, instance: &InstanceId, waited: Duration) -> Result<Held, Refusal> {
        if waited.is_zero() {
            self.queue(instance).await
        } else {
            Err(Refusal::Concurrency(instance.clone()))
        }
    }

    /// Records a binding that is to be made; answers its operation, or nothing when it cannot be recorded now.
    async fn bind_later(
        self: &Arc<Self>,
        asking: &Asking,
        instance: &InstanceId,
        id: &BindingId,
        wanted: &BindWanted,
    ) -> Result<Option<String>, Refusal> {
        let Some((holder, on)) = self.beside(instance, id).await? else { return Ok(None) };
        if self.records.binding(instance, id).await?.is_some() {
            return Ok(None);
        }
        let new = self.new_binding(&on, id.clone(), wanted.clone(), asking).await?;
        let record = Binding { is_queued: true, ..new };
        self.record_beside(&holder, &record).await
    }

    /// Records that a binding is to be revoked, in the same way.
    async fn unbind_later(
        self: &Arc<Self>,
        asking: &Asking,
        instance: &InstanceId,
        id: &BindingId,
        check: impl Fn(&Binding, &Instance) -> Result<(), Refusal>,
    ) -> Result<Option<String>, Refusal> {
        let Some((holder, on)) = self.beside(instance, id).await? else { return Ok(None) };
        let found = self.records.binding(instance, id).await?;
        let Some(mut record) = found.filter(|found| !found.operation.is_in_progress()) else {
            return Ok(None);
        };
        check(&record, &on)?;
        record.begin(begin(Verb::Unbind, asking));
        record.state = State::Deleting;
        self.record_beside(&holder, &record).await
    }

    /// Withdraws a queued binding before anything is created for it. Returns whether the binding was withdrawn.
    pub(super) async fn withdraw(&self, mut record: Binding) -> Result<bool, Refusal> {
        let Some(holder) = self.records.store.holder(&record.instance).await? else { return Ok(false) };
        record.begin(begin(Verb::Unbind, &Asking::default()));
        let removed = Change::Remove(record.key());
        let changes = [removed].into_iter().chain(tombstone::of_binding(&record)).collect();
        self.commit_beside(&holder, changes).await
    }

    /// The hold on an instance that is there in full, and on which another binding is worked on: whoever has it does not
    /// write the record of this binding.
    async fn beside(
        &self,
        instance: &InstanceId,
        id: &BindingId,
    ) -> Result<Option<(Hold, Instance)>, Refusal> {
        let Some(holder) = self.records.store.holder(instance).await? else { return Ok(None) };
        let on = self.records.instance(instance).await?.filter(|on| on.state == State::Ready);
        let Some(on) = on else { return Ok(None) };
        let bindings = self.records.bindings_that_open(instance).await?;
        let is_at_another = bindings
            .into_iter()
            .filter_map(|(_, binding)| binding)
            .any(|other| other.spec.id != *id && other.operation.is_in_progress());
        Ok(is_at_another.then_some((holder, on)))
    }

    async fn record_beside(
        self: &Arc<Self>,
        holder: &Hold,
        record: &Binding,
    ) -> Result<Option<String>, Refusal> {
        if !self.commit_beside(holder, vec![self.records.put_binding(record)]).await? {
            return Ok(None);
        }
        // A delete of the instance may have begun meanwhile, and have looked for bindings already.
        let on = self.records.instance(&record.instance).await?;
        if on.is_none_or(|on| on.state == State::Deleting) && record.is_queued {
            self.commit_beside(holder, vec![Change::Remove(record.key())]).await?;
            return Err(Refusal::Concurrency(record.instance.clone()));
        }
        self.carry_out_later(record.key());
        Ok(Some(record.operation.id.clone()))
    }

    async fn commit_beside(&self, holder: &Hold, changes: Vec<Change>) -> Result<bool, Refusal> {
        match self.records.store.commit(holder, changes, Then::Keep).await {
            Ok(()) => Ok(true),
            Err(StoreError::HoldLost { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Goes on with what was recorded once the instance is free. If this broker ends before, recovery does.
    fn carry_out_later(self: &Arc<Self>, key: Key) {
        let engine = self.clone();
        self.operations.spawn(async move {
            let taking = engine.holds.take(&key.instance, engine.timing.give_up);
            let taken = tokio::select! {
                () = engine.stop.cancelled() => return,
                taken = taking => taken,
            };
            let carried_out = match taken {
                Ok(Some(held)) => engine.finish_held(held, &key).await,
                Ok(None) => return,
                Err(error) => Err(error.into()),
            };
            match carried_out {
                Ok(_) | Err(Refusal::Interrupted) => {}
                Err(error) => tracing::debug!(%key, %error, "what waited for its instance did not succeed"),
            }
        });
    }
}
