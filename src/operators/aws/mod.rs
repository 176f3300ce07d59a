//! The AWS Service Operator's API: an object of `service-operator.aws` becomes a stack of CloudFormation. `step` decides
//! what is next (pure), `desired` says what the stack shall be (pure), `reconcile` does it. Every object keeps a finalizer
//! until its stack is gone.

mod accounts;
mod change_stack;
mod controller;
mod definitions;
mod desired;
mod error;
mod listing;
mod models;
mod outputs;
mod policies;
mod reasons;
mod reconcile;
mod references;
mod report;
mod settings;
mod step;
mod sweep;

pub use self::{
    controller::run,
    policies::DeletionPolicy,
    settings::OperatorSettings,
    sweep::{StackSweepError, UnownedStack, unowned_stacks},
};
