//! The words of bindery's own in `status.resourceStatus` and in events; all others are CloudFormation's.

/// A stack of that name belongs to somebody else.
pub(super) const STACK_NAME_TAKEN: &str = "StackNameTaken";
/// The stack or the resource to adopt does not exist.
pub(super) const NOTHING_TO_ADOPT: &str = "NothingToAdopt";
/// The object asks to adopt a resource that its Namespace does not list.
pub(super) const ADOPTION_NOT_ALLOWED: &str = "AdoptionNotAllowed";
/// The object is deleted, and its stack stays.
pub(super) const RETAINED: &str = "Retained";
/// The object is gone, and bindery deletes its stack.
pub(super) const DELETING_STACK: &str = "DeletingStack";
/// The object is gone, and its stack has not been found yet.
pub(super) const LOOKING_FOR_STACK: &str = "LookingForStack";
/// Somebody changed a resource of the stack without CloudFormation.
pub(super) const DRIFTED: &str = "Drifted";
/// An update would replace a resource that holds data.
pub(super) const REPLACEMENT_REFUSED: &str = "ReplacementRefused";
/// AWS refused a call.
pub(super) const AWS_CALL_FAILED: &str = "AwsCallFailed";
/// The object, its `ConfigMap` or its Service cannot be written.
pub(super) const NOT_WRITTEN: &str = "NotWritten";
/// An annotation has a value that means nothing.
pub(super) const INVALID_ANNOTATION: &str = "InvalidAnnotation";
/// The Namespace asks for an account that is not on the list.
pub(super) const ACCOUNT_NOT_ALLOWED: &str = "AccountNotAllowed";
/// An object that the spec names does not exist or has no outputs.
pub(super) const REFERENCE_NOT_READY: &str = "ReferenceNotReady";
/// The template of the user cannot be read.
pub(super) const TEMPLATE_UNREADABLE: &str = "TemplateUnreadable";
