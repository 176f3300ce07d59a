//! The table of `bindery namespaces`: each namespace and its state for each NamespaceBinding, from the objects and the statuses
//! that the controller wrote. Pure.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::{
    diff::owner,
    report::{Progress, count, progress},
    rule::Rule,
    ttl::{Stage, annotation_time, stage},
};
use crate::apis::bindery::namespace_binding::NamespaceBinding;
use crate::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance},
    contract::branch,
    k8s::namespaces::NamespaceMeta,
};

/// The objects that the table shows.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// All NamespaceBindings.
    pub rules: Vec<NamespaceBinding>,
    /// The namespaces to show.
    pub namespaces: Vec<NamespaceMeta>,
    /// The instances of NamespaceBindings in them.
    pub instances: Vec<ServiceInstance>,
    /// The bindings of these instances.
    pub bindings: Vec<ServiceBinding>,
}

/// A row: a namespace and one NamespaceBinding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The namespace.
    pub namespace: String,
    /// The NamespaceBinding.
    pub namespace_binding: String,
    /// The name of instance and binding.
    pub binding: String,
    /// The state.
    pub state: State,
    /// The reason why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The message why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the instance is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// The state of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    /// Instance and binding are ready.
    Ready,
    /// They are not ready yet.
    Pending,
    /// Somebody must act before they can become ready.
    Failed,
    /// They are ready, and the ttl is over soon.
    Expiring,
    /// The ttl is over.
    Expired,
    /// The namespace is not selected any more, and its instance will be deleted.
    Leaving,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Honours a width such as `{:<8}`.
        f.pad(match self {
            Self::Ready => "Ready",
            Self::Pending => "Pending",
            Self::Failed => "Failed",
            Self::Expiring => "Expiring",
            Self::Expired => "Expired",
            Self::Leaving => "Leaving",
        })
    }
}

/// The rows, sorted by namespace and NamespaceBinding. Terminating namespaces have none.
#[must_use]
pub fn rows(found: &Found, now: Timestamp) -> Vec<Row> {
    let rules: Vec<Rule> = found.rules.iter().filter_map(|object| Rule::read(object).ok()).collect();
    let refused = found.refused();
    let mut rows = Vec::new();
    for namespace in &found.namespaces {
        if namespace.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let mut selecting = Vec::new();
        for rule in rules.iter().filter(|rule| rule.selects(&namespace.metadata)) {
            selecting.push(rule.name());
            rows.push(found.row(rule, namespace, now));
        }
        let name = namespace.name_any();
        let is_surplus = |instance: &&ServiceInstance| {
            instance.namespace().as_ref() == Some(&name) && !selecting.contains(&owner(*instance))
        };
        rows.extend(found.instances.iter().filter(is_surplus).map(|instance| {
            match refused.get(owner(instance)) {
                Some(why) => found.frozen(instance, why),
                None => left(instance),
            }
        }));
    }
    rows.sort_by(|a, b| (&a.namespace, &a.namespace_binding).cmp(&(&b.namespace, &b.namespace_binding)));
    rows
}

/// The row of an instance in a namespace that is not selected any more.
fn left(instance: &ServiceInstance) -> Row {
    Row {
        namespace: instance.namespace().unwrap_or_default(),
        namespace_binding: owner(instance).to_owned(),
        binding: instance.name_any(),
        state: State::Leaving,
        reason: None,
        message: Some("the namespace is not selected any more".to_owned()),
        ends_at: annotation_time(&instance.metadata, branch::LEAVES_AT),
    }
}

impl Found {
    /// The invalid NamespaceBindings, and why each is invalid.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&str, String> {
        let mut refused = BTreeMap::new();
        for object in &self.rules {
            if let Err(error) = Rule::read(object) {
                refused.insert(object.metadata.name.as_deref().unwrap_or_default(), error.to_string());
            }
        }
        refused
    }

    /// The row of an instance whose NamespaceBinding is invalid, so that it stays as it is.
    fn frozen(&self, instance: &ServiceInstance, why: &str) -> Row {
        let is_its = |binding: &&ServiceBinding| {
            (binding.namespace(), binding.name_any()) == (instance.namespace(), instance.name_any())
        };
        let binding = self.bindings.iter().find(is_its);
        let state = match progress(Some(instance), binding) {
            Progress::Ready => State::Ready,
            Progress::Pending { .. } => State::Pending,
            Progress::Failed { .. } => State::Failed,
        };
        Row {
            namespace: instance.namespace().unwrap_or_default(),
            namespace_binding: owner(instance).to_owned(),
            binding: instance.name_any(),
            state,
            reason: Some("InvalidSpec".to_owned()),
            message: Some(why.to_owned()),
            ends_at: None,
        }
    }

    fn row(&self, rule: &Rule, namespace: &NamespaceMeta, now: Timestamp) -> Row {
        let name = namespace.name_any();
        let instance = self.instances.iter().find(|it| is_its(*it, &name, rule));
        let binding = self.bindings.iter().find(|it| is_its(*it, &name, rule));
        let stage = rule
            .ttl
            .as_ref()
            .map(|life| stage(life, &namespace.metadata, instance.map(|it| &it.metadata), now));
        let (state, reason, message) = state(rule, &name, instance, binding, stage);
        Row {
            namespace: name,
            namespace_binding: rule.name().to_owned(),
            binding: rule.binding_name().to_owned(),
            state,
            reason,
            message,
            ends_at: stage.map(|stage| match stage {
                Stage::Living { until, .. } => until,
                Stage::Expiring { at } => at,
                Stage::Expired { since } => since,
            }),
        }
    }
}

fn state(
    rule: &Rule,
    namespace: &str,
    instance: Option<&ServiceInstance>,
    binding: Option<&ServiceBinding>,
    stage: Option<Stage>,
) -> (State, Option<String>, Option<String>) {
    if let Some(Stage::Expired { .. }) = stage {
        let remedy =
            format!("its ttl is over; to get it back: bindery extend --namespace {namespace} --for 24h");
        return (State::Expired, None, Some(remedy));
    }
    let (state, reason, message) = match progress(instance, binding) {
        Progress::Ready if matches!(stage, Some(Stage::Expiring { .. })) => {
            return (State::Expiring, None, None);
        }
        Progress::Ready => return (State::Ready, None, None),
        Progress::Pending { reason, message } => (State::Pending, reason, message),
        Progress::Failed { reason, message } => (State::Failed, reason, message),
    };
    if instance.is_some() && binding.is_some() {
        return (state, Some(reason), Some(message));
    }
    // An object is missing, and the controller knows why.
    let status = rule.object.status.as_ref();
    let waiting = status.map(|status| status.waiting.as_slice()).unwrap_or_default();
    let known = waiting.iter().find(|waiting| waiting.namespace == namespace);
    let is_cut = status.is_some_and(|status| status.pending + status.failed > count(waiting.len()));
    match known {
        Some(known) if known.failed => {
            (State::Failed, Some(known.reason.clone()), Some(known.message.clone()))
        }
        Some(known) => (State::Pending, Some(known.reason.clone()), Some(known.message.clone())),
        None if is_cut => {
            let message = format!(
                "{message}; the status of the NamespaceBinding {} lists only some waiting namespaces, see: kubectl get events -n {namespace}",
                rule.name()
            );
            (state, Some(reason), Some(message))
        }
        None => (state, Some(reason), Some(message)),
    }
}

fn is_its(object: &impl ResourceExt, namespace: &str, rule: &Rule) -> bool {
    object.namespace().as_deref() == Some(namespace)
        && owner(object) == rule.name()
        && object.name_any() == rule.binding_name()
}

/// The rows as a table.
#[must_use]
pub fn table(rows: &[Row], now: Timestamp) -> String {
    let header =
        ["NAMESPACE", "NAMESPACEBINDING", "BINDING", "STATE", "ENDS", "REASON"].map(ToOwned::to_owned);
    let line = |row: &Row| {
        [
            row.namespace.clone(),
            row.namespace_binding.clone(),
            row.binding.clone(),
            row.state.to_string(),
            row.ends_at.map_or_else(|| "never".to_owned(), |at| ends(at, now)),
            row.reason.clone().unwrap_or_default(),
        ]
    };
    let lines: Vec<_> = std::iter::once(header).chain(rows.iter().map(line)).collect();
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let padded = |line: &[String; 6]| {
        let cells: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    lines.iter().map(padded).collect()
}

/// A time relative to now: `in 3h`, `2d ago`.
fn ends(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    let (length, is_past) = (seconds.unsigned_abs(), seconds < 0);
    let spelled = match length {
        0..120 => format!("{length}s"),
        120..7_200 => format!("{}m", length / 60),
        7_200..172_800 => format!("{}h", length / 3_600),
        _ => format!("{}d", length / 86_400),
    };
    if is_past { format!("{spelled} ago") } else { format!("in {spelled}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::namespace_bindings::rule::tests::object;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn made(kind: &str, namespace: &str, rule: &str, state: &str) -> Value {
        json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": kind,
            "metadata": {"name": rule, "namespace": namespace, "labels": {branch::NAMESPACE_BINDING: rule}},
            "spec": {"instanceRef": {"name": rule}},
            "status": {"conditions": [{"type": "Ready", "status": state, "reason": "Because", "message": "so",
                "lastTransitionTime": at(0)}]}})
    }

    fn found(spec: &Value, namespaces: &[&str], made_in: &[(&str, &str)]) -> Found {
        let namespace = |name: &&str| {
            serde_json::from_value(json!({"metadata": {"name": name, "creationTimestamp": at(0)}})).unwrap()
        };
        let of = |kind: &'static str| {
            made_in.iter().map(move |(namespace, state)| made(kind, namespace, "db", state))
        };
        Found {
            rules: vec![object("db", spec)],
            namespaces: namespaces.iter().map(namespace).collect(),
            instances: of("ServiceInstance").map(|it| serde_json::from_value(it).unwrap()).collect(),
            bindings: of("ServiceBinding").map(|it| serde_json::from_value(it).unwrap()).collect(),
        }
    }

    #[test]
    fn each_namespace_is_listed_with_its_state() {
        let mut found = found(
            &json!({"ttl": {"after": "100m"}}),
            &["feature-a", "feature-b", "feature-c", "other"],
            &[("feature-a", "True"), ("feature-b", "False"), ("other", "True")],
        );
        found.rules[0].status = serde_json::from_value(json!({"waiting": [
            {"namespace": "feature-c", "reason": "LimitReached", "message": "limits", "failed": false}]}))
        .unwrap();
        let shown =
            |now| rows(&found, at(now)).into_iter().map(|row| (row.namespace, row.state)).collect::<Vec<_>>();
        let named = |states: [State; 4]| {
            let names = ["feature-a", "feature-b", "feature-c", "other"].map(ToOwned::to_owned);
            names.into_iter().zip(states).collect::<Vec<_>>()
        };
        let (ready, pending, leaving) = (State::Ready, State::Pending, State::Leaving);
        assert_eq!(shown(10), named([ready, pending, pending, leaving]));
        assert_eq!(shown(95), named([State::Expiring, pending, pending, leaving]));
        let rows = rows(&found, at(10));
        assert_eq!(rows[1].message.as_deref(), Some("ServiceInstance: so"));
        assert_eq!(rows[2].reason.as_deref(), Some("LimitReached"));
        assert_eq!(rows[0].ends_at, Some(at(100)));
        assert_eq!(
            table(&rows[..2], at(10)),
            "NAMESPACE   NAMESPACEBINDING   BINDING   STATE     ENDS     REASON\n\
             feature-a   db                 db        Ready     in 90m\n\
             feature-b   db                 db        Pending   in 90m   Because\n"
        );
    }

    #[test]
    fn the_obstacle_of_a_binding_is_shown() {
        let mut found = found(&json!({}), &["feature-a"], &[("feature-a", "True")]);
        found.bindings.clear();
        let of = |found: &Found| {
            let row = rows(found, at(1)).remove(0);
            (row.state, row.reason.unwrap(), row.message.unwrap())
        };
        assert_eq!(of(&found).1, "Waiting");
        let waiting =
            json!({"namespace": "feature-a", "reason": "Refused", "message": "quota", "failed": true});
        found.rules[0].status = serde_json::from_value(json!({"failed": 1, "waiting": [waiting]})).unwrap();
        assert_eq!(of(&found), (State::Failed, "Refused".to_owned(), "quota".to_owned()));
        found.rules[0].status = serde_json::from_value(json!({"failed": 21})).unwrap();
        assert!(of(&found).2.ends_with("kubectl get events -n feature-a"), "{:?}", of(&found));
    }

    #[test]
    fn instances_of_an_invalid_namespacebinding_are_listed() {
        let made = [("feature-a", "True")];
        let mut found = found(&json!({"gracePeriod": "0s"}), &["feature-a", "feature-b"], &made);
        let shown = rows(&found, at(1));
        assert_eq!((shown.len(), shown[0].state), (1, State::Ready));
        assert!(shown[0].message.as_ref().unwrap().starts_with("spec.gracePeriod: "), "{shown:?}");
        found.rules.clear();
        assert_eq!(rows(&found, at(1))[0].state, State::Leaving);
    }

    #[test]
    fn ends_are_rounded() {
        for (minutes, expected) in [(1, "in 60s"), (-3, "3m ago"), (60 * 47, "in 47h"), (60 * 49, "in 2d")] {
            assert_eq!(ends(at(minutes), at(0)), expected);
        }
    }
}
