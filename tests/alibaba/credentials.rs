//! The credentials of the broker: a token of the cluster (RRSA), and the role of the machine. Both end, and are renewed.

use bindery::cloud::alibaba::{Account, AccountSettings, AssumedRole, Endpoints, Environment, ErrorKind};
use bindery_test_support::alibaba::{ACCOUNT, Alibaba, REGION};
use serde_json::json;
use tempfile::NamedTempFile;

const SUBJECT: &str = "system:serviceaccount:bindery:bindery-broker";
const AUDIENCE: &str = "sts.aliyuncs.com";
/// What the tests do not need.
const ANYTHING: &str =
    r#"{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "oss:ListBuckets", "Resource": "*"}]}"#;

/// An account in an environment with these variables.
fn account(server: &Alibaba, environment: &[(&str, &str)], role: Option<AssumedRole>) -> Account {
    let url = || Some(server.url().parse().unwrap());
    let named = |(name, value): &(&str, &str)| (format!("ALIBABA_CLOUD_{name}"), (*value).to_owned());
    Account::new(AccountSettings {
        region: Some(REGION.to_owned()),
        endpoints: Endpoints { rds: url(), ram: url(), sts: url(), oss: url(), metadata: url() },
        environment: Environment::new(environment.iter().map(named)),
        role,
        ..AccountSettings::default()
    })
}

fn trust(principal: &serde_json::Value) -> String {
    json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}]})
        .to_string()
}

#[tokio::test]
async fn a_token_of_the_cluster_gives_a_role_whose_session_is_renewed() {
    let server = Alibaba::start();
    let provider = server.oidc_provider("ack", "https://oidc.example", AUDIENCE);
    let role = server.role("broker", &trust(&json!({"Federated": [provider]})), ANYTHING);
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), server.oidc_token("ack", SUBJECT, AUDIENCE, 600)).unwrap();
    let rrsa = [
        ("ROLE_ARN", role.as_str()),
        ("OIDC_PROVIDER_ARN", provider.as_str()),
        ("OIDC_TOKEN_FILE", file.path().to_str().unwrap()),
    ];
    let account = account(&server, &rrsa, None);
    let caller = account.caller().await.unwrap();
    assert!(caller.arn.contains("/broker/"), "{caller:?}");
    assert_eq!(caller.account, ACCOUNT);
    server.expire_sessions();
    let refused = account.caller().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials);
    account.caller().await.unwrap();
    std::fs::write(file.path(), server.oidc_token("ack", SUBJECT, AUDIENCE, -1)).unwrap();
    server.expire_sessions();
    assert!(account.caller().await.is_err());
    let refused = account.caller().await.unwrap_err();
    assert!(refused.to_string().contains("OIDCToken.Expired"), "{refused}");
    std::fs::write(file.path(), server.oidc_token("ack", SUBJECT, AUDIENCE, 600)).unwrap();
    account.caller().await.unwrap();
}

#[tokio::test]
async fn a_machine_has_the_session_of_its_role_and_renews_it_in_time() {
    let server = Alibaba::start();
    server.role("worker", &trust(&json!({"Service": ["ecs.aliyuncs.com"]})), ANYTHING);
    server.instance_role("worker", 240);
    let account = account(&server, &[], None);
    let tokens = || server.calls().iter().filter(|call| *call == "metadata:api/token").count();
    account.caller().await.unwrap();
    let before = tokens();
    account.caller().await.unwrap();
    assert!(tokens() > before, "four minutes are too few for another call");
    server.instance_role("worker", 3600);
    account.caller().await.unwrap();
    let before = tokens();
    account.caller().await.unwrap();
    assert_eq!(tokens(), before, "an hour is enough");
}

#[tokio::test]
async fn another_role_is_assumed_with_the_key() {
    let server = Alibaba::start();
    let allowed = r#"{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}"#;
    let key = server.key("broker", allowed);
    let user = format!("acs:ram::{ACCOUNT}:user/broker");
    let arn = server.role("other", &trust(&json!({"RAM": [user]})), ANYTHING);
    let environment = [("ACCESS_KEY_ID", key.id.as_str()), ("ACCESS_KEY_SECRET", key.secret.as_str())];
    let account = account(&server, &environment, Some(AssumedRole { arn, external_id: None }));
    assert!(account.caller().await.unwrap().arn.contains("/other/"));
}
