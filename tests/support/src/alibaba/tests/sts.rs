//! Sessions: of roles, of tokens, and of the instance.

use serde_json::Value;

use super::{
    super::{ACCOUNT, Alibaba, Key, Request},
    ALL, code, refused,
};

const LIST: &str =
    r#"{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "oss:ListBuckets", "Resource": "*"}]}"#;
const NOTHING: &str =
    r#"{"Version": "1", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}"#;

fn trust(kind: &str, principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Version": "1", "Statement": [{{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {{"{kind}": ["{principal}"]}}, "Condition": {condition}}}]}}"#
    )
}

fn session(answer: &Value) -> Key {
    let text = |name: &str| answer["Credentials"][name].as_str().unwrap().to_owned();
    Key { id: text("AccessKeyId"), secret: text("AccessKeySecret"), token: Some(text("SecurityToken")) }
}

fn lists(cloud: &Alibaba, key: &Key) -> u16 {
    cloud.ask(key, Request::oss("GET", "/", "")).0
}

#[test]
fn a_session_may_do_what_role_and_policy_allow() {
    let cloud = Alibaba::start();
    let user = cloud.key("user", ALL);
    let arn = cloud.role("reader", &trust("RAM", &format!("acs:ram::{ACCOUNT}:root"), "{}"), LIST);
    let assume = |policy: Option<&str>| {
        let mut parameters = vec![("RoleArn", arn.as_str()), ("RoleSessionName", "tests")];
        parameters.extend(policy.map(|policy| ("Policy", policy)));
        session(&cloud.call(&user, "sts", "AssumeRole", &parameters).unwrap())
    };
    assert_eq!(lists(&cloud, &assume(None)), 200);
    assert_eq!(lists(&cloud, &assume(Some(ALL))), 200);
    assert_eq!(lists(&cloud, &assume(Some(NOTHING))), 403);
    let (key, none) = (assume(None), [("UserName", "x")]);
    assert!(code("NoPermission")(refused(&cloud, &key, "ram:GetUser", &none)));
    assert!(code("MissingSecurityToken")(refused(
        &cloud,
        &Key { token: None, ..key.clone() },
        "ram:GetUser",
        &none
    )));
    cloud.expire_sessions();
    assert!(code("InvalidSecurityToken.Expired")(refused(&cloud, &key, "ram:GetUser", &none)));
}

#[test]
fn a_role_is_assumed_by_whom_it_trusts() {
    let cloud = Alibaba::start();
    let user = cloud.key("user", ALL);
    let arn = cloud.role("closed", &trust("RAM", "acs:ram::1:root", "{}"), LIST);
    let parameters = [("RoleArn", arn.as_str()), ("RoleSessionName", "tests")];
    assert!(code("NoPermission")(refused(&cloud, &user, "sts:AssumeRole", &parameters)));
    assert!(code("NoPermission")(refused(&cloud, &Alibaba::root(), "sts:AssumeRole", &parameters)));
    let nobody = [("RoleArn", "acs:ram::1234567890123456:role/nobody"), parameters[1]];
    assert!(code("EntityNotExist.Role")(refused(&cloud, &user, "sts:AssumeRole", &nobody)));
}

#[test]
fn a_token_of_a_service_account_gives_a_session() {
    let cloud = Alibaba::start();
    let provider = cloud.oidc_provider("ack", "https://cluster", "sts.aliyuncs.com");
    let condition = r#"{"StringEquals": {"oidc:sub": "system:serviceaccount:shop:app"}}"#;
    let arn = cloud.role("app", &trust("Federated", &provider, condition), LIST);
    let assume = |token: &str| {
        let parameters = [
            ("RoleArn", arn.as_str()),
            ("OIDCProviderArn", provider.as_str()),
            ("OIDCToken", token),
            ("RoleSessionName", "tests"),
        ];
        let (status, body) = cloud.ask_unsigned(Request::rpc("sts", "AssumeRoleWithOIDC", &parameters));
        let body: Value = serde_json::from_str(&body).unwrap();
        if status == 200 { Ok(session(&body)) } else { Err(body["Code"].as_str().unwrap().to_owned()) }
    };
    let token = |subject, audience, seconds| cloud.oidc_token("ack", subject, audience, seconds);
    let (mine, theirs) = ("system:serviceaccount:shop:app", "system:serviceaccount:shop:other");
    let key = assume(&token(mine, "sts.aliyuncs.com", 600)).unwrap();
    assert_eq!(lists(&cloud, &key), 200);
    for (token, wanted) in [
        (token(theirs, "sts.aliyuncs.com", 600), "AuthenticationFail.NoPermission"),
        (token(mine, "kubernetes", 600), "AuthenticationFail.AudienceNotMatch"),
        (token(mine, "sts.aliyuncs.com", 0), "AuthenticationFail.OIDCToken.Expired"),
        (token(mine, "sts.aliyuncs.com", 600) + "x", "AuthenticationFail.OIDCToken.Invalid"),
    ] {
        assert_eq!(assume(&token), Err(wanted.to_owned()));
    }
}

#[test]
fn the_metadata_service_gives_sessions_of_the_instances_role_against_a_token() {
    let cloud = Alibaba::start();
    cloud.role("node", &trust("Service", "ecs.aliyuncs.com", "{}"), LIST);
    cloud.instance_role("node", 3600);
    let path = "/latest/meta-data/ram/security-credentials/";
    let get = |path: &str, token: &str| {
        cloud.ask_unsigned(Request::oss("GET", path, "").header("x-aliyun-ecs-metadata-token", token))
    };
    assert_eq!(get(path, "").0, 403);
    let ask = Request::oss("PUT", "/latest/api/token", "");
    let (status, token) = cloud.ask_unsigned(ask.header("x-aliyun-ecs-metadata-token-ttl-seconds", "60"));
    assert_eq!(status, 200);
    assert_eq!(get(path, &token), (200, "node".to_owned()));
    let (_, body) = get(&format!("{path}node"), &token);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["Code"], "Success");
    assert_eq!(lists(&cloud, &session(&serde_json::json!({"Credentials": body}))), 200);
}
