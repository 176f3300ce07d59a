//! Writes the objects and the statuses of policies.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::ClusterResourceScope,
    runtime::reflector::Store,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::{info, warn};

use crate::{
    apis::bindery::credential_policy::CredentialPolicy,
    contract::{FIELD_MANAGER, policy::POLICY},
    k8s::{delete_by_uid, explain, with_timeout},
    policy::cel::Compiled,
};

/// The time limit of one write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes to the API server.
pub(super) struct PolicyWriter {
    pub(super) client: Client,
}

impl PolicyWriter {
    /// Applies the objects of one policy, each ValidatingAdmissionPolicy before its binding.
    pub(super) async fn apply(&self, owner: &CredentialPolicy, compiled: &[Compiled]) -> Result<(), String> {
        for Compiled { policy, binding, .. } in compiled {
            self.apply_one(owner, policy.clone()).await?;
            self.apply_one(owner, binding.clone()).await?;
        }
        Ok(())
    }

    async fn apply_one<K>(&self, owner: &CredentialPolicy, mut object: K) -> Result<(), String>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        object.meta_mut().owner_references = Some(vec![owner_reference(owner)]);
        let name = object.name_any();
        let api: Api<K> = Api::all(self.client.clone());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&object);
        let applied = with_timeout(WRITE_TIMEOUT, api.patch(&name, &parameters, &patch)).await;
        applied
            .map(drop)
            .map_err(|error| format!("cannot apply {} {name}: {}", K::kind(&()), explain(&error)))
    }

    /// Deletes the objects that no policy needs any more. Returns whether all could be deleted.
    pub(super) async fn prune<K>(
        &self,
        store: &Store<K>,
        wanted: &BTreeSet<String>,
        kept: &BTreeSet<String>,
    ) -> bool
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let mut is_complete = true;
        for object in store.state() {
            let of_kept = object.labels().get(POLICY).is_some_and(|policy| kept.contains(policy));
            let name = object.name_any();
            if of_kept || wanted.contains(&name) {
                continue;
            }
            let deletion = delete_by_uid::delete(&api, &name, object.uid());
            match with_timeout(WRITE_TIMEOUT, deletion).await {
                Ok(()) => info!(kind = %K::kind(&()), name, "deleted an object that no policy needs"),
                Err(error) => {
                    warn!(kind = %K::kind(&()), name, error = explain(&error), "an object cannot be deleted");
                    is_complete = false;
                }
            }
        }
        is_complete
    }

    /// Writes a status that changed. Returns whether it is written.
    pub(super) async fn write_status<K>(&self, object: &K, is_new: bool, status: &impl Serialize) -> bool
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
    {
        if !is_new {
            return true;
        }
        let api: Api<K> = Api::all(self.client.clone());
        let (name, parameters) = (object.name_any(), PatchParams::default());
        let patch = Patch::Merge(json!({"status": status}));
        let written = api.patch_status(&name, &parameters, &patch);
        match with_timeout(WRITE_TIMEOUT, written).await {
            // A deleted object needs no status.
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.is_not_found() => true,
            Err(error) => {
                warn!(kind = %K::kind(&()), name, error = explain(&error), "status not written");
                false
            }
        }
    }
}

/// The API server deletes the objects with their policy, also while bindery is away.
fn owner_reference(owner: &CredentialPolicy) -> OwnerReference {
    owner.controller_owner_ref(&()).unwrap_or_default()
}
