//! The reasons of the old controller: each is produced by a test with a real API server, or `docs/service-catalog.md`
//! says why bindery does not need it. The page has the counts.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    pages::{first_cells, read, words},
    sources,
};

/// The reasons of kubernetes-retired/service-catalog in its controllers of instances, bindings and brokers.
const OF_THE_OLD_CONTROLLER: [&str; 58] = [
    // pkg/controller/controller_instance.go
    "ProvisionedSuccessfully",
    "InstanceUpdatedSuccessfully",
    "DeprovisionedSuccessfully",
    "OrphanMitigationSuccessful",
    "Provisioning",
    "UpdatingInstance",
    "Deprovisioning",
    "ProvisionRequestInFlight",
    "UpdateInstanceRequestInFlight",
    "DeprovisionRequestInFlight",
    "ProvisionCallFailed",
    "UpdateInstanceCallFailed",
    "DeprovisionCallFailed",
    "ErrorCallingProvision",
    "ErrorCallingUpdateInstance",
    "ErrorPollingLastOperation",
    "ReferencesNonexistentServiceClass",
    "ReferencesNonexistentServicePlan",
    "ReferencesNonexistentBroker",
    "ReferencesDeletedServiceClass",
    "ReferencesDeletedServicePlan",
    "ErrorWithParameters",
    "ErrorWithOriginatingIdentity",
    "ErrorFindingNamespaceForInstance",
    "DeprovisionBlockedByExistingCredentials",
    "ErrorAsyncOperationInProgress",
    "ServiceBindingsDeletion",
    "InvalidDeprovisionStatus",
    "StartingInstanceOrphanMitigation",
    "OrphanMitigationFailed",
    "ClusterServiceBrokerReturnedFailure",
    "ErrorReconciliationRetryTimeout",
    // pkg/controller/controller_binding.go
    "InjectedBindResult",
    "UnboundSuccessfully",
    "Binding",
    "Unbinding",
    "BindingRequestInFlight",
    "UnbindingRequestInFlight",
    "BindCallFailed",
    "UnbindCallFailed",
    "ErrorInjectingBindResult",
    "ErrorEjectingServiceBinding",
    "FetchingBindingFailed",
    "AsyncOperationTimeout",
    "ReferencesNonexistentInstance",
    "ErrorNonbindableServiceClass",
    "ErrorInstanceRefsUnresolved",
    "ErrorInstanceNotReady",
    "ServiceBindingNeedsOrphanMitigation",
    // pkg/controller/controller_clusterservicebroker.go
    "FetchedCatalog",
    "ErrorFetchingCatalog",
    "ErrorSyncingCatalog",
    "ErrorGettingAuthCredentials",
    "ErrorListingClusterServiceClasses",
    "ErrorListingClusterServicePlans",
    "ErrorDeletingClusterServiceClass",
    "ErrorDeletingClusterServicePlan",
    "DeletedClusterServiceBrokerSuccessfully",
];

/// The strings in the code of these files that are names of reasons.
fn quoted(files: &[PathBuf]) -> BTreeSet<&'static str> {
    let texts: Vec<_> = files.iter().map(|file| sources::code(file)).collect();
    let is_quoted = |reason: &&str| texts.iter().any(|text| text.contains(&format!("\"{reason}\"")));
    OF_THE_OLD_CONTROLLER.into_iter().filter(is_quoted).collect()
}

#[test]
fn each_reason_of_the_old_controller_is_produced_by_a_test_or_explained() {
    let known = quoted(&sources::files(&["src/apis/servicecatalog/reasons.rs"]));
    let cells = first_cells("docs/service-catalog.md", Some("Reasons that bindery does not need"), "reason");
    let explained: BTreeSet<_> = cells.iter().flat_map(|cell| words(cell)).collect();
    let all: BTreeSet<_> = OF_THE_OLD_CONTROLLER.into_iter().collect();
    assert_eq!(
        explained,
        all.difference(&known).copied().collect(),
        "docs/service-catalog.md (left) and the code"
    );

    let produced = quoted(&sources::files(&["tests/catalog"]));
    assert_eq!(produced, known, "tests/catalog (left) and the code");
    let counts = format!("{} of the {} reasons", produced.len(), OF_THE_OLD_CONTROLLER.len());
    assert!(
        read("docs/service-catalog.md").contains(&counts),
        "docs/service-catalog.md does not say {counts:?}"
    );
}
