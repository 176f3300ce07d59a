//! Creates an instance: finds its class and plan, records the ExternalResource, asks the broker, and polls until the
//! instance exists.

use std::{sync::Arc, time::Duration};

use kube::{Api, ResourceExt};

use super::{
    attempt::Attempt,
    blockers,
    prepare::prepare,
    rollback::roll_back,
    update,
    wanted::{self, Unusable, Wanted},
};
use crate::{
    apis::{
        bindery::external_resource::ExternalResourceBroker,
        servicecatalog::{
            ConditionType, ExternalResource, ExternalResourceKind, ExternalResourceSpec, ServiceInstance,
            ServiceInstanceStatus,
            instance::ProvisionStatus,
            reasons,
            scope::{BrokerKey, BrokerObject},
        },
    },
    catalog::{
        client::Identity,
        context::{Context, NamespaceState},
        ledger::{Recorded, external_resource_name, how_to_adopt},
        parameters,
        reconcile::{
            Next, ReconcileError, namespace_termination,
            resolve::{self, Offer, Unresolved},
            status,
        },
    },
};

/// The wait for a namespace that the watch has not seen yet. The namespace's appearance ends the wait.
const UNKNOWN_NAMESPACE_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn reconcile(instance: &ServiceInstance, context: &Context) -> Result<Next, ReconcileError> {
    let namespace = instance.namespace().unwrap_or_default();
    let namespace_uid = match context.namespace(&namespace) {
        // The bindings that use the instance are deleted first; their removal enqueues the instance.
        NamespaceState::Terminating { .. } if blockers::is_kept(instance, context) => {
            return Ok(Next::AwaitChange);
        }
        NamespaceState::Terminating { .. } => return namespace_termination::delete(instance, context).await,
        NamespaceState::Unknown => return Ok(Next::After(UNKNOWN_NAMESPACE_WAIT)),
        NamespaceState::Active { uid } => uid,
    };
    let api: Api<ServiceInstance> = Api::namespaced(context.client.clone(), &namespace);
    let old = instance.status.clone().unwrap_or_default();
    let offer = resolve::resolve(&instance.spec, &namespace, &context.stores);
    if old.provision_status == Some(ProvisionStatus::Provisioned) {
        return Box::pin(update::reconcile(instance, context, api, offer, namespace_uid)).await;
    }
    if old.conditions.is_true(ConditionType::Failed)
        && !old.orphan_mitigation_in_progress
        && Some(old.observed_generation) == instance.metadata.generation
    {
        return Ok(Next::AwaitChange);
    }
    let instance = prepare(context, &api, instance, offer.as_ref().ok()).await?;
    let mut new = old.clone();
    new.provision_status = Some(ProvisionStatus::NotProvisioned);
    (new.user_specified_class_name, new.user_specified_plan_name) =
        resolve::user_specified(&instance.spec, offer.as_ref().ok());
    let known = match offer.and_then(|offer| with_broker(offer, context)) {
        Ok((offer, broker)) => {
            read(context, &instance, &offer, &mut new).await.map(|wanted| (offer, broker, wanted))
        }
        Err(Unresolved { reason, message }) => Err(Unusable { reason, message, next: Next::AwaitChange }),
    };
    match known {
        Ok((offer, broker, wanted)) => {
            let external_resource = external_resource(&instance, &namespace_uid, &offer, broker.as_ref());
            let creation = Creation { context, api, instance, written: old, status: new, namespace_uid };
            Box::pin(creation.run(external_resource, wanted)).await
        }
        Err(Unusable { reason, message, next }) => {
            new.observed_generation = instance.metadata.generation.unwrap_or_default();
            status::set_ready(&mut new, false, reason, message);
            status::write(context, &api, &instance, &old, new).await?;
            Ok(next)
        }
    }
}

/// What to ask for; nothing while an operation runs. The defaults of class and plan count from the first attempt on.
async fn read(
    context: &Context,
    instance: &ServiceInstance,
    offer: &Offer,
    status: &mut ServiceInstanceStatus,
) -> Result<Option<Wanted>, Unusable> {
    if status.async_op_in_progress || status.orphan_mitigation_in_progress {
        return Ok(None);
    }
    if status.current_operation.is_none() {
        let (class, plan) = (offer.class.common(), offer.plan.common());
        status.default_provision_parameters = parameters::defaults(
            class.default_provision_parameters.as_ref(),
            plan.default_provision_parameters.as_ref(),
        );
    }
    wanted::read(context, instance, offer, status.default_provision_parameters.as_ref()).await.map(Some)
}

/// A creation whose ExternalResource is not recorded yet.
struct Creation<'a> {
    context: &'a Context,
    api: Api<ServiceInstance>,
    instance: ServiceInstance,
    written: ServiceInstanceStatus,
    status: ServiceInstanceStatus,
    namespace_uid: String,
}

impl Creation<'_> {
    /// Records the ExternalResource, and takes the next step.
    async fn run(
        mut self,
        external_resource: ExternalResource,
        wanted: Option<Wanted>,
    ) -> Result<Next, ReconcileError> {
        let context = self.context;
        let _lock = context.locks.lock(&external_resource.name_any()).await;
        let registered = |broker: &BrokerKey| context.stores.broker(broker).is_some();
        let next = match context.ledger.record(external_resource.spec, registered).await? {
            Recorded::Ours { external_resource, is_new } => {
                let Self { context, api, instance, written, status, namespace_uid } = self;
                let mut attempt = Attempt {
                    context,
                    api,
                    instance,
                    external_resource,
                    is_first: is_new,
                    written,
                    status,
                    namespace_uid,
                };
                let next = attempt.step(wanted).await?;
                attempt.write().await?;
                return Ok(next);
            }
            Recorded::Taken => self.refuse(reasons::ERROR_EXTERNAL_ID_TAKEN, TAKEN),
            Recorded::OtherNamespace(held) => {
                let message = format!(
                    "spec.externalID is taken: {}; or delete this ServiceInstance and create it with another \
                    externalID or without one",
                    how_to_adopt(&held, &self.namespace_uid)
                );
                self.refuse(reasons::NAMESPACE_RECREATED, &message)
            }
            Recorded::OtherRequest(held)
                if Some(&held.spec.uid) == self.instance.metadata.uid.as_ref() && !held.spec.provisioned =>
            {
                let identity = self.instance.spec.user_info.as_ref().map(Identity::of);
                roll_back(context, &held, identity.as_ref(), &mut self.status).await?
            }
            // What an earlier object of this name created may be in use, so it is not deleted to make room.
            Recorded::OtherRequest(held) => {
                self.refuse(reasons::ERROR_EXTERNAL_ID_TAKEN, &format!("{INHERITED}: {}", held.name_any()))
            }
        };
        self.status.observed_generation = self.instance.metadata.generation.unwrap_or_default();
        status::write(context, &self.api, &self.instance, &self.written, self.status).await?;
        Ok(next)
    }

    fn refuse(&mut self, reason: &str, message: &str) -> Next {
        status::set_ready(&mut self.status, false, reason, message);
        Next::Retry
    }
}

const TAKEN: &str = "spec.externalID is the id of another ServiceInstance; delete this ServiceInstance and \
    create it with another externalID or without one";
const INHERITED: &str = "spec.externalID belongs to an earlier ServiceInstance of this name with another class \
    or plan. Set the earlier class and plan, or delete this ServiceInstance, which also deletes its instance at \
    the broker, and create it with another externalID. See kubectl describe extres";

fn with_broker(offer: Offer, context: &Context) -> Result<(Offer, Arc<dyn BrokerObject>), Unresolved> {
    let name = offer.class.broker();
    let broker = context.stores.broker(&name).filter(|broker| !broker.is_being_deleted());
    match broker {
        Some(broker) => Ok((offer, broker)),
        None => Err(Unresolved {
            reason: reasons::REFERENCES_NONEXISTENT_BROKER,
            message: format!("the {name} of the class does not exist or is being deleted; create it"),
        }),
    }
}

/// The ExternalResource for this instance.
fn external_resource(
    instance: &ServiceInstance,
    namespace_uid: &str,
    offer: &Offer,
    broker: &dyn BrokerObject,
) -> ExternalResource {
    let id = instance.spec.external_id.clone().unwrap_or_default();
    let spec = ExternalResourceSpec {
        broker: ExternalResourceBroker::of(broker),
        kind: ExternalResourceKind::ServiceInstance,
        namespace: instance.namespace().unwrap_or_default(),
        namespace_uid: Some(namespace_uid.to_owned()),
        space_guid: None,
        name: instance.name_any(),
        uid: instance.uid().unwrap_or_default(),
        instance_id: id.clone(),
        binding_id: None,
        predecessor_id: None,
        service_id: offer.class.common().external_id.clone(),
        plan_id: offer.plan.common().external_id.clone(),
        new_plan_id: None,
        provisioned: false,
    };
    ExternalResource::new(&external_resource_name(ExternalResourceKind::ServiceInstance, &id), spec)
}
