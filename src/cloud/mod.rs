//! Clients of clouds: accounts, credentials, rate limits, and the few resources that several parts of bindery create.
//! Nothing here knows the broker or Kubernetes. `call`, `credentials`, `error_kind`, `rate` and `retry` are what all clouds share.

pub mod alibaba;
pub mod aws;
mod call;
mod credentials;
mod digest;
mod error_chain;
mod error_kind;
mod http_client;
mod rate;
mod retry;
mod xml;

pub use self::{
    call::{Call, Retry},
    credentials::{AssumedRole, Credentials, KeyId},
    digest::digest,
    error_kind::ErrorKind,
};
pub(crate) use self::{error_chain::error_chain, http_client::http_client};
