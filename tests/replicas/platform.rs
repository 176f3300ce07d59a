//! The platform side of the Open Service Broker API: it reacts to each answer and to missing answers, and asks any of
//! the brokers.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use rand::RngExt;
use serde_json::{Value, json};

pub(crate) const SERVICE: &str = "s";
pub(crate) const PLAN: &str = "p";
pub(crate) const PASSWORD: &str = "the-platforms-own-password";

/// The time limit of an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The time limit of all retries; the leases of a killed broker expire long before.
const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Platform {
    http: reqwest::Client,
    brokers: Vec<SocketAddr>,
    counted: Mutex<Counted>,
}

/// How often each status, or no answer, was received.
#[derive(Clone, Default)]
pub(crate) struct Counted(BTreeMap<u16, usize>);

impl Counted {
    pub(crate) fn requests(&self) -> usize {
        self.0.values().sum()
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |(status, count): (&u16, &usize)| match status {
            0 => format!("{count} without answer"),
            status => format!("{count} times {status}"),
        };
        f.write_str(&self.0.iter().map(count).collect::<Vec<_>>().join(", "))
    }
}

/// A status and a body.
type Answer = (u16, Value);

/// The result of a creation.
#[derive(Debug)]
pub(crate) enum Made {
    /// The object exists; contains the body of the last answer.
    Yes(Value),
    /// The creation failed, and nothing is left of it.
    No,
}

impl Platform {
    pub(crate) fn new(brokers: Vec<SocketAddr>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(ANSWER).build().unwrap();
        Self { http, brokers, counted: Mutex::default() }
    }

    pub(crate) fn counted(&self) -> Counted {
        self.counted.lock().unwrap().clone()
    }

    /// Creates an instance or a binding. Repeats the request, or gives up and deletes what may have been created, as
    /// the specification requires ("Orphan Mitigation").
    pub(crate) async fn make(&self, path: &str) -> Made {
        let deadline = Instant::now() + PATIENCE;
        let asked = format!("{path}?accepts_incomplete={}", rand::rng().random_bool(0.5));
        let body =
            json!({"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "o", "space_guid": "n"});
        loop {
            assert!(Instant::now() < deadline, "{path} is not made");
            match self.ask("PUT", &asked, Some(&body)).await {
                Some((200 | 201, body)) => return Made::Yes(body),
                // The object exists. The same request again returns its data.
                Some((202, _)) if self.polled(path).await => {}
                Some((422, body)) if body["error"] == "ConcurrencyError" => self.pause().await,
                None | Some((202 | 500.., _)) => {
                    if rand::rng().random_bool(0.5) {
                        self.delete(path).await;
                        return Made::No;
                    }
                    self.pause().await;
                }
                Some(other) => panic!("{path} is refused: {other:?}"),
            }
        }
    }

    /// Deletes until the broker confirms the deletion.
    pub(crate) async fn delete(&self, path: &str) {
        let deadline = Instant::now() + PATIENCE;
        let accepts = rand::rng().random_bool(0.5);
        let asked = format!("{path}?service_id={SERVICE}&plan_id={PLAN}&accepts_incomplete={accepts}");
        loop {
            assert!(Instant::now() < deadline, "{path} is not deleted");
            match self.ask("DELETE", &asked, None).await {
                Some((200 | 410, _)) => return,
                Some((202, _)) => {
                    self.polled(path).await;
                }
                None | Some((500.., _)) => self.pause().await,
                Some((422, body)) if body["error"] == "ConcurrencyError" => self.pause().await,
                Some(other) => panic!("the delete of {path} is refused: {other:?}"),
            }
        }
    }

    /// Fetches an object, and retries until there is an answer.
    pub(crate) async fn fetch(&self, path: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no answer to GET {path}");
            match self.ask("GET", path, None).await {
                Some((status, body)) if status < 500 && body["error"] != "ConcurrencyError" => {
                    return (status, body);
                }
                _ => self.pause().await,
            }
        }
    }

    /// Polls the last operation until it has ended, and returns whether it succeeded.
    async fn polled(&self, path: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "the operation on {path} goes on");
            match self.ask("GET", &format!("{path}/last_operation"), None).await {
                Some((200, body)) if body["state"] != "in progress" => return body["state"] == "succeeded",
                Some((404 | 410, _)) => return true,
                None | Some((200 | 500.., _)) => self.pause().await,
                Some(other) => panic!("last_operation of {path}: {other:?}"),
            }
        }
    }

    /// Sends a request to one of the brokers; `None` if there is no answer. A broker that refuses the connection did
    /// not get the request, so the next broker is asked, as by a load balancer.
    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline {
            let broker = self.brokers[rand::rng().random_range(..self.brokers.len())];
            let request = self
                .http
                .request(method.parse().unwrap(), format!("http://{broker}/v2/service_instances/{path}"))
                .basic_auth("platform", Some(PASSWORD))
                .header("x-broker-api-version", "2.17");
            let request = match body {
                Some(body) => request.json(body),
                None => request,
            };
            let answer = match request.send().await {
                Err(error) if error.is_connect() => {
                    self.pause().await;
                    continue;
                }
                Err(_) => None,
                Ok(response) => {
                    let status = response.status().as_u16();
                    // The rest of an answer can be lost as well.
                    response.json().await.ok().map(|body| (status, body))
                }
            };
            let status = answer.as_ref().map_or(0, |(status, _)| *status);
            *self.counted.lock().unwrap().0.entry(status).or_default() += 1;
            return answer;
        }
        panic!("no broker takes connections");
    }

    async fn pause(&self) {
        tokio::time::sleep(rand::rng().random_range(PAUSE..4 * PAUSE)).await;
    }
}
