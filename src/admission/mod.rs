//! The mutating admission webhook and the pure injection it shares with `bindery inject`. TLS and the webhook's
//! registration belong to `cluster` and the chart.

pub mod bindings;
pub mod gates;
pub mod inject;
mod lean;
mod load;
pub mod namespaces;
mod review;
pub mod secrets;
pub mod webhook;

#[cfg(test)]
mod tests;
