//! Reports warnings about injected pods in events: what the webhook warned about, which users of controllers never see,
//! and variables that several bindings define. Each warning is reported once for the pod and once for its owner.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use futures::StreamExt;
use kube::{Resource, ResourceExt};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{
    Shared, objects,
    pod::{AskingPod, Stage, VariableSource},
    pod_watch::{PodQueue, PodRef},
    warning,
};
use crate::{
    injection::ObjectKind,
    k8s::{events::Event, explain, with_timeout},
};

/// The time limit of reading the Secrets of a pod's variables.
const COMPARISON_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of pods that are examined concurrently.
const CONCURRENCY: usize = 8;
/// The maximum number of keys that are compared for a pod. Users decide how many keys an object has, and in how many
/// containers the object is.
const MOST_KEYS: usize = 100_000;
/// The maximum number of hidden variables in an event.
const LISTED: usize = 5;

/// The warnings that were reported about a pod.
struct Reported {
    uid: String,
    warnings: Vec<String>,
    /// Whether its variables have been compared.
    is_compared: bool,
}

/// Handles changes of pods. Never ends.
pub(super) async fn run(shared: Shared, mut pods: PodQueue) {
    let mut reported: HashMap<PodRef, Reported> = HashMap::new();
    let mut reports = JoinSet::new();
    loop {
        tokio::select! {
            pod = pods.next(), if reports.len() < CONCURRENCY => {
                let Some(reference) = pod else { return };
                let Some(pod) = shared.pods.get(&reference) else {
                    reported.remove(&reference);
                    continue;
                };
                if let Some(unreported) = unreported(&mut reported, reference, &pod) {
                    reports.spawn(report(shared.clone(), pod, unreported));
                }
            }
            Some(ended) = reports.join_next() => if let Err(error) = ended {
                warn!(%error, "the report about a pod panicked");
            },
        }
    }
}

/// The warnings to report about a pod.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unreported {
    warnings: Vec<String>,
    /// Whether to compare its variables. Only a started pod is certain to have its Secrets.
    compare: bool,
}

/// The warnings that have not been reported yet; `None` if there are none.
fn unreported(
    reported: &mut HashMap<PodRef, Reported>,
    reference: PodRef,
    pod: &AskingPod,
) -> Option<Unreported> {
    let uid = pod.uid().unwrap_or_default();
    let known = reported.get(&reference).filter(|reported| reported.uid == uid);
    let is_new = |warning: &&String| !known.is_some_and(|known| known.warnings.contains(warning));
    let is_compared = known.is_some_and(|known| known.is_compared);
    let unreported = Unreported {
        // A missed pod is reported as missed; warnings about its injection would distract.
        warnings: pod.warnings.iter().filter(|_| !pod.is_missed()).filter(is_new).cloned().collect(),
        compare: !is_compared && !pod.variable_sources.is_empty() && pod.stage == Stage::Started,
    };
    if unreported == Unreported::default() {
        return None;
    }
    let is_compared = is_compared || unreported.compare;
    reported.insert(reference, Reported { uid, warnings: pod.warnings.clone(), is_compared });
    Some(unreported)
}

async fn report(shared: Shared, pod: std::sync::Arc<AskingPod>, unreported: Unreported) {
    let namespace = pod.namespace().unwrap_or_default();
    let mut events: Vec<Event> =
        unreported.warnings.into_iter().map(|text| warning("BoundWithWarning", text)).collect();
    if unreported.compare {
        match with_timeout(COMPARISON_TIMEOUT, hidden(&shared, &namespace, &pod)).await {
            Ok(hidden) => events.extend(hidden),
            Err(error) => debug!(
                namespace,
                pod = pod.name_any(),
                error = explain(&error),
                "its variables cannot be compared"
            ),
        }
    }
    let owner = shared.owners.of(&pod).await.map(|owner| owner.reference(&namespace));
    for event in events {
        shared.recorder.record(&pod.object_ref(&()), &event).await;
        if let Some(owner) = &owner {
            shared.recorder.record(owner, &event).await;
        }
    }
}

/// The keys of objects, by kind and name.
type Keys<'a> = BTreeMap<(ObjectKind, &'a str), Vec<String>>;

/// The event about variables that other objects hide. It contains the names of keys, never a value.
async fn hidden(shared: &Shared, namespace: &str, pod: &AskingPod) -> kube::Result<Option<Event>> {
    let objects: HashSet<(ObjectKind, &str)> =
        pod.variable_sources.iter().flatten().map(|source| (source.kind, source.name.as_str())).collect();
    let mut keys = Keys::new();
    for (kind, name) in objects {
        let found = objects::keys(&shared.client, namespace, kind, name).await?;
        keys.insert((kind, name), found.unwrap_or_default());
    }
    Ok(event(&hidden_in_all(&pod.variable_sources, &keys)))
}

/// The hidden variables of all containers, without duplicates.
fn hidden_in_all<'a>(containers: &'a [Vec<VariableSource>], keys: &Keys<'_>) -> Vec<Hidden<'a>> {
    let (mut all, mut known, mut left) = (Vec::new(), HashSet::new(), MOST_KEYS);
    for sources in containers {
        for hidden in hidden_among(sources, keys, &mut left) {
            if known.insert(hidden.clone()) {
                all.push(hidden);
            }
        }
    }
    all
}

/// A variable that two objects define.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hidden<'a> {
    variable: String,
    loser: &'a VariableSource,
    winner: &'a VariableSource,
}

/// The hidden variables in a container with these objects, of which the last one wins. Looks at no more keys than are
/// `left`, and counts them down.
fn hidden_among<'a>(sources: &'a [VariableSource], keys: &Keys<'_>, left: &mut usize) -> Vec<Hidden<'a>> {
    let mut winners: BTreeMap<String, &VariableSource> = BTreeMap::new();
    let mut hidden = Vec::new();
    for source in sources.iter().rev() {
        for key in keys.get(&(source.kind, source.name.as_str())).into_iter().flatten() {
            let Some(rest) = left.checked_sub(1) else { return hidden };
            *left = rest;
            let variable = format!("{}{key}", source.prefix);
            match winners.get(&variable) {
                Some(winner) if (winner.kind, &winner.name) != (source.kind, &source.name) => {
                    hidden.push(Hidden { variable, loser: source, winner });
                }
                Some(_) => {}
                None => drop(winners.insert(variable, source)),
            }
        }
    }
    hidden
}

fn event(hidden: &[Hidden<'_>]) -> Option<Event> {
    let text = |it: &Hidden<'_>| {
        let Hidden { variable, loser, winner } = it;
        let kind = if loser.kind == winner.kind { String::new() } else { format!("{} ", winner.kind.name()) };
        format!("{variable} of {} {} by that of {kind}{}", loser.kind.name(), loser.name, winner.name)
    };
    let shown: Vec<String> = hidden.iter().take(LISTED).map(text).collect();
    let more = match hidden.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    (!hidden.is_empty()).then(|| {
        let note = format!(
            "two bindings give one variable, and the one named first wins: hidden is {}{more}. Name the variables of one \
             ServiceBinding otherwise, in its annotation bindery.dev/env",
            shown.join(", ")
        );
        warning("VariableHidden", note)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::pod::tests::{bound, read};

    #[test]
    fn a_variable_that_two_bindings_give_is_the_last_one_s() {
        let (secret, config_map) = (ObjectKind::Secret, ObjectKind::ConfigMap);
        let sources = [
            ("", config_map, "db-env"),
            ("", secret, "queue-env"),
            ("", secret, "db-env"),
            ("A_", secret, "db"),
            ("A_", secret, "db"),
        ]
        .map(|(prefix, kind, name)| VariableSource {
            prefix: prefix.to_owned(),
            kind,
            name: name.to_owned(),
        });
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let keys = BTreeMap::from([
            ((config_map, "db-env"), keys(&["QUEUE_URL"])),
            ((secret, "queue-env"), keys(&["A_uri", "DATABASE_URL", "QUEUE_URL"])),
            ((secret, "db-env"), keys(&["DATABASE_URL"])),
            ((secret, "db"), keys(&["uri"])),
        ]);
        let hidden = hidden_among(&sources, &keys, &mut { MOST_KEYS });
        assert_eq!(
            event(&hidden).unwrap().note,
            "two bindings give one variable, and the one named first wins: hidden is A_uri of Secret queue-env by that of db, \
             DATABASE_URL of Secret queue-env by that of db-env, QUEUE_URL of ConfigMap db-env by that of Secret queue-env. Name the variables of one ServiceBinding otherwise, in its \
             annotation bindery.dev/env"
        );
        assert_eq!(event(&hidden_among(&sources[2..], &keys, &mut { MOST_KEYS })), None);
    }

    /// Users decide how many keys an object has. Comparing all pairs would keep a thread of the controller busy for
    /// minutes.
    #[test]
    fn objects_with_very_many_keys_are_compared_quickly() {
        let source = |name: &str| VariableSource {
            prefix: String::new(),
            kind: ObjectKind::ConfigMap,
            name: name.to_owned(),
        };
        let many: Vec<String> = (0..150_000).map(|number| format!("{number:a>40}")).collect();
        let (few, names) = (many[..40_000].to_vec(), ["a", "b", "c"]);
        let keys = Keys::from(names.map(|name| {
            ((ObjectKind::ConfigMap, name), if name == "a" { many.clone() } else { few.clone() })
        }));
        let containers = vec![vec![source("b"), source("c")], names.map(source).to_vec()];
        let begun = std::time::Instant::now();
        let hidden = hidden_in_all(&containers, &keys);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(hidden.len(), 40_000, "those of the first container; the second adds none");
    }

    #[test]
    fn each_warning_about_a_pod_is_reported_once() {
        let mut reported = HashMap::new();
        let changes = json!({
            "metadata": {"annotations": {"bindery.dev/bind": "db,queue"}},
            "spec": {"containers": [{"name": "app", "volumeMounts": [{"name": "own", "mountPath": "/var/secrets/db"}]}],
                "volumes": [{"name": "own", "emptyDir": {}}]},
            "status": {"containerStatuses": [{"name": "app", "state": {"waiting": {}}}]},
        });
        let mut pod = read(&bound(&changes)).unwrap();
        let reference = || PodRef::new("web-1").within("shop");
        let first = unreported(&mut reported, reference(), &pod).unwrap();
        assert_eq!((first.warnings.len(), first.compare), (1, false), "the Secrets may not be there yet");
        pod.stage = Stage::Started;
        assert_eq!(
            unreported(&mut reported, reference(), &pod),
            Some(Unreported { warnings: vec![], compare: true })
        );
        assert_eq!(unreported(&mut reported, reference(), &pod), None);
        let other = read(&bound(&json!({"metadata": {"uid": "u2"}}))).unwrap();
        assert_eq!(
            unreported(&mut reported, reference(), &other),
            None,
            "the successor of this name has no warnings"
        );
    }
}
