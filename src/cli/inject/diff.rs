//! The changes of an injection as a unified diff.

use similar::TextDiff;

use super::Change;
use crate::cli::manifest::to_yaml;

impl Change {
    /// Compares both sides in the same new formatting. A diff against the original text would mix the changes with
    /// lost comments and moved fields.
    pub(super) fn diff(&self, file: &str, place: &str) -> anyhow::Result<String> {
        let (before, after) = (to_yaml(&self.before)?, to_yaml(&self.after)?);
        // As in the output of `diff -u`, the file's name ends at the tab.
        let (old, new) = (format!("{file}\t{place}"), format!("{file}\t{place}, injected"));
        Ok(TextDiff::from_lines(&before, &after).unified_diff().header(&old, &new).to_string())
    }
}
