//! bindery gives every pod the credentials it is bound to, and nothing else. `ARCHITECTURE.md` shows the parts and
//! which way the arrows go.

pub mod admission;
pub mod broker;
pub mod catalog;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod contract;
pub mod osb;
pub mod telemetry;
