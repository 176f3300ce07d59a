//! When a pod of a namespace last ran, for a ttl that counts from that time. Pods are listed at intervals in the namespaces
//! with such a ttl; a watch of all pods of the cluster would cost more.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;
use tracing::{debug, warn};

use super::{
    controller::Controller,
    plan::{Assignment, Verdict, counts_pods},
    ttl::annotation_time,
};
use crate::{
    contract::branch,
    k8s::{explain, guarded::Guarded, list::list, namespaces::NamespaceMeta},
};

/// How many times the pods are listed during one ttl, if [`INTERVAL_BOUNDS`] allows it.
const LISTS_PER_TTL: u32 = 20;
/// The shortest and the longest interval between two lists.
const INTERVAL_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));

/// The result of a check of a namespace's pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Activity {
    /// Whether an instance whose ttl is over by the last annotation must stay: a pod runs, or the list failed.
    pub(super) is_active: bool,
    /// When to check again.
    pub(super) requeue_at: Option<Timestamp>,
}

impl Controller {
    /// Lists the pods of a namespace if the interval is over, and annotates the Namespace with the time when one last ran.
    pub(super) async fn check_pods(
        &self,
        namespace: &NamespaceMeta,
        assignments: &[Assignment],
        now: Timestamp,
    ) -> Activity {
        let counting = || assignments.iter().filter(|assignment| counts_pods(assignment));
        let Some(interval) = counting().filter_map(interval).min() else { return Activity::default() };
        let is_over = counting().any(|assignment| matches!(assignment.verdict, Verdict::Expired { .. }));
        let name = namespace.name_any();
        let looked = self.lock_pod_checks().get(&name).copied();
        if let Some(next) = looked.map(|looked| looked + interval).filter(|next| *next > now && !is_over) {
            return Activity { is_active: false, requeue_at: Some(next) };
        }
        let pods: Api<Guarded<Pod>> = Api::namespaced(self.client.clone(), &name);
        let pods = match list(&pods, ListParams::default()).await {
            Ok(pods) if pods.unread.is_empty() => pods.items,
            Ok(pods) => {
                let unread = pods.unread.first().map(ToString::to_string);
                warn!(namespace = name, unread, "a pod cannot be decoded; the namespace keeps its instances");
                return Activity { is_active: true, requeue_at: Some(now + interval) };
            }
            Err(error) => {
                warn!(
                    namespace = name,
                    error = explain(&error),
                    "pods cannot be listed; the namespace keeps its instances"
                );
                return Activity { is_active: true, requeue_at: Some(now + interval) };
            }
        };
        self.lock_pod_checks().insert(name.clone(), now);
        let (seen, noted) = (last_run(&pods, now), annotation_time(&namespace.metadata, branch::LAST_POD_AT));
        if seen > noted
            && let Some(seen) = seen
        {
            let note = json!({"annotations": {branch::LAST_POD_AT: seen.to_string()}});
            if let Err(error) = self.step_runner.patch_namespace(namespace, note).await {
                debug!(
                    namespace = name,
                    error = explain(&error),
                    "the time of the last pod cannot be written to the Namespace"
                );
            }
        }
        Activity { is_active: is_running(seen, noted, now), requeue_at: Some(now + interval) }
    }
}

/// Whether a pod runs, or one ran that the plan did not know of. The annotation makes the planner run again.
fn is_running(seen: Option<Timestamp>, noted: Option<Timestamp>, now: Timestamp) -> bool {
    seen == Some(now) || seen > noted
}

fn interval(assignment: &Assignment) -> Option<Duration> {
    assignment.rule.ttl.map(|life| (life.length / LISTS_PER_TTL).clamp(INTERVAL_BOUNDS.0, INTERVAL_BOUNDS.1))
}

/// When one of the pods last ran: now if one runs.
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
        assert!(is_running(Some(at(60)), Some(at(10)), at(100)));
        assert!(is_running(Some(at(60)), None, at(100)));
        assert!(!is_running(Some(at(10)), Some(at(10)), at(100)), "noted, and over all the same");
        assert!(!is_running(None, None, at(100)));
        assert!(is_running(Some(at(100)), Some(at(100)), at(100)), "it runs");
    }

    #[test]
    fn a_running_pod_counts_now_and_a_finished_one_from_its_end() {
        assert_eq!(last_run(&[], at(100)), None);
        assert_eq!(last_run(&[pod("Pending", None)], at(100)), None);
        assert_eq!(last_run(&[pod("Succeeded", Some(40)), pod("Failed", Some(60))], at(100)), Some(at(60)));
        assert_eq!(last_run(&[pod("Succeeded", Some(40)), pod("Running", None)], at(100)), Some(at(100)));
    }
}
