//! Signature version 4 of OSS (`OSS4-HMAC-SHA256`):
//! <https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4>.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use super::{AccessKey, percent, sha256};

const ALGORITHM: &str = "OSS4-HMAC-SHA256";
/// The content is not part of the signature: TLS protects it.
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A request to sign.
#[derive(Clone, Debug)]
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    pub(super) region: &'a str,
    /// The bucket; none for the list of all buckets.
    pub(super) bucket: Option<&'a str>,
    pub(super) key: &'a str,
    /// The encoded query, in order.
    pub(super) query: &'a str,
    /// The headers to sign: `content-type`, `content-md5` and those of OSS.
    pub(super) headers: BTreeMap<&'static str, String>,
    /// The time, as `20060102T150405Z`.
    pub(super) date: &'a str,
}

/// The headers of a request.
pub(super) fn headers(request: &Unsigned<'_>, key: &AccessKey) -> BTreeMap<&'static str, String> {
    let mut headers = request.headers.clone();
    headers.insert("x-oss-content-sha256", PAYLOAD.to_owned());
    headers.insert("x-oss-date", request.date.to_owned());
    headers
        .extend(key.token.as_ref().map(|token| ("x-oss-security-token", token.expose_secret().to_owned())));
    // The bucket is part of the signed path, also where it is part of the host.
    let resource =
        request.bucket.map_or_else(|| "/".to_owned(), |bucket| format!("/{bucket}/{}", request.key));
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical =
        format!("{}\n{}\n{}\n{lines}\n\n{PAYLOAD}", request.method, percent::path(&resource), request.query);
    let day = request.date.get(..8).unwrap_or_default();
    let scope = [day, request.region, "oss", "aliyun_v4_request"];
    let named = scope.join("/");
    let to_sign = format!("{ALGORITHM}\n{}\n{named}\n{}", request.date, sha256::digest(canonical.as_bytes()));
    let secret = format!("aliyun_v4{}", key.secret.expose_secret()).into_bytes();
    let signing_key = scope.iter().fold(secret, |key, part| sha256::hmac(&key, part));
    let signature = hex::encode(sha256::hmac(&signing_key, &to_sign));
    headers
        .insert("authorization", format!("{ALGORITHM} Credential={}/{named},Signature={signature}", key.id));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the tests of Alibaba Cloud's own SDKs.
    #[test]
    fn a_signature_is_that_of_the_sdks() {
        let query = percent::query(
            [
                ("param1", "value1"),
                ("+param1", "value3"),
                ("|param1", "value4"),
                ("+param2", ""),
                ("|param2", ""),
                ("param2", ""),
            ],
            true,
        );
        let request = Unsigned {
            method: "PUT",
            region: "cn-hangzhou",
            bucket: Some("bucket"),
            key: "1234+-/123/1.txt",
            query: &query,
            headers: BTreeMap::from([
                ("content-type", "text/plain".to_owned()),
                ("x-oss-head1", "value".to_owned()),
            ]),
            date: "20231216T162057Z",
        };
        let key = AccessKey { id: "ak".to_owned(), secret: "sk".into(), token: None };
        assert_eq!(
            headers(&request, &key)["authorization"],
            "OSS4-HMAC-SHA256 Credential=ak/20231216/cn-hangzhou/oss/aliyun_v4_request,\
             Signature=e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe"
        );
    }
}
