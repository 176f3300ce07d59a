//! Buckets, and the keys and sessions of their bindings.

use bindery::cloud::alibaba::{Account, AccountSettings, Endpoints, Environment, ErrorKind};
use bindery_test_support::alibaba::{Alibaba, REGION, Request};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::cloud::{BUCKET, Cloud, text};

const SELF_DEFINE: (&str, &str) = ("alibaba-cloud-oss", "oss-self-define");

#[tokio::test]
async fn a_key_is_for_its_bucket_and_its_access_until_the_binding_ends() {
    let cloud = Cloud::start().await;
    cloud.server.set(|settings| (settings.key_lag, settings.entity_lag) = (2, 2));
    for instance in ["one", "two"] {
        cloud.provisioned(BUCKET, instance, json!({})).await;
    }
    let bound = cloud.bound(BUCKET, "one", "w", json!({})).await;
    let writer = &bound["credentials"];
    for key in
        ["bucket", "username", "access_key_id", "secret_access_key", "host", "uri", "endpoint", "region"]
    {
        assert!(!text(writer, key).is_empty(), "{key}");
    }
    assert!(text(writer, "uri").starts_with("oss://"), "{writer}");
    assert_eq!(cloud.oss(writer, "PUT", "a", "content"), 200, "usable once it is bound");
    let bound = cloud.bound(BUCKET, "one", "r", json!({"access": "read"})).await;
    let reader = &bound["credentials"];
    assert_eq!(cloud.oss(reader, "GET", "a", ""), 200);
    assert_eq!(cloud.oss(reader, "GET", "?list-type=2", ""), 200);
    assert_eq!(cloud.oss(reader, "PUT", "b", "content"), 403);
    let bound = cloud.bound(BUCKET, "two", "o", json!({"access": "owner"})).await;
    let other = &bound["credentials"];
    let mut crossed = other.clone();
    crossed["bucket"] = writer["bucket"].clone();
    assert_eq!(cloud.oss(&crossed, "GET", "a", ""), 403, "a binding of another instance");
    assert_eq!(cloud.oss(other, "DELETE", "", ""), 403, "no access level deletes the bucket");
    assert_eq!(cloud.oss(writer, "DELETE", "a", ""), 204);
    for (instance, binding) in [("one", "w"), ("one", "r"), ("two", "o")] {
        cloud.unbound(BUCKET, instance, binding).await;
    }
    assert_eq!(cloud.oss(writer, "PUT", "a", "content"), 403, "the key is gone");
    for instance in ["one", "two"] {
        cloud.deprovisioned(BUCKET, instance).await;
    }
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_session_says_when_it_ends_and_has_no_rights_after_the_binding() {
    let cloud = Cloud::start().await;
    cloud.server.set(|settings| settings.entity_lag = 1);
    cloud.provisioned(BUCKET, "one", json!({})).await;
    let bound = cloud.bound(BUCKET, "one", "s", json!({"credentials": "session", "validFor": "15m"})).await;
    let expires = text(&bound["metadata"], "expires_at").parse::<jiff::Timestamp>().unwrap();
    let minutes = expires.duration_since(jiff::Timestamp::now()).as_secs() / 60;
    assert!((13..=15).contains(&minutes), "{minutes}");
    assert!(bound["metadata"]["renew_before"].is_string());
    let session = &bound["credentials"];
    assert!(!text(session, "security_token").is_empty());
    assert_eq!(cloud.oss(session, "PUT", "a", "content"), 200);
    assert_eq!(cloud.oss(session, "DELETE", "a", ""), 204);
    cloud.unbound(BUCKET, "one", "s").await;
    assert_eq!(cloud.oss(session, "PUT", "a", "content"), 403);
    cloud.deprovisioned(BUCKET, "one").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

/// An application with a token of the cluster, as its SDK asks.
fn application(cloud: &Cloud, role: &str, subject: &str, file: &std::path::Path) -> Account {
    std::fs::write(file, cloud.server.oidc_token("ack", subject, AUDIENCE, 600)).unwrap();
    let url = || Some(cloud.server.url().parse().unwrap());
    let environment =
        [("ROLE_ARN", role), ("OIDC_PROVIDER_ARN", PROVIDER), ("OIDC_TOKEN_FILE", file.to_str().unwrap())];
    let environment = environment.map(|(name, value)| (format!("ALIBABA_CLOUD_{name}"), value.to_owned()));
    Account::new(AccountSettings {
        region: Some(REGION.to_owned()),
        endpoints: Endpoints { rds: url(), ram: url(), sts: url(), oss: url(), metadata: url() },
        environment: Environment::new(environment),
        ..AccountSettings::default()
    })
}

const AUDIENCE: &str = "sts.aliyuncs.com";
const ISSUER: &str = "https://oidc.example";
const PROVIDER: &str = "acs:ram::1234567890123456:oidc-provider/ack";

#[tokio::test]
async fn a_role_is_for_the_pods_of_its_service_account_and_nothing_of_it_is_secret() {
    let cloud = Cloud::with(&format!("rrsa: {{oidcProviderArn: '{PROVIDER}', issuer: '{ISSUER}'}}")).await;
    assert_eq!(cloud.server.oidc_provider("ack", ISSUER, AUDIENCE), PROVIDER);
    cloud.provisioned(BUCKET, "one", json!({})).await;
    let asked = json!({"credentials": "rrsa", "serviceAccount": "web", "access": "read"});
    let bound = cloud.bound(BUCKET, "one", "r", asked).await;
    let credentials = &bound["credentials"];
    for empty in ["access_key_id", "secret_access_key", "security_token"] {
        assert_eq!(credentials[empty], "", "{credentials}");
    }
    assert!(text(credentials, "uri").starts_with("oss://127.0.0.1/bindery-"), "{credentials}");
    assert!(bound["metadata"]["expires_at"].is_null(), "{bound}");
    let (role, bucket) = (text(credentials, "role_arn"), text(credentials, "bucket"));
    let file = NamedTempFile::new().unwrap();
    let pod = application(&cloud, &role, "system:serviceaccount:shop:web", file.path());
    assert!(pod.bucket(&bucket).await.unwrap().is_some());
    let refused = pod.delete_bucket(&bucket).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    let elsewhere = NamedTempFile::new().unwrap();
    for subject in ["system:serviceaccount:shop:api", "system:serviceaccount:lab:web"] {
        let other = application(&cloud, &role, subject, elsewhere.path());
        assert!(other.bucket(&bucket).await.is_err(), "{subject}");
    }
    cloud.unbound(BUCKET, "one", "r").await;
    // The missing role must not be taken for a missing bucket.
    let refused = pod.bucket(&bucket).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "{refused}");
    cloud.deprovisioned(BUCKET, "one").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bucket_that_is_not_empty_is_kept_with_the_count() {
    let cloud = Cloud::start().await;
    cloud.provisioned(BUCKET, "one", json!({})).await;
    let bound = cloud.bound(BUCKET, "one", "b", json!({})).await;
    let credentials = &bound["credentials"];
    for object in ["a", "b"] {
        assert_eq!(cloud.oss(credentials, "PUT", object, "content"), 200);
    }
    assert_eq!(cloud.oss(credentials, "POST", "c?uploads", ""), 200);
    let (status, body) = cloud.deprovision(BUCKET, "one").await;
    assert_eq!(status, 500, "{body}");
    let told = text(&body, "description");
    assert!(told.contains("the bucket holds 2 objects and 1 unfinished upload; remove them"), "{told}");
    let bucket = text(credentials, "bucket");
    for target in ["a", "b"] {
        let delete = Request::oss("DELETE", &format!("/{bucket}/{target}"), "");
        assert_eq!(cloud.server.ask(&Alibaba::root(), delete).0, 204);
    }
    let (_, uploads) =
        cloud.server.ask(&Alibaba::root(), Request::oss("GET", &format!("/{bucket}/?uploads"), ""));
    let id = uploads.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let abort = Request::oss("DELETE", &format!("/{bucket}/c?uploadId={id}"), "");
    assert_eq!(cloud.server.ask(&Alibaba::root(), abort).0, 204);
    cloud.deprovisioned(BUCKET, "one").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bucket_is_emptied_where_the_rules_say_so() {
    let cloud = Cloud::with("release: {emptyBuckets: true}").await;
    cloud.server.set(|settings| settings.longest_page = 2);
    cloud.provisioned(BUCKET, "one", json!({})).await;
    let bound = cloud.bound(BUCKET, "one", "b", json!({})).await;
    let credentials = &bound["credentials"];
    for object in ["a", "b/c", "d e", "f&g", "h+i"] {
        let encoded = object.replace(' ', "%20").replace('&', "%26").replace('+', "%2B");
        assert_eq!(cloud.oss(credentials, "PUT", &encoded, "content"), 200, "{object}");
    }
    assert_eq!(cloud.oss(credentials, "POST", "c?uploads", ""), 200);
    cloud.deprovisioned(BUCKET, "one").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn acl_and_class_are_those_that_are_asked_for() {
    let cloud = Cloud::start().await;
    cloud.provisioned(SELF_DEFINE, "one", json!({"Acl": "Public Read", "StorageClass": "IA"})).await;
    let bound = cloud.bound(SELF_DEFINE, "one", "b", json!({})).await;
    let bucket = text(&bound["credentials"], "bucket");
    let info =
        || cloud.server.ask(&Alibaba::root(), Request::oss("GET", &format!("/{bucket}/?bucketInfo"), "")).1;
    assert!(info().contains("<Grant>public-read</Grant>") && info().contains("IA"), "{}", info());
    let answer = cloud.update(SELF_DEFINE, "one", json!({"Acl": "private", "StorageClass": "IA"})).await;
    cloud.succeeded(answer, "one").await;
    assert!(info().contains("<Grant>private</Grant>"), "{}", info());
    let (status, body) = cloud.update(SELF_DEFINE, "one", json!({"StorageClass": "Standard"})).await;
    assert_eq!(status, 422, "{body}");
    cloud.deprovisioned(SELF_DEFINE, "one").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn the_bucket_of_another_account_stays_and_its_instance_can_be_deleted() {
    let cloud = Cloud::start().await;
    cloud.provisioned(BUCKET, "one", json!({})).await;
    let bucket = cloud.server.left().remove(0).rsplit(' ').next().unwrap().to_owned();
    cloud.deprovisioned(BUCKET, "one").await;
    cloud.server.foreign_bucket(&bucket);
    let (status, body) = cloud.provision(BUCKET, "one", json!({})).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("does not carry this installation's mark"), "{body}");
    cloud.deprovisioned(BUCKET, "one").await;
}

#[tokio::test]
async fn a_kept_bucket_is_nobodys() {
    let cloud = Cloud::with("release: {reclaimPolicy: {default: retain, allowed: [retain, delete]}}").await;
    cloud.provisioned(BUCKET, "one", json!({})).await;
    cloud.deprovisioned(BUCKET, "one").await;
    let left = cloud.server.left();
    assert_eq!(left.len(), 1, "{left:?}");
    let report = bindery::broker::sweep(cloud.platform.config(), &[], true).await.unwrap();
    assert_eq!((report.leftover.len(), report.foreign.len()), (0, 1), "{report:?}");
    assert_eq!(cloud.server.left(), left);
}

#[tokio::test]
async fn the_callers_key_is_not_taken() {
    let cloud = Cloud::start().await;
    let (status, body) =
        cloud.provision(BUCKET, "one", json!({"AccessKeyId": "LTAI", "AccessKeySecret": "s3cret"})).await;
    assert_eq!(status, 400, "{body}");
    let told = text(&body, "description");
    assert!(told.contains("keeps no key of yours") && !told.contains("s3cret"), "{told}");
}
