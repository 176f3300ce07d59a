//! Clients that never complete a request.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::*;

const LIMITS: Limits =
    Limits { first_request: Duration::from_millis(500), connections: 3, ..Limits::DEFAULT };

/// A server with these limits, its address and its certificate.
async fn served(tls: bool) -> (SocketAddr, ServingCertificate, tokio_util::sync::DropGuard) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = made();
    let presented = PresentedCertificate::default();
    presented.present(&certificate.leaf).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", axum::routing::get(async || "here"));
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    if tls {
        let settings = TlsSettings { certificate: presented, clients: None };
        tokio::spawn(serve_tls_on(listener, router, settings, LIMITS, stop));
    } else {
        tokio::spawn(connections::serve(listener, None, router, LIMITS, stop));
    }
    (address, certificate, guard)
}

/// Connects with TLS and this protocol.
async fn shaken(
    address: SocketAddr,
    certificate: &ServingCertificate,
    protocol: &[u8],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.bundle.as_bytes()).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(NAME.try_into().unwrap(), stream).await.unwrap()
}

/// Waits until the server has closed the connection.
async fn given_up(mut stream: impl tokio::io::AsyncRead + Unpin, what: &str) {
    let mut rest = Vec::new();
    // A connection that ends without TLS's close message has ended, too.
    let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "{what} holds its connection");
}

#[tokio::test]
async fn connections_without_a_request_are_closed() {
    let (address, certificate, _guard) = served(true).await;
    given_up(TcpStream::connect(address).await.unwrap(), "silence before the handshake").await;
    given_up(shaken(address, &certificate, b"h2").await, "silence after the handshake").await;
    let mut slow = shaken(address, &certificate, b"h2").await;
    slow.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    given_up(slow, "half of a preface").await;
    let mut slow = shaken(address, &certificate, b"http/1.1").await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    given_up(slow, "half of a header").await;
    let (address, _, _guard) = served(false).await;
    given_up(TcpStream::connect(address).await.unwrap(), "silence without TLS").await;
}

/// Connects from this address of the loopback network.
async fn from(last: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends a request and reads the answer; `None` if the connection is closed.
async fn ask(stream: &mut TcpStream, path: &str) -> Option<String> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = [0; 1024];
    let length = timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap().ok()?;
    (length > 0).then(|| String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// A plain server. `/slow` releases the second semaphore when it gets a request, and answers when the first one has a
/// permit.
async fn slow_server(
    limits: Limits,
) -> (SocketAddr, Arc<Semaphore>, Arc<Semaphore>, tokio_util::sync::DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (permits, asked) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (taken, given) = (permits.clone(), asked.clone());
    let slow = async move || {
        given.add_permits(1);
        taken.acquire().await.unwrap().forget();
        "slow"
    };
    let router = Router::new()
        .route("/", axum::routing::get(async || "here"))
        .route("/slow", axum::routing::get(slow));
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    tokio::spawn(connections::serve(listener, None, router, limits, stop));
    (address, permits, asked, guard)
}

#[tokio::test]
async fn idle_connections_of_one_client_do_not_affect_others() {
    let limits = Limits { connections: 12, of_peer: 8, ..Limits::DEFAULT };
    let (address, _permits, _asked, _guard) = slow_server(limits).await;
    let mut server = from(1, address).await;
    assert!(ask(&mut server, "/").await.is_some());
    let mut idle = Vec::new();
    for number in 0..60 {
        // Three peers together open more connections than the limit.
        let mut stream = from(2 + number % 3, address).await;
        assert!(ask(&mut stream, "/").await.unwrap().ends_with("here"), "{number}");
        idle.push(stream);
    }
    // Neither the first connection nor a new one is affected, and no request had to wait for a timeout.
    assert!(ask(&mut server, "/").await.unwrap().ends_with("here"));
    let mut probe = from(9, address).await;
    assert!(ask(&mut probe, "/").await.unwrap().ends_with("here"));
    let mut open = 0;
    for mut stream in idle {
        open += usize::from(ask(&mut stream, "/").await.is_some());
    }
    assert!((1..limits.connections).contains(&open), "{open}");
}

#[tokio::test]
async fn a_client_with_only_busy_connections_gets_no_more_but_others_do() {
    let limits = Limits { connections: 12, of_peer: 2, ..Limits::DEFAULT };
    let (address, permits, are_asked, _guard) = slow_server(limits).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = from(2, address).await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    are_asked.acquire_many(2).await.unwrap().forget();
    let refused = async {
        while ask(&mut from(2, address).await, "/").await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), refused).await.unwrap();
    assert!(ask(&mut from(3, address).await, "/").await.is_some());
    permits.add_permits(2);
    for mut stream in busy {
        let mut answer = [0; 1024];
        let length = timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..length].ends_with(b"slow"), "what is being answered is not cut off");
    }
    assert!(ask(&mut from(2, address).await, "/").await.is_some());
}

#[tokio::test]
async fn new_connections_wait_while_all_others_are_busy() {
    let limits = Limits { connections: 2, ..Limits::DEFAULT };
    let (address, permits, are_asked, _guard) = slow_server(limits).await;
    let mut busy = Vec::new();
    for last in [1, 2] {
        let mut stream = from(last, address).await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    are_asked.acquire_many(2).await.unwrap().forget();
    let mut waiting = from(3, address).await;
    let asked = ask(&mut waiting, "/");
    tokio::pin!(asked);
    assert!(timeout(Duration::from_millis(200), &mut asked).await.is_err(), "served beyond the limit");
    permits.add_permits(1);
    assert!(asked.await.unwrap().ends_with("here"));
}

/// A connection that was used may be silent afterwards.
#[tokio::test]
async fn connections_that_had_a_request_stay_open() {
    let (address, certificate, _guard) = served(true).await;
    let mut stream = shaken(address, &certificate, b"http/1.1").await;
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = [0; 1024];
        let length = timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..length].ends_with(b"here"), "{}", String::from_utf8_lossy(&answer[..length]));
        tokio::time::sleep(LIMITS.first_request * 2).await;
    }
}
