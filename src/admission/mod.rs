//! The admission webhooks. `router` maps each path to a handler, `codec` decodes reviews and encodes responses, and
//! each handler has its own file. `server` provides TLS, and the chart registers the webhooks. A new webhook needs a
//! file that implements [`Handler`], and one line where the process is assembled.

mod authored;
mod codec;
mod decision;
mod gates;
mod handler;
pub mod namespace_defaults;
pub mod namespaces;
pub mod pods;
pub mod router;
mod secret_rights;
pub mod service_bindings;
pub mod service_brokers;
pub mod service_instances;
mod sparse_decode;
pub mod workloads;

pub use self::{
    codec::{MalformedReview, Request},
    decision::{Decision, DenialStatus},
    handler::Handler,
    sparse_decode::{Object, WholeObject},
};

#[cfg(test)]
mod tests;
