//! A layer of the client that makes the API server's answers safe to parse, whatever users stored in objects. It
//! trims JSON as it streams by (`trim`), re-reads a page of a list in smaller pages if the page is larger than
//! bindery wants to hold, and converts an error that is no `Status`, because kube would otherwise pass its text on as
//! the reason.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{self, Bytes, HttpBody},
    http::{
        Method, Request, Response, StatusCode, Uri,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
        request,
        uri::PathAndQuery,
    },
};
use futures::{FutureExt, future::BoxFuture};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::json;
use tokio::sync::Mutex;
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxService};

use super::trim::Trim;

/// How many bytes of a list are held at a time. A single object may be larger, but etcd limits its size.
const LARGEST_PAGE: usize = 4 << 20;
/// How many bytes of an error are read.
const LARGEST_ERROR: usize = 1 << 20;
/// The factor by which pages shrink.
const SHRINK: u32 = 8;

/// The layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct SafeAnswers;

impl<S, B> Layer<S> for SafeAnswers
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Service = Safe;

    fn layer(&self, inner: S) -> Safe {
        let inner = inner.map_err(Into::into).map_response(|response| response.map(body::Body::new));
        Safe { inner: Arc::new(Mutex::new(BoxService::new(inner))), page: Arc::new(AtomicU32::new(u32::MAX)) }
    }
}

type Inner = BoxService<Request<Body>, Response<body::Body>, BoxError>;

/// A service whose answers are safe to read. The type of the service below is erased, so that its bounds stand in one place.
#[derive(Clone, Debug)]
pub(super) struct Safe {
    inner: Arc<Mutex<Inner>>,
    /// The maximum number of objects in a page, as far as is known. Grows again when pages are small.
    page: Arc<AtomicU32>,
}

impl Service<Request<Body>> for Safe {
    type Response = Response<body::Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<body::Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        async move {
            match page_size(&request) {
                Some(size) => service.list(request.into_parts().0, size).await,
                None => safe(service.send(request).await?).await,
            }
        }
        .boxed()
    }
}

impl Safe {
    async fn send(&self, request: Request<Body>) -> Result<Response<body::Body>, BoxError> {
        let answer = {
            let mut inner = self.inner.lock().await;
            inner.ready().await?.call(request)
        };
        answer.await
    }

    /// Requests a page of a list, with fewer objects if the page is too large. The answer says where the next page
    /// begins.
    async fn list(&self, asked: request::Parts, size: u32) -> Result<Response<body::Body>, BoxError> {
        let mut size = size.min(self.page.load(Ordering::Relaxed));
        loop {
            let mut parts = asked.clone();
            parts.uri = with_page_size(&parts.uri, size);
            let response = self.send(Request::from_parts(parts, Body::empty())).await?;
            if !response.status().is_success() || !is_json(&response) {
                return safe(response).await;
            }
            let (mut head, body) = response.into_parts();
            match collected(Trimmed::new(body), if size > 1 { LARGEST_PAGE } else { usize::MAX }).await? {
                Some(page) => {
                    if page.len() < LARGEST_PAGE / (SHRINK as usize) {
                        let _ = self.page.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| {
                            Some(known.saturating_mul(2))
                        });
                    }
                    head.headers.remove(CONTENT_LENGTH);
                    return Ok(Response::from_parts(head, body::Body::from(page)));
                }
                None => {
                    size = (size / SHRINK).max(1);
                    self.page.store(size, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Makes an answer safe to parse.
async fn safe(response: Response<body::Body>) -> Result<Response<body::Body>, BoxError> {
    let status = response.status();
    let is_json = is_json(&response);
    let (mut head, body) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    if status.is_client_error() || status.is_server_error() {
        let said = collected(Trimmed::new(body), LARGEST_ERROR).await?;
        let said = said.filter(|said| serde_json::from_slice::<kube::core::Status>(said).is_ok());
        return Ok(Response::from_parts(head, said.unwrap_or_else(|| silent(status)).into()));
    }
    let body = if is_json { body::Body::new(Trimmed::new(body)) } else { body };
    Ok(Response::from_parts(head, body))
}

/// The replacement for an error whose text is empty or untrusted.
fn silent(status: StatusCode) -> Vec<u8> {
    let message = format!("the API server, or a proxy before it, answered {status} without a reason");
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "NoStatus", "code": status.as_u16(),
    });
    status.to_string().into_bytes()
}

fn is_json<B>(response: &Response<B>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// The number of objects that a request asks for, if it asks for a page of a list.
fn page_size(request: &Request<Body>) -> Option<u32> {
    if request.method() != Method::GET {
        return None;
    }
    let parameters = || request.uri().query().unwrap_or_default().split('&');
    let is_watch = parameters().any(|parameter| matches!(parameter, "watch=true" | "watch=1"));
    parameters().find_map(|parameter| parameter.strip_prefix("limit=")?.parse().ok()).filter(|_| !is_watch)
}

fn with_page_size(uri: &Uri, size: u32) -> Uri {
    let replaced = |parameter: &str| {
        if parameter.starts_with("limit=") { format!("limit={size}") } else { parameter.to_owned() }
    };
    let query: Vec<String> = uri.query().unwrap_or_default().split('&').map(replaced).collect();
    let mut parts = uri.clone().into_parts();
    let asked = parts.path_and_query.take();
    let smaller = PathAndQuery::from_maybe_shared(format!("{}?{}", uri.path(), query.join("&"))).ok();
    parts.path_and_query = smaller.or(asked);
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// The whole body, or `None` if it is larger than the limit.
async fn collected(mut body: Trimmed, most: usize) -> Result<Option<Vec<u8>>, BoxError> {
    let mut whole = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len() + data.len() > most {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole))
}

/// A body that is trimmed while it is read.
struct Trimmed {
    body: body::Body,
    trim: Trim,
}

impl Trimmed {
    fn new(body: body::Body) -> Self {
        Self { body, trim: Trim::default() }
    }
}

impl HttpBody for Trimmed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            let mut left = Vec::with_capacity(data.len());
            self.trim.push(&data, &mut left);
            if !left.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(left.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests;
