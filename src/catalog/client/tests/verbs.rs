//! What holds for every request: the originating identity, and no redirect, web page, large answer or forbidden address.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::apis::servicecatalog::UserInfo;

/// The requests that a user causes; nobody causes the catalog's.
const OF_USERS: usize = 8;

#[tokio::test]
async fn every_request_names_the_user_who_caused_it() {
    let echo = async |headers: HeaderMap| {
        let identity = headers.get("x-broker-api-originating-identity");
        let text = identity.and_then(|value| value.to_str().ok()).unwrap_or("nobody").to_owned();
        (StatusCode::IM_A_TEAPOT, Json(json!({"description": text})))
    };
    let client = client(&serve(Router::new().fallback(any(echo))));
    let user = UserInfo { username: "jane".to_owned(), uid: "7".to_owned(), ..UserInfo::default() };
    let mut named = 0;
    for (verb, error) in errors(&client, Some(&Identity::of(&user))).await {
        let expected = "kubernetes eyJ1c2VybmFtZSI6ImphbmUiLCJ1aWQiOiI3In0=";
        assert_eq!(error.to_string().ends_with(expected), verb != "catalog", "{verb}: {error}");
        named += usize::from(verb != "catalog");
    }
    assert_eq!(named, OF_USERS);
    for (verb, error) in errors(&client, None).await {
        assert!(error.to_string().ends_with("nobody"), "{verb}: {error}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let visits = Arc::new(AtomicUsize::new(0));
        let seen = visits.clone();
        let elsewhere = async move || {
            seen.fetch_add(1, Ordering::Relaxed);
            Json(json!({"services": [], "state": "succeeded"}))
        };
        let redirect =
            async move || (StatusCode::from_u16(status).unwrap(), [(LOCATION, "/elsewhere")]).into_response();
        let url = serve(Router::new().route("/elsewhere", any(elsewhere)).fallback(any(redirect)));
        for (verb, error) in errors(&client(&url), None).await {
            let message = error.to_string();
            assert!(message.contains("redirect, status 30"), "{verb}: {message}");
        }
        assert_eq!(visits.load(Ordering::Relaxed), 0, "{status}");
    }
}

#[tokio::test]
async fn no_name_leads_to_a_forbidden_address() {
    // The resolver checks each resolution. An address in the URL is refused before there is a client.
    for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.1.1]", "100.100.100.200"] {
        let error = BrokerClient::new(&endpoint(&format!("http://user:hunter2@{host}:1/"))).unwrap_err();
        assert!(matches!(error, ClientError::RefusedAddress(_)), "{host}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let url = serve(Router::new().fallback(any(async || vec![b' '; 5 << 20])));
    for (verb, error) in errors(&client(&url), None).await {
        let message = error.to_string();
        assert!(message.contains("more than 4 MiB, status 200"), "{verb}: {message}");
    }
}

#[tokio::test]
async fn a_malformed_answer_is_not_quoted() {
    let body = async || r#"{"credentials": "hunter2", "state": "hunter2", "operation": ["hunter2"#;
    let url = serve(Router::new().fallback(any(body)));
    for (verb, error) in errors_but_of_deletions(&client(&url)).await {
        assert!(matches!(error, ClientError::Malformed { status: 200, .. }), "{verb}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{verb}: {error:?}");
    }
}

/// A deletion's answer has no content that matters.
async fn errors_but_of_deletions(client: &BrokerClient) -> Vec<(&'static str, ClientError)> {
    let (instance, binding, key) = ("i".into(), "b".into(), key("i"));
    assert_eq!(client.deprovision(&key, None).await.unwrap(), Progress::Done);
    assert_eq!(client.unbind(&key, &binding, None).await.unwrap(), Progress::Done);
    vec![
        ("catalog", client.catalog().await.unwrap_err()),
        ("provision", client.provision(&instance, &provision_request(), None).await.unwrap_err()),
        ("update", client.update(&instance, &update_request(), None).await.unwrap_err()),
        ("last_operation", client.last_operation(&key, None, None).await.unwrap_err()),
        ("bind", client.bind(&instance, &binding, &bind_request(), None).await.unwrap_err()),
        ("binding", client.binding(&key, &binding, None).await.unwrap_err()),
        (
            "binding_last_operation",
            client.binding_last_operation(&key, &binding, None, None).await.unwrap_err(),
        ),
    ]
}
