//! The states of a stack, and what they mean for a caller that waits.

use std::fmt;

/// The state of a stack, in CloudFormation's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackStatus(String);

impl StackStatus {
    /// The state of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// CloudFormation's name of the state.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether CloudFormation works on the stack.
    #[must_use]
    pub fn is_in_progress(&self) -> bool {
        self.0.ends_with("_IN_PROGRESS")
    }

    /// Whether the stack is usable: created or updated, or back in its state before a failed update.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        matches!(
            self.0.as_str(),
            "CREATE_COMPLETE"
                | "UPDATE_COMPLETE"
                | "UPDATE_ROLLBACK_COMPLETE"
                | "IMPORT_COMPLETE"
                | "IMPORT_ROLLBACK_COMPLETE"
        )
    }

    /// Whether the creation failed: the stack can only be deleted.
    #[must_use]
    pub fn is_failed_creation(&self) -> bool {
        matches!(self.0.as_str(), "CREATE_FAILED" | "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED")
    }

    /// Whether an update failed and was rolled back.
    #[must_use]
    pub fn is_rolled_back_update(&self) -> bool {
        self.0 == "UPDATE_ROLLBACK_COMPLETE"
    }

    /// Whether the stack is being created, or its failed creation is being rolled back.
    #[must_use]
    pub fn is_creating(&self) -> bool {
        matches!(self.0.as_str(), "CREATE_IN_PROGRESS" | "ROLLBACK_IN_PROGRESS" | "REVIEW_IN_PROGRESS")
    }

    /// Whether the stack has no resources yet, but a change set that nobody has executed.
    #[must_use]
    pub fn is_in_review(&self) -> bool {
        self.0 == "REVIEW_IN_PROGRESS"
    }

    /// Whether resources could not be imported into the stack.
    #[must_use]
    pub fn is_failed_import(&self) -> bool {
        matches!(self.0.as_str(), "IMPORT_ROLLBACK_COMPLETE" | "IMPORT_ROLLBACK_FAILED")
    }

    /// Whether the stack is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.0 == "DELETE_IN_PROGRESS"
    }

    /// Whether the stack is gone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.0 == "DELETE_COMPLETE"
    }

    /// Whether the deletion failed.
    #[must_use]
    pub fn is_failed_deletion(&self) -> bool {
        self.0 == "DELETE_FAILED"
    }

    /// Whether the stack stays as it is until somebody acts: the way out is in [`StackStatus::way_out`].
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.way_out().is_some()
    }

    /// Whether the last operation failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.is_stuck() || self.is_rolled_back_update()
    }

    /// What to do about a state that CloudFormation does not leave by itself.
    #[must_use]
    pub fn way_out(&self) -> Option<&'static str> {
        Some(match self.0.as_str() {
            "CREATE_FAILED" | "ROLLBACK_COMPLETE" => {
                "remove the cause; the failed stack is deleted and created anew"
            }
            "ROLLBACK_FAILED" | "DELETE_FAILED" => {
                "remove what blocks the deletion, such as the objects of a bucket; the deletion is tried again"
            }
            "UPDATE_FAILED" | "UPDATE_ROLLBACK_FAILED" => {
                "remove the cause; the rollback is continued (in the console: Continue update rollback, where resources \
                 can be skipped)"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for StackStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("CREATE_IN_PROGRESS", true, false, false)]
    #[case("CREATE_COMPLETE", false, true, false)]
    #[case("ROLLBACK_COMPLETE", false, false, true)]
    #[case("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", true, false, false)]
    #[case("UPDATE_ROLLBACK_COMPLETE", false, true, false)]
    #[case("UPDATE_ROLLBACK_FAILED", false, false, true)]
    #[case("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", true, false, false)]
    #[case("DELETE_FAILED", false, false, true)]
    #[case("DELETE_COMPLETE", false, false, false)]
    fn states_are_in_progress_usable_or_stuck(
        #[case] name: &str,
        #[case] in_progress: bool,
        #[case] usable: bool,
        #[case] stuck: bool,
    ) {
        let status = StackStatus::new(name);
        assert_eq!(
            (status.is_in_progress(), status.is_usable(), status.is_stuck()),
            (in_progress, usable, stuck)
        );
    }
}
