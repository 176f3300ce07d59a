//! The admission webhooks. `router` maps each path to a handler, `codec` reads reviews and writes answers, and each handler has a
//! file. TLS belongs to `server`, the registration of the webhooks to the chart.
//!
//! A new webhook is a file that implements [`Handler`], and a line where the process is put together.

mod codec;
mod decision;
mod gates;
mod handler;
pub mod namespace_defaults;
pub mod namespaces;
pub mod pods;
pub mod router;
pub mod service_brokers;
mod sparse_decode;
pub mod workloads;

pub use self::{
    codec::{MalformedReview, Request},
    decision::{Decision, DenialStatus},
    handler::Handler,
};

#[cfg(test)]
mod tests;
