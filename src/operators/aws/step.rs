//! What to do next for an object (pure): decided by the object and the state of its stack, each time anew. So a restart
//! between two steps needs no memory.

use crate::cloud::aws::{StackStatus, stacks::Stack};

/// How many times a stack whose creation failed is deleted and created anew.
pub(super) const MOST_ROLLBACKS: i64 = 5;

/// What is known of an object and its stack.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Observed<'a> {
    pub(super) is_deleting: bool,
    pub(super) has_finalizer: bool,
    /// Whether the stack stays when the object is deleted.
    pub(super) retains: bool,
    pub(super) stack: Option<&'a Stack>,
    /// Whether the stack carries the marks of this installation and this object.
    pub(super) is_ours: bool,
    pub(super) adoption: Adoption,
    pub(super) importable: Importable,
    pub(super) rollbacks: i64,
    /// Whether the stack has other parameters or another template than the object wants.
    pub(super) differs: bool,
}

/// Whether a stack or a resource that exists becomes the object's (`services.k8s.aws/adoption-policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Adoption {
    /// A stack of another owner is never touched.
    #[default]
    Never,
    /// The stack or the resource must exist.
    Adopt,
    /// The stack is created if neither exists.
    AdoptOrCreate,
}

/// Whether the object names a resource that its new stack could take over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Importable {
    /// It names none, or there is no such resource.
    #[default]
    No,
    Yes,
    /// The resource belongs to another stack.
    Taken,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The object is gone for bindery.
    Forget,
    AddFinalizer,
    RemoveFinalizer,
    Create,
    /// A resource that exists is imported into a new stack, which the object then adopts.
    Import,
    /// The stack gets the object's marks and parameters.
    Update,
    Delete,
    /// A failed creation is deleted and counted.
    DeleteFailedCreation,
    ContinueRollback,
    /// CloudFormation works.
    Wait,
    /// The stack is as wanted.
    Settled,
    /// The creation failed too often.
    GiveUp,
    /// The stack of this name belongs to somebody else.
    NameTaken,
    /// What is to be adopted does not exist.
    NothingToAdopt,
}

impl Step {
    /// Whether the object has a stack after this step, which the ledger must know before.
    pub(super) fn keeps_stack(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Import
                | Self::Update
                | Self::DeleteFailedCreation
                | Self::ContinueRollback
                | Self::Wait
                | Self::Settled
                | Self::GiveUp
        )
    }
}

impl Observed<'_> {
    pub(super) fn next(&self) -> Step {
        if self.is_deleting {
            return self.next_of_deletion();
        }
        if !self.has_finalizer {
            return Step::AddFinalizer;
        }
        let Some(stack) = self.stack else {
            return match (self.adoption, self.importable) {
                (Adoption::Never, _) | (Adoption::AdoptOrCreate, Importable::No) => Step::Create,
                (_, Importable::Yes) => Step::Import,
                (_, Importable::Taken) | (Adoption::Adopt, Importable::No) => Step::NothingToAdopt,
            };
        };
        let status = &stack.status;
        if !self.is_ours {
            return self.next_of_foreign(status);
        }
        if status.is_in_progress() {
            Step::Wait
        } else if status.is_failed_creation() {
            if self.rollbacks < MOST_ROLLBACKS { Step::DeleteFailedCreation } else { Step::GiveUp }
        } else if status.is_failed_deletion() {
            Step::Delete
        } else if !status.is_usable() {
            Step::ContinueRollback
        } else if self.differs {
            Step::Update
        } else {
            Step::Settled
        }
    }

    fn next_of_foreign(&self, status: &StackStatus) -> Step {
        match self.adoption {
            // The stack of a deleted object of this name.
            Adoption::Never if status.is_deleting() => Step::Wait,
            Adoption::Never => Step::NameTaken,
            _ if self.is_interrupted_import(status) => Step::Import,
            // A stack whose import failed may have other resources or none.
            _ if status.is_in_review() || status.is_failed_import() => Step::NameTaken,
            _ if status.is_in_progress() => Step::Wait,
            _ if status.is_usable() => Step::Update,
            _ => Step::NameTaken,
        }
    }

    /// Whether the stack is what an interrupted import has left: it has no resources.
    fn is_interrupted_import(&self, status: &StackStatus) -> bool {
        let is_importing = self.adoption != Adoption::Never && self.importable == Importable::Yes;
        !self.is_ours && is_importing && status.is_in_review()
    }

    fn next_of_deletion(&self) -> Step {
        if !self.has_finalizer {
            return Step::Forget;
        }
        match self.stack {
            Some(stack) if self.is_interrupted_import(&stack.status) => Step::Delete,
            Some(stack) if self.is_ours && !self.retains => {
                let status = &stack.status;
                // CloudFormation ends a creation for a deletion, but not an update.
                let must_wait = status.is_in_progress() && !status.is_creating();
                if must_wait { Step::Wait } else { Step::Delete }
            }
            _ => Step::RemoveFinalizer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn stack(status: &str) -> Stack {
        Stack {
            id: String::new(),
            name: String::new(),
            status: StackStatus::new(status),
            parameters: BTreeMap::new(),
            outputs: BTreeMap::new(),
            tags: BTreeMap::new(),
            topics: Vec::new(),
        }
    }

    const LIVING: Observed<'_> = Observed {
        is_deleting: false,
        has_finalizer: true,
        retains: false,
        stack: None,
        is_ours: true,
        adoption: Adoption::Never,
        importable: Importable::No,
        rollbacks: 0,
        differs: false,
    };

    #[rstest::rstest]
    #[case("CREATE_IN_PROGRESS", Step::Wait)]
    #[case("CREATE_COMPLETE", Step::Settled)]
    #[case("ROLLBACK_IN_PROGRESS", Step::Wait)]
    #[case("ROLLBACK_COMPLETE", Step::DeleteFailedCreation)]
    #[case("DELETE_IN_PROGRESS", Step::Wait)]
    #[case("DELETE_FAILED", Step::Delete)]
    #[case("UPDATE_COMPLETE", Step::Settled)]
    #[case("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Step::Wait)]
    #[case("UPDATE_ROLLBACK_COMPLETE", Step::Settled)]
    #[case("UPDATE_ROLLBACK_FAILED", Step::ContinueRollback)]
    fn each_state_of_the_stack_has_a_step(#[case] status: &str, #[case] step: Step) {
        assert_eq!(Observed { stack: Some(&stack(status)), ..LIVING }.next(), step);
    }

    #[test]
    fn a_missing_stack_is_created_unless_it_is_to_be_adopted() {
        assert_eq!(LIVING.next(), Step::Create);
        assert_eq!(Observed { adoption: Adoption::AdoptOrCreate, ..LIVING }.next(), Step::Create);
        assert_eq!(Observed { adoption: Adoption::Adopt, ..LIVING }.next(), Step::NothingToAdopt);
        assert_eq!(Observed { has_finalizer: false, ..LIVING }.next(), Step::AddFinalizer);
    }

    #[test]
    fn a_resource_that_is_to_be_adopted_is_imported() {
        let named = Observed { adoption: Adoption::Adopt, importable: Importable::Yes, ..LIVING };
        assert_eq!(named.next(), Step::Import);
        let taken = Observed { importable: Importable::Taken, adoption: Adoption::AdoptOrCreate, ..LIVING };
        assert_eq!(taken.next(), Step::NothingToAdopt, "no second queue is created beside it");
        assert_eq!(Observed { adoption: Adoption::AdoptOrCreate, ..named }.next(), Step::Import);
        assert_eq!(Observed { adoption: Adoption::Never, ..named }.next(), Step::Create);
        let of = |status: &str, is_deleting: bool| {
            let stack = stack(status);
            let observed = Observed { stack: Some(&stack), is_ours: false, is_deleting, ..named };
            (observed.next(), Observed { importable: Importable::No, ..observed }.next())
        };
        assert_eq!(of("REVIEW_IN_PROGRESS", false), (Step::Import, Step::NameTaken), "an interrupted import");
        assert_eq!(of("REVIEW_IN_PROGRESS", true), (Step::Delete, Step::RemoveFinalizer));
        assert_eq!(of("IMPORT_IN_PROGRESS", false), (Step::Wait, Step::Wait));
        assert_eq!(of("IMPORT_COMPLETE", false), (Step::Update, Step::Update), "the marks follow");
        assert_eq!(of("IMPORT_ROLLBACK_COMPLETE", false), (Step::NameTaken, Step::NameTaken));
        assert_eq!(of("IMPORT_COMPLETE", true), (Step::RemoveFinalizer, Step::RemoveFinalizer));
    }

    #[test]
    fn a_creation_that_fails_again_and_again_ends() {
        let failed = stack("ROLLBACK_COMPLETE");
        let observed = Observed { stack: Some(&failed), rollbacks: MOST_ROLLBACKS, ..LIVING };
        assert_eq!(observed.next(), Step::GiveUp);
    }

    #[test]
    fn the_stack_of_somebody_else_is_left_alone() {
        let (complete, deleting) = (stack("CREATE_COMPLETE"), stack("DELETE_IN_PROGRESS"));
        let foreign = Observed { stack: Some(&complete), is_ours: false, ..LIVING };
        assert_eq!(foreign.next(), Step::NameTaken);
        assert_eq!(Observed { is_deleting: true, ..foreign }.next(), Step::RemoveFinalizer);
        assert_eq!(Observed { adoption: Adoption::Adopt, ..foreign }.next(), Step::Update);
        assert_eq!(Observed { stack: Some(&deleting), ..foreign }.next(), Step::Wait);
    }

    #[rstest::rstest]
    #[case("CREATE_IN_PROGRESS", Step::Delete)]
    #[case("CREATE_COMPLETE", Step::Delete)]
    #[case("UPDATE_IN_PROGRESS", Step::Wait)]
    #[case("DELETE_IN_PROGRESS", Step::Wait)]
    #[case("DELETE_FAILED", Step::Delete)]
    fn a_deleted_object_takes_its_stack_along(#[case] status: &str, #[case] step: Step) {
        let stack = stack(status);
        let deleting = Observed { is_deleting: true, stack: Some(&stack), ..LIVING };
        assert_eq!(deleting.next(), step);
        assert_eq!(Observed { retains: true, ..deleting }.next(), Step::RemoveFinalizer);
        assert_eq!(Observed { stack: None, ..deleting }.next(), Step::RemoveFinalizer);
        assert_eq!(Observed { has_finalizer: false, ..deleting }.next(), Step::Forget);
    }
}
