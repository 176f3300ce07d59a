//! Amazon Web Services. An [`Account`] calls CloudFormation, IAM and STS in one region: [`stacks`], [`change_sets`],
//! [`users`], [`roles`], [`sessions`] and [`buckets`] have the operations, [`policy`], [`template`] and [`long_form`] the
//! documents (pure). `sdk` is the set-up
//! that all clients of the SDK share.

mod account;
pub mod buckets;
mod call;
pub mod change_sets;
mod credentials;
mod digest;
mod error;
pub mod long_form;
pub mod policy;
mod rate;
pub mod roles;
pub(crate) mod sdk;
mod send;
pub mod sessions;
mod stack_name;
mod stack_status;
pub mod stacks;
pub mod template;
#[cfg(test)]
mod tests;
pub mod users;

pub use self::{
    account::{Account, AccountSettings, AssumedRole},
    call::{Call, Retry},
    credentials::{Credentials, KeyId},
    digest::digest,
    error::{AwsError, ErrorKind, missing_statement},
    stack_name::stack_name,
    stack_status::StackStatus,
};
