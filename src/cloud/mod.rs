//! Clients of clouds: accounts, credentials, rate limits, and the few resources that several parts of bindery create.
//! Nothing here knows the broker or Kubernetes.

pub mod aws;
