//! Decides which objects are enqueued after a change: the object itself if more than its status changed, and all
//! objects that may wait for it. A status change alone does not enqueue its object, so a failing object cannot keep
//! itself busy.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use kube::{
    Resource, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};

use super::{
    context::Context,
    ledger::external_resource_name,
    scopes::{BrokerKind, CatalogKind},
};
use crate::apis::servicecatalog::{
    ClusterServiceBroker, ConditionType, ExternalResource, ExternalResourceKind, ExternalResourceSpec,
    LocalReference, ServiceBinding, ServiceBroker, ServiceInstance,
    scope::{BrokerKey, ClassObject, PlanObject},
};
use crate::{
    contract::external_resource::ADOPT,
    k8s::{namespaces::NamespaceMeta, watch::Change},
};

/// The queues of the reconcilers.
#[derive(Clone)]
pub(super) struct Queues {
    pub(super) cluster_brokers: UnboundedSender<ObjectRef<ClusterServiceBroker>>,
    pub(super) brokers: UnboundedSender<ObjectRef<ServiceBroker>>,
    pub(super) instances: UnboundedSender<ObjectRef<ServiceInstance>>,
    pub(super) bindings: UnboundedSender<ObjectRef<ServiceBinding>>,
    pub(super) external_resources: UnboundedSender<ObjectRef<ExternalResource>>,
}

/// Enqueues an object. A closed queue means that the process is stopping.
fn enqueue<K: Resource>(queue: &UnboundedSender<ObjectRef<K>>, object: ObjectRef<K>) {
    let _ = queue.unbounded_send(object);
}

impl Queues {
    pub(super) fn broker<B: BrokerKind>(&self, context: &Context, change: &Change<B>) {
        match change {
            Change::Applied { object, beyond_status } => {
                let key = object.key();
                if *beyond_status {
                    self.broker_of(&key);
                }
                // The broker's credentials or its availability may have changed.
                context.connections.forget(&key);
                self.waiting_objects(context, &key);
                self.releasing_external_resources(context, &key);
            }
            Change::Deleted(object) => forget(context, object.as_ref()),
        }
    }

    fn broker_of(&self, key: &BrokerKey) {
        match &key.namespace {
            None => enqueue(&self.cluster_brokers, ObjectRef::new(&key.name)),
            Some(namespace) => enqueue(&self.brokers, ObjectRef::new(&key.name).within(namespace)),
        }
    }

    pub(super) fn class<C>(&self, context: &Context, change: &Change<C>)
    where
        C: ClassObject + CatalogKind,
    {
        let Change::Applied { object, beyond_status } = change else { return };
        let (broker, id) = (object.broker(), &object.common().external_id);
        self.waiting_objects(context, &broker);
        if *beyond_status {
            self.bindings_of(context, &broker, |of| of.service_id == *id);
        }
    }

    pub(super) fn plan<P>(&self, context: &Context, change: &Change<P>)
    where
        P: PlanObject + CatalogKind,
    {
        let Change::Applied { object, beyond_status } = change else { return };
        let (broker, id) = (object.broker(), &object.common().external_id);
        self.waiting_objects(context, &broker);
        if *beyond_status {
            self.bindings_of(context, &broker, |of| of.plan_id == *id);
        }
    }

    /// The bindings of a class or plan of a broker: their variables may be called otherwise now.
    fn bindings_of(
        &self,
        context: &Context,
        broker: &BrokerKey,
        is_of: impl Fn(&ExternalResourceSpec) -> bool,
    ) {
        let external_resources = context.stores.external_resources.state_filter(|external_resource| {
            external_resource.spec.kind == ExternalResourceKind::ServiceBinding
                && external_resource.spec.broker.namespace == broker.namespace
                && is_of(&external_resource.spec)
        });
        for external_resource in external_resources {
            let ExternalResourceSpec { name, namespace, .. } = &external_resource.spec;
            enqueue(&self.bindings, ObjectRef::new(name).within(namespace));
        }
    }

    pub(super) fn instance(&self, context: &Context, change: &Change<ServiceInstance>) {
        let object = match change {
            Change::Applied { object, beyond_status } => {
                if *beyond_status {
                    enqueue(&self.instances, ObjectRef::from_obj(object.as_ref()));
                }
                object
            }
            Change::Deleted(object) => {
                forget(context, object.as_ref());
                self.broker_of_unused_offer(context, object);
                if let Some(id) = &object.spec.external_id {
                    enqueue(
                        &self.external_resources,
                        ObjectRef::new(&external_resource_name(ExternalResourceKind::ServiceInstance, id)),
                    );
                }
                object
            }
        };
        let (namespace, name) = (object.namespace(), object.name_any());
        let of_instance = |binding: &ServiceBinding| {
            binding.spec.instance_ref.name == name && binding.namespace() == namespace && binding.is_waiting()
        };
        for binding in context.stores.bindings.state_filter(of_instance) {
            enqueue(&self.bindings, ObjectRef::from_obj(binding.as_ref()));
        }
    }

    pub(super) fn binding(&self, context: &Context, change: &Change<ServiceBinding>) {
        match change {
            Change::Applied { object, beyond_status } => {
                if *beyond_status {
                    enqueue(&self.bindings, ObjectRef::from_obj(object.as_ref()));
                }
            }
            Change::Deleted(object) => {
                forget(context, object.as_ref());
                context.secret_checks.forget(&object.uid().unwrap_or_default());
                if let Some(id) = &object.spec.external_id {
                    enqueue(
                        &self.external_resources,
                        ObjectRef::new(&external_resource_name(ExternalResourceKind::ServiceBinding, id)),
                    );
                }
                // The instance may wait for the deletion of this binding.
                let instance = ObjectRef::new(&object.spec.instance_ref.name)
                    .within(object.namespace().as_deref().unwrap_or_default());
                enqueue(&self.instances, instance);
            }
        }
    }

    /// A Secret of the binding is missing: checks the binding's Secrets at once.
    pub(super) fn lost(&self, context: &Context, namespace: &str, name: &str) {
        let reference = ObjectRef::new(name).within(namespace);
        if let Some(uid) = context.stores.bindings.get(&reference).and_then(|binding| binding.uid()) {
            context.secret_checks.make_due(&uid);
            enqueue(&self.bindings, reference);
        }
    }

    pub(super) fn external_resource(&self, context: &Context, change: &Change<ExternalResource>) {
        match change {
            Change::Applied { object, beyond_status } => {
                if *beyond_status {
                    enqueue(&self.external_resources, ObjectRef::from_obj(object.as_ref()));
                }
                if object.annotations().contains_key(ADOPT) {
                    self.heir(object);
                }
                self.taken_over(context, &object.spec);
            }
            Change::Deleted(object) => {
                forget(context, object.as_ref());
                self.broker_in_less_use(context, &object.spec);
                // The instance can be deleted after its last binding.
                if object.spec.kind == ExternalResourceKind::ServiceBinding {
                    let name = external_resource_name(
                        ExternalResourceKind::ServiceInstance,
                        &object.spec.instance_id,
                    );
                    enqueue(&self.external_resources, ObjectRef::new(&name));
                    let id = Some(&object.spec.instance_id);
                    let of_external_resource =
                        |instance: &ServiceInstance| instance.spec.external_id.as_ref() == id;
                    for instance in context.stores.instances.state_filter(of_external_resource) {
                        enqueue(&self.instances, ObjectRef::from_obj(instance.as_ref()));
                    }
                }
            }
        }
    }

    /// Enqueues the broker of an instance that is gone, if the broker has withdrawn the class or plan.
    fn broker_of_unused_offer(&self, context: &Context, instance: &ServiceInstance) {
        let (stores, spec) = (&context.stores, &instance.spec);
        let namespace = instance.namespace();
        let is = |reference: &Option<LocalReference>, name: &str| {
            reference.as_ref().is_some_and(|reference| reference.name == name)
        };
        for (scope, class, plan) in [
            (None, &spec.cluster_service_class_ref, &spec.cluster_service_plan_ref),
            (namespace.as_deref(), &spec.service_class_ref, &spec.service_plan_ref),
        ] {
            if class.is_none() && plan.is_none() {
                continue;
            }
            let of_class = stores.classes_of(scope).into_iter().filter(|known| known.is_removed());
            let of_plan = stores.plans_of(scope).into_iter().filter(|known| known.is_removed());
            let of_class =
                of_class.filter(|known| is(class, known.object_name())).map(|known| known.broker());
            let of_plan = of_plan.filter(|known| is(plan, known.object_name())).map(|known| known.broker());
            of_class.chain(of_plan).for_each(|broker| self.broker_of(&broker));
        }
    }

    /// Enqueues the broker of an ExternalResource that is gone, if something of the broker may be unused now: a class
    /// or plan that the broker has withdrawn, or the broker itself in a terminating namespace.
    fn broker_in_less_use(&self, context: &Context, of: &ExternalResourceSpec) {
        let broker = of.broker.key();
        let class = context.stores.class_with_id(&broker, &of.service_id);
        let plan = context.stores.plan_with_id(&broker, &of.plan_id);
        let is_withdrawn =
            class.is_some_and(|class| class.is_removed()) || plan.is_some_and(|plan| plan.is_removed());
        if is_withdrawn || broker.namespace.as_deref().is_some_and(|name| context.is_terminating(name)) {
            self.broker_of(&broker);
        }
    }

    /// Enqueues a binding that another controller bound, once `bindery migrate` has recorded its ExternalResource.
    fn taken_over(&self, context: &Context, spec: &ExternalResourceSpec) {
        if spec.kind != ExternalResourceKind::ServiceBinding {
            return;
        }
        let reference = ObjectRef::new(&spec.name).within(&spec.namespace);
        let was_bound_elsewhere = |binding: Arc<ServiceBinding>| {
            let status = binding.status.as_ref();
            status.is_some_and(|status| {
                status.secrets.is_empty() && status.conditions.is_true(ConditionType::Ready)
            })
        };
        if context.stores.bindings.get(&reference).is_some_and(was_bound_elsewhere) {
            enqueue(&self.bindings, reference);
        }
    }

    /// Enqueues the object that may take over an ExternalResource.
    fn heir(&self, external_resource: &ExternalResource) {
        let (name, namespace) = (&external_resource.spec.name, &external_resource.spec.namespace);
        match external_resource.spec.kind {
            ExternalResourceKind::ServiceInstance => {
                enqueue(&self.instances, ObjectRef::new(name).within(namespace));
            }
            ExternalResourceKind::ServiceBinding => {
                enqueue(&self.bindings, ObjectRef::new(name).within(namespace));
            }
        }
    }

    /// A new namespace enqueues the objects that wait for it; a terminating namespace enqueues all its objects.
    pub(super) fn namespace(&self, context: &Context, change: &Change<NamespaceMeta>) {
        let Change::Applied { object, beyond_status: true } = change else { return };
        let (name, goes) = (Some(object.name_any()), object.metadata.deletion_timestamp.is_some());
        waiting(&context.stores.instances, &self.instances, |instance| {
            instance.namespace() == name && (goes || instance.is_waiting())
        });
        waiting(&context.stores.bindings, &self.bindings, |binding| {
            binding.namespace() == name && (goes || binding.is_waiting())
        });
        waiting(&context.stores.brokers, &self.brokers, |broker| broker.namespace() == name && goes);
    }

    /// All objects whose spec is not fulfilled yet and that may use the broker.
    fn waiting_objects(&self, context: &Context, broker: &BrokerKey) {
        let may_use = |namespace: Option<String>| broker.namespace.is_none() || broker.namespace == namespace;
        waiting(&context.stores.instances, &self.instances, |instance| {
            instance.is_waiting() && may_use(instance.namespace())
        });
        waiting(&context.stores.bindings, &self.bindings, |binding| {
            binding.is_waiting() && may_use(binding.namespace())
        });
    }

    fn releasing_external_resources(&self, context: &Context, broker: &BrokerKey) {
        waiting(&context.stores.external_resources, &self.external_resources, |external_resource| {
            external_resource.spec.broker.key() == *broker && external_resource.status.is_some()
        });
    }
}

fn waiting<K>(store: &Store<K>, queue: &UnboundedSender<ObjectRef<K>>, is_waiting: impl Fn(&K) -> bool)
where
    K: Resource<DynamicType = ()> + Clone,
{
    for object in store.state_filter(is_waiting) {
        enqueue(queue, ObjectRef::from_obj(object.as_ref()));
    }
}

fn forget<K: Resource<DynamicType = ()>>(context: &Context, object: &K) {
    let uid = object.uid().unwrap_or_default();
    context.retries.forget(&uid);
    context.own_writes.forget(&uid);
}

impl ServiceInstance {
    /// Whether the object still needs work.
    fn is_waiting(&self) -> bool {
        let ready = |status: &crate::apis::servicecatalog::ServiceInstanceStatus| {
            status.conditions.is_true(ConditionType::Ready)
        };
        self.metadata.deletion_timestamp.is_some() || !self.status.as_ref().is_some_and(ready)
    }
}

impl ServiceBinding {
    /// Whether the object still needs work.
    fn is_waiting(&self) -> bool {
        let ready = |status: &crate::apis::servicecatalog::ServiceBindingStatus| {
            status.conditions.is_true(ConditionType::Ready)
        };
        self.metadata.deletion_timestamp.is_some() || !self.status.as_ref().is_some_and(ready)
    }
}
