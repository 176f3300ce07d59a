//! What a server bears of clients that never come to the point.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use super::*;

const LIMITS: Limits =
    Limits { first_request: Duration::from_millis(500), connections: 3, ..Limits::DEFAULT };

/// A server with these limits, and what it takes to reach it.
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

/// Connects with TLS, having agreed upon this protocol.
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

/// Waits until the server has given the connection up.
async fn given_up(mut stream: impl tokio::io::AsyncRead + Unpin, what: &str) {
    let mut rest = Vec::new();
    // An end without TLS's own farewell is one, too.
    let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "{what} holds its connection");
}

#[tokio::test]
async fn connections_that_bring_no_request_are_given_up() {
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

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let (address, certificate, _guard) = served(true).await;
    let mut silent = Vec::new();
    for _ in 0..LIMITS.connections {
        silent.push(shaken(address, &certificate, b"h2").await);
    }
    let began = Instant::now();
    let client = Client::builder()
        .tls_certs_only([Certificate::from_pem(certificate.bundle.as_bytes()).unwrap()])
        .resolve(NAME, address)
        .build()
        .unwrap();
    let asked = client.get(format!("https://{NAME}:{}/", address.port())).send();
    assert_eq!(timeout(Duration::from_secs(10), asked).await.unwrap().unwrap().text().await.unwrap(), "here");
    assert!(began.elapsed() >= Duration::from_millis(100), "one more than the limit was served at once");
}

/// A connection that was used may be silent afterwards.
#[tokio::test]
async fn connections_that_brought_a_request_stay() {
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
