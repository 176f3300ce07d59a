//! The ledger of stacks: bindery records an ExternalResource before it asks CloudFormation for a stack, and removes it when the
//! stack is gone. So nothing is lost with a finalizer that was removed by hand, or with a namespace that vanished.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, pin_mut};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde_json::json;
use tracing::debug;

use super::policies::{DELETION_POLICY, DeletionPolicy};
use crate::{
    apis::bindery::{
        external_resource::ExternalResourceStatus,
        stack_record::{StackRecord, StackRecordSpec},
    },
    cloud::aws::digest,
    contract::{FIELD_MANAGER, external_resource::STACK},
    k8s::{delete_by_uid, explain_watch},
};

/// How many hexadecimal digits of a hash tell clusters and accounts apart.
const DIGITS: usize = 16;

/// An ExternalResource of another object stands for the stack.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    #[error(
        "the ExternalResource {name} says that the stack {stack} was made for an earlier object; bindery deletes that stack first"
    )]
    OfAnother { name: String, stack: String },
    #[error(transparent)]
    Kubernetes(#[from] kube::Error),
}

/// The recorded stacks of an installation.
pub(super) struct Ledger {
    api: Api<StackRecord>,
    cluster: String,
    store: Store<StackRecord>,
}

/// The value of the label that marks the records of a cluster's stacks.
pub(super) fn mark(cluster: &str) -> String {
    digest(&[cluster], DIGITS)
}

fn record_name(account: &str, stack: &str) -> String {
    format!("stack-{}-{}", stack.to_ascii_lowercase(), digest(&[account, stack], DIGITS))
}

impl Ledger {
    /// A ledger, and what keeps it up to date.
    pub(super) fn new(client: &Client, cluster: &str) -> (Self, Writer<StackRecord>) {
        let (store, writer) = reflector::store();
        (Self { api: Api::all(client.clone()), cluster: mark(cluster), store }, writer)
    }

    /// Keeps the ledger up to date. Never ends.
    pub(super) async fn watch(api: Api<StackRecord>, cluster: String, writer: Writer<StackRecord>) {
        let config = watcher::Config::default().labels(&format!("{STACK}={}", mark(&cluster)));
        let events = watcher(api, config).default_backoff().reflect(writer).inspect_err(|error| {
            debug!(error = explain_watch(error), "the watch of ExternalResources was interrupted");
        });
        pin_mut!(events);
        while events.next().await.is_some() {}
    }

    pub(super) async fn wait_until_ready(&self) {
        // Fails only when the writer is gone, which ends the operator.
        let _ = self.store.wait_until_ready().await;
    }

    /// All records.
    pub(super) fn all(&self) -> Vec<Arc<StackRecord>> {
        self.store.state()
    }

    /// The record of the object with this uid.
    pub(super) fn of(&self, uid: &str) -> Option<Arc<StackRecord>> {
        self.store.find(|record| record.spec.uid == uid)
    }

    /// Ensures that the record exists before CloudFormation is asked, and that it says what becomes of the stack.
    pub(super) async fn record(
        &self,
        wanted: StackRecordSpec,
        policy: DeletionPolicy,
    ) -> Result<(), LedgerError> {
        let name = record_name(&wanted.broker.name, &wanted.stack);
        let known = match self.store.get(&ObjectRef::new(&name)) {
            Some(known) => known,
            None => Arc::new(self.create(&name, &wanted, policy).await?),
        };
        if known.spec.uid != wanted.uid {
            return Err(LedgerError::OfAnother { name, stack: wanted.stack });
        }
        if known.annotations().get(DELETION_POLICY).map(String::as_str) != Some(policy.word()) {
            let patch =
                json!({"metadata": {"uid": known.uid(), "annotations": {DELETION_POLICY: policy.word()}}});
            self.api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(())
    }

    /// Creates the record, or returns the one that exists.
    async fn create(
        &self,
        name: &str,
        wanted: &StackRecordSpec,
        policy: DeletionPolicy,
    ) -> Result<StackRecord, LedgerError> {
        let mut record = StackRecord::new(name, wanted.clone());
        *record.meta_mut() = ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(STACK.to_owned(), self.cluster.clone())])),
            annotations: Some(BTreeMap::from([(DELETION_POLICY.to_owned(), policy.word().to_owned())])),
            ..ObjectMeta::default()
        };
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.api.create(&parameters, &record).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(self.api.get(name).await?),
            outcome => Ok(outcome?),
        }
    }

    /// Writes how far the deletion of an abandoned stack is.
    pub(super) async fn tell(
        &self,
        record: &StackRecord,
        status: &ExternalResourceStatus,
    ) -> kube::Result<()> {
        if record.status.as_ref() == Some(status) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"status": status}));
        self.api.patch_status(&record.name_any(), &PatchParams::default(), &patch).await.map(drop)
    }

    /// Removes a record whose stack is gone, or stays for good.
    pub(super) async fn remove(&self, record: &StackRecord) -> kube::Result<()> {
        delete_by_uid::delete(&self.api, &record.name_any(), record.uid()).await
    }

    /// Removes the record of an object if there is one.
    pub(super) async fn remove_of(&self, account: &str, stack: &str, uid: &str) -> kube::Result<()> {
        // Read from the API server, because the watch may not have shown the record yet.
        let found = self.api.get_opt(&record_name(account, stack)).await?;
        match found.filter(|record| record.spec.uid == uid) {
            Some(record) => self.remove(&record).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_named_after_account_and_stack() {
        let name = record_name("aws", "Demos-dynamodb-t-default");
        assert!(name.starts_with("stack-demos-dynamodb-t-default-"), "{name}");
        assert_ne!(name, record_name("aws-account/111122223333", "Demos-dynamodb-t-default"));
        assert_ne!(name, record_name("aws", "demos-dynamodb-t-default"));
        assert!(record_name("aws", &"a".repeat(128)).len() <= 253);
    }
}
