//! The traces that the program exports to a collector, with OpenTelemetry's standard configuration.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use tokio::{sync::mpsc, time::timeout};

/// The example of W3C's recommendation.
const TRACE: [u8; 16] = *b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c";
const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const PASSWORD: &str = "platform-password";
const LIMIT: Duration = Duration::from_secs(30);

/// Starts a collector, and returns its address and the received requests.
async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) {
    let (exported, exports) = mpsc::unbounded_channel();
    let receive = async move |headers: HeaderMap, body: Bytes| {
        let _ = exported.send((headers, body));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/traces", post(receive));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, exports)
}

/// The running program, which ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A broker that never has to connect to its server.
fn broker(folder: &Path, port: u16) -> Command {
    fs::write(folder.join("password"), PASSWORD).unwrap();
    fs::write(folder.join("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
    let config = format!(
        "backends: {{main: {{type: postgresql, user: u, host: 127.0.0.1, port: 1, sslmode: require}}}}\n\
         services: [{{id: s, name: cockroachdb, type: cockroachdb, description: d,\n\
            plans: [{{id: p, name: default, description: d, backend: main}}]}}]\n\
         auth: {{username: platform, passwordFile: {0}/password}}\n\
         store: \"sqlite:{0}/db\"\nstoreKeyFile: {0}/key\n",
        folder.display()
    );
    fs::write(folder.join("bindery.yaml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bindery"));
    command.args(["broker", "--config"]).arg(folder.join("bindery.yaml"));
    command.args([format!("--listen=127.0.0.1:{port}"), format!("--listen-ops=127.0.0.1:{}", free_port())]);
    command.stderr(Stdio::null());
    command
}

#[tokio::test]
async fn a_request_to_the_broker_is_a_span_in_the_platforms_trace() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (collector, mut exports) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = broker(folder.path(), port);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-scope=tests").env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command.env("OTEL_SERVICE_NAME", "brokers-of-the-shop");
    let _running = Running(command.spawn().unwrap());
    let http = reqwest::Client::new();
    let ask = || {
        http.get(format!("http://127.0.0.1:{port}/v2/catalog"))
            .basic_auth("platform", Some(PASSWORD))
            .header("x-broker-api-version", "2.17")
            .header("traceparent", TRACE_PARENT)
            .send()
    };
    let answered = async {
        loop {
            match ask().await {
                Ok(answer) => break answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    assert_eq!(timeout(LIMIT, answered).await.expect("the broker answers").status(), 200);

    let (headers, body) = timeout(LIMIT, exports.recv()).await.expect("an export").unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-scope"], "tests");
    let has = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    assert!(has(&TRACE), "the platform's trace");
    for word in ["broker", "verb", "catalog", "result", "ok", "brokers-of-the-shop"] {
        assert!(has(word.as_bytes()), "{word} is not in {}", String::from_utf8_lossy(&body));
    }
    assert!(!has(PASSWORD.as_bytes()), "the password is exported");
}

#[test]
fn an_unsupported_protocol_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = broker(folder.path(), free_port());
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let refused = command.stderr(Stdio::piped()).output().unwrap();
    assert!(!refused.status.success());
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        message.contains("OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`; bindery exports by http/protobuf"),
        "{message}"
    );
}
