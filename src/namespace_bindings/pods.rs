//! Finds out when a pod of a namespace last ran, for a ttl that counts from then. It lists the pods of the affected
//! namespaces from time to time, because watching all pods of a cluster would cost too much.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, ResourceExt, api::ListParams, core::DeserializeGuard};
use serde_json::json;
use tracing::{debug, warn};

use super::{
    controller::Controller,
    plan::{Share, Verdict, counts_pods},
    ttl::moment,
};
use crate::{
    contract::branch,
    k8s::{explain, list::list, namespaces::NamespaceMeta},
};

/// The interval between checks: this fraction of the ttl, within these bounds.
const PART: u32 = 20;
const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));

/// What is known about a namespace's pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Activity {
    /// Whether an instance past its recorded end must stay: a pod is running, or the pods could not be read.
    pub(super) keeps: bool,
    /// When to check again.
    pub(super) again: Option<Timestamp>,
}

impl Controller {
    /// Checks the pods of a namespace if it is time, and records in the Namespace when one ran.
    pub(super) async fn see_pods(
        &self,
        namespace: &NamespaceMeta,
        shares: &[Share],
        now: Timestamp,
    ) -> Activity {
        let counting = || shares.iter().filter(|share| counts_pods(share));
        let Some(interval) = counting().filter_map(interval).min() else { return Activity::default() };
        let is_over = counting().any(|share| matches!(share.verdict, Verdict::Expired { .. }));
        let name = namespace.name_any();
        let looked = self.lock_looks().get(&name).copied();
        if let Some(next) = looked.map(|looked| looked + interval).filter(|next| *next > now && !is_over) {
            return Activity { keeps: false, again: Some(next) };
        }
        let pods: Api<DeserializeGuard<Pod>> = Api::namespaced(self.client.clone(), &name);
        let pods = match list(&pods, ListParams::default()).await {
            Ok(pods) if pods.unread.is_empty() => pods.items,
            Ok(pods) => {
                let unread = pods.unread.first().map(ToString::to_string);
                warn!(namespace = name, unread, "a pod cannot be read; the namespace keeps its service");
                return Activity { keeps: true, again: Some(now + interval) };
            }
            Err(error) => {
                warn!(
                    namespace = name,
                    error = explain(&error),
                    "pods cannot be listed; the namespace keeps its service"
                );
                return Activity { keeps: true, again: Some(now + interval) };
            }
        };
        self.lock_looks().insert(name.clone(), now);
        let (seen, noted) = (last_run(&pods, now), moment(&namespace.metadata, branch::LAST_POD_AT));
        if seen > noted
            && let Some(seen) = seen
        {
            let note = json!({"annotations": {branch::LAST_POD_AT: seen.to_string()}});
            if let Err(error) = self.hands.stamp(namespace, note).await {
                debug!(
                    namespace = name,
                    error = explain(&error),
                    "the time of the last pod was not recorded"
                );
            }
        }
        Activity { keeps: keeps(seen, noted, now), again: Some(now + interval) }
    }
}

/// Whether nothing may end yet: a pod is running, or one ran that the decision did not know of. Recording it causes a
/// new decision.
fn keeps(seen: Option<Timestamp>, noted: Option<Timestamp>, now: Timestamp) -> bool {
    seen == Some(now) || seen > noted
}

fn interval(share: &Share) -> Option<Duration> {
    share.rule.ttl.map(|life| (life.length / PART).clamp(BOUNDS.0, BOUNDS.1))
}

/// When one of the pods last ran; now if one is running.
fn last_run(pods: &[Pod], now: Timestamp) -> Option<Timestamp> {
    let ran = |pod: &Pod| {
        let status = pod.status.as_ref()?;
        if status.phase.as_deref() == Some("Running") {
            return Some(now);
        }
        let statuses = status.container_statuses.iter().flatten();
        statuses
            .filter_map(|status| Some(status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0))
            .max()
    };
    pods.iter().filter_map(ran).max()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(phase: &str, finished: Option<i64>) -> Pod {
        let state = finished.map(|second| json!({"terminated": {"exitCode": 0, "finishedAt": at(second)}}));
        let container = json!({"name": "a", "image": "a", "imageID": "a", "ready": false, "restartCount": 0, "state": state});
        let status: Value = json!({"phase": phase, "containerStatuses": [container]});
        serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap()
    }

    /// A job ran between the last check and the end.
    #[test]
    fn an_unrecorded_run_keeps_an_instance_past_its_end() {
        assert!(keeps(Some(at(60)), Some(at(10)), at(100)));
        assert!(keeps(Some(at(60)), None, at(100)));
        assert!(!keeps(Some(at(10)), Some(at(10)), at(100)), "recorded, and nevertheless over");
        assert!(!keeps(None, None, at(100)));
        assert!(keeps(Some(at(100)), Some(at(100)), at(100)), "it runs");
    }

    #[test]
    fn a_running_pod_counts_now_and_a_finished_one_from_its_end() {
        assert_eq!(last_run(&[], at(100)), None);
        assert_eq!(last_run(&[pod("Pending", None)], at(100)), None);
        assert_eq!(last_run(&[pod("Succeeded", Some(40)), pod("Failed", Some(60))], at(100)), Some(at(60)));
        assert_eq!(last_run(&[pod("Succeeded", Some(40)), pod("Running", None)], at(100)), Some(at(100)));
    }
}
