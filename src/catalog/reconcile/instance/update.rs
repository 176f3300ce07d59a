//! Changes an instance to the plan and parameters of its spec. Until the broker has confirmed the change, the former
//! ones count as in force; a failed change leaves the instance as it was.

use std::time::Duration;

use kube::Api;

use super::{
    attempt::Attempt,
    complete,
    poll::UPDATING,
    prepare::prepare,
    properties::{is_same_request, plan_id},
    reread,
    wanted::{self, Wanted},
};
use crate::{
    apis::servicecatalog::{
        ConditionType, ExternalResourceKind, ServiceInstance, ServiceInstanceStatus,
        instance::InstanceOperation, reasons,
    },
    catalog::{
        client::{ClientError, Progress},
        connections::BrokerError,
        context::Context,
        ledger::external_resource_name,
        reconcile::{
            Next, ReconcileError, deadline, delete_external,
            polling::poll_interval,
            resolve::{Offer, Unresolved},
            status,
        },
    },
    osb::{LastOperation, PreviousValues, UpdateRequest},
};

const UPDATED: &str = "The instance was updated successfully";
const STAYS: &str = "The instance keeps its former plan and parameters";

/// What to do with an instance that exists.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The spec is in force, or has failed for good.
    Nothing,
    /// Compare the spec with what is in force, and ask the broker if they differ.
    Compare,
    /// Follow the running update.
    Poll,
}

/// Decides what to do from the status.
fn decide(status: &ServiceInstanceStatus, generation: i64, is_reread: bool) -> Step {
    let is_updating = status.current_operation == Some(InstanceOperation::Update);
    if is_updating && status.async_op_in_progress {
        Step::Poll
    } else if is_updating || is_reread {
        Step::Compare
    } else if status.reconciled_generation == generation {
        Step::Nothing
    } else {
        // What failed for good waits for another spec; what cannot be asked for yet waits for another object.
        let ready = status.conditions.get(ConditionType::Ready);
        let has_failed = ready.is_some_and(|ready| {
            [reasons::UPDATE_INSTANCE_CALL_FAILED, reasons::ERROR_RECONCILIATION_RETRY_TIMEOUT]
                .contains(&ready.reason.as_str())
        });
        if has_failed && status.observed_generation == generation { Step::Nothing } else { Step::Compare }
    }
}

/// Reconciles an instance that exists.
pub(super) async fn reconcile(
    instance: &ServiceInstance,
    context: &Context,
    api: Api<ServiceInstance>,
    offer: Result<Offer, Unresolved>,
    namespace_uid: String,
) -> Result<Next, ReconcileError> {
    let old = instance.status.clone().unwrap_or_default();
    let generation = instance.metadata.generation.unwrap_or_default();
    let interval = reread::interval(instance);
    let is_reread = !matches!(interval, Ok(None));
    let step = decide(&old, generation, is_reread);
    if step == Step::Nothing {
        complete::settled(instance, context, &api).await?;
        return Ok(Next::AwaitChange);
    }
    let id = instance.spec.external_id.clone().unwrap_or_default();
    let _lock = context.locks.lock(&external_resource_name(ExternalResourceKind::ServiceInstance, &id)).await;
    let uid = instance.metadata.uid.as_deref();
    let mut status = old.clone();
    let Some(external_resource) =
        context.ledger.find(ExternalResourceKind::ServiceInstance, &id, uid).await?
    else {
        let message = format!(
            "{STAYS}: no ExternalResource proves that the broker holds spec.externalID for this ServiceInstance"
        );
        status.observed_generation = generation;
        set_as_before(&mut status, reasons::UPDATE_INSTANCE_CALL_FAILED, message);
        status::write(context, &api, instance, &old, status).await?;
        return Ok(Next::AwaitChange);
    };
    let instance = if step == Step::Compare {
        prepare(context, &api, instance, offer.as_ref().ok()).await?
    } else {
        instance.clone()
    };
    let mut attempt = Attempt {
        context,
        api,
        instance,
        external_resource,
        is_first: false,
        written: old,
        status,
        namespace_uid,
    };
    let next = match (step, offer, &interval) {
        _ if attempt.is_out_of_time() => attempt.give_up_update(context.retry_duration),
        (Step::Poll, ..) => attempt.poll().await?,
        (_, Err(Unresolved { reason, message }), _) => attempt.wait(reason, &message, Next::Retry),
        (_, _, Err(message)) => attempt.wait(reasons::ERROR_WITH_PARAMETERS, message, Next::AwaitChange),
        (_, Ok(offer), Ok(_)) => attempt.compare(&offer).await?,
    };
    attempt.write().await?;
    Ok(match (next, interval) {
        (Next::AwaitChange, Ok(Some(interval))) => Next::After(interval),
        (next, _) => next,
    })
}

/// Sets the reason of a change that did not happen. The instance is as usable as before.
fn set_as_before(status: &mut ServiceInstanceStatus, reason: &str, message: String) {
    // While a request is under way, `Ready` is false although the instance was usable before.
    let was_usable = status.current_operation == Some(InstanceOperation::Update)
        || status.conditions.is_true(ConditionType::Ready);
    status::set_ready(status, was_usable, reason, message);
}

impl Attempt<'_> {
    /// The spec cannot be asked for now.
    fn wait(&mut self, reason: &str, message: &str, next: Next) -> Next {
        self.status.observed_generation = self.instance.metadata.generation.unwrap_or_default();
        set_as_before(&mut self.status, reason, format!("{STAYS}: {message}"));
        next
    }

    /// Compares the spec with what is in force, and asks the broker if they differ.
    async fn compare(&mut self, offer: &Offer) -> Result<Next, ReconcileError> {
        let defaults = self.status.default_provision_parameters.clone();
        let wanted = match wanted::read(self.context, &self.instance, offer, defaults.as_ref()).await {
            Ok(wanted) => wanted,
            Err(unusable) => return Ok(self.wait(unusable.reason, &unusable.message, unusable.next)),
        };
        let asked_again = self.instance.spec.update_requests.unwrap_or_default()
            > self.status.update_requests.or(self.instance.spec.update_requests).unwrap_or_default();
        let in_force = self.status.external_properties.get_or_insert_with(|| wanted.properties.clone());
        let is_updating = self.status.current_operation == Some(InstanceOperation::Update);
        if is_same_request(in_force, &wanted.properties) && !asked_again && !is_updating {
            return Ok(self.set_in_force());
        }
        if let Some(refusal) = self.refusal(offer, plan_id(&wanted.properties)) {
            self.end_operation();
            return Ok(self.wait(reasons::UPDATE_INSTANCE_CALL_FAILED, &refusal, Next::AwaitChange));
        }
        self.send_update(wanted).await
    }

    /// Nothing differs: the spec is in force.
    fn set_in_force(&mut self) -> Next {
        let generation = self.instance.metadata.generation.unwrap_or_default();
        self.status.observed_generation = generation;
        self.status.reconciled_generation = generation;
        self.status.update_requests = Some(self.instance.spec.update_requests.unwrap_or_default());
        let ready = self.status.conditions.get(ConditionType::Ready);
        if ready.is_none_or(|ready| !reasons::is_expected(&ready.reason))
            && self.status.conditions.is_true(ConditionType::Ready)
        {
            let message = "The instance has the plan and parameters of the spec";
            status::set_ready(&mut self.status, true, reasons::INSTANCE_UPDATED_SUCCESSFULLY, message);
        }
        Next::AwaitChange
    }

    /// Why the catalog does not allow the change.
    fn refusal(&self, offer: &Offer, plan: &str) -> Option<String> {
        let class = offer.class.common();
        let held = &self.external_resource.spec;
        if class.external_id != held.service_id {
            return Some(format!(
                "the class {:?} is another one now, and an instance cannot change its class; restore the former class",
                class.external_name
            ));
        }
        let in_force = self.status.external_properties.as_ref().map_or(held.plan_id.as_str(), plan_id);
        (plan != in_force && !class.plan_updatable).then(|| {
            format!(
                "The Service Class {} does not allow plan changes; restore the former plan",
                class.external_name
            )
        })
    }

    async fn send_update(&mut self, wanted: Wanted) -> Result<Next, ReconcileError> {
        let request = self.update_request(&wanted);
        let plan = plan_id(&wanted.properties).to_owned();
        self.begin(InstanceOperation::Update, wanted.properties).await?;
        self.external_resource =
            self.context.ledger.set_new_plan(self.external_resource.clone(), &plan).await?;
        let id = self.external_resource.spec.instance_id.as_str().into();
        let identity = self.identity();
        let asked = async {
            let client = delete_external::connect(self.context, &self.external_resource).await?;
            Ok::<_, BrokerError>(client.update(&id, &request, identity.as_ref()).await?)
        };
        match asked.await {
            Ok(answer) => match answer.progress {
                Progress::Done => self.set_updated(answer.dashboard_url).await,
                Progress::InProgress(operation) => {
                    if answer.dashboard_url.is_some() {
                        self.status.dashboard_url = answer.dashboard_url;
                    }
                    self.accepted(operation);
                    status::set_ready(&mut self.status, false, reasons::UPDATING_INSTANCE, UPDATING);
                    Ok(Next::After(poll_interval(self.status.operation_start_time.as_ref(), None)))
                }
            },
            Err(BrokerError::Credentials(message)) => {
                Ok(self.retry(reasons::ERROR_GETTING_AUTH_CREDENTIALS, &message))
            }
            Err(BrokerError::NotApproved(message)) => Ok(self.retry(reasons::SECRET_NOT_APPROVED, &message)),
            Err(BrokerError::Client(error)) => {
                let about = wanted.parameters.redacted(&error.to_string());
                Ok(self.set_update_refused(&error, &about))
            }
        }
    }

    /// Only what changes is sent.
    fn update_request(&self, wanted: &Wanted) -> UpdateRequest {
        let held = &self.external_resource.spec;
        let in_force = self.status.external_properties.as_ref();
        let former = in_force.map_or(held.plan_id.as_str(), plan_id);
        let plan = plan_id(&wanted.properties);
        let has_other_parameters = in_force
            .is_none_or(|in_force| in_force.parameter_checksum != wanted.properties.parameter_checksum);
        // The broker may have carried out an earlier request whose end bindery has not seen.
        let is_repeated = self.status.current_operation == Some(InstanceOperation::Update);
        let has_other_plan = plan != former || held.new_plan_id.as_ref().is_some_and(|new| new != plan);
        UpdateRequest {
            service_id: held.service_id.as_str().into(),
            plan_id: has_other_plan.then(|| plan.into()),
            context: Some(self.origin()),
            // As in the old Service Catalog: all parameters, without those that were removed; an empty object if none is left.
            parameters: if has_other_parameters {
                Some(wanted.parameters.to_send().unwrap_or_default())
            } else {
                wanted.parameters.to_send().filter(|_| is_repeated)
            },
            previous_values: Some(PreviousValues { plan_id: Some(former.into()), maintenance_info: None }),
            maintenance_info: None,
        }
    }

    fn retry(&mut self, reason: &str, message: &str) -> Next {
        set_as_before(&mut self.status, reason, format!("{STAYS}: {message}"));
        Next::Retry
    }

    fn set_update_refused(&mut self, error: &ClientError, about: &str) -> Next {
        if matches!(error, ClientError::Unauthorized { .. }) {
            self.context.connections.forget(&self.external_resource.spec.broker.key());
        }
        if error.is_terminal() {
            return self.set_update_failed(&LastOperation::default(), about);
        }
        let reason = if error.is_answer() {
            reasons::UPDATE_INSTANCE_CALL_FAILED
        } else {
            reasons::ERROR_CALLING_UPDATE_INSTANCE
        };
        self.retry(reason, about)
    }

    /// The update failed for good.
    pub(super) fn set_update_failed(&mut self, last: &LastOperation, about: &str) -> Next {
        let is_usable = last.instance_usable != Some(false);
        let message = if is_usable {
            format!("{STAYS}: the update failed: {about}; change the spec to try again")
        } else {
            format!(
                "The update failed, and the broker says that the instance cannot be used: {about}; change the spec \
                to try again"
            )
        };
        status::set_ready(&mut self.status, is_usable, reasons::UPDATE_INSTANCE_CALL_FAILED, message);
        self.status.update_requests = Some(self.instance.spec.update_requests.unwrap_or_default());
        self.end_operation();
        Next::AwaitChange
    }

    /// The update has been retried for too long.
    pub(super) fn give_up_update(&mut self, limit: Duration) -> Next {
        let ready = self.status.conditions.get(ConditionType::Ready);
        let former = ready.map(|ready| ready.message.clone()).unwrap_or_default();
        let message = deadline::message(limit, &former, "Change the spec");
        set_as_before(&mut self.status, reasons::ERROR_RECONCILIATION_RETRY_TIMEOUT, message);
        self.status.update_requests = Some(self.instance.spec.update_requests.unwrap_or_default());
        self.end_operation();
        Next::AwaitChange
    }

    pub(super) async fn set_updated(
        &mut self,
        dashboard_url: Option<String>,
    ) -> Result<Next, ReconcileError> {
        let status = &mut self.status;
        if let Some(properties) = status.in_progress_properties.take() {
            self.context.ledger.set_provisioned(&self.external_resource, plan_id(&properties)).await?;
            status.external_properties = Some(properties);
        }
        if dashboard_url.is_some() {
            status.dashboard_url = dashboard_url;
        }
        status.reconciled_generation = status.observed_generation;
        status.update_requests = Some(self.instance.spec.update_requests.unwrap_or_default());
        status::set_ready(status, true, reasons::INSTANCE_UPDATED_SUCCESSFULLY, UPDATED);
        self.end_operation();
        // The spec may have changed during an asynchronous update.
        let is_current = Some(self.status.reconciled_generation) == self.instance.metadata.generation;
        Ok(if is_current { Next::AwaitChange } else { Next::After(Duration::ZERO) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(value: Value) -> ServiceInstanceStatus {
        serde_json::from_value(value).unwrap()
    }

    fn ready(reason: &str) -> Value {
        json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": reason,
            "message": ""}])
    }

    #[test]
    fn a_spec_that_is_in_force_needs_nothing_and_a_changed_one_is_compared() {
        let known = json!({"reconciledGeneration": 2, "observedGeneration": 2});
        assert_eq!(decide(&status(known.clone()), 2, false), Step::Nothing);
        assert_eq!(decide(&status(known.clone()), 3, false), Step::Compare);
        assert_eq!(decide(&status(known), 2, true), Step::Compare, "the Secrets are read again");
    }

    #[test]
    fn a_running_update_is_polled_and_an_interrupted_one_repeated() {
        let running =
            json!({"currentOperation": "Update", "asyncOpInProgress": true, "reconciledGeneration": 2});
        assert_eq!(decide(&status(running), 3, false), Step::Poll);
        let interrupted =
            json!({"currentOperation": "Update", "reconciledGeneration": 2, "observedGeneration": 3});
        assert_eq!(decide(&status(interrupted), 3, false), Step::Compare);
    }

    #[test]
    fn a_failed_update_waits_for_another_spec() {
        for reason in ["UpdateInstanceCallFailed", "ErrorReconciliationRetryTimeout"] {
            let failed =
                json!({"reconciledGeneration": 2, "observedGeneration": 3, "conditions": ready(reason)});
            assert_eq!(decide(&status(failed.clone()), 3, false), Step::Nothing);
            assert_eq!(decide(&status(failed), 4, false), Step::Compare);
        }
        let waiting = json!({"reconciledGeneration": 2, "observedGeneration": 3,
            "conditions": ready("ReferencesNonexistentServicePlan")});
        assert_eq!(decide(&status(waiting), 3, false), Step::Compare, "the plan may exist now");
    }

    #[test]
    fn a_change_that_did_not_happen_leaves_the_instance_as_usable_as_before() {
        let mut usable = status(json!({"conditions": ready("ProvisionedSuccessfully")}));
        set_as_before(&mut usable, "UpdateInstanceCallFailed", String::new());
        assert!(usable.conditions.is_true(ConditionType::Ready));
        let mut unusable = ServiceInstanceStatus::default();
        set_as_before(&mut unusable, "UpdateInstanceCallFailed", String::new());
        assert!(!unusable.conditions.is_true(ConditionType::Ready));
    }
}
