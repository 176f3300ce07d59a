//! `bindery.dev`: bindery's own kinds.

pub mod external_resource;
pub mod label_selector;
pub mod namespace_binding;
pub mod stack_record;
