//! `bindery wait`: until a namespace has what it is to have. What CI does with the answer depends on its exit code.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;

use super::find;
use crate::{
    cluster,
    config::Lifetime,
    namespaces::overview::{Found, Row, State, rows},
};

/// How often to look.
const LOOK: Duration = Duration::from_millis(300);
/// How long a failure must last to be believed: the controller may be about to see what has been mended.
const BELIEVED: Duration = Duration::from_secs(3);
/// The exit code when the time is over.
const TIMED_OUT: u8 = 3;

/// Wait until a namespace has what NamespaceBindings give it.
///
/// Says on stderr what it waits for. Ends with 0 when everything is ready, with 1 when something failed that time does
/// not mend (or cannot be read), and with 3 when the time is over.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct WaitArgs {
    /// The namespace. It need not exist yet.
    #[arg(long, short)]
    namespace: String,
    /// How long to wait.
    #[arg(long, default_value = "5m")]
    timeout: Lifetime,
    /// Say nothing on the way.
    #[arg(long, short)]
    quiet: bool,
}

/// How it is now.
#[derive(Debug, PartialEq, Eq)]
enum Outlook {
    /// All of it is there.
    Ready,
    /// Something is missing: what, by NamespaceBinding.
    Waiting(BTreeMap<String, String>),
    /// Something failed.
    Failed(String),
}

/// Waits.
///
/// # Errors
/// When something cannot be read.
pub(in crate::cli) async fn wait(args: &WaitArgs, mut progress: impl Write) -> anyhow::Result<ExitCode> {
    let client = cluster::client().await?;
    let started = Instant::now();
    let mut said = BTreeMap::new();
    let mut failing: Option<(Instant, String)> = None;
    loop {
        let found = find(&client, Some(&args.namespace)).await?;
        let outlook = outlook(&args.namespace, &found, Timestamp::now());
        let waited = started.elapsed();
        match outlook {
            Outlook::Ready => {
                tell(args, &mut progress, waited, "ready")?;
                return Ok(ExitCode::SUCCESS);
            }
            Outlook::Failed(why) => {
                let since = failing.take().filter(|(_, before)| *before == why).map(|(since, _)| since);
                let since = since.unwrap_or_else(Instant::now);
                if since.elapsed() >= BELIEVED {
                    writeln!(progress, "bindery: {}: {why}", args.namespace)?;
                    return Ok(ExitCode::FAILURE);
                }
                failing = Some((since, why));
            }
            Outlook::Waiting(parts) => {
                failing = None;
                for (name, state) in &parts {
                    if said.get(name) != Some(state) {
                        tell(args, &mut progress, waited, &format!("{name}: {state}"))?;
                    }
                }
                said = parts;
            }
        }
        if waited >= args.timeout.duration() {
            said.extend(failing.map(|(_, why)| ("it fails".to_owned(), why)));
            let missing: Vec<_> = said.iter().map(|(name, state)| format!("{name}: {state}")).collect();
            let missing = missing.join("; ");
            writeln!(progress, "bindery: {} is not ready after {}: {missing}", args.namespace, args.timeout)?;
            return Ok(ExitCode::from(TIMED_OUT));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(args: &WaitArgs, progress: &mut impl Write, waited: Duration, what: &str) -> io::Result<()> {
    if args.quiet {
        return Ok(());
    }
    writeln!(progress, "{:>4}s {}: {what}", waited.as_secs(), args.namespace)
}

/// What to make of what was found.
fn outlook(namespace: &str, found: &Found, now: Timestamp) -> Outlook {
    let Some(known) = found.namespaces.first() else {
        return Outlook::Waiting(BTreeMap::from([("Namespace".to_owned(), "does not exist yet".to_owned())]));
    };
    if known.metadata.deletion_timestamp.is_some() {
        return Outlook::Failed("the namespace is being deleted".to_owned());
    }
    let rows: Vec<Row> = rows(found, now).into_iter().filter(|row| row.state != State::Leaving).collect();
    if rows.is_empty() {
        let refused =
            found.refused().into_iter().map(|(name, why)| format!("; {name} cannot be carried out: {why}"));
        return Outlook::Failed(format!(
            "no NamespaceBinding selects it; see kubectl get nsb, and kubectl get namespace {namespace} --show-labels{}",
            refused.collect::<String>()
        ));
    }
    let mut missing = BTreeMap::new();
    for row in rows {
        let said = || {
            let message = row.message.as_deref().unwrap_or_default();
            format!("{}: {message}", row.reason.clone().unwrap_or_else(|| row.state.to_string()))
        };
        match row.state {
            State::Ready | State::Expiring | State::Leaving => {}
            State::Pending => {
                missing.insert(row.namespace_binding.clone(), said());
            }
            State::Failed | State::Expired => {
                return Outlook::Failed(format!("{}: {}", row.namespace_binding, said()));
            }
        }
    }
    if missing.is_empty() { Outlook::Ready } else { Outlook::Waiting(missing) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(labels: &Value, waiting: &Value, ready: Option<bool>) -> Found {
        let rule = json!({"apiVersion": "bindery.dev/v1alpha1", "kind": "NamespaceBinding", "metadata": {"name": "db"},
            "spec": {"namespaceSelector": {"matchLabels": {"ci": "yes"}}, "clusterServiceClassExternalName": "c"},
            "status": {"waiting": waiting}});
        let made = |kind: &str| {
            let status = if ready == Some(true) { "True" } else { "False" };
            json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": kind,
                "metadata": {"name": "db", "namespace": "feature-x", "labels": {"bindery.dev/namespace-binding": "db"}},
                "spec": {"instanceRef": {"name": "db"}},
                "status": {"conditions": [{"type": "Ready", "status": status, "reason": "Because", "message": "so",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        };
        let made_of = |kind: &str| ready.map(|_| made(kind));
        Found {
            rules: vec![serde_json::from_value(rule).unwrap()],
            namespaces: vec![
                serde_json::from_value(json!({"metadata": {"name": "feature-x", "labels": labels}})).unwrap(),
            ],
            instances: made_of("ServiceInstance")
                .map(|it| serde_json::from_value(it).unwrap())
                .into_iter()
                .collect(),
            bindings: made_of("ServiceBinding")
                .map(|it| serde_json::from_value(it).unwrap())
                .into_iter()
                .collect(),
        }
    }

    fn looks(found: &Found) -> Outlook {
        outlook("feature-x", found, Timestamp::now())
    }

    #[test]
    fn what_is_missing_is_named() {
        let labels = json!({"ci": "yes"});
        assert_eq!(looks(&found(&labels, &json!([]), Some(true))), Outlook::Ready);
        let waits = |found: &Found| match looks(found) {
            Outlook::Waiting(parts) => parts["db"].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(waits(&found(&labels, &json!([]), Some(false))), "Because: ServiceInstance: so");
        let limit =
            json!([{"namespace": "feature-x", "reason": "LimitReached", "message": "full", "failed": false}]);
        assert_eq!(waits(&found(&labels, &limit, None)), "LimitReached: full");
        let none = Found { namespaces: Vec::new(), ..found(&labels, &json!([]), None) };
        assert!(matches!(looks(&none), Outlook::Waiting(_)));
    }

    #[test]
    fn what_time_does_not_mend_is_a_failure() {
        let failure = |found: &Found| match looks(found) {
            Outlook::Failed(why) => why,
            other => panic!("{other:?}"),
        };
        let taken =
            json!([{"namespace": "feature-x", "reason": "NameTaken", "message": "theirs", "failed": true}]);
        assert_eq!(failure(&found(&json!({"ci": "yes"}), &taken, None)), "db: NameTaken: theirs");
        assert!(failure(&found(&json!({}), &json!([]), None)).contains("no NamespaceBinding selects"));
        let mut unreadable = found(&json!({"ci": "yes"}), &json!([]), None);
        unreadable.rules[0].spec.grace_period = Some("0s".to_owned());
        assert!(failure(&unreadable).contains("; db cannot be carried out: spec.gracePeriod: "));
        let mut going = found(&json!({"ci": "yes"}), &json!([]), Some(true));
        going.namespaces[0].metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()));
        assert!(failure(&going).contains("being deleted"));
    }
}
