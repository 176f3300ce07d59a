//! `bindery inject`: what the webhook would do to the pods of some manifests, done to the manifests.

mod namespaces;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use self::namespaces::GivenNamespaces;
use super::manifest::{Document, documents};
use crate::{
    admission::inject::{InjectSettings, Injection, workload::workloads},
    contract::pod,
};

/// Stands for standard input among files.
const STDIN: &str = "-";

/// Patch manifests offline, as the webhook would patch their pods.
///
/// Patched documents lose their comments; all others come out byte for byte. Nothing is printed when a pod cannot be injected.
#[derive(Debug, Args)]
pub struct InjectArgs {
    /// A manifest in YAML or JSON, or `-` for standard input. Can be given more than once.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Containers that are bound only when a pod's bindery.dev/containers names them, as the installation has them.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_values_t = InjectSettings::default().exclude_containers
    )]
    exclude_containers: Vec<String>,

    /// The namespace of manifests that name none. What a pod does not say itself, its Namespace may say, if that is
    /// among the manifests.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

/// Writes the manifests to `stdout`, with the bindings that their pods ask for, and what it did to `stderr`.
///
/// # Errors
/// When a file cannot be read or a pod cannot be injected. Nothing has been written to `stdout` then.
pub fn run(
    args: InjectArgs,
    mut stdin: impl Read,
    mut stdout: impl Write,
    mut stderr: impl Write,
) -> anyhow::Result<()> {
    let stdins = args.files.iter().filter(|file| *file == Path::new(STDIN)).count();
    ensure!(stdins <= 1, "-f - is given {stdins} times; standard input can be read only once");
    let settings = InjectSettings { exclude_containers: args.exclude_containers };
    let mut files = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let text = read(path, &mut stdin).with_context(|| format!("cannot read {name}"))?;
        files.push((name, text));
    }
    let namespaces = GivenNamespaces::among(files.iter().map(|(_, text)| text.as_str()), args.namespace);
    let mut work = Work { namespaces, ..Work::default() };
    for (name, text) in &files {
        work.file(name, text, &settings);
    }
    if !work.errors.is_empty() {
        bail!("nothing was injected:\n{}", work.errors.join("\n"));
    }
    for note in work.notes {
        writeln!(stderr, "{note}")?;
    }
    stdout.write_all(work.output.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

fn read(path: &Path, stdin: &mut impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new(STDIN) {
        stdin.read_to_end(&mut bytes)?;
    } else {
        bytes = fs::read(path)?;
    }
    String::from_utf8(bytes).context("it is not UTF-8; convert it")
}

/// What has been done so far.
#[derive(Default)]
struct Work {
    namespaces: GivenNamespaces,
    output: String,
    /// What the user should know, a line each.
    notes: Vec<String>,
    /// Every document that cannot be injected, so that all can be corrected at once.
    errors: Vec<String>,
}

impl Work {
    fn file(&mut self, file: &str, text: &str, settings: &InjectSettings) {
        let documents = documents(text);
        self.separate(&documents);
        for (index, document) in documents.iter().enumerate() {
            let place = format!("{file}: document {} (line {})", index + 1, document.line);
            match self.document(&place, document, settings) {
                Ok(Some(patched)) => self.output.push_str(&patched),
                Ok(None) => self.output.push_str(document.text),
                Err(error) => self.errors.push(format!("{place}: {error:#}")),
            }
        }
    }

    /// Keeps the last document of the file before apart from the first of this one.
    fn separate(&mut self, documents: &[Document<'_>]) {
        if self.output.is_empty() || documents.is_empty() {
            return;
        }
        if !self.output.ends_with('\n') {
            self.output.push('\n');
        }
        if !documents[0].is_marked() {
            self.output.push_str("---\n");
        }
    }

    /// The document with what its pods lack, or `None` if they lack nothing.
    fn document(
        &mut self,
        place: &str,
        document: &Document<'_>,
        settings: &InjectSettings,
    ) -> anyhow::Result<Option<String>> {
        let mut value = document.parse()?;
        let mut injections: Vec<(String, Injection)> = Vec::new();
        for workload in workloads(&value) {
            let name = format!("{} {}", workload.kind, workload.name);
            let injection = self
                .namespaces
                .inject(&workload, settings)
                .map_err(|error| error.within(workload.template_path))
                .with_context(|| name.clone())?;
            for warning in &injection.warnings {
                self.notes.push(format!("{place}: {name}: {warning}"));
            }
            if self.namespaces.may_miss(&workload) {
                self.notes.push(format!(
                    "{place}: {name}: names no namespace, so no Namespace's default holds for it; name it, or give --namespace"
                ));
            }
            if workload.has_misplaced_annotation() {
                let (bind, path) = (pod::BIND, workload.template_path);
                self.notes.push(format!(
                    "{place}: {name}: {bind} in metadata.annotations binds nothing; move it to {path}.metadata.annotations"
                ));
            }
            if !injection.is_empty() {
                let comments = if document.has_comments() { ", its comments are lost" } else { "" };
                self.notes.push(format!("{place}: {name}: patched{comments}"));
                injections.push((workload.pointer, injection));
            }
        }
        if injections.is_empty() {
            return Ok(None);
        }
        for (pointer, injection) in injections {
            let template = value.pointer_mut(&pointer).context("its pod template has moved")?;
            injection.apply(template)?;
        }
        document.rewrite(&value).map(Some)
    }
}

#[cfg(test)]
mod tests;
