//! `bindery wait`: waits until a namespace has its services. The exit code tells CI how the wait ended.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::time::{Instant, timeout};

use super::{Unread, find};
use crate::{
    broker::config::Lifetime,
    k8s,
    namespace_bindings::overview::{Found, Row, State, rows},
};

/// The interval between two reads.
const READ_INTERVAL: Duration = Duration::from_millis(300);
/// The time limit of one read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a failure must last before it ends the wait: the controller may not have seen a repair yet.
const FAILURE_LASTS: Duration = Duration::from_secs(3);
/// The exit code of a timeout.
const TIMED_OUT: u8 = 3;

/// Wait until a namespace has the services that NamespaceBindings give it.
///
/// Prints to stderr what is missing. Exit codes: 0 when all services are ready, 1 when a service failed and time
/// alone does not repair it (or when the API server cannot be read), 3 on timeout.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct WaitArgs {
    /// The namespace. It does not have to exist yet.
    #[arg(long, short)]
    namespace: String,
    /// How long to wait.
    #[arg(long, default_value = "5m")]
    timeout: Lifetime,
    /// Print no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// The state of the namespace's services.
#[derive(Debug, PartialEq, Eq)]
enum Outlook {
    /// All services are ready.
    Ready,
    /// What is missing, by NamespaceBinding.
    Waiting(BTreeMap<String, String>),
    /// A service failed, and waiting does not help.
    Failed(String),
}

/// What the command has read so far.
#[derive(Debug, Default)]
struct Seen {
    /// What was missing at the last read.
    missing: BTreeMap<String, String>,
    /// The present failure and when it began.
    failing: Option<(Instant, String)>,
    /// Why the last read failed.
    unread: Option<String>,
}

/// Polls until the services are ready, a failure persists or the time is over.
///
/// # Errors
/// When the API server refuses a read permanently.
pub(in crate::cli) async fn wait(args: &WaitArgs, progress: impl Write) -> anyhow::Result<ExitCode> {
    wait_with(k8s::client().await?, args, progress).await
}

async fn wait_with(client: Client, args: &WaitArgs, mut progress: impl Write) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut seen = Seen::default();
    loop {
        let patience =
            args.timeout.duration().saturating_sub(started.elapsed()).clamp(READ_INTERVAL, READ_TIMEOUT);
        let found = timeout(patience, find(&client, Some(&args.namespace))).await;
        let found = found.unwrap_or_else(|_| Err(Unread::silence()));
        let waited = started.elapsed();
        match found {
            Ok(found) => {
                seen.unread = None;
                let outlook = outlook(&args.namespace, &found, Timestamp::now());
                if let Some(code) = seen.take(outlook, args, waited, &mut progress)? {
                    return Ok(code);
                }
            }
            // A restart of the API server must not fail a pipeline.
            Err(error) if error.passes() => {
                let why = error.to_string();
                if seen.unread.replace(why.clone()).is_none() {
                    tell(args, &mut progress, waited, &format!("{why}; retrying"))?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        if waited >= args.timeout.duration() {
            let missing = seen.at_the_end();
            writeln!(progress, "bindery: {} is not ready after {}: {missing}", args.namespace, args.timeout)?;
            return Ok(ExitCode::from(TIMED_OUT));
        }
        tokio::time::sleep(READ_INTERVAL).await;
    }
}

impl Seen {
    /// Records an outlook and returns the exit code if the wait ends.
    fn take(
        &mut self,
        outlook: Outlook,
        args: &WaitArgs,
        waited: Duration,
        progress: &mut impl Write,
    ) -> io::Result<Option<ExitCode>> {
        match outlook {
            Outlook::Ready => {
                tell(args, progress, waited, "ready")?;
                return Ok(Some(ExitCode::SUCCESS));
            }
            Outlook::Failed(why) => {
                let since = self.failing.take().filter(|(_, before)| *before == why).map(|(since, _)| since);
                let since = since.unwrap_or_else(Instant::now);
                if since.elapsed() >= FAILURE_LASTS {
                    writeln!(progress, "bindery: {}: {why}", args.namespace)?;
                    return Ok(Some(ExitCode::FAILURE));
                }
                self.failing = Some((since, why));
            }
            Outlook::Waiting(parts) => {
                self.failing = None;
                for (name, state) in &parts {
                    if self.missing.get(name) != Some(state) {
                        tell(args, progress, waited, &format!("{name}: {state}"))?;
                    }
                }
                self.missing = parts;
            }
        }
        Ok(None)
    }

    /// Describes what is missing at the timeout.
    fn at_the_end(self) -> String {
        let mut all = self.missing;
        all.extend(self.failing.map(|(_, why)| ("it fails".to_owned(), why)));
        all.extend(self.unread.map(|why| ("it cannot be read".to_owned(), why)));
        all.into_iter().map(|(name, state)| format!("{name}: {state}")).collect::<Vec<_>>().join("; ")
    }
}

fn tell(args: &WaitArgs, progress: &mut impl Write, waited: Duration, what: &str) -> io::Result<()> {
    if args.quiet {
        return Ok(());
    }
    writeln!(progress, "{:>4}s {}: {what}", waited.as_secs(), args.namespace)
}

/// Derives the outlook from the objects that were read.
fn outlook(namespace: &str, found: &Found, now: Timestamp) -> Outlook {
    let Some(known) = found.namespaces.first() else {
        return Outlook::Waiting(BTreeMap::from([("Namespace".to_owned(), "does not exist yet".to_owned())]));
    };
    if known.metadata.deletion_timestamp.is_some() {
        return Outlook::Failed("the namespace is being deleted".to_owned());
    }
    let rows: Vec<Row> = rows(found, now).into_iter().filter(|row| row.state != State::Leaving).collect();
    if rows.is_empty() {
        let refused = found.refused().into_iter().map(|(name, why)| format!("; {name} is invalid: {why}"));
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{
        Json, Router,
        http::StatusCode,
        response::{IntoResponse, Response},
        routing::any,
    };
    use serde_json::{Value, json};

    use super::*;

    /// Waits for one minute. The API server answers the first requests with `first`, and afterwards that the
    /// namespace does not exist. Returns the outcome, the progress texts and the time taken.
    async fn waited(first: u16, times: usize) -> (anyhow::Result<ExitCode>, String, Duration) {
        let asked = std::sync::Arc::new(AtomicUsize::new(0));
        let answer = move || {
            let is_first = asked.fetch_add(1, Ordering::Relaxed) < times;
            async move { if is_first { refusal(first) } else { Json(rules()).into_response() } }
        };
        let namespace = async || refusal(404);
        let routes =
            Router::new().route("/api/v1/namespaces/feature-x", any(namespace)).fallback(any(answer));
        let args =
            WaitArgs { namespace: "feature-x".to_owned(), timeout: "1m".parse().unwrap(), quiet: false };
        let (started, mut said) = (Instant::now(), Vec::new());
        let ended = wait_with(Client::new(routes, "default"), &args, &mut said).await;
        (ended, String::from_utf8(said).unwrap(), started.elapsed())
    }

    fn refusal(code: u16) -> Response {
        let reason = StatusCode::from_u16(code).unwrap().canonical_reason().unwrap().replace(' ', "");
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
            "message": format!("the API server says {code}"), "reason": reason});
        (StatusCode::from_u16(code).unwrap(), Json(status)).into_response()
    }

    fn rules() -> Value {
        json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": []})
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_does_not_end_the_wait_and_is_printed_once() {
        for code in [429, 503] {
            let (ended, said, took) = waited(code, 5).await;
            assert_eq!(ended.unwrap(), ExitCode::from(TIMED_OUT));
            assert!(took >= Duration::from_mins(1), "{took:?}");
            let error = format!("cannot list NamespaceBindings: the API server says {code}");
            assert_eq!(said.matches(&error).count(), 1, "{said}");
            assert!(said.ends_with("is not ready after 1m: Namespace: does not exist yet\n"), "{said}");
        }
        let (ended, said, _) = waited(503, usize::MAX).await;
        assert_eq!(ended.unwrap(), ExitCode::from(TIMED_OUT));
        assert!(said.trim_end().ends_with("the API server says 503"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_does_not_prolong_the_wait() {
        let routes = Router::new().fallback(any(async || std::future::pending::<StatusCode>().await));
        let args =
            WaitArgs { namespace: "feature-x".to_owned(), timeout: "1m".parse().unwrap(), quiet: false };
        let (started, mut said) = (Instant::now(), Vec::new());
        let ended = wait_with(Client::new(routes, "default"), &args, &mut said).await.unwrap();
        assert_eq!((ended, started.elapsed().as_secs()), (ExitCode::from(TIMED_OUT), 60));
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said.matches("retrying").count(), 1, "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_error_ends_the_wait_at_once() {
        for code in [401, 403, 404] {
            let (ended, _, took) = waited(code, usize::MAX).await;
            assert!(ended.unwrap_err().to_string().ends_with(&format!("the API server says {code}")));
            assert!(took < READ_INTERVAL, "{took:?}");
        }
    }

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
    fn missing_services_are_named() {
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
    fn a_permanent_failure_ends_the_wait() {
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
        assert!(failure(&unreadable).contains("; db is invalid: spec.gracePeriod: "));
        let mut going = found(&json!({"ci": "yes"}), &json!([]), Some(true));
        going.namespaces[0].metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()));
        assert!(failure(&going).contains("being deleted"));
    }
}
