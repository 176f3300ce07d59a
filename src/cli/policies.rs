//! `bindery policies`: shows what CredentialPolicies hold, what they refuse and would refuse, and until when exceptions count;
//! switches policies off in an emergency, and on again.

mod denials;
mod listed;
mod overview;
mod stand_down;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use k8s_openapi::jiff::Timestamp;
use kube::Client;

use self::{
    denials::{at_admission, in_audit_log},
    listed::{exceptions, policies},
    overview::Overview,
    stand_down::{resume, stand_down},
};
use crate::k8s::{self, explain};

/// Show CredentialPolicies, what they refuse and would refuse, and their exceptions.
///
/// The command uses your own rights: it reads policies and exceptions, and the metrics of the API server that answers.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct PoliciesArgs {
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Also count the refusals in this audit log of an API server, by rule and namespace: one JSON event in each line.
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<PoliciesCommand>,
}

#[derive(Debug, Subcommand)]
enum PoliciesCommand {
    /// Switch a policy off in an emergency, or all of them.
    ///
    /// Works while bindery is away: it marks the policy and deletes its `ValidatingAdmissionPolicyBindings`, so that the API
    /// server stops at once. bindery does not put them back before `bindery policies resume`.
    StandDown {
        /// The CredentialPolicy. Default: all.
        name: Option<String>,
        /// Why, for the event and the status of the policy.
        #[arg(long, default_value = "no reason given")]
        reason: String,
    },
    /// Switch a policy on again, or all of them. bindery then makes the API server hold them.
    Resume {
        /// The CredentialPolicy. Default: all.
        name: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: `{"policies": [], "exceptions": [], "atAdmission": [], "refusals": [], "notes": []}`.
    Json,
}

/// Runs the command, and returns what it prints.
///
/// # Errors
/// When the API server cannot be reached or refuses, or the audit log cannot be read.
pub(super) async fn run(args: &PoliciesArgs) -> anyhow::Result<String> {
    let client = k8s::client().await?;
    match &args.command {
        None => show(&client, args).await,
        Some(PoliciesCommand::StandDown { name, reason }) => {
            stand_down(&client, name.as_deref(), reason).await
        }
        Some(PoliciesCommand::Resume { name }) => resume(&client, name.as_deref()).await,
    }
}

async fn show(client: &Client, args: &PoliciesArgs) -> anyhow::Result<String> {
    let mut overview = Overview::new(&policies(client).await?, &exceptions(client).await?, Timestamp::now());
    match at_admission(client).await {
        Ok(counts) => overview.at_admission = counts,
        Err(error) => overview.notes.push(format!(
            "what the API server refused is not known, because its metrics cannot be read: {}",
            explain(&error)
        )),
    }
    if let Some(file) = &args.audit_log {
        let log = std::fs::File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        let refusals = in_audit_log(std::io::BufReader::new(log));
        overview.refusals = refusals.with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(match args.output {
        Format::Json => serde_json::to_string_pretty(&overview)? + "\n",
        Format::Table => overview.table(),
    })
}
