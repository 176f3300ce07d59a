//! The vectors of the documentation, and what is refused of a signature.

use super::{
    super::{
        Alibaba, Key, Request,
        signature::{Authorization, Headers, Query, Signed, pairs, sha256},
    },
    ALL,
};

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Help page "Request syntax and signature method V3", fixed parameter example.
#[test]
fn version_3_has_the_signature_of_the_documentation() {
    let headers = headers(&[
        ("host", "ecs.cn-shanghai.aliyuncs.com"),
        ("x-acs-action", "RunInstances"),
        ("x-acs-content-sha256", &sha256(b"")),
        ("x-acs-date", "2023-10-26T10:22:32Z"),
        ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
        ("x-acs-version", "2014-05-26"),
    ]);
    let query = pairs("RegionId=cn-shanghai&ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd");
    let signed = Signed { method: "POST", path: "/", query: &query, headers: &headers };
    let names: Vec<_> = headers.keys().cloned().collect();
    assert_eq!(
        signed.acs3("YourAccessKeySecret", &names, &sha256(b"")),
        "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    );
}

/// The vectors that the SDKs of OSS share (signer v4: header, header with a token, additional headers).
#[test]
fn version_4_of_oss_has_the_signatures_of_the_sdk() {
    let common = [
        ("abc", "value"),
        ("content-type", "text/plain"),
        ("xyz", "value"),
        ("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-oss-head1", "value"),
        ("zabc", "value"),
    ];
    let query: Query = pairs("param1=value1&%2Bparam1=value3&%7Cparam1=value4&%2Bparam2&%7Cparam2&param2");
    let sign = |date: &str, token: Option<&str>, additional: &[&str]| {
        let mut headers = headers(&common);
        headers.insert("x-oss-date".to_owned(), date.to_owned());
        headers.extend(token.map(|token| ("x-oss-security-token".to_owned(), token.to_owned())));
        let signed =
            Signed { method: "PUT", path: "/bucket/1234+-/123/1.txt", query: &query, headers: &headers };
        let additional: Vec<_> = additional.iter().map(|name| (*name).to_owned()).collect();
        signed.oss4("sk", "cn-hangzhou", date, &additional)
    };
    for (date, token, additional, wanted) in [
        (
            "20231216T162057Z",
            None,
            &[][..],
            "e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe",
        ),
        (
            "20231217T034736Z",
            Some("token"),
            &[],
            "b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea",
        ),
        (
            "20231216T172512Z",
            None,
            &["abc", "zabc"],
            "4a4183c187c07c8947db7620deb0a6b38d9fbdd34187b6dbaccb316fa251212f",
        ),
    ] {
        assert_eq!(sign(date, token, additional), wanted, "{date}");
    }
}

#[test]
fn the_header_is_read_in_parts() {
    let header = "ACS3-HMAC-SHA256 Credential=ak,SignedHeaders=a;b,Signature=ff";
    let read = Authorization::read(header, "ACS3-HMAC-SHA256", "SignedHeaders").unwrap();
    assert_eq!((read.credential.as_str(), read.signature.as_str()), ("ak", "ff"));
    assert_eq!(read.headers, ["a", "b"]);
    assert!(Authorization::read(header, "OSS4-HMAC-SHA256", "AdditionalHeaders").is_none());
}

#[test]
fn a_wrong_secret_and_a_missing_signature_are_refused() {
    let cloud = Alibaba::start();
    let mut key = cloud.key("user", ALL);
    let who = |key: &Key| cloud.call(key, "sts", "GetCallerIdentity", &[]);
    assert_eq!(who(&key).unwrap()["IdentityType"], "RAMUser");
    key.secret.push('x');
    assert_eq!(who(&key).unwrap_err(), (400, "SignatureDoesNotMatch".to_owned()));
    let (status, body) = cloud.ask(&key, Request::oss("GET", "/", ""));
    assert_eq!(status, 403);
    assert!(body.contains("<Code>SignatureDoesNotMatch</Code>"), "{body}");
    key.id.push('x');
    assert_eq!(who(&key).unwrap_err(), (404, "InvalidAccessKeyId.NotFound".to_owned()));
    let (status, body) = cloud.ask_unsigned(Request::rpc("ram", "ListUsers", &[]));
    assert_eq!(status, 400);
    assert!(body.contains("IncompleteSignature"), "{body}");
}

#[test]
fn a_disabled_key_is_refused() {
    let cloud = Alibaba::start();
    let key = cloud.key("user", ALL);
    let disable = [("UserName", "user"), ("UserAccessKeyId", key.id.as_str()), ("Status", "Inactive")];
    super::done(&cloud, &Alibaba::root(), "ram:UpdateAccessKey", &disable);
    let who = cloud.call(&key, "sts", "GetCallerIdentity", &[]);
    assert_eq!(who.unwrap_err(), (400, "InvalidAccessKeyId.Inactive".to_owned()));
}
