//! `bindery who`: shows which pods hold which credentials, as a table or as JSON.

use std::fmt::Write;

use clap::{Args, ValueEnum};
use kube::Client;

use super::{columns::aligned, excluded_containers::ExcludedContainers};
use crate::{
    k8s,
    pods::holders::{self, Answer, Holder},
};

/// Show which pods hold which credentials.
///
/// Lists the containers that use a Secret of a binding, even if their pods do not ask for the binding any more, and
/// whether they hold its newest credentials. Also lists the pods that wait for the binding or were created without
/// it. The command uses your own rights: it reads pods and bindings, and whether Secrets exist that pods wait for or
/// that have no binding any more.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 if every pod is known or likely to hold the newest credentials, or no pod is \
        concerned; 1 if a pod holds outdated or revoked credentials, waits for them or was created without them; \
        2 on an error."
)]
pub(super) struct WhoArgs {
    /// A ServiceBinding, secret/NAME or configmap/NAME. The default is all bindings of the namespace and all that its pods ask for.
    binding: Option<String>,
    /// The namespace. The default is that of the kubeconfig.
    #[arg(short, long)]
    namespace: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    excluded: ExcludedContainers,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: `{"holders": [{"binding", "pod", "container", "how", "revision", "state", "since", "detail"}], "notes": []}`.
    Json,
}

/// Returns the answer as text, and whether a pod needs attention.
///
/// # Errors
/// When the API server cannot be read.
pub(super) async fn run(args: &WhoArgs) -> anyhow::Result<(String, bool)> {
    let client: Client = k8s::client().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let settings = args.excluded.settings();
    let answer = holders::answer(&client, &namespace, args.binding.as_deref(), &settings).await?;
    let is_trouble = answer.holders.iter().any(|holder| holder.state.is_trouble());
    let text = match args.output {
        Format::Json => serde_json::to_string_pretty(&answer)? + "\n",
        Format::Table => table(&answer),
    };
    Ok((text, is_trouble))
}

fn table(answer: &Answer) -> String {
    let header = ["BINDING", "POD", "CONTAINER", "HOW", "REVISION", "SINCE", "STATE"].map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(answer.holders.iter().map(row));
    let mut text = String::new();
    if answer.holders.is_empty() {
        text.push_str("no pod holds or asks for these credentials\n");
    } else {
        text.push_str(&aligned(&rows));
    }
    for note in &answer.notes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn row(holder: &Holder) -> [String; 7] {
    let state = format!("{:?}", holder.state).to_lowercase();
    let state = match &holder.detail {
        Some(detail) if detail.starts_with("since ") => format!("{state} {detail}"),
        Some(detail) => format!("{state}: {detail}"),
        None => state,
    };
    [
        holder.binding.clone(),
        holder.pod.clone(),
        holder.container.clone(),
        holder.how.to_owned(),
        holder.revision.map(|n| n.to_string()).unwrap_or_default(),
        holder.since.map(|since| since.to_string()).unwrap_or_default(),
        state,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::holders::State;

    fn holder(pod: &str, state: State, revision: Option<i64>, detail: Option<&str>) -> Holder {
        Holder {
            binding: "db".to_owned(),
            pod: pod.to_owned(),
            container: "app".to_owned(),
            how: "env",
            revision,
            state,
            since: Some("2026-11-21T09:00:00Z".parse().unwrap()),
            detail: detail.map(str::to_owned),
        }
    }

    #[test]
    fn columns_are_aligned_and_notes_follow_the_table() {
        let answer = Answer {
            holders: vec![
                holder("web-1", State::Held, Some(2), None),
                holder("web-10", State::Outdated, Some(1), Some("since 2026-11-21T10:00:00Z")),
                holder("x", State::Waiting, None, Some("no ServiceBinding named \"db\"")),
            ],
            notes: vec!["something is not known".to_owned()],
        };
        assert_eq!(
            table(&answer),
            "BINDING   POD      CONTAINER   HOW   REVISION   SINCE                  STATE\n\
             db        web-1    app         env   2          2026-11-21T09:00:00Z   held\n\
             db        web-10   app         env   1          2026-11-21T09:00:00Z   outdated since 2026-11-21T10:00:00Z\n\
             db        x        app         env              2026-11-21T09:00:00Z   waiting: no ServiceBinding named \"db\"\n\
             note: something is not known\n"
        );
    }

    #[test]
    fn an_empty_answer_says_so() {
        assert_eq!(table(&Answer::default()), "no pod holds or asks for these credentials\n");
    }

    #[test]
    fn json_uses_the_state_names_of_the_table() {
        let answer = Answer { holders: vec![holder("web-1", State::Missed, None, None)], notes: Vec::new() };
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(
            json["holders"][0],
            serde_json::json!({"binding": "db", "pod": "web-1", "container": "app", "how": "env", "state": "missed",
                "since": "2026-11-21T09:00:00Z"})
        );
    }
}
