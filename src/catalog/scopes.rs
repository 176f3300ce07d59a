//! The kinds of brokers, classes and plans in both scopes: their API paths, their caches, and which classes and plans
//! belong to which broker. Reconcilers are generic over these traits.

use std::fmt::Debug;

use kube::{Api, Client, Resource, runtime::reflector::Store};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    context::Stores,
    labels::{self, Labels},
};
use crate::apis::servicecatalog::{
    ClusterServiceBroker, ClusterServiceClass, ClusterServiceClassSpec, ClusterServicePlan,
    ClusterServicePlanSpec, CommonServiceClassSpec, CommonServicePlanSpec, NameReference, ServiceBroker,
    ServiceClass, ServiceClassSpec, ServicePlan, ServicePlanSpec, reasons,
    scope::{BrokerKey, BrokerObject, ClassObject, PlanObject},
};

/// A kind whose objects are read or written for a broker, of the cluster or of a namespace.
pub(super) trait CatalogKind:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The kind's objects, of this namespace if the kind has namespaces.
    fn api(client: Client, namespace: Option<&str>) -> Api<Self>;

    /// The watch cache of the kind.
    fn store(stores: &Stores) -> &Store<Self>;
}

macro_rules! catalog_kind {
    ($kind:ty, $store:ident, cluster) => {
        impl CatalogKind for $kind {
            fn api(client: Client, _: Option<&str>) -> Api<Self> {
                Api::all(client)
            }
            fn store(stores: &Stores) -> &Store<Self> {
                &stores.$store
            }
        }
    };
    ($kind:ty, $store:ident, namespaced) => {
        impl CatalogKind for $kind {
            fn api(client: Client, namespace: Option<&str>) -> Api<Self> {
                Api::namespaced(client, namespace.unwrap_or_default())
            }
            fn store(stores: &Stores) -> &Store<Self> {
                &stores.$store
            }
        }
    };
}

catalog_kind!(ClusterServiceBroker, cluster_brokers, cluster);
catalog_kind!(ClusterServiceClass, cluster_classes, cluster);
catalog_kind!(ClusterServicePlan, cluster_plans, cluster);
catalog_kind!(ServiceBroker, brokers, namespaced);
catalog_kind!(ServiceClass, classes, namespaced);
catalog_kind!(ServicePlan, plans, namespaced);

/// A class or a plan of either scope: what both have in common.
pub(super) trait Offered: CatalogKind {
    /// The broker that offers the class or plan.
    fn offered_by(&self) -> BrokerKey;
    /// The id in the broker's catalog.
    fn external_id(&self) -> &str;
    /// Whether the broker has stopped offering the class or plan.
    fn is_withdrawn(&self) -> bool;
    /// Whether both say the same of the catalog. Default parameters are the users' and do not count.
    fn is_same_offer(&self, other: &Self) -> bool;
    /// The labels by which clients find the object.
    fn look_up_labels(&self) -> Labels;
}

macro_rules! offered {
    ($kind:ty, $object:ident, $labels:path, $class:expr) => {
        impl Offered for $kind {
            fn offered_by(&self) -> BrokerKey {
                $object::broker(self)
            }
            fn external_id(&self) -> &str {
                &self.spec.common.external_id
            }
            fn is_withdrawn(&self) -> bool {
                $object::is_removed(self)
            }
            fn is_same_offer(&self, other: &Self) -> bool {
                let said = |object: &Self| {
                    let mut common = object.spec.common.clone();
                    common.default_provision_parameters = None;
                    common
                };
                self.offered_by() == other.offered_by()
                    && $class(self) == $class(other)
                    && said(self) == said(other)
            }
            fn look_up_labels(&self) -> Labels {
                $labels(self)
            }
        }
    };
}

offered!(ClusterServiceClass, ClassObject, labels::of_class, |_: &Self| "");
offered!(ServiceClass, ClassObject, labels::of_class, |_: &Self| "");
offered!(ClusterServicePlan, PlanObject, labels::of_plan, Self::class_name);
offered!(ServicePlan, PlanObject, labels::of_plan, Self::class_name);

/// The reasons of conditions and events while a broker is deleted.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeletionReasons {
    pub(super) class_failed: &'static str,
    pub(super) plan_failed: &'static str,
    pub(super) done: &'static str,
}

/// A kind of broker with the kinds of its classes and plans.
pub(super) trait BrokerKind: BrokerObject + CatalogKind {
    /// The kind of the broker's classes.
    type Class: ClassObject + Offered;
    /// The kind of the broker's plans.
    type Plan: PlanObject + Offered;
    /// The property of plans in `spec.catalogRestrictions` that holds the name of their class.
    const CLASS_PROPERTY: &'static str;
    /// The reasons of the deletion of a broker of this kind.
    const DELETION: DeletionReasons;

    /// A class of this broker, without owner.
    fn class(&self, name: &str, common: CommonServiceClassSpec) -> Self::Class;

    /// A plan of this broker, without owner.
    fn plan(&self, name: &str, class: &str, common: CommonServicePlanSpec) -> Self::Plan;
}

impl BrokerKind for ClusterServiceBroker {
    type Class = ClusterServiceClass;
    type Plan = ClusterServicePlan;
    const CLASS_PROPERTY: &'static str = "spec.clusterServiceClass.name";
    const DELETION: DeletionReasons = DeletionReasons {
        class_failed: reasons::ERROR_DELETING_CLUSTER_SERVICE_CLASS,
        plan_failed: reasons::ERROR_DELETING_CLUSTER_SERVICE_PLAN,
        done: reasons::DELETED_CLUSTER_SERVICE_BROKER_SUCCESSFULLY,
    };

    fn class(&self, name: &str, common: CommonServiceClassSpec) -> Self::Class {
        let cluster_service_broker_name = self.key().name;
        ClusterServiceClass::new(name, ClusterServiceClassSpec { common, cluster_service_broker_name })
    }

    fn plan(&self, name: &str, class: &str, common: CommonServicePlanSpec) -> Self::Plan {
        let cluster_service_class_ref = NameReference { name: class.to_owned() };
        let cluster_service_broker_name = self.key().name;
        let spec = ClusterServicePlanSpec { common, cluster_service_broker_name, cluster_service_class_ref };
        ClusterServicePlan::new(name, spec)
    }
}

impl BrokerKind for ServiceBroker {
    type Class = ServiceClass;
    type Plan = ServicePlan;
    const CLASS_PROPERTY: &'static str = "spec.serviceClass.name";
    const DELETION: DeletionReasons = DeletionReasons {
        class_failed: reasons::ERROR_DELETING_SERVICE_CLASS,
        plan_failed: reasons::ERROR_DELETING_SERVICE_PLAN,
        done: reasons::DELETED_SUCCESSFULLY,
    };

    fn class(&self, name: &str, common: CommonServiceClassSpec) -> Self::Class {
        let service_broker_name = self.key().name;
        let mut class = ServiceClass::new(name, ServiceClassSpec { common, service_broker_name });
        class.metadata.namespace = self.key().namespace;
        class
    }

    fn plan(&self, name: &str, class: &str, common: CommonServicePlanSpec) -> Self::Plan {
        let service_class_ref = NameReference { name: class.to_owned() };
        let service_broker_name = self.key().name;
        let mut plan =
            ServicePlan::new(name, ServicePlanSpec { common, service_broker_name, service_class_ref });
        plan.metadata.namespace = self.key().namespace;
        plan
    }
}
