//! Custom resource types: what users write and what bindery reports in the status. Pure.

pub mod aws_operator;
pub mod bindery;
pub mod servicecatalog;
