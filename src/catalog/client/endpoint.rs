//! The settings of a broker's client: the address, the credentials and the trusted certificates.

use k8s_openapi::ByteString;
use percent_encoding::percent_decode_str;
use reqwest::redirect;
use secrecy::SecretString;
use std::time::Duration;
use url::Url;

use super::{ClientError, address, error};
use crate::apis::servicecatalog::BrokerUrl;

/// The time limit of a request after its turn has come, including connecting.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The time limit of connecting; short, so that a dead broker does not delay the others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The credentials for a broker.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A bearer token.
    Bearer(SecretString),
}

/// All settings of a broker's client.
#[derive(Debug)]
pub struct Endpoint {
    /// The broker's address. Credentials in it are used unless `credentials` is set.
    pub url: BrokerUrl,
    /// Accept any certificate.
    pub insecure_skip_tls_verify: bool,
    /// The certificate authorities to trust, PEM. Default: those of the system.
    pub ca_bundle: Option<ByteString>,
    /// Overrides credentials in the URL.
    pub credentials: Option<Credentials>,
}

impl Endpoint {
    /// The HTTP client for this endpoint.
    pub(super) fn http(&self) -> Result<reqwest::Client, ClientError> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("bindery/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // A proxy would resolve the name itself and could call addresses that the resolver refuses.
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(address::Resolver)
            .tls_danger_accept_invalid_certs(self.insecure_skip_tls_verify);
        if let Some(bundle) = &self.ca_bundle {
            let certificates = reqwest::Certificate::from_pem_bundle(&bundle.0)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or(ClientError::BadCaBundle)?;
            http = http.tls_certs_only(certificates);
        }
        http.build().map_err(|error| ClientError::Tls(error::causes(&error)))
    }
}

/// Splits the URL into the address and the credentials.
pub(super) fn split_url(url: &BrokerUrl) -> Result<(Url, Option<Credentials>), ClientError> {
    let mut base = Url::parse(url.expose()).map_err(|error| ClientError::BadUrl(error.to_string()))?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(ClientError::BadUrl(format!("its scheme is {}", base.scheme())));
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials =
        (!base.username().is_empty() || base.password().is_some()).then(|| Credentials::Basic {
            username: decoded(base.username()),
            password: decoded(base.password().unwrap_or_default()).into(),
        });
    let stripped = base.set_username("").and_then(|()| base.set_password(None));
    stripped.map_err(|()| ClientError::BadUrl("it has no host".to_owned()))?;
    base.set_query(None);
    base.set_fragment(None);
    Ok((base, credentials))
}
