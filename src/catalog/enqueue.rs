//! Decides which objects are enqueued after a change: the object itself if more than its status changed, and all
//! objects that may wait for it. A status change alone does not enqueue its object, so a failing object cannot keep
//! itself busy.

use std::sync::Arc;

use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};

use super::{
    context::{Context, Stores},
    facts::{BindingFacts, ExternalResourceFacts, InstanceFacts},
    ledger::external_resource_name,
    scopes::{BrokerKind, CatalogKind},
    work_queue::WorkQueue,
};
use crate::apis::servicecatalog::{
    ClusterServiceBroker, ConditionType, ExternalResource, ExternalResourceKind, ExternalResourceSpec,
    NameReference, ServiceBinding, ServiceBroker, ServiceInstance,
    scope::{BrokerKey, ClassObject, PlanObject},
};
use crate::{
    contract::external_resource::ADOPT,
    k8s::{namespaces::NamespaceMeta, watch::Change},
};

/// The queues of the reconcilers.
#[derive(Clone)]
pub(super) struct Queues {
    pub(super) cluster_brokers: WorkQueue<ClusterServiceBroker>,
    pub(super) brokers: WorkQueue<ServiceBroker>,
    pub(super) instances: WorkQueue<ServiceInstance>,
    pub(super) bindings: WorkQueue<ServiceBinding>,
    pub(super) external_resources: WorkQueue<ExternalResource>,
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
            None => self.cluster_brokers.add(&ObjectRef::new(&key.name)),
            Some(namespace) => self.brokers.add(&ObjectRef::new(&key.name).within(namespace)),
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
            self.bindings_of(context, &broker, |of| *of.service_id == **id);
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
            self.bindings_of(context, &broker, |of| *of.plan_id == **id);
        }
    }

    /// The bindings of a class or plan of a broker: their variables may be called otherwise now.
    fn bindings_of(
        &self,
        context: &Context,
        broker: &BrokerKey,
        is_of: impl Fn(&ExternalResourceFacts) -> bool,
    ) {
        let bindings = context.stores.external_resources.map(|of| {
            let is_one =
                of.kind == ExternalResourceKind::ServiceBinding && of.is_in_scope_of(broker) && is_of(of);
            is_one.then(|| ObjectRef::new(&of.name).within(&of.namespace))
        });
        add_all(&self.bindings, &bindings);
    }

    pub(super) fn instance(&self, context: &Context, change: &Change<ServiceInstance>) {
        let object = match change {
            Change::Applied { object, beyond_status } => {
                if *beyond_status {
                    self.instances.add(&ObjectRef::from_obj(object.as_ref()));
                }
                object
            }
            Change::Deleted(object) => {
                forget(context, object.as_ref());
                self.broker_of_unused_offer(context, object);
                if let Some(id) = &object.spec.external_id {
                    self.external_resources.add(&ObjectRef::new(&external_resource_name(
                        ExternalResourceKind::ServiceInstance,
                        id,
                    )));
                }
                object
            }
        };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let waiting = |binding: &BindingFacts| *binding.instance == *name && binding.is_waiting;
        add_all(&self.bindings, &context.stores.bindings.find_in(&namespace, waiting));
    }

    pub(super) fn binding(&self, context: &Context, change: &Change<ServiceBinding>) {
        match change {
            Change::Applied { object, beyond_status } => {
                if *beyond_status {
                    self.bindings.add(&ObjectRef::from_obj(object.as_ref()));
                }
            }
            Change::Deleted(object) => {
                forget(context, object.as_ref());
                context.secret_checks.forget(&object.uid().unwrap_or_default());
                for id in object.broker_ids() {
                    self.external_resources.add(&ObjectRef::new(&external_resource_name(
                        ExternalResourceKind::ServiceBinding,
                        id,
                    )));
                }
                // The instance may wait for the deletion of this binding.
                let instance = ObjectRef::new(&object.spec.instance_ref.name)
                    .within(object.namespace().as_deref().unwrap_or_default());
                self.instances.add(&instance);
            }
        }
    }

    /// A Secret of the binding is missing: checks the binding's Secrets at once.
    pub(super) fn lost(&self, context: &Context, namespace: &str, name: &str) {
        let reference = ObjectRef::new(name).within(namespace);
        if let Some(uid) = context.stores.bindings.get(&reference).and_then(|binding| binding.uid()) {
            context.secret_checks.make_due(&uid);
            self.bindings.add(&reference);
        }
    }

    pub(super) fn external_resource(&self, context: &Context, change: &Change<ExternalResource>) {
        match change {
            Change::Applied { object, beyond_status } => {
                if *beyond_status {
                    self.external_resources.add(&ObjectRef::from_obj(object.as_ref()));
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
                    self.external_resources.add(&ObjectRef::new(&name));
                    let id = Some(&*object.spec.instance_id);
                    let of_external_resource =
                        |instance: &InstanceFacts| instance.external_id.as_deref() == id;
                    add_all(&self.instances, &context.stores.instances.find(of_external_resource));
                }
            }
        }
    }

    /// Enqueues the broker of an instance that is gone, if the broker has withdrawn the class or plan.
    fn broker_of_unused_offer(&self, context: &Context, instance: &ServiceInstance) {
        let (stores, spec) = (&context.stores, &instance.spec);
        let namespace = instance.namespace();
        let is = |reference: &Option<NameReference>, name: &str| {
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
            self.bindings.add(&reference);
        }
    }

    /// Enqueues the object that may take over an ExternalResource.
    fn heir(&self, external_resource: &ExternalResource) {
        let (name, namespace) = (&external_resource.spec.name, &external_resource.spec.namespace);
        match external_resource.spec.kind {
            ExternalResourceKind::ServiceInstance => {
                self.instances.add(&ObjectRef::new(name).within(namespace));
            }
            ExternalResourceKind::ServiceBinding => {
                self.bindings.add(&ObjectRef::new(name).within(namespace));
            }
        }
    }

    /// A new namespace enqueues the objects that wait for it; a terminating namespace enqueues all its objects.
    pub(super) fn namespace(&self, context: &Context, change: &Change<NamespaceMeta>) {
        let Change::Applied { object, beyond_status: true } = change else { return };
        let (name, goes) = (object.name_any(), object.metadata.deletion_timestamp.is_some());
        let stores = &context.stores;
        add_all(&self.instances, &stores.instances.find_in(&name, |instance| goes || instance.is_waiting));
        add_all(&self.bindings, &stores.bindings.find_in(&name, |binding| goes || binding.is_waiting));
        if goes {
            let brokers = stores.brokers.state_filter(|broker| broker.namespace().as_ref() == Some(&name));
            for broker in brokers {
                self.brokers.add(&ObjectRef::from_obj(broker.as_ref()));
            }
        }
    }

    /// All objects whose spec is not fulfilled yet and that may use the broker.
    fn waiting_objects(&self, context: &Context, broker: &BrokerKey) {
        let Stores { instances, bindings, .. } = &context.stores;
        let (instances, bindings) = match &broker.namespace {
            None => (instances.find(|of| of.is_waiting), bindings.find(|of| of.is_waiting)),
            Some(namespace) => (
                instances.find_in(namespace, |of| of.is_waiting),
                bindings.find_in(namespace, |of| of.is_waiting),
            ),
        };
        add_all(&self.instances, &instances);
        add_all(&self.bindings, &bindings);
    }

    fn releasing_external_resources(&self, context: &Context, broker: &BrokerKey) {
        let releasing = context.stores.external_resources.find(|of| of.has_status && of.is_of(broker));
        add_all(&self.external_resources, &releasing);
    }
}

fn add_all<K: Resource<DynamicType = ()>>(queue: &WorkQueue<K>, objects: &[ObjectRef<K>]) {
    for object in objects {
        queue.add(object);
    }
}

fn forget<K: Resource<DynamicType = ()>>(context: &Context, object: &K) {
    let uid = object.uid().unwrap_or_default();
    context.retries.forget(&uid);
    context.own_writes.forget(&uid);
}
