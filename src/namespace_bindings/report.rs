//! The status of a NamespaceBinding: how many namespaces have their instance and binding, and why the others do not. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::{
    diff::{Finding, Problem},
    plan::Verdict,
    rule::InvalidRule,
    ttl::Stage,
};
use crate::apis::bindery::namespace_binding::{NamespaceBindingStatus, WaitingNamespace};
use crate::apis::servicecatalog::{ConditionType, ServiceBinding, ServiceInstance};

/// How many namespaces `status.waiting` lists.
const LISTED: usize = 20;

/// The state of one selected namespace.
pub(super) struct NamespaceCase<'a> {
    pub(super) namespace: String,
    pub(super) verdict: Verdict,
    pub(super) finding: Finding,
    pub(super) instance: Option<&'a ServiceInstance>,
    pub(super) binding: Option<&'a ServiceBinding>,
}

/// The progress of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Ready,
    Pending { reason: String, message: String },
    Failed { reason: String, message: String },
}

impl NamespaceCase<'_> {
    pub(super) fn progress(&self) -> Progress {
        if let Some(Problem { reason, message, is_failure }) = self.finding.problem.clone() {
            let reason = reason.to_owned();
            return if is_failure {
                Progress::Failed { reason, message }
            } else {
                Progress::Pending { reason, message }
            };
        }
        progress(self.instance, self.binding)
    }

    fn is_expiring(&self) -> bool {
        matches!(self.verdict, Verdict::Granted { stage: Some(Stage::Expiring { .. }) })
    }
}

/// The progress of an instance and its binding, by their conditions.
pub(super) fn progress(instance: Option<&ServiceInstance>, binding: Option<&ServiceBinding>) -> Progress {
    let instance = instance.and_then(|instance| Some(&instance.status.as_ref()?.conditions));
    let binding = binding.and_then(|binding| Some(&binding.status.as_ref()?.conditions));
    for (kind, conditions) in [("ServiceInstance", instance), ("ServiceBinding", binding)] {
        let said = conditions.and_then(|conditions| conditions.get(ConditionType::Ready));
        let (reason, message) = said.map_or_else(
            || ("Waiting".to_owned(), format!("the {kind} is being created")),
            |ready| (ready.reason.clone(), format!("{kind}: {}", ready.message)),
        );
        if conditions.is_some_and(|conditions| conditions.is_true(ConditionType::Failed)) {
            return Progress::Failed { reason, message };
        }
        if !conditions.is_some_and(|conditions| conditions.is_true(ConditionType::Ready)) {
            return Progress::Pending { reason, message };
        }
    }
    Progress::Ready
}

/// The status of a valid NamespaceBinding. `leaving` counts the namespaces that it does not select any more.
pub(super) fn report(
    old: &NamespaceBindingStatus,
    generation: i64,
    mut cases: Vec<NamespaceCase<'_>>,
    leaving: usize,
    now: Timestamp,
) -> NamespaceBindingStatus {
    cases.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    let mut status = NamespaceBindingStatus {
        observed_generation: generation,
        conditions: old.conditions.clone(),
        namespaces: count(cases.len()),
        leaving: count(leaving),
        outdated: count(cases.iter().filter(|case| case.finding.is_outdated).count()),
        ..NamespaceBindingStatus::default()
    };
    let (mut failed, mut pending) = (Vec::new(), Vec::new());
    for case in &cases {
        if let Verdict::Expired { .. } = case.verdict {
            status.expired += 1;
            continue;
        }
        status.expiring += i64::from(case.is_expiring());
        let (list, reason, message, is_failure) = match case.progress() {
            Progress::Ready => {
                status.ready += 1;
                continue;
            }
            Progress::Pending { reason, message } => (&mut pending, reason, message, false),
            Progress::Failed { reason, message } => (&mut failed, reason, message, true),
        };
        let namespace = case.namespace.clone();
        list.push(WaitingNamespace { namespace, reason, message, failed: is_failure });
    }
    (status.pending, status.failed) = (count(pending.len()), count(failed.len()));
    status.waiting = failed.into_iter().chain(pending).take(LISTED).collect();
    set(&mut status, "Accepted", true, "Accepted", "The spec is valid and in effect".to_owned(), now);
    let (is_ready, reason, message) = ready(&status);
    set(&mut status, "Ready", is_ready, reason, message, now);
    let (is_current, reason, message) = current(&status);
    set(&mut status, "UpToDate", is_current, reason, message, now);
    status
}

/// The status of an invalid NamespaceBinding: namespaces keep what they have.
pub(super) fn invalid_spec_status(
    old: &NamespaceBindingStatus,
    generation: i64,
    why: &InvalidRule,
    now: Timestamp,
) -> NamespaceBindingStatus {
    let mut status = NamespaceBindingStatus { observed_generation: generation, ..old.clone() };
    let message = format!("{why}. Until this is corrected, namespaces keep their services");
    set(&mut status, "Accepted", false, "InvalidSpec", message.clone(), now);
    set(&mut status, "Ready", false, "InvalidSpec", message, now);
    status
}

/// The consequences of a changed spec, for the administrator who changed it. `grace` is how long a namespace that is not
/// selected any more keeps its instance.
pub(super) fn spec_change_summary(
    before: &NamespaceBindingStatus,
    now: &NamespaceBindingStatus,
    grace: &str,
) -> Option<String> {
    let is_refused = |condition: &Condition| condition.type_ == "Accepted" && condition.status == "False";
    let is_new = before.observed_generation == 0 && now.observed_generation == 1;
    if is_new
        || before.observed_generation == now.observed_generation
        || now.conditions.iter().any(is_refused)
    {
        return None;
    }
    let leaving =
        format!("; no longer selected, so that their services are deleted with the data after {grace}: ");
    let more = [
        (now.leaving, leaving.as_str()),
        (now.expiring, "; whose services will soon be deleted because of the ttl: "),
        (now.expired, "; whose services the ttl has ended: "),
    ];
    let more = more.iter().filter(|(count, _)| *count > 0).map(|(count, which)| format!("{which}{count}"));
    let selected = format!("The spec has changed. Selected namespaces: {}", now.namespaces);
    Some(std::iter::once(selected).chain(more).collect())
}

fn ready(status: &NamespaceBindingStatus) -> (bool, &'static str, String) {
    let first = status.waiting.first();
    let such_as =
        first.map(|first| format!(", such as {}: {}", first.namespace, first.message)).unwrap_or_default();
    if status.failed > 0 {
        return (false, "SomeFailed", format!("{} of {} failed{such_as}", status.failed, status.namespaces));
    }
    if status.pending > 0 {
        let message = format!("{} of {} are not ready yet{such_as}", status.pending, status.namespaces);
        return (false, "SomePending", message);
    }
    (true, "AllReady", format!("{} are ready", status.ready))
}

fn current(status: &NamespaceBindingStatus) -> (bool, &'static str, String) {
    if status.outdated == 0 {
        return (true, "UpToDate", "All instances match the spec".to_owned());
    }
    let message = format!(
        "Class, plan and parameters apply to new instances only; {} of {} instances were created before and stay as they are. To \
         recreate an instance without its data, delete its ServiceInstance",
        status.outdated, status.namespaces
    );
    (false, "NewInstancesOnly", message)
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Sets a condition. `lastTransitionTime` changes only with its status.
fn set(
    status: &mut NamespaceBindingStatus,
    type_: &str,
    is: bool,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let value = if is { "True" } else { "False" };
    let observed_generation = Some(status.observed_generation);
    let before = status.conditions.iter().position(|condition| condition.type_ == type_);
    let since = before
        .map(|index| status.conditions.remove(index))
        .filter(|condition| condition.status == value)
        .map_or(Time(now), |condition| condition.last_transition_time);
    status.conditions.push(Condition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation,
        last_transition_time: since,
    });
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

#[cfg(test)]
mod tests;
