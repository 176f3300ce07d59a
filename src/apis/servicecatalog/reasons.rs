//! The reasons of the conditions of ClusterServiceBrokers, ServiceInstances, ServiceBindings and ExternalResources, and of the
//! events that have no condition. Most are those of the old Service Catalog, whose tools know them. `docs/reference.md` says
//! for each what it means and what to do.

// A broker's catalog: `Ready` of a ClusterServiceBroker.

/// The broker's catalog was read.
pub const FETCHED_CATALOG: &str = "FetchedCatalog";
/// The broker's catalog was read, but entries of it cannot be used.
pub const FETCHED_CATALOG_IN_PART: &str = "FetchedCatalogInPart";
/// The broker cannot be reached, refuses the credentials, or is no Open Service Broker.
pub const ERROR_FETCHING_CATALOG: &str = "ErrorFetchingCatalog";
/// The broker's catalog cannot be used.
pub const ERROR_SYNCING_CATALOG: &str = "ErrorSyncingCatalog";
/// A class of a ClusterServiceBroker that is being deleted cannot be deleted.
pub const ERROR_DELETING_CLUSTER_SERVICE_CLASS: &str = "ErrorDeletingClusterServiceClass";
/// A plan of a ClusterServiceBroker that is being deleted cannot be deleted.
pub const ERROR_DELETING_CLUSTER_SERVICE_PLAN: &str = "ErrorDeletingClusterServicePlan";
/// A class of a ServiceBroker that is being deleted cannot be deleted.
pub const ERROR_DELETING_SERVICE_CLASS: &str = "ErrorDeletingServiceClass";
/// A plan of a ServiceBroker that is being deleted cannot be deleted.
pub const ERROR_DELETING_SERVICE_PLAN: &str = "ErrorDeletingServicePlan";
/// The ClusterServiceBroker is deleted with its classes and plans. An event only: the object is gone.
pub const DELETED_CLUSTER_SERVICE_BROKER_SUCCESSFULLY: &str = "DeletedClusterServiceBrokerSuccessfully";
/// The ServiceBroker is deleted with its classes and plans. An event only: the object is gone.
pub const DELETED_SUCCESSFULLY: &str = "DeletedSuccessfully";

// Access to a broker, for every kind.

/// The Secret of the broker's `authInfo` is missing or incomplete.
pub const ERROR_GETTING_AUTH_CREDENTIALS: &str = "ErrorGettingAuthCredentials";
/// The webhook has not checked that the author of a ClusterServiceBroker may read the Secret of its `authInfo`.
pub const SECRET_NOT_APPROVED: &str = "SecretNotApproved";
/// The ClusterServiceBroker is gone.
pub const REFERENCES_NONEXISTENT_BROKER: &str = "ReferencesNonexistentBroker";

// Identity, for instances and bindings.

/// The broker still holds what belonged to a deleted namespace of the same name.
pub const NAMESPACE_RECREATED: &str = "NamespaceRecreated";
/// `spec.externalID` belongs to another object.
pub const ERROR_EXTERNAL_ID_TAKEN: &str = "ErrorExternalIDTaken";
/// `spec.parameters` cannot be sent to a broker.
pub const ERROR_WITH_PARAMETERS: &str = "ErrorWithParameters";

// Classes and plans: `Ready` of a ServiceInstance.

/// No broker offers the class.
pub const REFERENCES_NONEXISTENT_SERVICE_CLASS: &str = "ReferencesNonexistentServiceClass";
/// The broker does not offer the class any more.
pub const REFERENCES_DELETED_SERVICE_CLASS: &str = "ReferencesDeletedServiceClass";
/// The class has no such plan.
pub const REFERENCES_NONEXISTENT_SERVICE_PLAN: &str = "ReferencesNonexistentServicePlan";
/// The broker does not offer the plan any more.
pub const REFERENCES_DELETED_SERVICE_PLAN: &str = "ReferencesDeletedServicePlan";

// Provisioning, updating and deprovisioning a ServiceInstance.

/// The request to create the instance is under way.
pub const PROVISION_REQUEST_IN_FLIGHT: &str = "ProvisionRequestInFlight";
/// The broker is creating the instance.
pub const PROVISIONING: &str = "Provisioning";
/// The instance exists.
pub const PROVISIONED_SUCCESSFULLY: &str = "ProvisionedSuccessfully";
/// The broker refused to create the instance.
pub const PROVISION_CALL_FAILED: &str = "ProvisionCallFailed";
/// The broker did not answer the request to create the instance.
pub const ERROR_CALLING_PROVISION: &str = "ErrorCallingProvision";
/// The broker does not report the state of its operation.
pub const ERROR_POLLING_LAST_OPERATION: &str = "ErrorPollingLastOperation";
/// The broker may hold the remains of a failed creation, and bindery deletes them (condition `OrphanMitigation`).
pub const STARTING_INSTANCE_ORPHAN_MITIGATION: &str = "StartingInstanceOrphanMitigation";
/// The broker has deleted the remains of a failed creation.
pub const ORPHAN_MITIGATION_SUCCESSFUL: &str = "OrphanMitigationSuccessful";
/// The broker has not deleted the remains of a failed creation (condition `OrphanMitigation`).
pub const ORPHAN_MITIGATION_FAILED: &str = "OrphanMitigationFailed";
/// The request to change the instance is under way.
pub const UPDATE_INSTANCE_REQUEST_IN_FLIGHT: &str = "UpdateInstanceRequestInFlight";
/// The broker is changing the instance.
pub const UPDATING_INSTANCE: &str = "UpdatingInstance";
/// The instance has the plan and parameters of the spec.
pub const INSTANCE_UPDATED_SUCCESSFULLY: &str = "InstanceUpdatedSuccessfully";
/// The broker, or its catalog, refused to change the instance.
pub const UPDATE_INSTANCE_CALL_FAILED: &str = "UpdateInstanceCallFailed";
/// The broker did not answer the request to change the instance.
pub const ERROR_CALLING_UPDATE_INSTANCE: &str = "ErrorCallingUpdateInstance";
/// The request to delete the instance is under way.
pub const DEPROVISION_REQUEST_IN_FLIGHT: &str = "DeprovisionRequestInFlight";
/// The broker is deleting the instance.
pub const DEPROVISIONING: &str = "Deprovisioning";
/// An annotation protects the instance from its deletion.
pub const DELETION_PROTECTED: &str = "DeletionProtected";
/// The bindings of the instance are deleted first, as its annotation asks.
pub const SERVICE_BINDINGS_DELETION: &str = "ServiceBindingsDeletion";
/// Bindings of the instance still exist.
pub const DEPROVISION_BLOCKED_BY_EXISTING_CREDENTIALS: &str = "DeprovisionBlockedByExistingCredentials";
/// The broker failed to delete the instance.
pub const DEPROVISION_CALL_FAILED: &str = "DeprovisionCallFailed";
/// The broker did not answer the request to delete the instance.
pub const ERROR_CALLING_DEPROVISION: &str = "ErrorCallingDeprovision";
/// The broker deleted the instance. An event only: the object is gone.
pub const DEPROVISIONED_SUCCESSFULLY: &str = "DeprovisionedSuccessfully";

// Binding and unbinding: `Ready` of a ServiceBinding.

/// The namespace has no ServiceInstance of that name.
pub const REFERENCES_NONEXISTENT_INSTANCE: &str = "ReferencesNonexistentInstance";
/// The ServiceInstance is not ready.
pub const ERROR_INSTANCE_NOT_READY: &str = "ErrorInstanceNotReady";
/// The class or plan of the instance is unknown.
pub const ERROR_INSTANCE_REFS_UNRESOLVED: &str = "ErrorInstanceRefsUnresolved";
/// The plan cannot be bound.
pub const ERROR_NONBINDABLE_SERVICE_CLASS: &str = "ErrorNonbindableServiceClass";
/// The broker refused to create credentials.
pub const BIND_CALL_FAILED: &str = "BindCallFailed";
/// The request for credentials is under way.
pub const BINDING_REQUEST_IN_FLIGHT: &str = "BindingRequestInFlight";
/// The broker is creating the credentials.
pub const BINDING: &str = "Binding";
/// The broker has created credentials and does not hand them out.
pub const FETCHING_BINDING_FAILED: &str = "FetchingBindingFailed";
/// The broker has not created the credentials within the time for retries.
pub const ASYNC_OPERATION_TIMEOUT: &str = "AsyncOperationTimeout";
/// The broker may hold what a failed bind left, and bindery deletes it.
pub const SERVICE_BINDING_NEEDS_ORPHAN_MITIGATION: &str = "ServiceBindingNeedsOrphanMitigation";
/// The spec changed after the credentials were made. The credentials are kept.
pub const SPEC_CHANGE_IGNORED: &str = "SpecChangeIgnored";
/// The broker did not answer the request for credentials.
pub const ERROR_CALLING_BIND: &str = "ErrorCallingBind";
/// The broker confirmed the binding without its credentials.
pub const BIND_RESULT_MISSING: &str = "BindResultMissing";
/// The Secrets are written.
pub const INJECTED_BIND_RESULT: &str = "InjectedBindResult";
/// The Secrets cannot be written.
pub const ERROR_INJECTING_BIND_RESULT: &str = "ErrorInjectingBindResult";
/// A Secret of that name does not belong to the binding.
pub const SECRET_NAME_TAKEN: &str = "SecretNameTaken";
/// The binding's name leaves no room for the names of its Secrets.
pub const SECRET_NAME_TOO_LONG: &str = "SecretNameTooLong";
/// The credentials have expired.
pub const CREDENTIALS_EXPIRED: &str = "CredentialsExpired";
/// The request to revoke the credentials is under way.
pub const UNBINDING_REQUEST_IN_FLIGHT: &str = "UnbindingRequestInFlight";
/// The broker is revoking the credentials.
pub const UNBINDING: &str = "Unbinding";
/// The credentials are revoked, and the Secrets cannot be deleted.
pub const ERROR_EJECTING_SERVICE_BINDING: &str = "ErrorEjectingServiceBinding";
/// The broker failed to revoke the credentials.
pub const UNBIND_CALL_FAILED: &str = "UnbindCallFailed";
/// The broker is asked for credentials that replace those of the binding.
pub const ROTATING_BINDING: &str = "RotatingBinding";
/// The credentials could not be replaced; they stay as they were.
pub const ROTATION_FAILED: &str = "RotationFailed";
/// The plan does not let the credentials be replaced.
pub const ROTATION_NOT_OFFERED: &str = "RotationNotOffered";
/// The broker did not answer the request to revoke the credentials.
pub const ERROR_CALLING_UNBIND: &str = "ErrorCallingUnbind";
/// The broker revoked the credentials. An event only: the object is gone.
pub const UNBOUND_SUCCESSFULLY: &str = "UnboundSuccessfully";

// `Failed`.

/// The broker refused for good; the reason of `Ready` says why.
pub const CLUSTER_SERVICE_BROKER_RETURNED_FAILURE: &str = "ClusterServiceBrokerReturnedFailure";
/// bindery retried for as long as `--reconciliation-retry-duration` allows.
pub const ERROR_RECONCILIATION_RETRY_TIMEOUT: &str = "ErrorReconciliationRetryTimeout";

// `status.reason` of an ExternalResource.

/// ExternalResources of the instance's bindings still exist.
pub const BLOCKED_BY_BINDINGS: &str = "BlockedByBindings";
/// The broker failed to delete what the ExternalResource stands for.
pub const CALL_FAILED: &str = "CallFailed";
/// The broker did not answer.
pub const ERROR_CALLING_BROKER: &str = "ErrorCallingBroker";

/// The reasons of success and of progress. Their events are `Normal`; those of all others are `Warning`.
const EXPECTED: &[&str] = &[
    FETCHED_CATALOG,
    FETCHED_CATALOG_IN_PART,
    PROVISION_REQUEST_IN_FLIGHT,
    PROVISIONING,
    PROVISIONED_SUCCESSFULLY,
    ORPHAN_MITIGATION_SUCCESSFUL,
    UPDATE_INSTANCE_REQUEST_IN_FLIGHT,
    UPDATING_INSTANCE,
    INSTANCE_UPDATED_SUCCESSFULLY,
    DEPROVISION_REQUEST_IN_FLIGHT,
    DEPROVISIONING,
    DEPROVISIONED_SUCCESSFULLY,
    SERVICE_BINDINGS_DELETION,
    BINDING_REQUEST_IN_FLIGHT,
    BINDING,
    INJECTED_BIND_RESULT,
    ROTATING_BINDING,
    UNBINDING_REQUEST_IN_FLIGHT,
    UNBINDING,
    UNBOUND_SUCCESSFULLY,
];

/// Whether a reason does not report a failure.
#[must_use]
pub fn is_expected(reason: &str) -> bool {
    EXPECTED.contains(&reason)
}
