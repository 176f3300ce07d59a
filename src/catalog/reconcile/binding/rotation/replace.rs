//! Asks the broker for the new credentials, and writes them into the Secrets. Until then the former ones stay in force.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    super::{
        Failure, NotBound, Remedy,
        preparation::Preparation,
        request::Request,
        request_credentials::{conversation, external_resource_spec, record, registered_broker},
    },
    INJECTED, Rotating, STAY, overlap, report, schedule,
};
use crate::{
    apis::servicecatalog::{
        ConditionType, ExternalResourceKind, ExternalResourceSpec, ServiceBindingStatus, binding::Rotation,
        reasons,
    },
    bindings::secrets::SecretError,
    catalog::{
        ledger::external_resource_name,
        reconcile::{
            Next, ReconcileError,
            deadline::{self, Limits, longest_polling},
            now, status,
        },
    },
    contract::binding::ROTATE,
    osb::BindResponse,
};

impl Rotating<'_> {
    /// Takes the next step towards the new credentials.
    pub(super) async fn replace(
        &self,
        rotation: &mut Rotation,
        new: &mut ServiceBindingStatus,
    ) -> Result<Next, ReconcileError> {
        let former_end = new.expires_at.as_ref().map(|end| end.0);
        let failure = match self.exchange(rotation, new).await {
            Ok(()) => {
                let overlap =
                    schedule::revocation(overlap(self.binding), former_end, rotation.requested, now().0);
                // The annotation was read when the rotation began. If it is wrong now, the former credentials wait for nothing.
                rotation.revoke_at = Some(Time(overlap.unwrap_or_else(|_| now().0)));
                rotation.clear_operation();
                new.external_id = Some(rotation.external_id.clone());
                new.rotation_failed_at = None;
                status::set_ready(new, true, reasons::INJECTED_BIND_RESULT, INJECTED);
                return Ok(Next::After(Duration::ZERO));
            }
            Err(Failure::Cluster(error)) => return Err(error),
            Err(Failure::NotBound(failure)) => failure,
        };
        if failure.reason == reasons::BINDING {
            report(
                new,
                reasons::ROTATING_BINDING,
                "The credentials are being replaced asynchronously".to_owned(),
            );
        } else {
            let message =
                format!("{STAY}, because they could not be replaced: {}. bindery retries", failure.message);
            report(new, reasons::ROTATION_FAILED, message);
        }
        Ok(match failure.remedy {
            Remedy::After(wait) if !rotation.orphan_mitigation_in_progress => Next::After(wait),
            _ => Next::Retry,
        })
    }

    /// Gets the new credentials and writes the Secrets.
    async fn exchange(&self, rotation: &mut Rotation, new: &mut ServiceBindingStatus) -> Result<(), Failure> {
        let Self { binding, context, api } = self;
        let prepared = Preparation::of(binding, context, new).await?;
        let response = self.ask(&prepared.request(binding, context, api), rotation).await?;
        let data = match prepared.data(binding, &response) {
            Ok(data) => data,
            Err(error) => {
                if matches!(
                    error,
                    SecretError::Key(_) | SecretError::TooLarge { .. } | SecretError::Transform(_)
                ) {
                    rotation.fail(Some(error.to_string()));
                }
                return Err(error.into());
            }
        };
        prepared.write(binding, context, &response, data, new).await
    }

    /// Asks the broker for the new credentials, or polls the operation that makes them. After a failure the rotation says
    /// whether the broker may hold something that must be deleted.
    async fn ask(&self, request: &Request<'_>, rotation: &mut Rotation) -> Result<BindResponse, Failure> {
        let Self { binding, context, .. } = self;
        let (kind, uid) = (ExternalResourceKind::ServiceBinding, binding.metadata.uid.as_deref());
        // A status may name the id of somebody else's credentials.
        if context.ledger.find(kind, &rotation.predecessor_id, uid).await?.is_none() {
            let message = "no ExternalResource proves that the credentials in use are those of the binding";
            rotation.fail(Some(message.to_owned()));
            return Err(NotBound::new(reasons::ROTATION_FAILED, message, Remedy::Never).into());
        }
        let broker = registered_broker(request)?;
        let _lock = context.locks.lock(&external_resource_name(kind, &rotation.external_id)).await;
        let spec = ExternalResourceSpec {
            predecessor_id: Some(rotation.predecessor_id.clone()),
            ..external_resource_spec(request, broker.as_ref(), &rotation.external_id)
        };
        let (_, is_new) = record(spec, context).await?;
        if is_new {
            rotation.clear_operation();
        }
        let conversation = conversation(request, broker.as_ref(), &rotation.external_id, true);
        let mut operation = operation_of(rotation);
        let asked = if operation.async_op_in_progress {
            conversation.poll(&mut operation).await
        } else {
            conversation.succeed(&rotation.predecessor_id, &mut operation).await
        };
        rotation.async_op_in_progress = operation.async_op_in_progress;
        rotation.last_operation.clone_from(&operation.last_operation);
        rotation.polling_start_time.clone_from(&operation.polling_start_time);
        asked.map_err(|failure| {
            let polled_since = rotation.polling_start_time.as_ref().filter(|_| rotation.async_op_in_progress);
            let limits = Limits {
                retries: context.retry_duration,
                polling: longest_polling(request.offer.plan.as_ref()),
            };
            let exceeded = limits.exceeded(Some(&rotation.start_time), polled_since, now().0);
            match (end(&failure, &operation), exceeded) {
                (Some(End::ForGood(failure)), _) => rotation.fail(Some(failure)),
                (_, Some(limit)) => {
                    let remedy = format!("Set another value of the annotation {ROTATE}");
                    rotation.fail(Some(deadline::message(limit, &failure.message, &remedy)));
                }
                (Some(End::Again), None) => rotation.fail(None),
                (None, None) => {}
            }
            failure.into()
        })
    }
}

/// The operation for the new credentials, as the status of a binding that has none yet: the same rules apply.
fn operation_of(rotation: &Rotation) -> ServiceBindingStatus {
    ServiceBindingStatus {
        async_op_in_progress: rotation.async_op_in_progress,
        last_operation: rotation.last_operation.clone(),
        polling_start_time: rotation.polling_start_time.clone(),
        operation_start_time: Some(rotation.start_time.clone()),
        ..ServiceBindingStatus::default()
    }
}

/// What becomes of a rotation after what the broker may hold under the new id is deleted.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It starts again.
    Again,
    /// It has failed, for this reason.
    ForGood(String),
}

/// Whether the failure ends the attempt. Otherwise the broker is asked again under the same id.
fn end(failure: &NotBound, operation: &ServiceBindingStatus) -> Option<End> {
    if operation.orphan_mitigation_in_progress {
        let failed = operation.conditions.get(ConditionType::Failed);
        return Some(failed.map_or(End::Again, |failed| End::ForGood(failed.message.clone())));
    }
    if matches!(failure.remedy, Remedy::Never) {
        return Some(End::ForGood(failure.message.clone()));
    }
    // The broker returns credentials only once, and they got lost.
    (failure.reason == reasons::BIND_RESULT_MISSING).then_some(End::Again)
}

#[cfg(test)]
mod tests {
    use super::{super::super::orphans, *};

    #[test]
    fn a_failure_decides_what_becomes_of_the_new_credentials() {
        let ended = |reason, remedy, start: bool| {
            let mut operation = ServiceBindingStatus::default();
            let failure = NotBound::new(reason, "no disk", remedy);
            let failure = if start { orphans::start(&mut operation, failure) } else { failure };
            end(&failure, &operation)
        };
        let refused = reasons::BIND_CALL_FAILED;
        assert_eq!(ended(refused, Remedy::Retry, false), None, "it is asked again");
        assert_eq!(ended(refused, Remedy::Retry, true), Some(End::Again), "deleted, and asked again");
        let for_good = || Some(End::ForGood("no disk".to_owned()));
        assert_eq!(ended(refused, Remedy::Never, false), for_good(), "a refusal");
        assert_eq!(ended(refused, Remedy::Never, true), for_good(), "an operation that failed");
        assert_eq!(ended(reasons::BIND_RESULT_MISSING, Remedy::Retry, false), Some(End::Again));
    }
}
