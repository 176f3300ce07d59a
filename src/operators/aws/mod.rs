//! The AWS Service Operator's API: an object of `service-operator.aws` becomes a stack of CloudFormation. `step` decides
//! what is next (pure), `desired` says what the stack shall be (pure), `reconcile` does it. Every object keeps a finalizer
//! until its stack is gone.

mod accounts;
mod adoption;
mod change_stack;
mod controller;
mod definitions;
mod desired;
mod drift;
mod error;
mod import;
mod ledger;
mod listing;
mod long_templates;
mod memory;
mod models;
mod outputs;
mod policies;
mod push;
mod reasons;
mod reconcile;
mod references;
mod release;
mod report;
mod resource_events;
mod settings;
mod step;
mod sweep;

pub use self::{
    accounts::AccountList,
    controller::run,
    definitions::definitions,
    policies::DeletionPolicy,
    settings::{OperatorSettings, StackEvents},
    sweep::{StackSweepError, UnownedStack, unowned_stacks},
};
