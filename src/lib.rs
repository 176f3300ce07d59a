//! bindery gives every pod the credentials it is bound to, and nothing else. `ARCHITECTURE.md` shows the parts and
//! which way the arrows go.

pub mod admission;
pub mod apis;
pub mod bindings;
pub mod broker;
pub mod catalog;
pub mod cli;
pub mod cloud;
pub mod contract;
pub mod enforcement;
pub mod injection;
pub mod install;
pub mod k8s;
pub mod namespace_bindings;
pub mod operators;
pub mod osb;
pub mod pods;
pub mod policy;
pub mod server;
pub mod telemetry;
