//! The broker's HTTP: records each request, and answers it as the script says.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    body::Body,
    http::{Request, Response},
};
use axum_server::Handle;
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::body::Incoming;
use serde_json::Value;
use tower::service_fn;

use super::{
    Answer, Broker, Held, Record,
    acts::Outcome,
    record,
    script::{Reply, Wait},
};

/// The largest request that the broker reads.
const LARGEST: usize = 16 << 20;

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the script ends the connection")]
struct Dropped;

/// Serves until the handle's shutdown.
pub(super) async fn serve(broker: Broker, handle: Handle<SocketAddr>) -> std::io::Result<()> {
    let address = broker.address;
    let asked = broker.clone();
    let requests = service_fn(move |request: Request<Incoming>| respond(asked.clone(), request));
    let connections =
        service_fn(move |_: SocketAddr| std::future::ready(Ok::<_, Infallible>(requests.clone())));
    let server = axum_server::bind(address).handle(handle);
    match broker.tls {
        Some(tls) => server.acceptor(tls).serve(connections).await,
        None => server.serve(connections).await,
    }
}

/// Counts a request from its arrival to its answer, or to the end of its connection.
struct Waiting(Broker);

impl Waiting {
    fn at(broker: &Broker) -> Self {
        let mut held = broker.held();
        held.waiting += 1;
        held.most_waiting = held.most_waiting.max(held.waiting);
        drop(held);
        Self(broker.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.held().waiting -= 1;
    }
}

async fn respond(broker: Broker, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let _waiting = Waiting::at(&broker);
    let record = read(request).await;
    let mut releases = broker.releases.subscribe();
    let answer = broker.held().receive(&record);
    let acted = answer.acts.then(|| broker.held().act(&record));
    match answer.wait {
        Wait::None => {}
        Wait::For(time) => tokio::time::sleep(time).await,
        Wait::UntilReleased => releases.changed().await.unwrap(),
    }
    match answer.reply {
        Reply::Normal => {
            let Outcome(status, body, retry_after) = acted.unwrap_or_else(|| broker.held().act(&record));
            let retry_after = retry_after.map(|value| ("retry-after", value));
            let headers = [("content-type", "application/json".to_owned())];
            Ok(response(status, headers.into_iter().chain(retry_after), body.to_string().into_bytes()))
        }
        Reply::Scripted { status, headers, body } => Ok(response(status, headers, body)),
        Reply::Dropped => Err(Dropped),
    }
}

async fn read(request: Request<Incoming>) -> Record {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), LARGEST).await.unwrap();
    let (verb, instance, binding) = record::parse(&parts.method, parts.uri.path());
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    Record {
        verb,
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
        instance,
        binding,
    }
}

fn response(
    status: u16,
    headers: impl IntoIterator<Item = (&'static str, String)>,
    body: Vec<u8>,
) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body.into()).unwrap()
}

impl Held {
    /// Records a request, and returns the answer to it.
    fn receive(&mut self, record: &Record) -> Answer {
        self.records.push(record.clone());
        if record.verb != Some(super::Verb::Catalog) {
            self.requests.push(format!("{} {}", record.method, record.path));
        }
        let basic = self
            .password
            .as_ref()
            .map(|password| format!("Basic {}", STANDARD.encode(format!("user:{password}"))));
        let expected = basic.or_else(|| self.token.as_ref().map(|token| format!("Bearer {token}")));
        if expected.is_some() && record.headers.get("authorization") != expected.as_ref() {
            return Answer::json(401, &Value::Null);
        }
        record.verb.map_or_else(Answer::normal, |verb| self.script.next(verb))
    }
}
