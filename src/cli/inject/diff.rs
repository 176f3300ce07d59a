//! What an injection adds to a document, as a unified diff.

use similar::TextDiff;

use super::Change;
use crate::cli::manifest::to_yaml;

impl Change {
    /// Compares both sides as they are written anew: a diff against the text would show lost comments and moved fields, and
    /// what is added among them.
    pub(super) fn diff(&self, file: &str, place: &str) -> anyhow::Result<String> {
        let (before, after) = (to_yaml(&self.before)?, to_yaml(&self.after)?);
        // What follows a tab is not part of the file's name, as in the output of `diff -u`.
        let (old, new) = (format!("{file}\t{place}"), format!("{file}\t{place}, injected"));
        Ok(TextDiff::from_lines(&before, &after).unified_diff().header(&old, &new).to_string())
    }
}
