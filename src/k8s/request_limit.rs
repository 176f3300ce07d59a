//! A layer of the client that limits how many requests are under way at a time. HTTP/1.1 needs a connection for each request under way, and
//! keeps the connection with 40 KiB of buffers for a while: with 300 connections after a burst of reconciles, the buffers
//! took more memory than all cached objects.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use axum::http::Request;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::Semaphore;
use tower::{Layer, Service};

/// The maximum number of requests that wait for an answer. A watch counts until it begins.
const REQUESTS: usize = 32;

/// The layer that limits the requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLimit;

impl<S> Layer<S> for RequestLimit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, turns: Arc::new(Semaphore::new(REQUESTS)) }
    }
}

/// A service that gets at most [`REQUESTS`] requests at a time.
#[derive(Clone, Debug)]
pub(super) struct Limited<S> {
    inner: S,
    turns: Arc<Semaphore>,
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response: Send, Error: Send, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let turns = (!is_urgent(&request)).then(|| self.turns.clone());
        // Nothing is sent before the future is awaited.
        let answer = self.inner.call(request);
        async move {
            let _turn = match &turns {
                Some(turns) => turns.acquire().await.ok(),
                None => None,
            };
            answer.await
        }
        .boxed()
    }
}

/// Whether a request must not wait for others: a process that renews its Lease late loses its role.
fn is_urgent<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with("/apis/coordination.k8s.io/")
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use tokio::{sync::mpsc, task::JoinSet, time::timeout};
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_requests_wait_for_an_answer_and_a_lease_waits_for_none_of_them() {
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let answers = Arc::new(Semaphore::new(0));
        let server = service_fn({
            let answers = answers.clone();
            move |request: Request<()>| {
                let (arrived, answers) = (arrived.clone(), answers.clone());
                async move {
                    arrived.send(request.uri().path().to_owned()).unwrap();
                    answers.acquire().await.unwrap().forget();
                    Ok::<_, Infallible>(())
                }
            }
        });
        let client = RequestLimit.layer(server);
        let mut asked = JoinSet::new();
        let mut ask = |path: &str| {
            let request = Request::get(path).body(()).unwrap();
            asked.spawn(client.clone().oneshot(request));
        };
        for _ in 0..=REQUESTS {
            ask("/api/v1/secrets");
        }
        for _ in 0..REQUESTS {
            assert_eq!(arrivals.recv().await.unwrap(), "/api/v1/secrets");
        }
        assert!(timeout(Duration::from_mins(1), arrivals.recv()).await.is_err(), "one too many");
        ask("/apis/coordination.k8s.io/v1/namespaces/bindery/leases/catalog");
        assert!(arrivals.recv().await.unwrap().ends_with("/leases/catalog"));
        answers.add_permits(2);
        assert_eq!(arrivals.recv().await.unwrap(), "/api/v1/secrets", "the next one's turn");
        answers.add_permits(REQUESTS);
        while let Some(answer) = asked.join_next().await {
            answer.unwrap().unwrap();
        }
    }
}
