//! What a binding is to a pod: its Secrets, its variables, and whether they are there.

pub mod readiness;
pub(crate) mod secrets;
pub mod variables;
