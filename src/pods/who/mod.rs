//! Who holds which set of credentials: the answer of `bindery who`, looked up with the rights of whoever asks. How it is
//! printed is up to `cli`.

mod revision;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde::Serialize;

use self::revision::{Held, in_files, in_variables};
use super::{
    bindings::SeenBinding,
    pod::{AskingPod, Share},
    why::{BindingsOf, whys},
};
use crate::{
    admission::inject::{Demand, InjectSettings, NamespaceDefaults, nearest},
    catalog::api::binding::Revision,
    cluster::explain,
};

/// What is written before the name of a plain Secret.
const PLAIN_SECRET: &str = "secret/";

/// The question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhoError {
    #[error("the pods of namespace {namespace} cannot be listed: {reason}")]
    Pods { namespace: String, reason: String },
    #[error(
        "no ServiceBinding named {name:?} in namespace {namespace}, and no pod there asks for one{guess}"
    )]
    Nobody { name: String, namespace: String, guess: String },
}

/// The answer.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    pub(crate) holders: Vec<Holder>,
    /// What could not be looked up, and what that leaves out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// One way in which a container has, or ought to have, what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Holder {
    /// The binding, or `secret/NAME`.
    pub(crate) binding: String,
    pub(crate) pod: String,
    pub(crate) container: String,
    /// `env` or `files`.
    pub(crate) how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<i64>,
    pub(crate) state: State,
    /// Since when the container runs, or the pod exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// What `state` leaves open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// Whether a container holds what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// The newest credentials.
    Held,
    /// Older ones.
    Outdated,
    /// It runs with some; which cannot be told.
    Unknown,
    /// It does not run yet, or not now.
    Stopped,
    /// It waits for a Secret.
    Waiting,
    /// It was created without.
    Missed,
}

impl State {
    /// Whether somebody ought to do something.
    pub(crate) fn is_trouble(self) -> bool {
        matches!(self, Self::Outdated | Self::Waiting | Self::Missed)
    }
}

/// Who holds what in a namespace; of one binding if `name` is given.
///
/// # Errors
/// When pods may not be listed, or nothing is known of the binding that was named.
pub(crate) async fn answer(
    client: &Client,
    namespace: &str,
    name: Option<&str>,
    settings: &InjectSettings,
) -> Result<Answer, WhoError> {
    let mut answer = Answer::default();
    let defaults = answer.defaults(client, namespace).await;
    let bindings = answer.bindings(client, namespace).await;
    let resource = ApiResource::erase::<Pod>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let objects = api
        .list(&ListParams::default())
        .await
        .map_err(|error| WhoError::Pods { namespace: namespace.to_owned(), reason: explain(&error) })?;
    let now = Timestamp::now();
    for object in &objects.items {
        let Some(pod) = AskingPod::read(object, defaults.as_ref(), settings) else { continue };
        let is_meant = |demand: &&Demand| name.is_none_or(|name| named(demand) == name);
        let demands: Vec<Demand> = pod.demands.iter().filter(is_meant).cloned().collect();
        if let Share::Unclear { field } = &pod.share {
            let pod = pod.name_any();
            answer
                .notes
                .push(format!("pod {pod}: {field} cannot be carried out, so what it asks for is not known"));
        }
        for demand in &demands {
            let waits =
                if pod.may_wait() { Some(waits(client, namespace, demand, &bindings).await) } else { None };
            let revisions = bindings.revisions(demand);
            answer.holders.extend(holders(&pod, demand, revisions, waits.flatten(), now));
        }
    }
    if let Some(name) = name.filter(|_| answer.holders.is_empty()) {
        bindings.expect(name, namespace)?;
    }
    answer.holders.sort_by(|one, other| {
        let order = |holder: &Holder| (holder.binding.clone(), holder.pod.clone());
        order(one).cmp(&order(other))
    });
    Ok(answer)
}

impl Answer {
    async fn defaults(&mut self, client: &Client, namespace: &str) -> Option<NamespaceDefaults> {
        match Api::<Namespace>::all(client.clone()).get_metadata(namespace).await {
            Ok(found) => NamespaceDefaults::read(namespace, found.labels(), found.annotations()),
            Err(error) => {
                let note = format!(
                    "Namespace {namespace} cannot be read, so pods that it binds are left out: {}",
                    explain(&error)
                );
                self.notes.push(note);
                None
            }
        }
    }

    async fn bindings(&mut self, client: &Client, namespace: &str) -> BindingsOf {
        let api: Api<SeenBinding> = Api::namespaced(client.clone(), namespace);
        match api.list(&ListParams::default()).await {
            Ok(bindings) => BindingsOf(Some(bindings.items.into_iter().map(Arc::new).collect())),
            Err(error) => {
                let note = format!(
                    "ServiceBindings cannot be listed, so revisions are not known: {}",
                    explain(&error)
                );
                self.notes.push(note);
                BindingsOf(None)
            }
        }
    }
}

impl BindingsOf {
    fn revisions(&self, demand: &Demand) -> &[Revision] {
        let is_it = |binding: &&Arc<SeenBinding>| demand.is_binding && binding.name_any() == demand.secret;
        self.0.iter().flatten().find(is_it).map_or(&[], |binding| binding.revisions())
    }

    /// That a binding exists which no pod asks for.
    fn expect(&self, name: &str, namespace: &str) -> Result<(), WhoError> {
        let names: Vec<String> = self.0.iter().flatten().map(|binding| binding.name_any()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.contains(&name) {
            return Ok(());
        }
        let guess = nearest(name, &names).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        Err(WhoError::Nobody { name: name.to_owned(), namespace: namespace.to_owned(), guess })
    }
}

/// Why a pod waits for what it asks for; nothing if it does not.
async fn waits(client: &Client, namespace: &str, demand: &Demand, bindings: &BindingsOf) -> Option<String> {
    match whys(client, namespace, std::slice::from_ref(demand), bindings).await {
        Ok(whys) => whys.into_iter().next().map(|why| why.text),
        Err(error) => Some(format!("perhaps, for its Secret cannot be looked up: {}", explain(&error))),
    }
}

fn named(demand: &Demand) -> String {
    if demand.is_binding { demand.secret.clone() } else { format!("{PLAIN_SECRET}{}", demand.secret) }
}

/// A pod's containers and ways of one demand.
fn holders(
    pod: &AskingPod,
    demand: &Demand,
    revisions: &[Revision],
    waits: Option<String>,
    now: Timestamp,
) -> Vec<Holder> {
    let created = pod.creation_timestamp().map(|time| time.0);
    let ways = [("env", demand.env), ("files", demand.files)];
    let mut holders = Vec::new();
    for container in &demand.containers {
        for (how, _) in ways.into_iter().filter(|(_, is_wanted)| *is_wanted) {
            let started = pod.running.iter().find(|(name, _)| name == container).map(|(_, since)| *since);
            let mut holder = Holder {
                binding: named(demand),
                pod: pod.name_any(),
                container: container.clone(),
                how,
                revision: None,
                state: State::Stopped,
                since: started.or(created),
                detail: None,
            };
            if is_lacking(pod, container) {
                (holder.state, holder.since) = (State::Missed, created);
            } else if let Some(waits) = &waits {
                (holder.state, holder.detail) = (State::Waiting, Some(waits.clone()));
            } else if let Some(started) = started {
                let held =
                    if how == "env" { in_variables(revisions, started) } else { in_files(revisions, now) };
                holder.hold(held);
            } else if pod.is_done(container) {
                continue; // an init container that ran holds nothing any more
            }
            holders.push(holder);
        }
    }
    holders
}

impl Holder {
    fn hold(&mut self, held: Held) {
        (self.revision, self.state, self.detail) = match held {
            Held::Newest(n) => (Some(n), State::Held, None),
            Held::Outdated(n, since) => (Some(n), State::Outdated, Some(format!("since {since}"))),
            Held::Unknown => (None, State::Unknown, None),
        };
    }
}

fn is_lacking(pod: &AskingPod, container: &str) -> bool {
    match &pod.share {
        Share::Full => false,
        Share::Lacking { containers } => containers.iter().any(|lacking| lacking == container),
        Share::Unclear { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::pod::tests::{bound, object, read};

    fn revisions() -> Vec<Revision> {
        let revisions = json!([
            {"n": 1, "writtenAt": "2026-11-21T08:00:00Z"},
            {"n": 2, "writtenAt": "2026-11-21T10:00:00Z"},
        ]);
        serde_json::from_value(revisions).unwrap()
    }

    fn running(since: &str) -> Value {
        json!({
            "metadata": {"creationTimestamp": "2026-11-21T07:00:00Z"},
            "status": {"containerStatuses": [{"name": "app", "state": {"running": {"startedAt": since}}}]},
        })
    }

    fn told(pod: &AskingPod, waits: Option<&str>) -> Vec<(&'static str, Option<i64>, State, Option<String>)> {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        holders(pod, &pod.demands[0], &revisions(), waits.map(str::to_owned), now)
            .into_iter()
            .map(|holder| (holder.how, holder.revision, holder.state, holder.detail))
            .collect()
    }

    #[test]
    fn variables_stay_and_files_follow() {
        let pod = read(&bound(&running("2026-11-21T09:00:00Z"))).unwrap();
        let since = Some("since 2026-11-21T10:00:00Z".to_owned());
        let expected = [("env", Some(1), State::Outdated, since), ("files", Some(2), State::Held, None)];
        assert_eq!(told(&pod, None), expected);
    }

    #[test]
    fn a_container_that_started_since_holds_the_newest() {
        let pod = read(&bound(&running("2026-11-21T11:00:00Z"))).unwrap();
        let expected = [("env", Some(2), State::Held, None), ("files", Some(2), State::Held, None)];
        assert_eq!(told(&pod, None), expected);
    }

    #[test]
    fn a_missed_pod_holds_nothing_though_it_runs() {
        let pod = read(&object(&running("2026-11-21T11:00:00Z"))).unwrap();
        let expected = [("env", None, State::Missed, None), ("files", None, State::Missed, None)];
        assert_eq!(told(&pod, None), expected);
    }

    #[test]
    fn a_waiting_pod_says_for_what() {
        let pod = read(&bound(&json!({"status": {"phase": "Pending"}}))).unwrap();
        let why = Some("no ServiceBinding".to_owned());
        let expected = [("env", None, State::Waiting, why.clone()), ("files", None, State::Waiting, why)];
        assert_eq!(told(&pod, Some("no ServiceBinding")), expected);
        assert_eq!(told(&pod, None)[0], ("env", None, State::Stopped, None), "it waits for something else");
    }

    #[test]
    fn an_init_container_that_is_done_holds_nothing() {
        let mut changes = running("2026-11-21T11:00:00Z");
        changes["spec"] = json!({"initContainers": [{"name": "init"}]});
        changes["status"]["initContainerStatuses"] =
            json!([{"name": "init", "state": {"terminated": {"exitCode": 0}}}]);
        let pod = read(&bound(&changes)).unwrap();
        assert_eq!(pod.demands[0].containers, ["init", "app"]);
        assert_eq!(told(&pod, None).len(), 2, "env and files of app");
    }

    #[rstest]
    #[case::exists("db", None)]
    #[case::misspelt(
        "dbs",
        Some(
            "no ServiceBinding named \"dbs\" in namespace shop, and no pod there asks for one; did you mean \"db\"?"
        )
    )]
    #[case::unheard_of(
        "queue",
        Some("no ServiceBinding named \"queue\" in namespace shop, and no pod there asks for one")
    )]
    fn a_name_that_nobody_knows_is_an_error(#[case] name: &str, #[case] expected: Option<&str>) {
        let binding = json!({"metadata": {"name": "db"}, "spec": {"instanceRef": {"name": "i"}}});
        let bindings = BindingsOf(Some(vec![Arc::new(serde_json::from_value(binding).unwrap())]));
        let error = bindings.expect(name, "shop").err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected);
    }
}
