//! What each kind of answer means for the request: final, to be retried, or uncertain.

use axum::extract::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Answers with the status that the instance's id names.
fn named_status(path: &str, body: &'static str) -> impl IntoResponse + use<> {
    let status = path.split('/').find_map(|segment| segment.parse().ok()).unwrap();
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], body)
}

fn broker(body: &'static str) -> BrokerClient {
    client(&serve(
        Router::new().route("/{*path}", any(async move |Path(path): Path<String>| named_status(&path, body))),
    ))
}

async fn provision_error(client: &BrokerClient, status: u16) -> Option<ClientError> {
    client.provision(&status.to_string().as_str().into(), &provision_request(), None).await.err()
}

async fn bind_error(client: &BrokerClient, status: u16) -> Option<ClientError> {
    client.bind(&status.to_string().as_str().into(), &"b".into(), &bind_request(), None).await.err()
}

/// The table of spec.md, "Orphan Mitigation", for every status that can end a request.
#[tokio::test]
async fn only_uncertain_answers_need_orphan_mitigation_and_only_400_is_terminal() {
    let client = broker(r#"{"description": "no"}"#);
    for status in 200..600 {
        for (verb, error) in [
            ("provision", provision_error(&client, status).await),
            ("bind", bind_error(&client, status).await),
        ] {
            let Some(error) = error else {
                assert!(matches!(status, 200..=202), "{verb} {status}");
                continue;
            };
            let is_uncertain = matches!(status, 203..=299 | 500..=599);
            assert_eq!(error.needs_orphan_mitigation(), is_uncertain, "{verb} {status}: {error}");
            assert_eq!(error.is_terminal(), status == 400, "{verb} {status}: {error}");
        }
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_read_needs_orphan_mitigation_unless_it_is_200() {
    for body in ["{\"operation\": 7", "<html></html>"] {
        let client = broker(body);
        for (status, is_uncertain) in
            [(200, false), (201, true), (202, true), (400, false), (404, false), (502, true)]
        {
            for error in [provision_error(&client, status).await, bind_error(&client, status).await] {
                let error = error.unwrap();
                assert_eq!(error.needs_orphan_mitigation(), is_uncertain, "{status} {body}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_never_left_needs_no_orphan_mitigation() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = provision_error(&client(&url), 200).await.unwrap();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    for error in [error, ClientError::Busy, ClientError::Unauthorized { status: 401 }] {
        assert!(!error.needs_orphan_mitigation() && !error.is_terminal(), "{error}");
    }
}

#[tokio::test]
async fn a_lost_or_late_answer_needs_orphan_mitigation() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.unwrap();
        }
    });
    let error = provision_error(&client(&url), 200).await.unwrap();
    assert!(matches!(error, ClientError::NoReply { .. }) && error.needs_orphan_mitigation(), "{error:?}");
    assert!(!error.is_terminal());

    let url = serve(Router::new().fallback(any(async || std::future::pending::<StatusCode>().await)));
    let mut late = client(&url);
    late.http = reqwest::Client::builder().timeout(Duration::from_millis(50)).build().unwrap();
    let error = bind_error(&late, 200).await.unwrap();
    assert!(matches!(error, ClientError::NoReply { .. }) && error.needs_orphan_mitigation(), "{error:?}");
    assert!(error.to_string().contains("took too long"), "{error}");
}

/// 409 means that the id belongs to somebody else. Whatever the body, the instance must not be deleted.
#[tokio::test]
async fn the_status_of_a_rejection_counts_even_if_the_body_is_lost() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 409 Conflict\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    });
    let error = provision_error(&client(&url), 200).await.unwrap();
    assert!(matches!(error, ClientError::Rejected { status: 409, .. }), "{error:?}");
    assert!(!error.needs_orphan_mitigation(), "{error}");
}
