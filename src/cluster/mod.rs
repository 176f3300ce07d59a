//! Kubernetes plumbing shared by the roles: serving certificates, TLS servers, leader election, the broker's own
//! Secret and its registration, watches and waits. What the roles do with them is theirs; nothing here knows credentials of bindings.

pub mod broker_secret;
pub mod certificates;
mod client;
pub mod clients;
mod explain;
pub mod leader;
pub mod namespaces;
pub mod pki;
pub mod registration;
pub mod retry;
pub mod server;
pub mod watch;
pub mod webhook_bundle;

pub use client::client;
pub use explain::explain;
