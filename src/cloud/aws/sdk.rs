//! The set-up that all clients of the SDK share: TLS by ring, the default chain of credentials, and the text of errors
//! that did not come from a service.

use std::{error::Error, fmt::Debug};

use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_sts::error::SdkError;
use aws_smithy_http_client::tls::{Provider as Tls, rustls_provider::CryptoMode};

use crate::cloud::error_chain;

/// The SDK's default credentials: environment, profile, web identity (IRSA), container and EKS pod identity, instance.
pub(crate) fn default_chain() -> ConfigLoader {
    let http = aws_smithy_http_client::Builder::new();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http.tls_provider(Tls::Rustls(CryptoMode::Ring)).build_https())
}

/// The cause of a failed call that no service answered, without the response, whose `Debug` output is long.
pub(crate) fn cause<E, R>(error: &SdkError<E, R>) -> String
where
    E: Error + 'static,
    R: Debug,
{
    match error {
        SdkError::DispatchFailure(failure) => {
            failure.as_connector_error().map_or_else(String::new, |error| error_chain(error))
        }
        other => other.source().map_or_else(|| other.to_string(), error_chain),
    }
}

/// The address of a service.
pub(super) fn address(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{region}.{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("eu-west-1", "https://eks.eu-west-1.amazonaws.com")]
    #[case("cn-north-1", "https://eks.cn-north-1.amazonaws.com.cn")]
    fn a_region_has_an_address(#[case] region: &str, #[case] expected: &str) {
        assert_eq!(address("eks", region), expected);
    }
}
