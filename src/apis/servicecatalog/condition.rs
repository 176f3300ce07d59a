//! Conditions of the Service Catalog API: `type`, `status`, `reason`, `message`, and the word that `kubectl get`
//! shows. `catalog::reconcile` sets them. Pure.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

/// The type of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The object can be used.
    Ready,
    /// The object failed permanently: bindery does not retry before the spec changes.
    Failed,
    /// bindery deletes at the broker what a failed operation may have left.
    OrphanMitigation,
}

/// `True` or `False`; bindery never writes `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Written by other controllers at most.
    Unknown,
}

/// A condition of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The type of the condition.
    #[serde(rename = "type")]
    pub type_: ConditionType,
    /// Whether the condition holds.
    pub status: ConditionStatus,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// The reason in one CamelCase word.
    pub reason: String,
    /// The reason in a sentence, and what to do.
    pub message: String,
}

/// The conditions of an object, at most one of each type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Conditions(Vec<Condition>);

/// Conditions of types that only an earlier version wrote are skipped.
impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
        let known =
            all.into_iter().filter(|condition| ConditionType::deserialize(&condition["type"]).is_ok());
        let read = known.map(serde_json::from_value).collect::<Result<_, _>>();
        read.map(Self).map_err(|error| D::Error::custom(error.to_string()))
    }
}

impl Conditions {
    /// Returns the condition of this type.
    #[must_use]
    pub fn get(&self, type_: ConditionType) -> Option<&Condition> {
        self.0.iter().find(|condition| condition.type_ == type_)
    }

    /// Whether the condition of this type is `True`.
    #[must_use]
    pub fn is_true(&self, type_: ConditionType) -> bool {
        self.get(type_).is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    /// Sets a condition, in the order of [`ConditionType`]. Its time changes only with its status. A message that
    /// differs only in its references is not written: brokers add a new reference to each failure, and a retry that
    /// fails as before is not a change.
    pub fn set(
        &mut self,
        type_: ConditionType,
        is: bool,
        reason: &str,
        message: impl Into<String>,
        now: Timestamp,
    ) {
        let status = if is { ConditionStatus::True } else { ConditionStatus::False };
        let message = message.into();
        let message = match self.get(type_) {
            Some(former)
                if former.status == status
                    && former.reason == reason
                    && without_references(&former.message) == without_references(&message) =>
            {
                former.message.clone()
            }
            _ => message,
        };
        let since = self
            .get(type_)
            .filter(|condition| condition.status == status)
            .map_or(Time(now), |condition| condition.last_transition_time.clone());
        self.remove(type_);
        self.0.push(Condition {
            type_,
            status,
            last_transition_time: since,
            reason: reason.to_owned(),
            message,
        });
        self.0.sort_by_key(|condition| condition.type_ as u8);
    }

    /// Removes a condition.
    pub fn remove(&mut self, type_: ConditionType) {
        self.0.retain(|condition| condition.type_ != type_);
    }

    /// `status.lastConditionState`: the last condition's type if it is true, else its reason, else nothing
    /// (service-catalog `pkg/apis/servicecatalog/v1beta1/recalculate.go`).
    #[must_use]
    pub fn last_state(&self) -> String {
        self.0.last().map_or_else(String::new, |condition| match condition.status {
            ConditionStatus::True => format!("{:?}", condition.type_),
            ConditionStatus::False | ConditionStatus::Unknown => condition.reason.clone(),
        })
    }
}

/// Returns a message without references to a broker's log, such as "(reference 5f0c)".
fn without_references(message: &str) -> String {
    let mut kept = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once("(reference ") {
        kept.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_with_only_a_new_reference_is_unchanged() {
        let mut conditions = Conditions::default();
        let message = |conditions: &Conditions| conditions.get(ConditionType::Ready).unwrap().message.clone();
        conditions.set(ConditionType::Ready, false, "A", "away (reference 1f); later", at(1));
        conditions.set(ConditionType::Ready, false, "A", "away (reference 2e); later", at(2));
        assert_eq!(message(&conditions), "away (reference 1f); later");
        conditions.set(ConditionType::Ready, false, "A", "full (reference 2e); later", at(3));
        assert_eq!(message(&conditions), "full (reference 2e); later");
        conditions.set(ConditionType::Ready, false, "B", "full (reference 3d); later", at(4));
        assert_eq!(message(&conditions), "full (reference 3d); later", "another reason");
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_of_a_condition_changes_with_its_status() {
        let mut conditions = Conditions::default();
        conditions.set(ConditionType::Ready, false, "A", "a", at(1));
        conditions.set(ConditionType::Ready, false, "B", "b", at(2));
        assert_eq!(conditions.get(ConditionType::Ready).unwrap().last_transition_time, Time(at(1)));
        conditions.set(ConditionType::Ready, true, "C", "c", at(3));
        assert_eq!(conditions.get(ConditionType::Ready).unwrap().last_transition_time, Time(at(3)));
    }

    #[test]
    fn a_condition_of_an_earlier_version_is_skipped() {
        let condition = |type_: &str| {
            json!({"type": type_, "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "A",
                "message": ""})
        };
        let read: Conditions =
            serde_json::from_value(json!([condition("Current"), condition("Ready")])).unwrap();
        assert_eq!(read.0.len(), 1);
        assert_eq!(serde_json::from_value::<Conditions>(Value::Null).unwrap(), Conditions::default());
        assert!(serde_json::from_value::<Conditions>(json!([{"type": "Ready"}])).is_err());
    }

    #[test]
    fn the_last_condition_is_shown() {
        let mut conditions = Conditions::default();
        assert_eq!(conditions.last_state(), "");
        conditions.set(ConditionType::Ready, false, "ProvisionCallFailed", "", at(1));
        assert_eq!(conditions.last_state(), "ProvisionCallFailed");
        conditions.set(ConditionType::Failed, true, "ClusterServiceBrokerReturnedFailure", "", at(1));
        assert_eq!(conditions.last_state(), "Failed");
        conditions.remove(ConditionType::Failed);
        conditions.set(ConditionType::Ready, true, "ProvisionedSuccessfully", "", at(1));
        assert_eq!(conditions.last_state(), "Ready");
        conditions.set(ConditionType::OrphanMitigation, true, "StartingInstanceOrphanMitigation", "", at(1));
        assert_eq!(conditions.last_state(), "OrphanMitigation");
    }
}
