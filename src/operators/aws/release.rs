//! Deletes the stacks of objects that are gone without bindery: their finalizer was removed by hand, or their namespace
//! vanished. The ledger has them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{
    desired, error::OperatorError, listing::Seen, policies::DELETION_POLICY, reasons, reconcile::Operator,
};
use crate::{
    apis::{
        aws_operator::{AwsObject, Kind},
        bindery::{
            external_resource::{ExternalResourceState, ExternalResourceStatus},
            stack_record::StackRecord,
        },
    },
    cloud::aws::{Account, stacks::Stack},
};

/// How long bindery waits for a stack that is not there: a request that was on its way when the object vanished arrives
/// sooner.
const GRACE: Duration = Duration::from_mins(1);

/// The objects of the kinds that are served.
pub(super) struct Objects {
    pub(super) stores: Vec<(Kind, Store<AwsObject>)>,
    /// The only namespace that is served.
    pub(super) scope: Option<String>,
}

/// A record whose object is gone.
struct Abandoned {
    /// Since when bindery knows.
    since: Instant,
    /// When the next attempt is due.
    due: Instant,
}

impl Objects {
    /// The record's kind, if its object is one that is served and is gone.
    fn is_gone(&self, record: &StackRecord) -> Option<Kind> {
        let spec = &record.spec;
        if self.scope.as_ref().is_some_and(|scope| *scope != spec.namespace) {
            return None;
        }
        let kind = Kind::parse(&spec.object_kind)?;
        let (_, store) = self.stores.iter().find(|(served, _)| *served == kind)?;
        let found = store.get(&ObjectRef::new_with(&spec.name, kind).within(&spec.namespace));
        found.is_none_or(|object| object.uid().as_ref() != Some(&spec.uid)).then_some(kind)
    }
}

impl Operator {
    /// Deletes abandoned stacks. Never ends.
    pub(super) async fn release_abandoned(self: Arc<Self>, objects: Objects) {
        // The stores may not be full yet, and each deletion asks the API server first. To wait for a store here would take the
        // wake-up of the controller that waits for it, too.
        let mut abandoned: HashMap<String, Abandoned> = HashMap::new();
        loop {
            sleep(self.poll).await;
            let records = self.ledger.all();
            abandoned.retain(|name, _| records.iter().any(|record| record.name_any() == *name));
            for record in records {
                let Some(kind) = objects.is_gone(&record) else { continue };
                let now = Instant::now();
                let entry = abandoned.entry(record.name_any()).or_insert(Abandoned { since: now, due: now });
                if entry.due > now {
                    continue;
                }
                // A list that is a little older is as good, and other objects may have asked for it.
                let not_before =
                    now.checked_sub(self.poll * 2).map_or(now, |earlier| earlier.max(entry.since));
                if let Err(error) = Box::pin(self.release(kind, &record, not_before)).await {
                    warn!(record = record.name_any(), %error, "the stack of a missing object is not deleted; retrying");
                    self.say(&record, reasons::AWS_CALL_FAILED, error.to_string()).await;
                    entry.due = Instant::now() + self.retries.next(&record.spec.uid, None);
                }
            }
        }
    }

    /// The next step of one deletion. The list of stacks is at least as new as `not_before`.
    async fn release(
        &self,
        kind: Kind,
        record: &StackRecord,
        not_before: Instant,
    ) -> Result<(), OperatorError> {
        let spec = &record.spec;
        // The cache may lag behind a new object.
        let api: Api<AwsObject> = Api::namespaced_with(self.client.clone(), &spec.namespace, &kind);
        if api.get_opt(&spec.name).await?.is_some_and(|object| object.uid().as_ref() == Some(&spec.uid)) {
            return Ok(());
        }
        let account = self.accounts.named(&spec.broker.name)?;
        let Seen::Stack(stack) = account.listing.stack(&spec.stack, not_before).await? else { return Ok(()) };
        let stack = stack.filter(|stack| desired::is_made_for(stack, &self.cluster, &spec.uid));
        let retains = record.annotations().get(DELETION_POLICY).is_some_and(|policy| policy == "retain");
        match stack {
            Some(stack) if !retains => self.delete_abandoned(record, &account.account, &stack).await,
            None if !retains && is_early(record) => {
                self.say(
                    record,
                    reasons::LOOKING_FOR_STACK,
                    "bindery looks for the stack once more".to_owned(),
                )
                .await;
                Ok(())
            }
            _ => {
                info!(stack = spec.stack, "the stack of a missing object is gone");
                self.retries.forget(&spec.uid);
                Ok(self.ledger.remove(record).await?)
            }
        }
    }

    async fn delete_abandoned(
        &self,
        record: &StackRecord,
        account: &Account,
        stack: &Stack,
    ) -> Result<(), OperatorError> {
        let status = &stack.status;
        self.say(record, reasons::DELETING_STACK, format!("CloudFormation deletes the stack ({status})"))
            .await;
        if status.is_deleting() || (status.is_in_progress() && !status.is_creating()) {
            return Ok(());
        }
        account.delete_stack(&stack.name, None).await?;
        if status.is_failed_deletion() {
            let history = account.stack_history(&stack.id).await?;
            let reason = history.first_failure.map(|failure| failure.to_string()).unwrap_or_default();
            return Err(OperatorError::NotDeleted(format!(
                "{reason}; {}",
                status.way_out().unwrap_or_default()
            )));
        }
        Ok(())
    }

    async fn say(&self, record: &StackRecord, reason: &str, message: String) {
        let mut status = record.status.clone().unwrap_or_default();
        status.state = Some(ExternalResourceState::Releasing);
        status.since.get_or_insert_with(|| Time(Timestamp::now()));
        (status.reason, status.message) = (Some(reason.to_owned()), Some(message));
        if let Err(error) = self.ledger.tell(record, &status).await {
            warn!(record = record.name_any(), %error, "the status of an ExternalResource cannot be written");
        }
    }
}

/// Whether the object has vanished just now. A stack that bindery has seen cannot appear again.
fn is_early(record: &StackRecord) -> bool {
    let ExternalResourceStatus { since, reason, .. } = record.status.clone().unwrap_or_default();
    if reason.is_some_and(|reason| reason == reasons::DELETING_STACK) {
        return false;
    }
    let waited = since.map_or(0, |since| Timestamp::now().as_second() - since.0.as_second());
    u64::try_from(waited).unwrap_or_default() < GRACE.as_secs()
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector::store::Writer, watcher};
    use serde_json::json;

    use super::*;

    fn record(status: &serde_json::Value) -> StackRecord {
        serde_json::from_value(json!({"apiVersion": "bindery.dev/v1alpha1", "kind": "ExternalResource", "metadata": {},
            "spec": {"broker": {"name": "aws", "url": ""}, "kind": "Stack", "namespace": "n", "name": "t", "uid": "1",
                "instanceID": "s", "serviceID": "DynamoDB", "planID": ""}, "status": status}))
        .unwrap()
    }

    #[test]
    fn a_stack_that_nobody_saw_is_looked_for_a_minute() {
        let since = |seconds| Timestamp::now().checked_sub(Duration::from_secs(seconds)).unwrap().to_string();
        assert!(is_early(&record(&json!({}))));
        assert!(is_early(&record(&json!({"since": since(30), "reason": reasons::LOOKING_FOR_STACK}))));
        assert!(!is_early(&record(&json!({"since": since(90), "reason": reasons::LOOKING_FOR_STACK}))));
        let seen = json!({"since": since(1), "reason": reasons::DELETING_STACK});
        assert!(!is_early(&record(&seen)), "a stack that was seen cannot appear again");
    }

    #[test]
    fn only_objects_that_are_served_can_be_gone() {
        let mut writer = Writer::new(Kind::DynamoDb);
        let objects = |scope: Option<&str>, writer: &Writer<AwsObject>| Objects {
            stores: vec![(Kind::DynamoDb, writer.as_reader())],
            scope: scope.map(ToOwned::to_owned),
        };
        let gone = record(&json!({}));
        assert_eq!(objects(None, &writer).is_gone(&gone), Some(Kind::DynamoDb));
        assert_eq!(objects(Some("other"), &writer).is_gone(&gone), None, "another operator's namespace");
        let unserved = Objects { stores: Vec::new(), scope: None };
        assert_eq!(unserved.is_gone(&gone), None);
        let object = |uid: &str| -> AwsObject {
            serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "t", "uid": uid}})).unwrap()
        };
        writer.apply_watcher_event(&watcher::Event::Apply(object("2")));
        assert_eq!(objects(None, &writer).is_gone(&gone), Some(Kind::DynamoDb), "another of the same name");
        writer.apply_watcher_event(&watcher::Event::Apply(object("1")));
        assert_eq!(objects(None, &writer).is_gone(&gone), None);
    }
}
