//! Tests of the account's operations, on ministack. Tests that set faults have a server of their own.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, Instant},
};

use bindery_test_support::ministack::{ACCOUNT, Key, Ministack, REGION};
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::{
    policy::{Statement, Use},
    sessions::SessionRequest,
    stacks::{Notified, Stack, StackRequest},
    users::PrincipalRequest,
    *,
};

static SERVER: LazyLock<Ministack> = LazyLock::new(Ministack::start);

const QUEUE: &str = "
Parameters:
  Delay: {Type: Number, Default: 5, MaxValue: 900}
Resources:
  Queue: {Type: AWS::SQS::Queue, Properties: {DelaySeconds: !Ref Delay}}
Outputs:
  QueueURL: {Value: !Ref Queue}
  QueueARN: {Value: !GetAtt Queue.Arn}
";

/// An account with the key of `caller`, and the file of its secret.
struct Of {
    account: Account,
    secret: NamedTempFile,
}

fn settings(server: &Ministack, caller: &Key) -> (AccountSettings, NamedTempFile) {
    settings_at(server.endpoint(), caller)
}

fn settings_at(endpoint: String, caller: &Key) -> (AccountSettings, NamedTempFile) {
    let secret = NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), &caller.secret).unwrap();
    let settings = AccountSettings {
        region: Some(REGION.to_owned()),
        endpoint: Some(endpoint),
        credentials: Credentials::AccessKey {
            id: KeyId::Given(caller.id.clone()),
            secret_file: secret.path().to_owned(),
        },
        role: None,
        requests_per_second: NonZeroU32::new(1000),
    };
    (settings, secret)
}

fn account(server: &Ministack, caller: &Key) -> Of {
    let (settings, secret) = settings(server, caller);
    Of { account: Account::new(settings), secret }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Waits until CloudFormation does nothing more.
async fn settled(account: &Account, name: &str) -> Option<Stack> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let stack = account.stack(name).await.unwrap();
        if stack.as_ref().is_none_or(|stack| !stack.status.is_in_progress()) {
            return stack;
        }
        assert!(Instant::now() < deadline, "{stack:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_stack_is_created_updated_and_deleted() {
    let Of { account, secret: _secret } = account(&SERVER, &Key::root());
    let (parameters, tags) = (pairs(&[("Delay", "7")]), pairs(&[("bindery:installation", "tests")]));
    let request = StackRequest {
        template_url: None,
        name: "lifecycle",
        template: QUEUE,
        parameters: &parameters,
        tags: &tags,
        role_arn: None,
        token: "create-1",
        may_create_principals: false,
        notified: Notified::AsBefore,
    };
    account.create_stack(&request).await.unwrap();
    let stack = settled(&account, "lifecycle").await.unwrap();
    assert_eq!(stack.status.as_str(), "CREATE_COMPLETE");
    assert_eq!((&stack.parameters, &stack.tags), (&parameters, &tags));
    assert!(
        stack.outputs["QueueARN"].starts_with("arn:aws:sqs:us-east-1:123456789012:lifecycle-Queue"),
        "{stack:?}"
    );
    let history = account.stack_history("lifecycle").await.unwrap();
    assert_eq!((history.first_failure, history.done.len(), history.in_progress.len()), (None, 1, 0));

    assert_eq!(account.create_stack(&request).await.unwrap_err().kind(), ErrorKind::Exists);
    assert!(!account.update_stack(&StackRequest { token: "same", ..request }).await.unwrap());
    let changed = pairs(&[("Delay", "9")]);
    let update = StackRequest { parameters: &changed, token: "update-1", ..request };
    assert!(account.update_stack(&update).await.unwrap());
    let stack = settled(&account, "lifecycle").await.unwrap();
    assert_eq!((stack.status.as_str(), &stack.parameters), ("UPDATE_COMPLETE", &changed));

    assert!(account.stacks().await.unwrap().iter().any(|stack| stack.name == "lifecycle"));
    account.delete_stack("lifecycle", None).await.unwrap();
    assert_eq!(settled(&account, "lifecycle").await, None);
    account.delete_stack("lifecycle", None).await.unwrap();
}

#[tokio::test]
async fn a_failed_stack_tells_the_first_reason() {
    let server = Ministack::start();
    let Of { account, secret: _secret } = account(&server, &Key::root());
    let role = server.deploy_role(&json!([{"Effect": "Allow", "Action": "sns:*", "Resource": "*"}]));
    let none = BTreeMap::new();
    let request = StackRequest {
        template_url: None,
        name: "failing",
        template: QUEUE,
        parameters: &none,
        tags: &none,
        role_arn: Some(&role),
        token: "create-1",
        may_create_principals: false,
        notified: Notified::AsBefore,
    };
    account.create_stack(&request).await.unwrap();
    let stack = settled(&account, "failing").await.unwrap();
    assert!(stack.status.is_failed_creation() && stack.status.is_stuck(), "{stack:?}");
    let failure = account.stack_history("failing").await.unwrap().first_failure.unwrap();
    assert_eq!((failure.resource.as_str(), failure.kind.as_str()), ("Queue", "AWS::SQS::Queue"));
    assert!(failure.reason.contains("not authorized to perform: sqs:CreateQueue"), "{failure}");
}

fn queue_policy() -> String {
    let resources = vec![format!("arn:aws:sqs:{REGION}:{ACCOUNT}:q")];
    policy::document(
        &[Statement { actions: vec!["sqs:SendMessage".to_owned()], resources, region: None }],
        Use::User,
    )
    .unwrap()
}

/// A kill after any number of calls, before or after the last one had its effect.
#[tokio::test]
async fn a_user_is_removed_from_every_state() {
    let server = Ministack::start();
    let Of { account, secret: _secret } = account(&server, &Key::root());
    let (policy, none) = (queue_policy(), BTreeMap::new());
    let wanted =
        PrincipalRequest { name: "half", path: "/bindery/t/", policy: &policy, boundary: None, tags: &none };
    account.caller().await.unwrap();
    for calls in 1..=3 {
        for hang_after_work in [false, true] {
            server.reset();
            server.set(&json!({"hang_at": calls, "hang_after_work": hang_after_work}));
            let create = tokio::time::timeout(Duration::from_millis(700), account.create_user(&wanted));
            assert!(create.await.is_err(), "call {calls} answers");
            server.reset();
            account.delete_user("half").await.unwrap();
            assert_eq!(account.users("/bindery/").await.unwrap(), []);
        }
    }
    let first = account.create_user(&wanted).await.unwrap();
    let second = account.create_user(&wanted).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(account.users("/bindery/t/").await.unwrap()[0].name, "half");
    account.delete_user("half").await.unwrap();
    account.delete_user("half").await.unwrap();
    assert_eq!(account.user("half").await.unwrap(), None);
}

#[tokio::test]
async fn a_name_in_another_path_is_not_taken_over() {
    let Of { account, secret: _secret } = account(&SERVER, &Key::root());
    let (policy, none) = (queue_policy(), BTreeMap::new());
    let wanted =
        PrincipalRequest { name: "taken", path: "/theirs/", policy: &policy, boundary: None, tags: &none };
    account.create_user(&wanted).await.unwrap();
    let ours = PrincipalRequest { path: "/bindery/x/", ..wanted };
    assert_eq!(account.create_user(&ours).await.unwrap_err().kind(), ErrorKind::Exists);
}

#[tokio::test]
async fn a_session_of_a_role_ends_with_the_role() {
    let server = Ministack::start();
    server.set(&json!({"key_lag": 1}));
    let broker = server.user(
        "broker",
        &json!([
        {"Effect": "Allow", "Action": ["iam:*", "sts:AssumeRole"], "Resource": "*"}]),
    );
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let Of { account, secret: _secret } = account(&server, &broker);
    let caller = account.caller().await.unwrap();
    assert_eq!((caller.account.as_str(), caller.is_session()), (ACCOUNT, false));
    let (policy, none) = (queue_policy(), BTreeMap::new());
    let wanted = PrincipalRequest {
        name: "session",
        path: "/bindery/t/",
        policy: &policy,
        boundary: None,
        tags: &none,
    };
    let trust = policy::trust(&caller, "external-id");
    let arn = account.create_role(&wanted, &trust, Duration::from_hours(1)).await.unwrap();
    let request = SessionRequest {
        role_arn: &arn,
        name: "binding",
        external_id: Some("external-id"),
        policy: Some(&policy),
        duration: Duration::from_mins(15),
    };
    let session = account.assume_role(&request, Duration::from_secs(20)).await.unwrap();
    let left = session.expires_at.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((800..=900).contains(&left), "{left}");
    assert!(!format!("{session:?}").contains(session.token.expose_secret()));
    account.wait_until_known(&session.key, Some(&session.token), Duration::from_secs(20)).await.unwrap();
    let other = SessionRequest { external_id: Some("another"), ..request };
    let refused = account.assume_role(&other, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);

    account.delete_role("session").await.unwrap();
    account.delete_role("session").await.unwrap();
    assert_eq!(account.roles("/bindery/").await.unwrap(), []);
    assert!(account.assume_role(&request, Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn a_new_key_is_waited_for() {
    let server = Ministack::start();
    server.set(&json!({"key_lag": 2}));
    let Of { account, secret: _secret } = account(&server, &Key::root());
    let (policy, none) = (queue_policy(), BTreeMap::new());
    let wanted =
        PrincipalRequest { name: "lag", path: "/bindery/t/", policy: &policy, boundary: None, tags: &none };
    let key = account.create_user(&wanted).await.unwrap();
    let early = account.wait_until_known(&key, None, Duration::ZERO).await.unwrap_err();
    assert!(early.is_passing() && early.to_string().contains("does not know the new access key"), "{early}");
    account.wait_until_known(&key, None, Duration::from_secs(20)).await.unwrap();
}

#[tokio::test]
async fn throttled_calls_are_repeated() {
    let server = Ministack::start();
    let Of { account, secret: _secret } = account(&server, &Key::root());
    account.caller().await.unwrap();
    server.set(&json!({"throttle": 2, "reset_calls": true}));
    for _ in 0..4 {
        account.users("/bindery/").await.unwrap();
    }
    let calls = server.calls();
    assert!(calls.len() > 4 && calls.iter().all(|call| call == "iam:ListUsers"), "{calls:?}");
}

#[tokio::test]
async fn a_new_key_is_not_asked_for_twice_when_aws_fails() {
    let server = Ministack::start();
    let Of { account, secret: _secret } = account(&server, &Key::root());
    let clients = account.clients().await.unwrap();
    clients.iam.create_user().user_name("once").send().await.unwrap();
    server.set(&json!({"unavailable": 1, "reset_calls": true}));
    let create = || clients.iam.create_access_key().user_name("once").send();
    let failed = account.call(Call::once("iam:CreateAccessKey", "once"), create).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert_eq!(server.calls(), ["iam:CreateAccessKey"]);
    server.set(&json!({"unavailable": 1, "reset_calls": true}));
    account.users("/").await.unwrap();
    assert_eq!(server.calls(), ["iam:ListUsers", "iam:ListUsers"]);
}

#[tokio::test]
async fn a_denied_call_names_action_resource_and_statement() {
    let caller = SERVER.user("denied", &json!([{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]));
    let Of { account, secret: _secret } = account(&SERVER, &caller);
    let error = account.users("/bindery/").await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(text.contains("iam:ListUsers") && text.contains(r#""Effect":"Allow""#), "{text}");
    // The emulator gives no request id with this answer; `error::tests` has one.
    assert!(!text.contains(&caller.secret), "{text}");
}

#[tokio::test]
async fn calls_are_made_under_a_role_of_another_account() {
    let root = account(&SERVER, &Key::root());
    let none = BTreeMap::new();
    let allowed = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"}]})
    .to_string();
    let trusted = root.account.caller().await.unwrap();
    let wanted =
        PrincipalRequest { name: "target", path: "/t/", policy: &allowed, boundary: None, tags: &none };
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
        "Condition": {"StringEquals": {"sts:ExternalId": "contract-7"}}}]})
    .to_string();
    let arn = root.account.create_role(&wanted, &trust, Duration::from_hours(1)).await.unwrap();
    assert_eq!(trusted.account, ACCOUNT);

    let (mut settings, _secret) = settings(&SERVER, &Key::root());
    settings.role = Some(AssumedRole { arn: arn.clone(), external_id: Some("contract-7".to_owned()) });
    let assumed = Account::new(settings.clone());
    assert!(assumed.caller().await.unwrap().is_session());
    assumed.users("/bindery/").await.unwrap();
    assert_eq!(assumed.roles("/").await.unwrap_err().kind(), ErrorKind::Denied);
    settings.role = Some(AssumedRole { arn, external_id: None });
    let refused = Account::new(settings).caller().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "{refused}");
}

#[tokio::test]
async fn a_replaced_secret_is_read_after_a_refusal() {
    let Of { account, secret } = account(
        &SERVER,
        &SERVER.user(
            "rotated",
            &json!([
        {"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"}]),
        ),
    );
    let right = std::fs::read_to_string(secret.path()).unwrap();
    std::fs::write(secret.path(), "an old secret").unwrap();
    let refused = account.users("/bindery/").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "{refused}");
    std::fs::write(secret.path(), right).unwrap();
    account.users("/bindery/").await.unwrap();
}

#[tokio::test]
async fn what_keeps_calls_from_being_sent_is_named() {
    let (settings, _secret) = settings(&SERVER, &Key::root());
    let away = AccountSettings { endpoint: Some("http://127.0.0.1:1".to_owned()), ..settings.clone() };
    let clients = Account::new(away).clients().await.unwrap();
    let call = Call::once("sts:GetCallerIdentity", "*");
    let error = Account::new(settings.clone())
        .call(call, || clients.sts.get_caller_identity().send())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let key = Credentials::AccessKey {
        id: KeyId::Given("a".to_owned()),
        secret_file: PathBuf::from("/nonexistent/secret"),
    };
    let without = AccountSettings { credentials: key, ..settings };
    let error = Account::new(without).caller().await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/secret") && error.contains("name the file"), "{error}");
}

/// A server or proxy that goes away while it has a request.
#[tokio::test]
async fn a_connection_that_is_lost_before_the_answer_is_no_problem_of_credentials() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            // The client has begun its request, and gets no answer.
            let _ = connection.read(&mut [0; 1024]).await;
        }
    });
    let (settings, _secret) = settings_at(endpoint, &Key::root());
    let error = Account::new(settings).stack("orders").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
