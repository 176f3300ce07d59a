//! Roles for service accounts: by a token of the cluster (IRSA) and by EKS Pod Identity. The Secret of such a binding
//! holds nothing secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bindery::broker::sweep;
use bindery_test_support::ministack::{ACCOUNT, Key, Ministack, Request};
use serde_json::{Value, json};

use crate::cloud::{Cloud, send_message, text};

const STANDARD: (&str, &str) = ("dh-sqs", "standard");
const ISSUER: &str = "oidc.eks.us-east-1.amazonaws.com/id/ABCD";
pub(crate) const CLUSTER: &str = "prod";

/// The settings of a backend with a cluster.
pub(crate) fn settings() -> String {
    format!(
        "eks: {{clusterName: {CLUSTER}, oidcProviderArn: 'arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}'}}, \
         services: {{dh-sqs: {{credentials: {{allowed: [user, session, irsa, pod-identity]}}}}}}"
    )
}

/// Creates the cluster.
pub(crate) fn create_cluster(server: &Ministack) {
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": "eks.amazonaws.com"}}]});
    let role = [("RoleName", "eks"), ("AssumeRolePolicyDocument", &trust.to_string())];
    server.administer(&Request::query("iam", "CreateRole", &role));
    let cluster = json!({"name": CLUSTER, "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/eks"),
        "resourcesVpcConfig": {"subnetIds": []}});
    let (status, body) =
        server.ask(&Key::root(), &Request::path("eks", "POST", "/clusters", &cluster.to_string()));
    assert!([200, 201].contains(&status), "{status}: {body}");
}

/// The associations of the cluster.
pub(crate) fn associations(server: &Ministack) -> Vec<Value> {
    let path = format!("/clusters/{CLUSTER}/pod-identity-associations");
    let body = server.administer(&Request::path("eks", "GET", &path, ""));
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["associations"].as_array().unwrap().clone()
}

/// The key that a pod with this service account gets for the role, unless AWS refuses.
fn assumed(cloud: &Cloud, role: &str, namespace: &str, account: &str) -> Option<Key> {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let subject = format!("system:serviceaccount:{namespace}:{account}");
    let claims = json!({"iss": format!("https://{ISSUER}"), "sub": subject, "aud": "sts.amazonaws.com",
        "exp": 4_000_000_000_u64, "iat": 1_700_000_000});
    let token = format!("{}.{}.c2lnbmVk", part(json!({"alg": "RS256"})), part(claims));
    let fields = [("RoleArn", role), ("RoleSessionName", "pod"), ("WebIdentityToken", token.as_str())];
    let assume = Request::query("sts", "AssumeRoleWithWebIdentity", &fields);
    let (status, body) = cloud.server.ask(&Key::root(), &assume);
    if status != 200 {
        return None;
    }
    let field = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    Some(Key {
        id: field("AccessKeyId"),
        secret: field("SecretAccessKey"),
        session_token: Some(field("SessionToken")),
    })
}

#[tokio::test]
async fn only_the_service_account_of_the_namespace_gets_the_role_by_a_token() {
    let cloud = Cloud::with(&settings()).await;
    let provider = [
        ("Url", format!("https://{ISSUER}")),
        ("ClientIDList.member.1", "sts.amazonaws.com".to_owned()),
        ("ThumbprintList.member.1", "0".repeat(40)),
    ];
    let provider: Vec<_> = provider.iter().map(|(name, value)| (*name, value.as_str())).collect();
    cloud.server.administer(&Request::query("iam", "CreateOpenIDConnectProvider", &provider));
    for instance in ["own", "sibling"] {
        cloud.provisioned(STANDARD, instance, json!({})).await;
    }
    let sibling = cloud.bound(STANDARD, "sibling", "s", json!({})).await;
    let parameters = json!({"credentials": "irsa", "serviceAccount": "web"});
    let bound = cloud.bound(STANDARD, "own", "b", parameters).await;
    let credentials = &bound["credentials"];
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        assert_eq!(credentials[name], "", "nothing secret");
    }
    let role = text(credentials, "AWS_ROLE_ARN");
    assert!(assumed(&cloud, &role, "shop", "other").is_none(), "another service account");
    assert!(assumed(&cloud, &role, "bank", "web").is_none(), "the same name in another namespace");
    let key = assumed(&cloud, &role, "shop", "web").unwrap();
    let sends = |queue: &str| cloud.server.ask(&key, &send_message(queue)).0;
    let (own, other) = (text(credentials, "QueueURL"), text(&sibling["credentials"], "QueueURL"));
    assert_eq!((sends(&own), sends(&other)), (200, 403));

    assert_eq!(cloud.unbind(STANDARD, "own", "b").await.0, 200);
    assert_eq!(sends(&own), 403);
    assert!(assumed(&cloud, &role, "shop", "web").is_none());
    for (parameters, named) in [
        (json!({"credentials": "irsa", "validFor": "1h"}), "validFor"),
        (json!({"credentials": "irsa", "serviceAccount": "a*"}), "serviceAccount"),
        (json!({"serviceAccount": "web"}), "irsa"),
    ] {
        let (status, body) = cloud.bind(STANDARD, "own", "refused", parameters).await;
        assert_eq!(status, 400, "{body}");
        assert!(text(&body, "description").contains(named), "{body}");
    }
}

#[tokio::test]
async fn a_service_account_is_associated_until_the_binding_ends() {
    let cloud = Cloud::with(&settings()).await;
    create_cluster(&cloud.server);
    for instance in ["own", "lost"] {
        cloud.provisioned(STANDARD, instance, json!({})).await;
    }
    let parameters = |account: &str| json!({"credentials": "pod-identity", "serviceAccount": account});
    let bound = cloud.bound(STANDARD, "own", "b", parameters("web")).await;
    assert_eq!(bound["credentials"]["AWS_SECRET_ACCESS_KEY"], "", "nothing secret");
    let found = associations(&cloud.server);
    assert_eq!(
        (found[0]["namespace"].as_str(), found[0]["serviceAccount"].as_str()),
        (Some("shop"), Some("web"))
    );
    let (status, body) = cloud.bind(STANDARD, "own", "second", parameters("web")).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("name another serviceAccount"), "{body}");
    assert_eq!(associations(&cloud.server).len(), 1);

    cloud.bound(STANDARD, "lost", "l", parameters("worker")).await;
    assert_eq!(associations(&cloud.server).len(), 2);
    cloud.platform.forget("lost");
    let report = sweep(cloud.platform.config(), &[], true).await.unwrap().to_string();
    assert!(report.contains("removed: role "), "{report}");
    assert_eq!(associations(&cloud.server).len(), 1, "the swept role took its association along");

    assert_eq!(cloud.unbind(STANDARD, "own", "b").await.0, 200);
    assert_eq!(associations(&cloud.server), Vec::<Value>::new());
    cloud.deprovisioned(STANDARD, "own").await;
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}
