//! Credentials, retries and answers, against a stand-in that records what it was asked.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, body::Bytes, http::HeaderMap};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use tokio::net::TcpListener;

use super::{db_accounts::DbAccountRequest, *};

/// A recorded request.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The key that signed the request.
    fn key(&self) -> &str {
        let credential = self.header("authorization").split_once("Credential=").map_or("", |(_, rest)| rest);
        credential.split([',', '/']).next().unwrap()
    }
}

/// A stand-in on a port of its own, which ends with the test.
struct StandIn {
    url: url::Url,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl StandIn {
    async fn start(answer: impl Fn(&Asked) -> (u16, String) + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let record = asked.clone();
        let handler = move |method: Method, uri: axum::http::Uri, headers: HeaderMap, body: Bytes| {
            let (answer, record) = (answer.clone(), record.clone());
            async move {
                let headers = headers.iter().map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                });
                let asked = Asked {
                    method: method.to_string(),
                    path: uri.to_string(),
                    headers: headers.collect(),
                    body: String::from_utf8_lossy(&body).into_owned(),
                };
                let (status, text) = answer(&asked);
                record.lock().unwrap().push(asked);
                (StatusCode::from_u16(status).unwrap(), text)
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
        Self { url, asked }
    }

    fn account(&self, environment: &[(&str, &str)], settings: AccountSettings) -> Account {
        let url = || Some(self.url.clone());
        let endpoints = Endpoints { rds: url(), ram: url(), sts: url(), oss: url(), metadata: url() };
        let named = |(name, value): &(&str, &str)| (format!("ALIBABA_CLOUD_{name}"), (*value).to_owned());
        Account::new(AccountSettings {
            region: Some("cn-hangzhou".to_owned()),
            endpoints,
            environment: Environment::new(environment.iter().map(named)),
            requests_per_second: NonZeroU32::new(1000),
            ..settings
        })
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

const CALLER: &str = r#"{"AccountId":"1","Arn":"acs:ram::1:user/broker","RequestId":"r"}"#;
const KEY: [(&str, &str); 2] = [("ACCESS_KEY_ID", "ak"), ("ACCESS_KEY_SECRET", "sk")];

fn session(id: &str, lasts: SignedDuration) -> String {
    let end = Timestamp::now().checked_add(lasts).unwrap().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{id}","AccessKeySecret":"s","SecurityToken":"t","Expiration":"{end}"}}"#
    )
}

fn answers_by_action(asked: &Asked) -> (u16, String) {
    match asked.header("x-acs-action") {
        "AssumeRole" => {
            (200, format!(r#"{{"Credentials":{}}}"#, session("STS.role", SignedDuration::from_hours(1))))
        }
        "AssumeRoleWithOIDC" => {
            (200, format!(r#"{{"Credentials":{}}}"#, session("STS.oidc", SignedDuration::from_hours(1))))
        }
        _ => (200, CALLER.to_owned()),
    }
}

#[tokio::test]
async fn a_key_of_the_settings_counts_before_the_environment() {
    let server = StandIn::start(answers_by_action).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "sk\n").unwrap();
    let credentials = Credentials::AccessKey {
        id: KeyId::Given("static".to_owned()),
        secret_file: secret.path().to_owned(),
    };
    let account = server.account(&KEY, AccountSettings { credentials, ..AccountSettings::default() });
    assert_eq!(account.caller().await.unwrap().account, "1");
    assert_eq!(server.asked()[0].key(), "static");
    assert_eq!(server.account(&KEY, AccountSettings::default()).caller().await.unwrap().account, "1");
    assert_eq!(server.asked()[1].key(), "ak");
}

#[tokio::test]
async fn a_token_of_the_cluster_gives_a_session_without_a_signature() {
    let server = StandIn::start(answers_by_action).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "header.claims.signature").unwrap();
    let file = token.path().to_str().unwrap();
    let rrsa = [
        ("ROLE_ARN", "acs:ram::1:role/broker"),
        ("OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/ack"),
        ("OIDC_TOKEN_FILE", file),
    ];
    server.account(&rrsa, AccountSettings::default()).caller().await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[0].header("authorization"), "");
    assert!(asked[0].body.contains("OIDCToken=header.claims.signature"), "{}", asked[0].body);
    assert!(!asked[0].path.contains("OIDCToken"), "the token is in no URL: {}", asked[0].path);
    assert_eq!((asked[1].key(), asked[1].header("x-acs-security-token")), ("STS.oidc", "t"));
}

#[tokio::test]
async fn a_role_is_assumed_with_the_own_key() {
    let server = StandIn::start(answers_by_action).await;
    let arn = "acs:ram::2:role/other".to_owned();
    let role = Some(AssumedRole { arn, external_id: Some("x-7".to_owned()) });
    let account = server.account(&KEY, AccountSettings { role, ..AccountSettings::default() });
    account.caller().await.unwrap();
    account.caller().await.unwrap();
    let asked = server.asked();
    assert!(asked[0].path.contains("ExternalId=x-7"), "{}", asked[0].path);
    let keys: Vec<_> = asked.iter().map(Asked::key).collect();
    assert_eq!(keys, ["ak", "STS.role", "STS.role"]);
}

/// The metadata service, whose sessions last so long.
fn machine(lasts: SignedDuration) -> impl Fn(&Asked) -> (u16, String) + Clone {
    move |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("PUT", "/latest/api/token") => (200, "metadata-token".to_owned()),
        ("GET", path) if asked.header("x-aliyun-ecs-metadata-token") == "metadata-token" => match path {
            "/latest/meta-data/ram/security-credentials/" => (200, "worker".to_owned()),
            "/latest/meta-data/ram/security-credentials/worker" => (200, session("STS.ecs", lasts)),
            "/latest/meta-data/vpc-id" => (200, "vpc-1\n".to_owned()),
            _ => (404, String::new()),
        },
        ("POST", _) => (200, CALLER.to_owned()),
        _ => (403, String::new()),
    }
}

#[tokio::test]
async fn the_role_of_the_machine_is_asked_for_with_a_token() {
    let server = StandIn::start(machine(SignedDuration::from_hours(6))).await;
    let account = server.account(&[], AccountSettings::default());
    account.caller().await.unwrap();
    assert_eq!(server.asked().last().unwrap().key(), "STS.ecs");
    assert_eq!(account.machine("vpc-id").await.unwrap().as_deref(), Some("vpc-1"));
    assert_eq!(account.machine("vswitch-id").await.unwrap(), None);
}

#[tokio::test]
async fn a_session_is_renewed_before_it_ends() {
    let server = StandIn::start(machine(SignedDuration::from_mins(4))).await;
    let account = server.account(&[("ECS_METADATA", "worker")], AccountSettings::default());
    account.caller().await.unwrap();
    account.caller().await.unwrap();
    let asked = server.asked();
    let renewals = asked.iter().filter(|asked| asked.path.ends_with("/worker")).count();
    assert_eq!(renewals, 2, "four minutes are too few for another call");
}

#[tokio::test]
async fn a_session_that_lasts_is_kept_when_it_cannot_be_renewed() {
    let renewals = Arc::new(AtomicUsize::new(0));
    let healthy = machine(SignedDuration::from_mins(4));
    let server = StandIn::start(move |asked| {
        let is_renewal = asked.path.ends_with("/worker");
        if is_renewal && renewals.fetch_add(1, Ordering::SeqCst) > 0 {
            (500, String::new())
        } else {
            healthy(asked)
        }
    });
    let server = server.await;
    let account = server.account(&[], AccountSettings::default());
    account.caller().await.unwrap();
    account.caller().await.unwrap();
}

#[tokio::test]
async fn a_machine_without_a_role_is_an_error_that_names_the_remedy() {
    let server = StandIn::start(|_| (404, String::new())).await;
    let error = server.account(&[], AccountSettings::default()).caller().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.to_string().contains("attach one, or set a key"), "{error}");
    let forbidden = [("ECS_METADATA_DISABLED", "true")];
    let error = server.account(&forbidden, AccountSettings::default()).caller().await.unwrap_err();
    assert!(error.to_string().contains("RRSA"), "{error}");
}

fn failing(times: usize, status: u16, code: &'static str) -> impl Fn(&Asked) -> (u16, String) + Clone {
    let left = Arc::new(AtomicUsize::new(times));
    move |_| {
        let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let refused = format!(r#"{{"Code":"{code}","Message":"m","RequestId":"r-7"}}"#);
        if fails { (status, refused) } else { (200, CALLER.to_owned()) }
    }
}

#[tokio::test]
async fn a_throttled_call_is_repeated_with_another_nonce() {
    let server = StandIn::start(failing(1, 400, "Throttling.User")).await;
    server.account(&KEY, AccountSettings::default()).caller().await.unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].header("x-acs-signature-nonce"), asked[1].header("x-acs-signature-nonce"));
}

#[tokio::test]
async fn only_an_idempotent_call_is_repeated_after_a_fault_of_the_server() {
    let server = StandIn::start(failing(1, 500, "InternalError")).await;
    let account = server.account(&KEY, AccountSettings::default());
    account.reset_db_password("rm-1", "app", &"s3cret-pw".into()).await.unwrap();
    assert_eq!(server.asked().len(), 2);

    let server = StandIn::start(failing(1, 500, "InternalError")).await;
    let account = server.account(&KEY, AccountSettings::default());
    let wanted = DbAccountRequest { name: "app", password: &"s3cret-pw".into(), description: "of a binding" };
    let error = account.create_db_account("rm-1", &wanted).await.unwrap_err();
    assert_eq!((error.kind(), server.asked().len()), (ErrorKind::Unavailable, 1));
    let text = error.to_string();
    assert!(text.contains("request r-7") && text.contains("rds:CreateAccount on app"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_refused_key_is_read_again() {
    let server = StandIn::start(failing(1, 404, "InvalidAccessKeyId.NotFound")).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "old").unwrap();
    let id = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(id.path(), "old").unwrap();
    let credentials = Credentials::AccessKey {
        id: KeyId::File(id.path().to_owned()),
        secret_file: secret.path().to_owned(),
    };
    let account = server.account(&[], AccountSettings { credentials, ..AccountSettings::default() });
    assert_eq!(account.caller().await.unwrap_err().kind(), ErrorKind::Credentials);
    std::fs::write(id.path(), "new").unwrap();
    account.caller().await.unwrap();
    assert_eq!(server.asked()[1].key(), "new");
}

#[tokio::test]
async fn a_host_that_is_away_is_told_without_the_query() {
    let url: url::Url = "http://127.0.0.1:9".parse().unwrap();
    let endpoints = Endpoints { rds: Some(url), ..Endpoints::default() };
    let environment = Environment::new(
        KEY.iter().map(|(name, value)| (format!("ALIBABA_CLOUD_{name}"), (*value).to_owned())),
    );
    let region = Some("cn-hangzhou".to_owned());
    let account =
        Account::new(AccountSettings { region, endpoints, environment, ..AccountSettings::default() });
    let wanted = DbAccountRequest { name: "app", password: &"s3cret-pw".into(), description: "d" };
    let error = account.create_db_account("rm-1", &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_bucket_is_emptied_page_by_page() {
    let list = "<R><IsTruncated>true</IsTruncated><Contents><Key>a%26b</Key></Contents></R>";
    let uploads =
        "<R><IsTruncated>false</IsTruncated><Upload><Key>c</Key><UploadId>u1</UploadId></Upload></R>";
    let server = StandIn::start(move |asked: &Asked| {
        (200, if asked.path.contains("uploads") { uploads } else { list }.to_owned())
    });
    let server = server.await;
    let account = server.account(&KEY, AccountSettings::default());
    let content = account.content("b").await.unwrap();
    assert_eq!(content.objects, ["a&b"]);
    assert!(content.is_truncated);
    account.delete_content("b", &content).await.unwrap();
    let asked = server.asked();
    assert!(asked[2].body.contains("<Key>a&amp;b</Key>"), "{}", asked[2].body);
    assert!(!asked[2].header("content-md5").is_empty());
    assert_eq!((asked[3].method.as_str(), asked[3].path.as_str()), ("DELETE", "/b/c?uploadId=u1"));
}
