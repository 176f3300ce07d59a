//! What lookups read of the kinds of which there are many objects: the caches keep everything else packed.

use std::sync::Arc;

use kube::ResourceExt;

use crate::{
    apis::servicecatalog::{
        ConditionType, Conditions, ExternalResource, ExternalResourceKind, FINALIZER, NameReference,
        ServiceBinding, ServiceInstance, scope::BrokerKey,
    },
    k8s::cache::{Cached, Texts},
};

/// What lookups read of a ServiceInstance.
pub(crate) struct InstanceFacts {
    pub(super) external_id: Option<Box<str>>,
    /// The names of the class and plan of the cluster, and of those of the namespace.
    pub(super) cluster_class: Option<Arc<str>>,
    pub(super) cluster_plan: Option<Arc<str>>,
    pub(super) class: Option<Arc<str>>,
    pub(super) plan: Option<Arc<str>>,
    /// Whether the object still needs work.
    pub(super) is_waiting: bool,
}

impl Cached for ServiceInstance {
    type Facts = InstanceFacts;

    fn facts(&self, texts: &mut Texts) -> InstanceFacts {
        let spec = &self.spec;
        let conditions = self.status.as_ref().map(|status| &status.conditions);
        let mut name = |reference: &Option<NameReference>| {
            texts.share_any(reference.as_ref().map(|reference| reference.name.as_str()))
        };
        InstanceFacts {
            external_id: spec.external_id.as_deref().map(Into::into),
            cluster_class: name(&spec.cluster_service_class_ref),
            cluster_plan: name(&spec.cluster_service_plan_ref),
            class: name(&spec.service_class_ref),
            plan: name(&spec.service_plan_ref),
            is_waiting: is_waiting(self, conditions),
        }
    }
}

/// What lookups read of a ServiceBinding.
pub(crate) struct BindingFacts {
    /// The name of its instance.
    pub(super) instance: Arc<str>,
    pub(super) has_finalizer: bool,
    /// Whether the object still needs work.
    pub(super) is_waiting: bool,
}

impl Cached for ServiceBinding {
    type Facts = BindingFacts;

    fn facts(&self, texts: &mut Texts) -> BindingFacts {
        BindingFacts {
            instance: texts.share(&self.spec.instance_ref.name),
            has_finalizer: self.finalizers().iter().any(|finalizer| finalizer == FINALIZER),
            is_waiting: is_waiting(self, self.status.as_ref().map(|status| &status.conditions)),
        }
    }
}

fn is_waiting(object: &impl ResourceExt, conditions: Option<&Conditions>) -> bool {
    object.meta().deletion_timestamp.is_some()
        || !conditions.is_some_and(|conditions| conditions.is_true(ConditionType::Ready))
}

/// What lookups read of an ExternalResource.
pub(crate) struct ExternalResourceFacts {
    broker_namespace: Option<Arc<str>>,
    broker_name: Arc<str>,
    pub(super) kind: ExternalResourceKind,
    /// The object for which the broker holds something.
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) instance_id: Arc<str>,
    pub(super) service_id: Arc<str>,
    pub(super) plan_id: Arc<str>,
    /// Whether the object is gone, or its holder is not clear.
    pub(super) has_status: bool,
}

impl ExternalResourceFacts {
    /// Whether the broker is in this namespace, or of the cluster.
    pub(super) fn is_in_scope_of(&self, broker: &BrokerKey) -> bool {
        self.broker_namespace.as_deref() == broker.namespace.as_deref()
    }

    pub(super) fn is_of(&self, broker: &BrokerKey) -> bool {
        self.is_in_scope_of(broker) && *self.broker_name == *broker.name
    }
}

impl Cached for ExternalResource {
    type Facts = ExternalResourceFacts;

    fn facts(&self, texts: &mut Texts) -> ExternalResourceFacts {
        let spec = &self.spec;
        ExternalResourceFacts {
            broker_namespace: texts.share_any(spec.broker.namespace.as_deref()),
            broker_name: texts.share(&spec.broker.name),
            kind: spec.kind,
            namespace: texts.share(&spec.namespace),
            name: spec.name.as_str().into(),
            instance_id: texts.share(&spec.instance_id),
            service_id: texts.share(&spec.service_id),
            plan_id: texts.share(&spec.plan_id),
            has_status: self.status.is_some(),
        }
    }
}
