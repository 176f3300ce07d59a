//! Manifest files as text: splits them into documents, reads a document, and writes a changed one. The reference is
//! `kubectl`: this module accepts what `kubectl` accepts, and `kubectl` reads the same values from what this module
//! writes. The module does not know what a document means to Kubernetes.

mod files;
mod read;
mod scalar;
mod write;

use anyhow::Context as _;
use serde_json::Value;

pub(crate) use self::{
    files::{File, read_files},
    read::Contents,
};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// One document of a file, byte for byte. The documents of a file, concatenated, are the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    /// From the end of the document before to the end of this one, with its `---` or `...`.
    pub(crate) text: &'a str,
    /// The line of the file on which the text begins, from 1.
    pub(crate) line: usize,
}

/// Splits a file into its documents by the rules of YAML 1.2 (section 9.1, <https://yaml.org/spec/1.2.2/#91-documents>):
/// a line that starts with `---` begins one and a line that starts with `...` ends one, if white space or nothing follows.
/// Neither can be part of a value, because such lines end every block and may not occur in quotes.
///
/// JSON values one after another, as `jq` and `kubectl` write them, are documents of their own.
pub(crate) fn documents(file: &str) -> Vec<Document<'_>> {
    json_values(file).unwrap_or_else(|| yaml_documents(file))
}

/// The documents of a file that consists only of several JSON objects. Each document includes the rest of its last
/// line.
fn json_values(file: &str) -> Option<Vec<Document<'_>>> {
    if !file.trim_start_matches(BYTE_ORDER_MARK).trim_start().starts_with('{') {
        return None;
    }
    let text = file.trim_start_matches(BYTE_ORDER_MARK);
    let offset = file.len() - text.len();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Map<String, Value>>();
    let mut documents: Vec<Document<'_>> = Vec::new();
    let (mut start, mut line) = (0, 1);
    while let Some(value) = values.next() {
        value.ok()?;
        let end = offset + values.byte_offset();
        let rest = &file[end..];
        let blank = &rest[..rest.len() - rest.trim_start().len()];
        let end = end + blank.find('\n').map_or(blank.len(), |newline| newline + 1);
        documents.push(Document { text: &file[start..end], line });
        line += file[start..end].matches('\n').count();
        start = end;
    }
    let last = documents.last_mut()?;
    // White space at the end of the file.
    last.text = &file[start - last.text.len()..];
    (documents.len() > 1).then_some(documents)
}

fn yaml_documents(file: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut end = 0;
    let mut only_prefix = true;
    for (index, line) in file.split_inclusive('\n').enumerate() {
        let bare = line.trim_start_matches(BYTE_ORDER_MARK);
        if is_marker(bare, "---") {
            // Comments and directives before the first `---` belong to the document that it begins.
            if !only_prefix {
                documents.push(Document { text: &file[start..end], line: start_line });
                (start, start_line) = (end, index + 1);
            }
            only_prefix = false;
        } else if !is_prefix(bare) {
            only_prefix = false;
        }
        end += line.len();
        if is_marker(bare, "...") {
            documents.push(Document { text: &file[start..end], line: start_line });
            (start, start_line) = (end, index + 2);
            only_prefix = true;
        }
    }
    if start < end {
        documents.push(Document { text: &file[start..end], line: start_line });
    }
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether the line may stand before a document: it is empty, a comment or a directive.
fn is_prefix(line: &str) -> bool {
    let line = line.trim_matches([' ', '\t', '\r', '\n']);
    line.is_empty() || line.starts_with('#') || line.starts_with('%')
}

impl Document<'_> {
    /// Reads the document as `kubectl` does: `0644` is an octal number. An empty document is `null`.
    pub(crate) fn read(&self) -> anyhow::Result<Contents> {
        let is_nothing = |line: &str| {
            let line = line.trim_matches([' ', '\t', '\r', BYTE_ORDER_MARK]);
            is_prefix(line) || matches!(line, "---" | "...")
        };
        if self.text.lines().all(is_nothing) {
            let has_comments = self.text.contains('#');
            return Ok(Contents { has_comments, ..Contents::default() });
        }
        if let Some((_, value)) = self.json() {
            return Ok(Contents { value, ..Contents::default() });
        }
        read::read(self.text, self.line).context("this is not valid YAML; correct it")
    }

    /// The value of the document.
    pub(crate) fn parse(&self) -> anyhow::Result<Value> {
        self.read().map(|contents| contents.value)
    }

    /// The text and value of the document if it is JSON.
    fn json(&self) -> Option<(&str, Value)> {
        let text = self.text.trim_start_matches(BYTE_ORDER_MARK);
        let text = text.strip_prefix("---").unwrap_or(text).trim();
        let value = if text.starts_with('{') { serde_json::from_str(text).ok() } else { None };
        value.map(|value| (text, value))
    }

    /// Writes a new value in the document's place: as JSON if the document is JSON, else as YAML. Keeps the
    /// document's `---`, `...` and line endings, but not its comments.
    pub(crate) fn rewrite(&self, value: &Value) -> anyhow::Result<String> {
        let mut text = match self.json() {
            None => to_yaml(value)?,
            Some((json, _)) if json.contains('\n') => serde_json::to_string_pretty(value)? + "\n",
            Some(_) => serde_json::to_string(value)? + "\n",
        };
        if self.has_marker("---") {
            text.insert_str(0, "---\n");
        }
        if self.has_marker("...") {
            text.push_str("...\n");
        }
        if self.text.contains("\r\n") {
            text = text.replace('\n', "\r\n");
        }
        if self.text.starts_with(BYTE_ORDER_MARK) {
            text.insert(0, BYTE_ORDER_MARK);
        }
        Ok(text)
    }

    /// Whether the document begins with `---`, so that it can follow another one.
    pub(crate) fn is_marked(&self) -> bool {
        self.has_marker("---")
    }

    fn has_marker(&self, marker: &str) -> bool {
        self.text.lines().any(|line| is_marker(line.trim_start_matches(BYTE_ORDER_MARK), marker))
    }
}

/// Writes a value as YAML.
pub(crate) fn to_yaml(value: &Value) -> anyhow::Result<String> {
    Ok(write::to_yaml(value)?)
}

#[cfg(test)]
pub(super) use self::read::counted;

#[cfg(test)]
mod tests;
