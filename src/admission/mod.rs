//! The mutating admission webhook and the pure injection it shares with `bindery inject`. TLS and the webhook's
//! registration belong to `cluster` and the chart.

pub mod gates;
pub mod namespaces;
mod review;
pub mod service_brokers;
mod sparse_decode;
pub mod webhook;

#[cfg(test)]
mod tests;
