//! Writes a status to the status subresource, only if it changed, and records an event if its reason changed. A merge
//! patch is used because server-side apply cannot remove fields that another controller wrote.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::now;
use crate::{
    apis::servicecatalog::{
        ConditionType, Conditions, ServiceBindingStatus, ServiceBrokerStatus, ServiceInstanceStatus, reasons,
    },
    catalog::context::Context,
    contract::FIELD_MANAGER,
    k8s::events::Event,
};

/// A status with conditions.
pub(super) trait ConditionedStatus: Clone + PartialEq + Serialize {
    fn conditions(&self) -> &Conditions;
    fn conditions_mut(&mut self) -> &mut Conditions;
    fn last_condition_state_mut(&mut self) -> &mut String;
    fn operation_start_time_mut(&mut self) -> &mut Option<Time>;
}

macro_rules! conditioned {
    ($($status:ty),+) => {$(
        impl ConditionedStatus for $status {
            fn conditions(&self) -> &Conditions {
                &self.conditions
            }
            fn conditions_mut(&mut self) -> &mut Conditions {
                &mut self.conditions
            }
            fn last_condition_state_mut(&mut self) -> &mut String {
                &mut self.last_condition_state
            }
            fn operation_start_time_mut(&mut self) -> &mut Option<Time> {
                &mut self.operation_start_time
            }
        }
    )+};
}
conditioned!(ServiceBrokerStatus, ServiceInstanceStatus, ServiceBindingStatus);

/// Sets `Ready` and removes `Failed`.
pub(super) fn set_ready(
    status: &mut impl ConditionedStatus,
    ready: bool,
    reason: &str,
    message: impl Into<String>,
) {
    status.conditions_mut().remove(ConditionType::Failed);
    status.conditions_mut().set(ConditionType::Ready, ready, reason, message, now().0);
}

/// Sets `Ready` to false and `Failed` to true: there are no retries before the spec changes.
pub(super) fn set_failed(status: &mut impl ConditionedStatus, reason: &str, message: &str) {
    set_ready(status, false, reason, message);
    let failed = match reason {
        reasons::ERROR_RECONCILIATION_RETRY_TIMEOUT | reasons::ASYNC_OPERATION_TIMEOUT => reason,
        _ => reasons::CLUSTER_SERVICE_BROKER_RETURNED_FAILURE,
    };
    status.conditions_mut().set(ConditionType::Failed, true, failed, message, now().0);
}

/// Records the start of an operation, once.
pub(super) fn start(status: &mut impl ConditionedStatus) -> Time {
    status.operation_start_time_mut().get_or_insert_with(now).clone()
}

/// Writes the status of an object if it differs from the present one, and records an event for a new reason. Returns
/// the status that the object has now.
pub(super) async fn write<K, S>(
    context: &Context,
    api: &Api<K>,
    object: &K,
    old: &S,
    mut new: S,
) -> kube::Result<S>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: ConditionedStatus,
{
    *new.last_condition_state_mut() = new.conditions().last_state();
    if *old == new {
        return Ok(new);
    }
    let body = json!({
        "metadata": {"uid": object.meta().uid},
        "status": merge_patch(&json!(old), json!(new)),
    });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let written = api.patch_status(&object.name_any(), &parameters, &Patch::Merge(body)).await?;
    context.own_writes.record(written.meta());
    for type_ in [ConditionType::Ready, ConditionType::OrphanMitigation] {
        let Some(condition) = new.conditions().get(type_) else { continue };
        if old.conditions().get(type_).is_none_or(|before| before.reason != condition.reason) {
            let event = Event {
                is_warning: !reasons::is_expected(&condition.reason),
                reason: condition.reason.clone().into(),
                action: "Reconcile",
                note: condition.message.clone(),
            };
            context.recorder.record(&object.object_ref(&()), &event).await;
        }
    }
    Ok(new)
}

/// The merge patch (RFC 7396) that replaces `old` by `new`: fields that `new` lacks become null.
fn merge_patch(old: &Value, mut new: Value) -> Value {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object_mut()) else { return new };
    for (name, value) in after.iter_mut() {
        if let Some(former) = before.get(name) {
            *value = merge_patch(former, value.take());
        }
    }
    for name in before.keys() {
        after.entry(name.clone()).or_insert(Value::Null);
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_gone_are_removed_at_every_depth() {
        let old = json!({"operationStartTime": "x", "properties": {"parameters": {"a": 1, "b": 2}}, "list": [1, 2]});
        let new = json!({"properties": {"parameters": {"a": 1}}, "list": [2], "last": "y"});
        assert_eq!(
            merge_patch(&old, new),
            json!({"operationStartTime": null, "properties": {"parameters": {"a": 1, "b": null}}, "list": [2], "last": "y"})
        );
        assert_eq!(merge_patch(&json!(null), json!({"a": {}})), json!({"a": {}}));
    }
}
