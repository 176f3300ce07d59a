//! Custom resource types, pure: what users write and what bindery answers in their status.

pub mod bindery;
pub mod servicecatalog;
