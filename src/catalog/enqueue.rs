//! Decides which objects are enqueued after a change: the object itself if more than its status changed, and all
//! objects that may wait for it. A status change alone does not enqueue its object, so a failing object cannot keep
//! itself busy.

use futures::channel::mpsc::UnboundedSender;
use kube::{
    Resource, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};

use super::{context::Context, ledger::external_resource_name};
use crate::apis::servicecatalog::{
    ClusterServiceBroker, ClusterServiceClass, ClusterServicePlan, ConditionType, ExternalResource,
    ExternalResourceKind, ExternalResourceSpec, ServiceBinding, ServiceInstance, scope::BrokerObject as _,
};
use crate::{
    contract::external_resource::ADOPT,
    k8s::{namespaces::NamespaceMeta, watch::Change},
};

/// The queues of the reconcilers.
#[derive(Clone)]
pub(super) struct Queues {
    pub(super) brokers: UnboundedSender<ObjectRef<ClusterServiceBroker>>,
    pub(super) instances: UnboundedSender<ObjectRef<ServiceInstance>>,
    pub(super) bindings: UnboundedSender<ObjectRef<ServiceBinding>>,
    pub(super) external_resources: UnboundedSender<ObjectRef<ExternalResource>>,
}

/// Enqueues an object. A closed queue means that the process is stopping.
fn enqueue<K: Resource>(queue: &UnboundedSender<ObjectRef<K>>, object: ObjectRef<K>) {
    let _ = queue.unbounded_send(object);
}

impl Queues {
    pub(super) fn broker(&self, context: &Context, change: &Change<ClusterServiceBroker>) {
        match change {
            Change::Applied { object, beyond_status } => {
                if *beyond_status {
                    enqueue(&self.brokers, ObjectRef::from_obj(object.as_ref()));
                }
                // The broker's credentials or its availability may have changed.
                context.connections.forget(&object.key());
                self.waiting_objects(context);
                self.releasing_external_resources(context, &object.name_any());
            }
            Change::Deleted(object) => forget(context, object.as_ref()),
        }
    }

    pub(super) fn class(&self, context: &Context, change: &Change<ClusterServiceClass>) {
        let Change::Applied { object, beyond_status } = change else { return };
        self.waiting_objects(context);
        if *beyond_status {
            self.bindings_of(context, |of| of.service_id == object.spec.common.external_id);
        }
    }

    pub(super) fn plan(&self, context: &Context, change: &Change<ClusterServicePlan>) {
        let Change::Applied { object, beyond_status } = change else { return };
        self.waiting_objects(context);
        if *beyond_status {
            self.bindings_of(context, |of| of.plan_id == object.spec.common.external_id);
        }
    }

    /// The bindings of a class or plan: their variables may be called otherwise now.
    fn bindings_of(&self, context: &Context, is_of: impl Fn(&ExternalResourceSpec) -> bool) {
        let external_resources = context.stores.external_resources.state_filter(|external_resource| {
            external_resource.spec.kind == ExternalResourceKind::ServiceBinding
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
            }
            Change::Deleted(object) => {
                forget(context, object.as_ref());
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
    }

    /// All objects whose spec is not fulfilled yet.
    fn waiting_objects(&self, context: &Context) {
        waiting(&context.stores.instances, &self.instances, ServiceInstance::is_waiting);
        waiting(&context.stores.bindings, &self.bindings, ServiceBinding::is_waiting);
    }

    fn releasing_external_resources(&self, context: &Context, broker: &str) {
        waiting(&context.stores.external_resources, &self.external_resources, |external_resource| {
            external_resource.spec.broker.name == broker && external_resource.status.is_some()
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
