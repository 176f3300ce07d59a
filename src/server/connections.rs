//! The life of a server's connections. They are accepted up to a limit, beyond which idle connections make room;
//! connections without a request are closed; and at the stop all connections are drained, so that no request is lost.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, Version, header},
    response::Response,
};
use futures::{FutureExt, future::BoxFuture};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    LONGEST_DRAIN,
    lingering::Lingering,
    roster::{FAREWELL, Place, Requests, Room, Roster},
};

/// The limits for a server's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The number of connections at a time. Beyond it, idle connections make room; if none is idle, new ones wait in
    /// the kernel, which also limits them. An API server needs one or two.
    pub(super) connections: usize,
    /// The number of connections at a time from one address. It is less than all, so that slow requests of one client
    /// leave some for others.
    pub(super) of_peer: usize,
    /// How long a connection may take from its beginning to its first request. This covers the handshake, silence and
    /// slow headers.
    pub(super) first_request: Duration,
    /// How long an HTTP/1.1 connection may take for the headers of each later request, and so how long it may be
    /// idle. Clearly longer than the 90 s after which an API server drops an idle connection (most proxies drop it
    /// after a minute). The client must close first, because a review that meets a closed connection is not repeated.
    pub(super) headers: Duration,
    /// The interval between pings of an HTTP/2 client.
    pub(super) ping: Duration,
    /// How long connections may continue after the stop.
    pub(super) drain: Duration,
    /// How long an idle HTTP/1.1 connection stays open after the stop. Its client may be about to use it, and API
    /// servers, which speak HTTP/1.1 to webhooks, do not repeat a request that met a closed connection.
    pub(super) idle: Duration,
    /// How long new connections are accepted after the stop, or after the latest new client: some clients learn late
    /// that this server stops.
    pub(super) quiet: Duration,
}

impl Limits {
    pub(super) const DEFAULT: Self = Self {
        connections: 400,
        of_peer: 350,
        first_request: Duration::from_secs(10),
        headers: Duration::from_mins(2),
        ping: Duration::from_secs(30),
        drain: LONGEST_DRAIN,
        idle: Duration::from_secs(3),
        quiet: Duration::from_secs(1),
    };

    /// The limits of the operations port: each probe opens a connection, and scrapers need one. Together with two
    /// servers with the default limits the sum stays below 1024, the minimum of a process's file descriptors.
    pub(super) const OPS: Self = Self {
        connections: 64,
        of_peer: 16,
        first_request: Duration::from_secs(5),
        headers: Duration::from_secs(30),
        ..Self::DEFAULT
    };

    /// Concurrent requests on one HTTP/2 connection. Go's client, which the API server uses, opens another connection
    /// for more.
    const STREAMS: u32 = 250;
    /// The size of all headers of a request. Those of an API server take a few hundred bytes.
    const HEADER_BYTES: u32 = 32 << 10;

    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        let mut http1 = builder.http1();
        http1.timer(TokioTimer::new()).header_read_timeout(self.headers).max_buf_size(HEADER_BUFFER);
        let mut http2 = builder.http2();
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(self.ping)
            .keep_alive_timeout(Duration::from_secs(10))
            .max_concurrent_streams(Self::STREAMS)
            .max_header_list_size(Self::HEADER_BYTES);
        builder
    }
}

/// How many connections may be closing in order to make room.
const LEAVING: usize = 64;

/// The header buffer of an HTTP/1.1 connection; hyper's default is 400 KiB.
const HEADER_BUFFER: usize = 64 << 10;

/// Serves until `stop`, then drains: HTTP/2 connections get GOAWAY, and HTTP/1.1 connections close with the next
/// answer, which says so. New connections are still accepted and drained in the same way until none has come for a
/// while.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let server = Arc::new(Server { tls, router, limits, stop: stop.clone() });
    let roster = Roster::new();
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stop.cancelled());
    let mut drain: Option<Drain> = None;
    // A connection that was accepted when all others had just become busy.
    let mut held = None;
    loop {
        let (end, quiet_until) =
            drain.as_ref().map_or((None, None), |drain| (Some(drain.end), Some(drain.quiet_until)));
        let is_busy = roster.is_busy(limits.connections);
        if !is_busy && let Some((stream, client)) = held.take() {
            admit(&server, &roster, &mut connections, stream, client);
        }
        // Connections that make room still exist for a moment.
        let may_accept = !is_busy && connections.len() < limits.connections + LEAVING;
        tokio::select! {
            biased;
            () = &mut stopped, if drain.is_none() => drain = Some(Drain::begin(&limits)),
            Some(_) = connections.join_next() => {}
            () = until(end) => break,
            () = roster.changed(), if is_busy => {}
            accepted = listener.accept(), if may_accept => match accepted {
                Ok((stream, client)) => {
                    if roster.is_busy(limits.connections) {
                        held = Some((stream, client));
                    } else {
                        admit(&server, &roster, &mut connections, stream, client);
                    }
                    if let Some(drain) = &mut drain {
                        drain.quiet_until = Instant::now() + limits.quiet;
                    }
                }
                Err(error) => {
                    // For example no file descriptor is left; the end of another connection solves that.
                    roster.shed();
                    warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            () = until(quiet_until), if connections.is_empty() => break,
        }
    }
    if !connections.is_empty() {
        warn!(
            connections = connections.len(),
            "connections are cut off because they did not end after the stop"
        );
    }
}

/// Accepts a connection, unless its client has too many busy ones.
fn admit(
    server: &Arc<Server>,
    roster: &Roster,
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    client: SocketAddr,
) {
    let (peer, limits) = (client.ip().to_canonical(), &server.limits);
    if roster.make_room(peer, limits.connections, limits.of_peer) == Room::PeerIsBusy {
        return debug!(%client, "a client has too many connections; one more is refused");
    }
    connections.spawn(server.clone().connection(stream, client, roster.enter(peer)));
}

/// The deadlines of a drain.
struct Drain {
    /// The latest end.
    end: Instant,
    /// The end if no connection is open.
    quiet_until: Instant,
}

impl Drain {
    fn begin(limits: &Limits) -> Self {
        let now = Instant::now();
        Self { end: now + limits.drain, quiet_until: now + limits.quiet }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

struct Server {
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
}

impl Server {
    /// Serves a connection until it ends or has to make room.
    async fn connection(self: Arc<Self>, stream: TcpStream, client: SocketAddr, place: Place) {
        let given_up = async {
            place.given_up().cancelled().await;
            // A request that arrived at the same moment is still answered.
            sleep(FAREWELL).await;
            while !place.is_idle() {
                sleep(FAREWELL).await;
            }
        };
        tokio::select! {
            biased;
            () = self.served(stream, client, &place) => {}
            () = given_up => debug!(%client, "an idle connection made room"),
        }
    }

    async fn served(&self, stream: TcpStream, client: SocketAddr, place: &Place) {
        let deadline = Instant::now() + self.limits.first_request;
        // Answers are small, and clients wait for them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            // The first bytes decide the HTTP version. A stop before they arrive would close the connection
            // unanswered.
            return tokio::select! {
                _ = stream.readable() => {
                    self.requests(self.limits.builder(), stream, (client, place), deadline, self.limits.idle)
                        .await;
                }
                () = sleep_until(deadline) => debug!(%client, "no request came"),
            };
        };
        let stream = tokio::select! {
            shaken = tls.accept(stream) => match shaken {
                Ok(stream) => stream,
                Err(error) => return debug!(%client, %error, "no TLS handshake"),
            },
            () = sleep_until(deadline) => return debug!(%client, "the TLS handshake took too long"),
        };
        // ALPN has decided the version. Detecting it from the first bytes would end with the connection if the stop
        // came at the wrong moment.
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let stream = Lingering::new(stream);
            self.requests(
                self.limits.builder().http2_only(),
                stream,
                (client, place),
                deadline,
                Duration::ZERO,
            )
            .await;
        } else {
            self.requests(
                self.limits.builder().http1_only(),
                stream,
                (client, place),
                deadline,
                self.limits.idle,
            )
            .await;
        }
    }

    /// Answers the connection's requests; after the stop only for as long as the connection may be idle.
    async fn requests(
        &self,
        builder: Builder<TokioExecutor>,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        (client, place): (SocketAddr, &Place),
        deadline: Instant,
        idle: Duration,
    ) {
        let asked = CancellationToken::new();
        let (stop, router) = (self.stop.clone(), TowerToHyperService::new(self.router.clone()));
        let service = Asked { begun: asked.clone(), requests: place.requests(), stop, router };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let given_up = place.given_up();
        // A GOAWAY before the first request would make some clients give up that request.
        let mut stopped = pin!(async {
            tokio::select! {
                () = given_up.cancelled() => {}
                () = async {
                    self.stop.cancelled().await;
                    asked.cancelled().await;
                    sleep(idle).await;
                } => {}
            }
        });
        let (mut is_draining, mut is_new) = (false, true);
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    if let Err(error) = ended {
                        debug!(%client, %error, "a connection broke");
                    }
                    return;
                }
                () = &mut stopped, if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = sleep_until(deadline), if is_new => {
                    is_new = false;
                    if !asked.is_cancelled() {
                        return debug!(%client, "no request came");
                    }
                }
            }
        }
    }
}

/// The router, and whether it has had a request.
struct Asked {
    /// Cancelled by the first request.
    begun: CancellationToken,
    requests: Requests,
    stop: CancellationToken,
    router: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for Asked {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.begun.cancel();
        let is_http1 = request.version() <= Version::HTTP_11;
        let (answer, stop) = (self.router.call(request), self.stop.clone());
        let answering = self.requests.begin();
        async move {
            let _answering = answering;
            let mut response = answer.await?;
            if is_http1 && stop.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// API servers, which speak HTTP/1.1, keep an idle connection for 90 s and then stop using it.
    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_only_after_an_api_server_would_have_done_so() {
        let (mut client, stream) = duplex(1 << 10);
        let limits = Limits::DEFAULT;
        let router = Router::new().route("/", get(async || "here"));
        let server = Server { tls: None, router, limits, stop: CancellationToken::new() };
        tokio::spawn(async move {
            let address: SocketAddr = ([127, 0, 0, 1], 1).into();
            let (place, deadline) =
                (Roster::new().enter(address.ip()), Instant::now() + limits.first_request);
            let builder = limits.builder().http1_only();
            server.requests(builder, stream, (address, &place), deadline, limits.idle).await;
        });
        let mut answer = [0; 1 << 10];
        for _ in 0..2 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let length = client.read(&mut answer).await.unwrap();
            assert!(answer[..length].ends_with(b"here"), "{}", String::from_utf8_lossy(&answer[..length]));
            sleep(Duration::from_secs(100)).await;
        }
        let waited = Instant::now();
        let closed = client.read(&mut answer).await;
        assert!(!closed.is_ok_and(|length| length > 0), "something was said");
        assert!(waited.elapsed() < Duration::from_mins(1), "held for ever");
    }
}
