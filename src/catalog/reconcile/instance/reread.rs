//! The annotation that asks to read the Secrets of `spec.parametersFrom` regularly. Pure.

use std::time::Duration;

use kube::ResourceExt;

use crate::{apis::servicecatalog::ServiceInstance, contract::instance::REREAD_PARAMETERS};

/// The shortest interval, because each instance costs a read for each of its Secrets.
const SHORTEST: Duration = Duration::from_secs(10);

/// The interval at which the Secrets of an instance are read again; `None` without annotation or without Secrets.
pub(super) fn interval(instance: &ServiceInstance) -> Result<Option<Duration>, String> {
    if instance.spec.parameters_from.is_empty() {
        return Ok(None);
    }
    let Some(text) = instance.annotations().get(REREAD_PARAMETERS) else { return Ok(None) };
    let parsed = text.parse::<kube::core::Duration>().ok();
    let parsed = parsed.filter(|duration| !text.is_empty() && !duration.is_negative());
    match parsed.map(Duration::from) {
        Some(interval) => Ok(Some(interval.max(SHORTEST))),
        None => Err(format!(
            "the annotation {REREAD_PARAMETERS} is {text:?}, which is no duration; write one such as 10m or 1h"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(annotation: Option<&str>) -> Result<Option<Duration>, String> {
        let annotations = annotation.map(|text| json!({REREAD_PARAMETERS: text}));
        interval(
            &serde_json::from_value(json!({
                "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
                "metadata": {"name": "db", "annotations": annotations},
                "spec": {"parametersFrom": [{"secretKeyRef": {"name": "a", "key": "b"}}]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn the_annotation_is_a_duration_of_at_least_ten_seconds() {
        assert_eq!(of(None), Ok(None));
        assert_eq!(of(Some("10m")), Ok(Some(Duration::from_mins(10))));
        assert_eq!(of(Some("1s")), Ok(Some(Duration::from_secs(10))));
        for wrong in ["", "often", "-10m", "10"] {
            assert!(of(Some(wrong)).is_err_and(|message| message.contains("no duration")), "{wrong}");
        }
    }
}
