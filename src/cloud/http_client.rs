//! HTTP clients for what has no SDK.

use reqwest::{ClientBuilder, redirect::Policy};

/// A client with TLS by ring and without redirects, for the caller's time limits.
pub(crate) fn http_client() -> ClientBuilder {
    // The client takes the process's provider, which a caller of the library may not have chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(Policy::none())
}
