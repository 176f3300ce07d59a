//! Brokers, classes and plans of either scope: a cluster's (`ClusterServiceBroker`, …) or a namespace's
//! (`ServiceBroker`, …). Reconcilers use the traits, so that each rule exists once for both scopes. Pure.

use std::fmt;

use kube::ResourceExt;

use super::{
    AuthInfo, ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, CommonServiceBrokerSpec,
    CommonServiceClassSpec, CommonServicePlanSpec, ServiceBroker, ServiceBrokerStatus, ServiceClass,
    ServicePlan,
};

/// Names a broker object. Without a namespace it is a ClusterServiceBroker, else a ServiceBroker.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerKey {
    /// The namespace of a ServiceBroker.
    pub namespace: Option<String>,
    /// The name of the object.
    pub name: String,
}

impl BrokerKey {
    /// The kind of the broker object.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.namespace.is_some() { "ServiceBroker" } else { "ClusterServiceBroker" }
    }
}

/// For example `ClusterServiceBroker "bindery"`.
impl fmt::Display for BrokerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind(), self.name)
    }
}

/// A ClusterServiceBroker or a ServiceBroker.
pub trait BrokerObject: fmt::Debug + Send + Sync {
    /// The broker object's name.
    fn key(&self) -> BrokerKey;
    /// The settings that both kinds share.
    fn common(&self) -> &CommonServiceBrokerSpec;
    /// The references to credentials, with the namespace of the Secrets.
    fn auth_info(&self) -> Option<AuthInfo>;
    /// The state of the catalog.
    fn status(&self) -> Option<&ServiceBrokerStatus>;
    /// Whether the object is being deleted.
    fn is_being_deleted(&self) -> bool;
    /// The value of an annotation.
    fn annotation(&self, name: &str) -> Option<&str>;
}

/// A ClusterServiceClass or a ServiceClass.
pub trait ClassObject: fmt::Debug + Send + Sync {
    /// The broker that offers the class.
    fn broker(&self) -> BrokerKey;
    /// The name of the object.
    fn object_name(&self) -> &str;
    /// The fields that both kinds share.
    fn common(&self) -> &CommonServiceClassSpec;
    /// Whether the broker has stopped offering the class.
    fn is_removed(&self) -> bool;
}

/// A ClusterServicePlan or a ServicePlan.
pub trait PlanObject: fmt::Debug + Send + Sync {
    /// The broker that offers the plan.
    fn broker(&self) -> BrokerKey;
    /// The name of the object.
    fn object_name(&self) -> &str;
    /// The name of the class's object.
    fn class_name(&self) -> &str;
    /// The fields that both kinds share.
    fn common(&self) -> &CommonServicePlanSpec;
    /// The value of an annotation.
    fn annotation(&self, name: &str) -> Option<&str>;
    /// Whether the broker has stopped offering the plan.
    fn is_removed(&self) -> bool;
}

macro_rules! broker_object {
    ($kind:ty, $namespace:expr, $auth_info:expr) => {
        impl BrokerObject for $kind {
            fn key(&self) -> BrokerKey {
                BrokerKey { namespace: $namespace(self), name: self.name_any() }
            }
            fn common(&self) -> &CommonServiceBrokerSpec {
                &self.spec.common
            }
            fn auth_info(&self) -> Option<AuthInfo> {
                $auth_info(self)
            }
            fn status(&self) -> Option<&ServiceBrokerStatus> {
                self.status.as_ref()
            }
            fn is_being_deleted(&self) -> bool {
                self.metadata.deletion_timestamp.is_some()
            }
            fn annotation(&self, name: &str) -> Option<&str> {
                self.annotations().get(name).map(String::as_str)
            }
        }
    };
}

broker_object!(ClusterServiceBroker, |_: &Self| None, |broker: &Self| broker.spec.auth_info.clone());
broker_object!(ServiceBroker, Self::namespace, |broker: &Self| {
    let namespace = broker.namespace().unwrap_or_default();
    broker.spec.auth_info.as_ref().map(|auth_info| auth_info.within(&namespace))
});

macro_rules! catalog_object {
    ($trait:ident, $kind:ty, $common:ty, $namespace:expr, $broker:ident $(, $class:ident)?) => {
        impl $trait for $kind {
            fn broker(&self) -> BrokerKey {
                BrokerKey { namespace: $namespace(self), name: self.spec.$broker.clone() }
            }
            fn object_name(&self) -> &str {
                self.metadata.name.as_deref().unwrap_or_default()
            }
            $(fn class_name(&self) -> &str {
                &self.spec.$class.name
            }
            fn annotation(&self, name: &str) -> Option<&str> {
                self.annotations().get(name).map(String::as_str)
            })?
            fn common(&self) -> &$common {
                &self.spec.common
            }
            fn is_removed(&self) -> bool {
                self.status.as_ref().is_some_and(|status| status.removed_from_broker_catalog)
            }
        }
    };
}

catalog_object!(
    ClassObject,
    ClusterServiceClass,
    CommonServiceClassSpec,
    |_: &Self| None,
    cluster_service_broker_name
);
catalog_object!(ClassObject, ServiceClass, CommonServiceClassSpec, Self::namespace, service_broker_name);
catalog_object!(
    PlanObject,
    ClusterServicePlan,
    CommonServicePlanSpec,
    |_: &Self| None,
    cluster_service_broker_name,
    cluster_service_class_ref
);
catalog_object!(
    PlanObject,
    ServicePlan,
    CommonServicePlanSpec,
    Self::namespace,
    service_broker_name,
    service_class_ref
);
