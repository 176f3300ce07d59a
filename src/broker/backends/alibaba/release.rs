//! What happens to data when its instance is deleted.

use serde::{Deserialize, de::value::StrDeserializer};

use crate::{
    broker::{
        backends::{InstanceSpec, Past, choice::Choice},
        config::{ConfigError, Kinds, ReclaimPolicy},
    },
    cloud::alibaba::db_instances::KeptBackups,
    osb::Object,
};

/// The parameter for the reclaim policy.
pub(super) const RECLAIM_POLICY: &str = "reclaimPolicy";

/// The rules of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Release {
    /// Whether data is deleted or kept.
    pub(super) reclaim_policy: Choice<ReclaimPolicy>,
    /// Whether a bucket is emptied before it is deleted. Otherwise the deletion waits until it is empty.
    pub(super) empty_buckets: bool,
    /// What remains of a server's backups.
    #[serde(deserialize_with = "kept_backups")]
    pub(super) keep_backups: KeptBackups,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    None,
    Last,
    All,
}

fn kept_backups<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<KeptBackups, D::Error> {
    Kept::deserialize(deserializer).map(|kept| match kept {
        Kept::None => KeptBackups::None,
        Kept::Last => KeptBackups::Last,
        Kept::All => KeptBackups::All,
    })
}

impl Release {
    /// Checks the rules; `field` is the path of the setting.
    pub(super) fn check(&self, field: &str) -> Result<(), ConfigError> {
        self.reclaim_policy.check(&format!("{field}.{RECLAIM_POLICY}"))
    }

    /// The policy that the engine records with an instance. Data that is kept stays kept.
    pub(super) fn settled(&self, past: Past<'_>) -> Object {
        let policy = match past {
            Past::Known(was) => stated(&was.settled).unwrap_or(self.reclaim_policy.default),
            Past::Unknown if self.reclaim_policy.allowed.contains(&ReclaimPolicy::Retain) => {
                ReclaimPolicy::Retain
            }
            Past::None | Past::Unknown => self.reclaim_policy.default,
        };
        Object::from_iter([(RECLAIM_POLICY.to_owned(), policy.as_str().into())])
    }
}

/// The policy of an instance: the user's, else the one that was recorded. An instance without either, whose plan is not
/// offered any more, keeps its data.
pub(super) fn policy_of(instance: &InstanceSpec) -> ReclaimPolicy {
    stated(&instance.parameters).or_else(|| stated(&instance.settled)).unwrap_or(ReclaimPolicy::Retain)
}

/// The policy among parameters. An unreadable value counts as the policy that loses no data.
fn stated(parameters: &Object) -> Option<ReclaimPolicy> {
    let stated = parameters.get(RECLAIM_POLICY).filter(|value| !value.is_null())?;
    let word = stated.as_str().unwrap_or_default();
    let read = ReclaimPolicy::deserialize(StrDeserializer::<serde::de::value::Error>::new(word));
    Some(read.unwrap_or(ReclaimPolicy::Retain))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(parameters: &serde_json::Value, settled: &serde_json::Value) -> InstanceSpec {
        let value = json!({"id": "i", "service_id": "s", "plan_id": "p", "organization_guid": "o", "space_guid": "s",
            "parameters": parameters, "context": {}, "maintenance_version": null, "settled": settled});
        serde_json::from_value(value).unwrap()
    }

    #[rstest::rstest]
    #[case(json!({}), json!({"reclaimPolicy": "delete"}), ReclaimPolicy::Delete)]
    #[case(json!({"reclaimPolicy": "retain"}), json!({"reclaimPolicy": "delete"}), ReclaimPolicy::Retain)]
    #[case(json!({"reclaimPolicy": 7}), json!({"reclaimPolicy": "delete"}), ReclaimPolicy::Retain)]
    #[case(json!({}), json!({}), ReclaimPolicy::Retain)]
    fn the_policy_that_loses_no_data_counts_in_doubt(
        #[case] parameters: serde_json::Value,
        #[case] settled: serde_json::Value,
        #[case] expected: ReclaimPolicy,
    ) {
        assert_eq!(policy_of(&instance(&parameters, &settled)), expected);
    }

    #[test]
    fn the_words_of_backups_are_plain() {
        let read: Release = serde_json::from_value(json!({"keepBackups": "last"})).unwrap();
        assert_eq!(read.keep_backups, KeptBackups::Last);
    }
}
