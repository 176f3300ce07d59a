//! Signature version 3 (`ACS3-HMAC-SHA256`) of RDS, RAM and STS:
//! <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use super::{AccessKey, sha256};

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// A request to sign. Its path is `/`, as that of all remote procedure calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// The host, with its port unless that is the default, as the header names it.
    pub(super) host: &'a str,
    pub(super) action: &'a str,
    pub(super) version: &'a str,
    /// The encoded query, in order.
    pub(super) query: &'a str,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: &'a [u8],
    /// The time, as `2006-01-02T15:04:05Z`.
    pub(super) date: &'a str,
    /// A text that no other request has.
    pub(super) nonce: &'a str,
}

/// The headers of a request, beside `host`. Without a key, the request is anonymous.
pub(super) fn headers(request: &Unsigned<'_>, key: Option<&AccessKey>) -> BTreeMap<&'static str, String> {
    let content = sha256::digest(request.body);
    let mut headers = BTreeMap::from([
        ("x-acs-action", request.action.to_owned()),
        ("x-acs-content-sha256", content.clone()),
        ("x-acs-date", request.date.to_owned()),
        ("x-acs-signature-nonce", request.nonce.to_owned()),
        ("x-acs-version", request.version.to_owned()),
    ]);
    headers.extend(request.content_type.map(|content_type| ("content-type", content_type.to_owned())));
    let Some(key) = key else { return headers };
    headers
        .extend(key.token.as_ref().map(|token| ("x-acs-security-token", token.expose_secret().to_owned())));
    let mut signed = headers.clone();
    signed.insert("host", request.host.to_owned());
    let names: Vec<_> = signed.keys().copied().collect();
    let names = names.join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("{}\n/\n{}\n{lines}\n{names}\n{content}", request.method, request.query);
    let to_sign = format!("{ALGORITHM}\n{}", sha256::digest(canonical.as_bytes()));
    let signature = hex::encode(sha256::hmac(key.secret.expose_secret().as_bytes(), &to_sign));
    headers.insert(
        "authorization",
        format!("{ALGORITHM} Credential={},SignedHeaders={names},Signature={signature}", key.id),
    );
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::alibaba::percent;

    fn key(token: Option<&str>) -> AccessKey {
        let (id, secret) = ("YourAccessKeyId".to_owned(), "YourAccessKeySecret".into());
        AccessKey { id, secret, token: token.map(Into::into) }
    }

    fn request(query: &str) -> Unsigned<'_> {
        Unsigned {
            method: "POST",
            host: "ecs.cn-shanghai.aliyuncs.com",
            action: "RunInstances",
            version: "2014-05-26",
            query,
            content_type: None,
            body: b"",
            date: "2023-10-26T10:22:32Z",
            nonce: "3156853299f313e23d1673dc12e1703d",
        }
    }

    /// The example with fixed values of the documentation.
    #[test]
    fn a_signature_is_that_of_the_documentation() {
        let query = percent::query(
            [("RegionId", "cn-shanghai"), ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd")],
            false,
        );
        let headers = headers(&request(&query), Some(&key(None)));
        assert_eq!(
            headers["authorization"],
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;\
             x-acs-date;x-acs-signature-nonce;x-acs-version,\
             Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
    }

    #[test]
    fn the_token_of_a_session_and_the_type_of_a_body_are_signed() {
        let typed = Unsigned { content_type: Some("application/x-www-form-urlencoded"), ..request("") };
        let headers = headers(&typed, Some(&key(Some("token"))));
        let authorization = &headers["authorization"];
        assert!(authorization.contains("SignedHeaders=content-type;host;x-acs-action;"), "{authorization}");
        assert!(authorization.contains(";x-acs-security-token;"), "{authorization}");
        assert_eq!(headers["x-acs-security-token"], "token");
    }

    #[test]
    fn an_anonymous_request_has_no_signature() {
        assert!(!headers(&request(""), None).contains_key("authorization"));
    }
}
