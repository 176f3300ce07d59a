//! The changes of an injection as a unified diff.

use imara_diff::{Algorithm, BasicLineDiffPrinter, Diff, InternedInput, UnifiedDiffConfig};

use super::Change;
use crate::cli::manifest::to_yaml;

impl Change {
    /// Compares both sides in the same new formatting. A diff against the original text would mix the changes with
    /// lost comments and moved fields.
    pub(super) fn diff(&self, file: &str, place: &str) -> anyhow::Result<String> {
        let (before, after) = (to_yaml(&self.before)?, to_yaml(&self.after)?);
        // As in the output of `diff -u`, the file's name ends at the tab.
        let (old, new) = (format!("{file}\t{place}"), format!("{file}\t{place}, injected"));
        let input = InternedInput::new(before.as_str(), after.as_str());
        let mut diff = Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_lines(&input);
        let printer = BasicLineDiffPrinter(&input.interner);
        let hunks = diff.unified_diff(&printer, UnifiedDiffConfig::default(), &input).to_string();
        Ok(if hunks.is_empty() { hunks } else { format!("--- {old}\n+++ {new}\n{hunks}") })
    }
}
