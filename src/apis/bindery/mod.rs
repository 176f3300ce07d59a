//! `bindery.dev`: the kinds of bindery's own.

pub mod external_resource;
pub mod namespace_binding;
