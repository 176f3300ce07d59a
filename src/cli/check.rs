//! `bindery check`: judges manifests offline by CredentialPolicies, as the API server would judge them.

mod given_policies;
mod input;
mod junit;
mod object;
mod report;
mod sarif;

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::bail;
use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use self::{
    given_policies::GivenPolicies,
    input::{Input, judge},
    report::Report,
};
use super::{
    excluded_containers::ExcludedContainers, given_namespaces::GivenNamespaces, manifest::read_files,
};
use crate::{
    apis::bindery::credential_policy::Mode,
    policy::{Access, Ages},
};

/// Judge manifests offline by CredentialPolicies, as the API server would judge them.
///
/// The manifests are bound first, as by `bindery inject`, so that their pods are judged as they will be.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 if no rule is violated in the mode of --fail-on or a stricter one, 1 if one is, 2 on \
        an error."
)]
pub struct CheckArgs {
    /// Manifests in YAML or JSON, a folder of them, or `-` for standard input. Can be repeated.
    ///
    /// CredentialPolicies, CredentialPolicyExceptions and Namespaces among them count for the others.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// CredentialPolicies and CredentialPolicyExceptions, or a folder of them. Can be repeated.
    #[arg(short = 'p', long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,

    /// The namespace of manifests that name none.
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,

    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    /// The mildest mode in which a violation makes the command fail.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    fail_on: FailOn,

    #[command(flatten)]
    excluded: ExcludedContainers,

    /// Namespaces that the installation excludes from every policy, in addition to kube-system and kube-node-lease.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exclude_namespaces: Vec<String>,
}

/// The format of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each finding.
    #[default]
    Text,
    /// SARIF 2.1.0, which code hosts show beside the lines.
    Sarif,
    /// JUnit's XML, which CI servers show as tests.
    Junit,
}

/// The mildest mode that makes the command fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FailOn {
    #[default]
    Enforce,
    Warn,
    Audit,
}

impl FailOn {
    fn mode(self) -> Mode {
        match self {
            Self::Enforce => Mode::Enforce,
            Self::Warn => Mode::Warn,
            Self::Audit => Mode::Audit,
        }
    }
}

/// The result that a script reads from the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No rule is violated.
    Fine,
    /// A rule is violated.
    Violated,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Fine => Self::SUCCESS,
            Outcome::Violated => Self::FAILURE,
        }
    }
}

/// Writes the findings to `stdout` and notes about the input to `stderr`.
///
/// # Errors
/// When a file cannot be read, a policy is invalid, or a pod cannot be bound. Nothing has been written to `stdout` then.
pub fn run(
    args: CheckArgs,
    mut stdin: impl Read,
    mut stdout: impl Write,
    mut stderr: impl Write,
) -> anyhow::Result<Outcome> {
    let files = read_files(&args.files, &mut stdin)?;
    let policy_files = read_files(&args.policies, &mut stdin)?;
    let mut input = Input::default();
    for file in &files {
        input.read(file);
    }
    let mut given = GivenPolicies::default();
    for object in &input.objects {
        given.add(object, &mut input.errors);
    }
    given.read(&policy_files, &mut input.errors);
    if !input.errors.is_empty() {
        bail!("nothing was judged:\n{}", input.errors.join("\n"));
    }
    let access = Access::read(input.objects.iter().map(|object| &object.value));
    let ages = Ages::read(input.objects.iter().map(|object| &object.value));
    let policies = given.into_policies(args.exclude_namespaces)?.with_access(access).with_ages(ages);
    let texts = files.iter().map(|file| file.text.as_str());
    let namespaces = GivenNamespaces::among(texts, Some(args.namespace.clone()));
    let settings = args.excluded.settings();
    let mut report = Report::default();
    judge(&input, &policies, &namespaces, &args.namespace, &settings, Timestamp::now(), &mut report)?;
    for note in &report.notes {
        writeln!(stderr, "{note}")?;
    }
    let text = match args.output {
        Format::Text => report.text(),
        Format::Sarif => sarif::sarif(&report)?,
        Format::Junit => junit::junit(&report, args.fail_on.mode()),
    };
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(if report.is_violated(args.fail_on.mode()) { Outcome::Violated } else { Outcome::Fine })
}

#[cfg(test)]
mod tests;
