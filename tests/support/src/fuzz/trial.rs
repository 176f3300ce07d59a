//! A broker under test: its real router over a store in a temporary folder and a service in memory, and the invariants
//! of its answers. `targets` makes the requests.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header::AUTHORIZATION},
};
use bindery::{
    broker::{
        Broker, Provider, Registry, Timing,
        config::{LoadedConfig, PartialSettings},
        fake::Fake,
    },
    telemetry::Metrics,
};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt};

/// The number of inputs after which a new broker with a new store starts.
const INPUTS: usize = 500;
/// The maximum size of an answer, without repeated input.
const LONGEST_ANSWER: usize = 16 << 10;
/// How many bytes of an answer may repeat one byte of input: an error repeats the input once, with each byte escaped.
const REPEATED: usize = 8;
/// Longer than any request takes.
const TIMEOUT: Duration = Duration::from_secs(30);

const PASSWORD: &str = "the-platforms-own-password";
/// `platform:` and the password.
pub(super) const LOGIN: &str = "Basic cGxhdGZvcm06dGhlLXBsYXRmb3Jtcy1vd24tcGFzc3dvcmQ=";

const CONFIG: &str = r#"
backends: {main: {type: fake}}
services:
  - id: s
    name: one
    type: cockroachdb
    description: d
    plan_updateable: true
    plans:
      - {id: p, name: p, description: d, backend: main}
      - {id: q, name: q, description: d, backend: main, maintenance_info: {version: 2.1.1+abcdef}}
      - {id: lasting, name: lasting, description: d, backend: main}
      - {id: unbindable, name: unbindable, description: d, backend: main, bindable: false}
      - id: shaped
        name: shaped
        description: d
        backend: main
        schemas:
          service_instance:
            create: &shape
              parameters:
                $schema: "http://json-schema.org/draft-04/schema#"
                type: object
                additionalProperties: false
                properties:
                  size: {type: integer, minimum: 1, maximum: 9}
                  name: {type: string, pattern: "^[a-z]+$", maxLength: 9}
                  tags: {type: array, items: {enum: [a, b]}, uniqueItems: true}
            update: *shape
          service_binding: {create: *shape}
"#;

/// A broker under test.
pub(super) struct Trial {
    runtime: Runtime,
    broker: Broker,
    pub(super) fake: Fake,
    logs: Logs,
    inputs: usize,
    _listening: DefaultGuard,
    _folder: TempDir,
}

/// An answer of the broker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Map<String, Value>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        self.status < 300
    }
}

/// Runs an input on this thread's broker.
pub(super) fn on_trial(input: impl AsyncFnOnce(&Trial)) {
    thread_local! {
        static TRIAL: RefCell<Option<Trial>> = const { RefCell::new(None) };
    }
    TRIAL.with_borrow_mut(|trial| {
        if trial.as_ref().is_some_and(|trial| trial.inputs >= INPUTS) {
            trial.take();
        }
        let trial = trial.get_or_insert_with(Trial::new);
        trial.inputs += 1;
        trial.runtime.block_on(input(trial));
    });
}

impl Trial {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("bindery-fuzz-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("password"), PASSWORD).unwrap();
        std::fs::write(at("key"), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let config = format!(
            "{CONFIG}\nauth: {{username: platform, passwordFile: {}}}\nstore: sqlite:{}\nstoreKeyFile: {}\n",
            at("password"),
            at("broker.db"),
            at("key")
        );
        let config = LoadedConfig::from_yaml(&config).unwrap().complete(PartialSettings::default()).unwrap();
        let logs = Logs::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        let listening = subscriber.set_default();
        let fake = Fake::default();
        let provider: Arc<dyn Provider> = Arc::new(fake.clone());
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let metrics = Arc::new(Metrics::new());
        let registry = Registry::default().with_provider("fake", provider);
        let opening = Broker::open_with(config, metrics, Timing::default(), &registry);
        let broker = runtime.block_on(opening).unwrap();
        Self { runtime, broker, fake, logs, inputs: 0, _listening: listening, _folder: folder }
    }

    /// Sends a request as the platform does.
    pub(super) async fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, LOGIN)
            .header("x-broker-api-version", "2.17")
            .body(Body::from(body.to_owned()));
        self.send(request.unwrap(), &[path.as_bytes(), body].concat()).await
    }

    /// Sends any request, which was made from this text, and checks the invariants of the answer.
    pub(super) async fn send(&self, request: Request<Body>, text_sent: &[u8]) -> Answer {
        let method = request.method().clone();
        let longest = LONGEST_ANSWER + REPEATED * text_sent.len();
        let answering = tokio::time::timeout(TIMEOUT, self.broker.router().oneshot(request));
        let response = answering.await.expect("no answer in time").unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, longest).await.expect("a longer answer than a request can ask for");
        let text = String::from_utf8(bytes.to_vec()).expect("an answer that is no text");
        let status = head.status.as_u16();
        let has_body = method != Method::HEAD && head.status != StatusCode::NOT_MODIFIED;
        let answer = if has_body { parsed(status, &text) } else { Answer { status, body: Map::new() } };
        check(&answer, has_body);
        let said = format!("{:?} {text} {}", head.headers, self.logs.take());
        check_secrets(&answer, &said, text_sent);
        answer
    }

    /// Polls the last operation of an instance or binding until it ends, and returns its result; `None` if there is
    /// none.
    pub(super) async fn settled(&self, path: &str) -> Option<Value> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let polled = self.ask("GET", &format!("{path}/last_operation"), b"").await;
            match polled.body.get("state") {
                Some(state) if state != "in progress" => return Some(state.clone()),
                Some(_) => assert!(Instant::now() < deadline, "the operation goes on: {polled:?}"),
                None => return None,
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Checks that secrets are only in the answers that should contain them.
fn check_secrets(answer: &Answer, said: &str, text_sent: &[u8]) {
    // An input may send the password in another field, which an error repeats.
    let encoded = LOGIN.trim_start_matches("Basic ");
    let is_told_back = |secret: &str| text_sent.windows(secret.len()).any(|word| word == secret.as_bytes());
    for secret in [PASSWORD, encoded] {
        assert!(is_told_back(secret) || !said.contains(secret), "the platform's password: {said}");
    }
    let is_told = [200, 201].contains(&answer.status) && answer.body.contains_key("credentials");
    assert!(is_told || !answer.body.contains_key("credentials"), "credentials: {said}");
    // The service in memory uses this prefix for its passwords, and an input may contain it, too.
    let is_sent = text_sent.windows(9).any(|word| word == b"password-");
    assert!(is_told || is_sent || !said.contains("password-"), "a password: {said}");
}

fn parsed(status: u16, text: &str) -> Answer {
    let body = serde_json::from_str(text).unwrap_or_else(|error| panic!("no object: {error}: {text}"));
    Answer { status, body }
}

/// Checks the invariants of every answer.
fn check(answer: &Answer, has_body: bool) {
    const STATUSES: [u16; 14] = [200, 201, 202, 304, 400, 401, 404, 405, 409, 410, 412, 413, 422, 431];
    assert!(STATUSES.contains(&answer.status), "{answer:?}");
    if answer.status < 400 || !has_body {
        return;
    }
    let text = |field: &str| answer.body.get(field).map(|value| value.as_str().expect("text"));
    assert!(text("description").is_some_and(|description| !description.is_empty()), "{answer:?}");
    let is_word = |word: &str| !word.is_empty() && word.chars().all(char::is_alphanumeric);
    assert!(text("error").is_none_or(is_word), "{answer:?}");
}

/// The log since the last call.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    fn take(&self) -> String {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&lines).into_owned()
    }
}

impl Write for Logs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
