//! `bindery.dev`: bindery's own kinds.

pub mod credential_policy;
pub mod credential_policy_exception;
mod credential_policy_rules;
pub mod external_resource;
pub mod label_selector;
pub mod namespace_binding;
pub mod stack_record;
