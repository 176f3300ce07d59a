//! Amazon Web Services. An [`Account`] calls CloudFormation, IAM and STS in one region: [`stacks`], [`stack_events`],
//! [`change_sets`], [`drift`], [`users`], [`roles`], [`sessions`], [`buckets`], [`secrets`] and [`pod_identity`] have the
//! operations, [`policy`], [`template`] and [`long_form`] the documents (pure). `signed` has the calls without a client of the SDK, `sdk` the set-up
//! that all clients of the SDK share.

mod account;
pub mod buckets;
pub mod change_sets;
pub mod drift;
mod error;
pub mod long_form;
pub mod pod_identity;
pub mod policy;
pub mod queues;
pub mod roles;
pub(crate) mod sdk;
pub mod secrets;
mod send;
pub mod sessions;
mod signed;
pub mod stack_events;
mod stack_name;
mod stack_status;
pub mod stacks;
pub mod template;
#[cfg(test)]
mod tests;
pub mod users;

pub use self::{
    account::{Account, AccountSettings},
    error::{AwsError, missing_statement},
    stack_name::stack_name,
    stack_status::StackStatus,
};
pub use super::{AssumedRole, Call, Credentials, ErrorKind, KeyId, Retry, digest};
