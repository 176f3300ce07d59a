//! The HTTP server: it reads a call, applies the planned fault, has the account answer, and forms the answer. It runs on
//! hyper alone, because a connection that ends without an answer is one of the faults.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::body::Body;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

use super::{
    account::Account,
    call::{Call, Product},
    faults::{Fault, Faults},
    random,
    refusal::Refusal,
};

/// What all connections share.
pub(super) struct Shared {
    account: Mutex<Account>,
    faults: Mutex<Faults>,
    released: Notify,
}

/// The connection ends without an answer.
#[derive(Debug)]
struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection is lost on purpose")
    }
}

impl std::error::Error for Lost {}

impl Shared {
    pub(super) fn new(account: Account) -> Self {
        Self { account: Mutex::new(account), faults: Mutex::default(), released: Notify::new() }
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap()
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    /// Lets the calls go that hang. They get no answer.
    pub(super) fn release(&self) {
        self.faults().release();
        self.released.notify_waiters();
    }
}

/// Accepts connections until it is dropped.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        // A connection that ended before it was accepted is nothing to act on.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
        connections.spawn(async move {
            // An error here is a lost connection, the client's or a planned one.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Lost> {
    let call = Call::read(request).await.ok_or(Lost)?;
    let product = call.product;
    let fault = shared.faults().next(&call.name(), &call.parameters.0);
    match fault {
        Some(Fault::Refused(status, code)) => return Ok(failed(product, &planned(status, code))),
        Some(Fault::LostBefore) => return Err(Lost),
        Some(Fault::HangsBefore) => {
            shared.released.notified().await;
            return Err(Lost);
        }
        _ => {}
    }
    let acting = Arc::clone(&shared);
    // Statements on a database block. A client that goes away does not stop what has begun.
    let answered = tokio::task::spawn_blocking(move || acting.account().answer(&call));
    let response = answered.await.expect("the stand-in panicked");
    match fault {
        Some(Fault::RefusedAfter(status, code)) => Ok(failed(product, &planned(status, code))),
        Some(Fault::LostAfter) => Err(Lost),
        Some(Fault::HangsAfter) => {
            shared.released.notified().await;
            Err(Lost)
        }
        _ => Ok(match response {
            Ok(answer) => answer.into_response(product),
            Err(refusal) => failed(product, &refusal),
        }),
    }
}

fn planned(status: u16, code: &str) -> Refusal {
    Refusal::new(status, code, "The test planned this.")
}

/// What a call that succeeds is answered.
pub(super) enum Answer {
    Json(Value),
    /// An XML document, or an object.
    Plain(u16, Vec<u8>),
}

impl Answer {
    pub(super) fn empty(status: u16) -> Self {
        Self::Plain(status, Vec::new())
    }

    fn into_response(self, product: Product) -> Response<Body> {
        let id = request_id();
        let (status, kind, body) = match self {
            Self::Json(mut value) => {
                if product != Product::Metadata {
                    value["RequestId"] = id.clone().into();
                }
                (200, "application/json", value.to_string().into_bytes())
            }
            Self::Plain(status, body) => (status, "application/xml", body),
        };
        respond(product, &id, status, kind, body)
    }
}

/// An error: JSON from the gateway (reference of version 3), XML from OSS ("Error responses"), text from the metadata
/// service.
fn failed(product: Product, refusal: &Refusal) -> Response<Body> {
    let Refusal { status, code, message } = refusal;
    let id = request_id();
    match product {
        Product::Oss => {
            let message = message.replace('&', "&amp;").replace('<', "&lt;");
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message>\
                 <RequestId>{id}</RequestId><HostId>stand-in</HostId></Error>"
            );
            respond(product, &id, *status, "application/xml", body.into_bytes())
        }
        Product::Metadata => respond(product, &id, *status, "text/plain", message.clone().into_bytes()),
        _ => {
            let body = json!({"RequestId": id, "HostId": "stand-in", "Code": code, "Message": message,
                "Recommend": format!("https://api.aliyun.com/troubleshoot?q={code}")});
            respond(product, &id, *status, "application/json", body.to_string().into_bytes())
        }
    }
}

fn respond(product: Product, id: &str, status: u16, kind: &str, body: Vec<u8>) -> Response<Body> {
    let header = if product == Product::Oss { "x-oss-request-id" } else { "x-acs-request-id" };
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .header(header, id)
        .body(Body::from(body))
        .expect("a status and headers of this module")
}

fn request_id() -> String {
    random("ABCDEF0123456789", 32)
}
