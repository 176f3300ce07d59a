//! `bindery inject`: patches manifests offline, as the webhook would patch their pods.

mod diff;

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use super::{
    excluded_containers::ExcludedContainers,
    given_namespaces::GivenNamespaces,
    manifest::{Contents, Document, documents, read_files},
};
use crate::{
    contract::GROUP,
    injection::{
        InjectSettings, Injection,
        workload::{unknown_templates, workloads},
    },
};

/// Patch manifests offline, as the webhook would patch their pods.
///
/// Patched documents lose their comments. All other documents are printed byte for byte. If one pod cannot be
/// injected, nothing is printed.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 on success, 1 on an error. With --diff: 0 if nothing would change, 1 if \
        something would change, 2 on an error."
)]
pub struct InjectArgs {
    /// Manifests in YAML or JSON, a folder of them, or `-` for standard input. Can be repeated.
    ///
    /// A folder stands for all files below it that end in .yaml, .yml or .json, in the order of their names. Files
    /// and folders whose names start with a dot are skipped.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Print the changes as a unified diff instead of the manifests.
    ///
    /// Both sides are formatted anew as YAML, so the diff shows only what bindery adds.
    #[arg(long)]
    diff: bool,

    #[command(flatten)]
    excluded: ExcludedContainers,

    /// The namespace of manifests that name none. Defaults of a Namespace apply if that Namespace is among the
    /// manifests.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

impl InjectArgs {
    /// The exit code of an error. With `--diff` it differs from that of a change, as with `diff`.
    pub(super) fn failure(&self) -> ExitCode {
        if self.diff { ExitCode::from(2) } else { ExitCode::FAILURE }
    }
}

/// The result that a script reads from the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No error, and no difference was asked for or found.
    Fine,
    /// `--diff` found differences.
    Differs,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Fine => Self::SUCCESS,
            Outcome::Differs => Self::FAILURE,
        }
    }
}

/// Writes the patched manifests, or their diff, to `stdout` and notes about the changes to `stderr`.
///
/// # Errors
/// When a file cannot be read or a pod cannot be injected. Nothing has been written to `stdout` then.
pub fn run(
    args: InjectArgs,
    mut stdin: impl Read,
    mut stdout: impl Write,
    mut stderr: impl Write,
) -> anyhow::Result<Outcome> {
    let settings = args.excluded.settings();
    let files = read_files(&args.files, &mut stdin)?;
    let namespaces = GivenNamespaces::among(files.iter().map(|file| file.text.as_str()), args.namespace);
    let mut work = Work { diff: args.diff, namespaces, ..Work::default() };
    for file in &files {
        work.file(&file.name, &file.text, files.len() > 1, &settings);
    }
    if !work.errors.is_empty() {
        bail!("nothing was injected:\n{}", work.errors.join("\n"));
    }
    for note in work.notes {
        writeln!(stderr, "{note}")?;
    }
    stdout.write_all(work.output.as_bytes())?;
    stdout.flush()?;
    Ok(if work.diff && !work.output.is_empty() { Outcome::Differs } else { Outcome::Fine })
}

/// The state of one run.
#[derive(Default)]
struct Work {
    /// Whether to print the diff instead of the manifests.
    diff: bool,
    namespaces: GivenNamespaces,
    output: String,
    /// Notes for the user, one line each.
    notes: Vec<String>,
    /// All documents that cannot be injected, so that the user can correct all of them at once.
    errors: Vec<String>,
}

impl Work {
    /// `is_of_many`: whether this is one of several files.
    fn file(&mut self, file: &str, text: &str, is_of_many: bool, settings: &InjectSettings) {
        let documents = documents(text);
        for (index, document) in documents.iter().enumerate() {
            // JSON objects may follow one another without a separator, but `kubectl` reads no YAML after them.
            if !self.diff && (index == 0 || is_of_many) {
                self.separate(document);
            }
            let place = format!("document {} (line {})", index + 1, document.line);
            let change = self.change(&format!("{file}: {place}"), document, settings);
            let text = change.and_then(|change| match change {
                Some(change) if self.diff => change.diff(file, &place),
                Some(change) => document.rewrite(&change.after),
                None if self.diff => Ok(String::new()),
                None => Ok(document.text.to_owned()),
            });
            match text {
                Ok(text) => self.output.push_str(&text),
                Err(error) => self.errors.push(format!("{file}: {place}: {error:#}")),
            }
        }
    }

    /// Adds a separator if the document before needs one.
    fn separate(&mut self, document: &Document<'_>) {
        if self.output.is_empty() {
            return;
        }
        if !self.output.ends_with('\n') {
            self.output.push('\n');
        }
        if !document.is_marked() {
            self.output.push_str("---\n");
        }
    }

    /// The change that the webhook would make to the pods of the document, or `None` if there is none.
    fn change(
        &mut self,
        place: &str,
        document: &Document<'_>,
        settings: &InjectSettings,
    ) -> anyhow::Result<Option<Change>> {
        let Some(Contents { value: before, has_comments, repeated }) = self.read(place, document)? else {
            return Ok(None);
        };
        let injections = self.injections(place, &before, has_comments, settings)?;
        for asking in unknown_templates(&before) {
            self.notes.push(format!("{place}: {asking}"));
        }
        if injections.is_empty() {
            return Ok(None);
        }
        // The rewritten document keeps only the last of repeated keys.
        for (line, key) in repeated {
            let file = place.split(": document").next().unwrap_or(place);
            self.notes.push(format!(
                "{file}: line {line}: the key {key:?} is repeated; the last value is used, as by kubectl"
            ));
        }
        let mut after = before.clone();
        for (pointer, injection) in injections {
            let template = after.pointer_mut(&pointer).context("its pod template has moved")?;
            injection.apply(template)?;
        }
        Ok(Some(Change { before, after }))
    }

    /// The contents of a document. Kubernetes accepts some YAML that the specification forbids; such a document is
    /// copied (`None`) if it cannot ask for a binding.
    fn read(&mut self, place: &str, document: &Document<'_>) -> anyhow::Result<Option<Contents>> {
        match document.read() {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if !document.text.contains(GROUP) => {
                self.notes.push(format!(
                    "{place}: left unchanged, because it cannot be read and does not mention \
                        {GROUP}: {error:#}"
                ));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The injections into the workloads of a document, each with the pointer to its pod template. Adds the notes
    /// about them.
    fn injections(
        &mut self,
        place: &str,
        document: &Value,
        has_comments: bool,
        settings: &InjectSettings,
    ) -> anyhow::Result<Vec<(String, Injection)>> {
        let mut injections: Vec<(String, Injection)> = Vec::new();
        for workload in workloads(document) {
            let name = format!("{} {}", workload.kind, workload.name);
            let injection = self
                .namespaces
                .inject(&workload, settings)
                .map_err(|error| error.within(workload.template_path))
                .with_context(|| name.clone())?;
            for warning in injection.warnings.iter().chain(&workload.misplaced_annotation()) {
                self.notes.push(format!("{place}: {name}: {warning}"));
            }
            if self.namespaces.may_miss(&workload) {
                self.notes.push(format!(
                    "{place}: {name}: has no namespace, so no Namespace defaults apply; set metadata.namespace \
                    or --namespace"
                ));
            }
            if !injection.is_empty() {
                let done = match (self.diff, has_comments) {
                    (true, _) => "would be patched",
                    (false, true) => "patched; its comments are lost",
                    (false, false) => "patched",
                };
                self.notes.push(format!("{place}: {name}: {done}"));
                injections.push((workload.pointer, injection));
            }
        }
        Ok(injections)
    }
}

/// A document before and after injection.
struct Change {
    before: Value,
    after: Value,
}

#[cfg(test)]
mod tests;
