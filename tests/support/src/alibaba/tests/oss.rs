//! Buckets and objects.

use super::{
    super::{Alibaba, Key, Request, oss::elements},
    ALL,
};

/// The status and the code of the error, if any.
fn ask(cloud: &Alibaba, key: &Key, method: &'static str, target: &str, body: &str) -> (u16, String) {
    let (status, body) = cloud.ask(key, Request::oss(method, target, body));
    (status, elements(&body, "Code").pop().unwrap_or_default())
}

#[test]
fn a_bucket_is_deleted_when_it_is_empty() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    let ask = |method, target: &str| ask(&cloud, &key, method, target, "");
    assert_eq!(ask("PUT", "/bindery-a").0, 200);
    assert_eq!(ask("PUT", "/bindery-a/some%20key").0, 200);
    assert_eq!(cloud.left(), ["oss bucket bindery-a", "oss object bindery-a/some key"]);
    assert_eq!(ask("DELETE", "/bindery-a"), (409, "BucketNotEmpty".to_owned()));
    let delete = "<Delete><Object><Key>some key</Key></Object></Delete>";
    assert_eq!(
        super::super::Alibaba::ask(&cloud, &key, Request::oss("POST", "/bindery-a?delete", delete)).0,
        200
    );
    assert_eq!(ask("POST", "/bindery-a/part?uploads").0, 200);
    assert_eq!(ask("DELETE", "/bindery-a"), (409, "BucketNotEmpty".to_owned()));
    let (_, uploads) = cloud.ask(&key, Request::oss("GET", "/bindery-a?uploads", ""));
    let upload = elements(&uploads, "UploadId").remove(0);
    assert_eq!(ask("DELETE", &format!("/bindery-a/part?uploadId={upload}")).0, 204);
    assert_eq!(ask("DELETE", "/bindery-a").0, 204);
    assert_eq!(ask("DELETE", "/bindery-a"), (404, "NoSuchBucket".to_owned()));
}

#[test]
fn names_are_taken_by_others_and_checked() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    cloud.foreign_bucket("taken");
    let put = |name: &str, class: &str| {
        let body = format!(
            "<CreateBucketConfiguration><StorageClass>{class}</StorageClass></CreateBucketConfiguration>"
        );
        ask(&cloud, &key, "PUT", name, &body)
    };
    assert_eq!(put("/taken", "Standard"), (409, "BucketAlreadyExists".to_owned()));
    assert_eq!(put("/Upper", "Standard"), (400, "InvalidBucketName".to_owned()));
    assert_eq!(put("/mine", "Standard").0, 200);
    assert_eq!(put("/mine", "Standard").0, 200);
    assert_eq!(put("/mine", "IA"), (409, "BucketAlreadyExists".to_owned()));
}

#[test]
fn objects_are_listed_in_pages() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    cloud.set(|settings| settings.longest_page = 2);
    for path in ["/mine", "/mine/a", "/mine/b", "/mine/c"] {
        ask(&cloud, &key, "PUT", path, "x");
    }
    let list = |token: &str| cloud.ask(&key, Request::oss("GET", &format!("/mine?list-type=2{token}"), "")).1;
    let first = list("");
    assert_eq!(elements(&first, "Key"), ["a", "b"]);
    let token = elements(&first, "NextContinuationToken").remove(0);
    let second = list(&format!("&continuation-token={token}"));
    assert_eq!(
        (elements(&second, "Key"), elements(&second, "IsTruncated").remove(0)),
        (vec!["c".to_owned()], "false".to_owned())
    );
}

#[test]
fn policies_hold_for_bucket_and_object() {
    let cloud = Alibaba::start();
    let policy = r#"{"Version": "1", "Statement": [{"Effect": "Allow", "Action": ["oss:GetObject", "oss:ListObjects"],
        "Resource": ["acs:oss:*:*:mine", "acs:oss:*:*:mine/*"]}]}"#;
    let (all, reader) = (cloud.key("writer", ALL), cloud.key("reader", policy));
    for path in ["/mine", "/mine/a", "/theirs", "/theirs/a"] {
        assert_eq!(ask(&cloud, &all, "PUT", path, "x").0, 200);
    }
    assert_eq!(ask(&cloud, &reader, "GET", "/mine/a", "").0, 200);
    assert_eq!(ask(&cloud, &reader, "GET", "/mine?list-type=2", "").0, 200);
    let denied = (403, "AccessDenied".to_owned());
    assert_eq!(ask(&cloud, &reader, "PUT", "/mine/a", "y"), denied);
    assert_eq!(ask(&cloud, &reader, "GET", "/theirs/a", ""), denied);
    assert_eq!(ask(&cloud, &reader, "DELETE", "/mine", ""), denied);
    assert_eq!(cloud.ask_unsigned(Request::oss("GET", "/mine/a", "")).0, 403);
}
